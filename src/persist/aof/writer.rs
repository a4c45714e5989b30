//! The one thread that writes the append-only file: what the log holds, into the current incremental file, and on to the
//! disk as `appendfsync` says.
//!
//! It holds a position in the log like a replica's feed. With `always` it writes and flushes whatever has come, and lets
//! the replies go that waited for it, while the workers already gather what comes next: so many clients share a flush. On a
//! quick disk it waits a moment for half of those who write all the time, as a flush costs the same for one and for many.
//! With the others it rests a moment after each write, so that a busy server wakes nobody for every request. Takes no gate
//! and no lock but short ones: whoever waits for it may hold whatever they like.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use smallvec::SmallVec;

use super::position::{ASIDE_MAX, Note};
use super::state::{Aof, Begin, Mode, Order, Switch};
use crate::base::{clock, log, os_reason};
use crate::config::AppendFsync;
use crate::exec::Engine;
use crate::oplog::{Chunk, Cursor, Mark};
use crate::persist::disk::{self, OutFile};
use crate::resp::encode_command;

/// Taken out of the log for one write.
const WRITE_BYTES: usize = 1 << 20;
/// How long it rests after a write that nobody waits for.
const REST: Duration = Duration::from_millis(2);
/// How often it looks around when nothing happens, and tries again what failed.
const LOOK: Duration = Duration::from_secs(1);
/// How long those are counted who write all the time.
const PERIOD_US: i64 = 50_000;
/// With `always`, how long the next flush is held back at most, so that it serves more: never longer than a flush takes.
const GATHER_MAX_US: i64 = 200;
/// It is not held back if so much waits to be written.
const GATHER_MAX_BYTES: usize = 256 << 10;
/// Gathering that brought nothing so many times in a row is tried again after `2^n - 1` flushes.
const IN_VAIN_MAX: u32 = 6;
const FLUSH_PERIOD_MS: i64 = 1000;
/// A flush that takes longer held writes up, which stock servers count and tell.
const SLOW_FLUSH_US: i64 = 2_000_000;
/// So much at once the system is told that it need not keep in memory: a multiple of its pages.
const LET_GO_BYTES: u64 = 1 << 20;
/// An error that lasts is logged once in so many seconds.
const LOG_ERROR_MS: i64 = 30_000;
/// What may lie in memory unwritten, where nobody waits for the flush, before replies wait: else a disk slower than the
/// clients would fill the memory.
const BEHIND_BYTES: i64 = 64 << 20;
/// The same of requests that are not in the log.
const BEHIND_LOCALS: u64 = 4096;

/// The end of the process: what was acknowledged or seen cannot be kept.
pub(super) struct Fatal(pub String);

pub(super) struct Writer {
    engine: Arc<Engine>,
    aof: Arc<Aof>,
    open: Option<Open>,
    /// Mono ms before which the last error is not logged again.
    quiet_until_ms: i64,
    /// Mono us.
    period_until_us: i64,
    /// What the last flush took.
    flush_us: i64,
    /// How often in a row gathering brought nothing, and how many flushes go without it for that.
    in_vain: u32,
    spared: u32,
}

/// The file being written.
struct Open {
    cursor: Cursor,
    /// The log's history that the cursor is of.
    history: u64,
    file: Box<dyn OutFile>,
    /// Its length, as far as it is certain.
    length: u64,
    flushed_length: u64,
    /// Up to here the system was told that it need not keep it in memory.
    let_go: u64,
    /// Offset of the last byte of the log on disk.
    flushed: i64,
    /// Mono ms.
    last_flush_ms: i64,
    /// There is data in the file that is not flushed, not only notes.
    dirty: bool,
    switches: VecDeque<Switch>,
    marks: VecDeque<Mark>,
    /// How many marks were dealt with.
    marks_done: u64,
    head: Head,
    /// Requests that are not in the log: how many were written, and were flushed.
    locals: u64,
    locals_flushed: u64,
    /// What a failed write left behind in the file and could not be taken back goes on with this.
    rest: Vec<u8>,
}

/// What the next bytes that go into the file depend on beside the log.
#[derive(Clone, Default)]
struct Head {
    /// The database that a reader of the file must select first, if nothing in the stream will say so.
    db: Option<i32>,
    /// What the history is called, if the file is to tell where it stands.
    names: Option<Arc<[u8]>>,
    /// The file does not have them yet.
    names_due: bool,
    /// The offset that its last note tells.
    noted: i64,
    /// What of the stream was left out since.
    aside: Option<Aside>,
}

#[derive(Clone, Default)]
struct Aside {
    /// As far as there is room for it in a note.
    bytes: Vec<u8>,
    is_whole: bool,
}

/// What is to be written, and what holds once it is.
struct Plan {
    pieces: Pieces,
    head: Head,
    /// Marks that are dealt with.
    marks: usize,
    locals: u64,
    /// Data is among it.
    data: bool,
}

/// A stretch of what goes into the file.
enum Piece {
    Own(Vec<u8>),
    /// Of that chunk, from and to.
    Log(usize, usize, usize),
}

type Pieces = SmallVec<[Piece; 16]>;

/// Whether there is more to do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    More,
    /// Something was written, nothing is left.
    Wrote,
    Idle,
    Failed,
}

/// Makes sure that the thread is there.
pub(super) fn start(engine: &Arc<Engine>, aof: &Arc<Aof>) -> io::Result<()> {
    let mut thread = aof.writer.lock();
    if thread.is_none() {
        let writer = Writer::new(engine.clone(), aof.clone());
        let spawned = thread::Builder::new().name("aof".into()).spawn(move || writer.run())?;
        *thread = Some(spawned.thread().clone());
    }
    Ok(())
}

impl Writer {
    pub fn new(engine: Arc<Engine>, aof: Arc<Aof>) -> Self {
        Self { engine, aof, open: None, quiet_until_ms: 0, period_until_us: 0, flush_us: 0, in_vain: 0, spared: 0 }
    }

    fn run(mut self) {
        let me = thread::current();
        self.engine.durable.replies.crowd.set_writer(me.clone());
        let waiter = self.engine.log.waiter(move || me.unpark());
        loop {
            let turn = self.turn().unwrap_or_else(|Fatal(line)| {
                log::warning!("{line}");
                std::process::exit(1)
            });
            match turn {
                Turn::More => _ = self.replies_wait() && self.gather(),
                Turn::Failed => thread::park_timeout(LOOK),
                Turn::Wrote if !self.replies_wait() => thread::park_timeout(REST),
                Turn::Wrote if self.gather() => {}
                Turn::Wrote | Turn::Idle => {
                    waiter.arm();
                    // Looked at again, so that nothing that came in between is slept over.
                    if self.open.as_ref().is_none_or(Open::is_idle) && !self.engine.log.has_marks() {
                        thread::park_timeout(self.until_flush());
                    }
                }
            }
        }
    }

    /// After a flush that replies waited for: sleeps a moment if the next one will serve more then. False if there is no
    /// reason to.
    fn gather(&mut self) -> bool {
        let crowd = &self.engine.durable.replies.crowd;
        let now_us = clock::mono_us();
        if now_us >= self.period_until_us {
            self.period_until_us = now_us + PERIOD_US;
            crowd.next_period();
        }
        let regulars = crowd.regulars();
        let has_enough = |open: &Open| !open.switches.is_empty() || open.cursor.lag_bytes() >= GATHER_MAX_BYTES;
        if regulars < 2 || self.open.as_ref().is_none_or(has_enough) {
            return false;
        }
        if self.spared > 0 {
            self.spared -= 1;
            return false;
        }
        let before = crowd.waiting();
        if !crowd.ask(regulars.div_ceil(2)) {
            return true;
        }
        let until_us = now_us + self.flush_us.min(GATHER_MAX_US);
        // Whatever else wakes this thread is looked at when it goes on; orders it goes on for.
        while crowd.is_asked() && !self.aof.has_orders() {
            let left_us = until_us - clock::mono_us();
            if left_us <= 0 {
                break;
            }
            thread::park_timeout(Duration::from_micros(left_us as u64));
        }
        crowd.forget();
        // Where nobody came, they are too slow to be waited for each time.
        self.in_vain = if crowd.waiting() > before { 0 } else { (self.in_vain + 1).min(IN_VAIN_MAX) };
        self.spared = (1 << self.in_vain) - 1;
        true
    }

    fn policy(&self) -> AppendFsync {
        self.engine.config.now().appendfsync
    }

    fn replies_wait(&self) -> bool {
        self.policy() == AppendFsync::Always
    }

    /// How long until a flush is due.
    fn until_flush(&self) -> Duration {
        let unflushed = self.open.as_ref().filter(|open| open.length != open.flushed_length);
        match unflushed {
            // Notes alone have time, whatever the policy for data.
            Some(open) if self.policy() != AppendFsync::No => {
                let left_ms = open.last_flush_ms + FLUSH_PERIOD_MS - clock::mono_ms();
                Duration::from_millis(left_ms.clamp(1, FLUSH_PERIOD_MS) as u64)
            }
            _ => LOOK,
        }
    }

    /// Does what was ordered, writes some of what there is, and flushes if that is due.
    pub fn turn(&mut self) -> Result<Turn, Fatal> {
        for order in self.aof.take_orders() {
            self.carry_out(order)?;
        }
        if self.open.as_ref().is_some_and(|open| open.cursor.is_stale()) {
            self.give_up();
        }
        let wrote = self.write_some()?;
        // Asked once, and behind the write: whoever's reply goes unflushed wrote while that other writing was under way.
        let put_off = self.flush_is_put_off();
        if wrote == Turn::Failed || self.flush_if_due(put_off)? == Turn::Failed {
            return Ok(Turn::Failed);
        }
        self.publish(put_off);
        if let Some(open) = &mut self.open {
            open.let_go();
        }
        Ok(wrote)
    }

    fn carry_out(&mut self, order: Order) -> Result<(), Fatal> {
        match order {
            Order::Begin(begin) => self.begin(*begin),
            Order::Switch(switch) => {
                if let Some(open) = &mut self.open {
                    open.switches.push_back(switch);
                }
            }
            Order::Stay(done) => {
                if let Some(open) = &mut self.open {
                    open.switches.clear();
                }
                let _ = done.send(());
            }
            Order::Flush(done) => {
                let ok = self.write_and_flush()?;
                self.publish(false);
                // Whoever asked may have left.
                let _ = done.send(ok);
            }
            Order::End(done) => {
                let ok = self.write_and_flush()?;
                if self.open.as_ref().is_some_and(|open| !open.cursor.is_stale()) {
                    self.engine.log.forget_marks();
                }
                self.close();
                let _ = done.send(ok);
            }
            Order::Publish => {}
        }
        Ok(())
    }

    fn begin(&mut self, begin: Begin) {
        let Begin { cursor, file, length, db, names, locals } = begin;
        let flushed = cursor.next_offset() - 1;
        let names_due = names.is_some();
        self.aof.incr_bytes.store(length, Relaxed);
        self.open = Some(Open {
            history: self.engine.log.epoch(),
            cursor,
            file,
            length,
            flushed_length: length,
            let_go: length,
            flushed,
            last_flush_ms: clock::mono_ms(),
            dirty: false,
            switches: VecDeque::new(),
            marks: VecDeque::new(),
            marks_done: 0,
            head: Head { db, names, names_due, noted: flushed, aside: None },
            locals,
            locals_flushed: locals,
            rest: Vec::new(),
        });
        self.publish(false);
    }

    /// The log began another history: what it will hold is not what the file holds.
    fn give_up(&mut self) {
        // The writes of the former history are of use until the new data set is on disk.
        if let Some(open) = &mut self.open
            && let Err(e) = open.file.sync()
        {
            log::warning!("Fail to fsync the AOF file: {}", os_reason(&e));
        }
        self.close();
        self.aof.unwanted.store(self.aof.rewrite_runs(), Relaxed);
        self.aof.set_mode(Mode::Off);
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            self.heal(None);
        }
        self.engine.durable.set_moments(false);
        self.engine.durable.set_on_disk(None, 0);
        self.engine.durable.release(i64::MAX, u64::MAX);
        // Whoever waits for this disk waits in vain.
        self.engine.more_on_disk();
    }

    /// Tells everybody how far the file is. `put_off`: for once that is not a matter of what is on disk.
    fn publish(&mut self, put_off: bool) {
        let Some(open) = &self.open else { return };
        let (durable, log) = (&self.engine.durable, &self.engine.log);
        let written = open.written();
        self.aof.written.store(written, Relaxed);
        let settings = self.engine.config.now();
        durable.set_moments(settings.aof_timestamp_enabled);
        // Until the base file is whole nothing is safe, however much of what follows it is on disk.
        let whole = self.aof.mode() == Mode::On;
        if !whole {
            durable.set_on_disk(Some(0), open.history);
        } else if !self.aof.is_tainted() && durable.on_disk(log) != open.flushed {
            durable.set_on_disk(Some(open.flushed), open.history);
            self.engine.more_on_disk();
        }
        let always = settings.appendfsync == AppendFsync::Always;
        if durable.is_failing() {
            // Writes are refused, reads are served.
            durable.release(i64::MAX, u64::MAX);
        } else if always && put_off {
            // Nothing in advance: what comes next may have to be flushed again.
            durable.release(written, if open.rest.is_empty() { open.locals } else { open.locals_flushed });
        } else if always {
            durable.release(open.flushed, open.locals_flushed);
        } else {
            durable.release(written + BEHIND_BYTES, open.locals + BEHIND_LOCALS);
        }
    }

    /// While something else is being written, flushing may be left out.
    fn flush_is_put_off(&self) -> bool {
        self.engine.config.now().no_appendfsync_on_rewrite && self.others_write()
    }

    fn others_write(&self) -> bool {
        self.aof.rewrite_runs() || self.engine.turns.is_taken()
    }

    /// Writes until nothing is left, and flushes. False if it could not.
    fn write_and_flush(&mut self) -> Result<bool, Fatal> {
        loop {
            match self.write_some()? {
                Turn::More | Turn::Wrote => {}
                Turn::Idle => return Ok(self.flush()? != Turn::Failed),
                Turn::Failed => return Ok(false),
            }
        }
    }

    fn write_some(&mut self) -> Result<Turn, Fatal> {
        let Some(open) = &mut self.open else { return Ok(Turn::Idle) };
        if !open.rest.is_empty() {
            let rest = std::mem::take(&mut open.rest);
            let (written, result) = disk::write_all(&mut *open.file, &mut [IoSlice::new(&rest)]);
            open.rest = rest[written..].to_vec();
            self.grew(written);
            if let Err(e) = result {
                return self.failed("Error writing to", &e);
            }
            return Ok(Turn::More);
        }
        let next = open.cursor.next_offset();
        let due = open.switches.front().is_some_and(|s| s.at < next);
        let until_switch = open.switches.front().map_or(usize::MAX, |s| (s.at + 1 - next).max(0) as usize);
        // Read first: whole requests and transactions end there, whatever came since.
        let whole = self.engine.log.end_offset();
        let lag = (whole + 1 - next).max(0) as usize;
        let chunks = open.cursor.read(WRITE_BYTES.min(until_switch).min(lag));
        let bytes: usize = chunks.iter().map(Chunk::len).sum();
        let last = next + bytes as i64 - 1;
        self.engine.log.take_marks(last + 1, &mut open.marks);
        let Plan { pieces, head, marks, locals, data } =
            open.plan(&chunks, last, last == whole || bytes == until_switch);
        if pieces.is_empty() {
            open.consumed(bytes, marks);
            open.head = head;
            if bytes > 0 || marks > 0 {
                return Ok(Turn::More);
            }
            return match open.switches.pop_front_if(|_| due) {
                Some(switch) => self.switch(switch),
                None => Ok(Turn::Idle),
            };
        }
        let rest_us = self.aof.rest_us.load(Relaxed);
        if rest_us > 0 {
            std::thread::sleep(Duration::from_micros(rest_us));
        }
        let started_us = clock::mono_us();
        let (wanted, written, result) = {
            let mut slices: SmallVec<[IoSlice<'_>; 16]> = pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Own(bytes) => IoSlice::new(bytes),
                    Piece::Log(chunk, from, to) => IoSlice::new(&chunks[*chunk].as_ref()[*from..*to]),
                })
                .collect();
            let wanted: usize = slices.iter().map(|s| s.len()).sum();
            let (written, result) = disk::write_all(&mut *open.file, &mut slices);
            (wanted, written, result)
        };
        let took_us = clock::mono_us() - started_us;
        if let Err(e) = result {
            let half = Half { chunks, plan: Plan { pieces, head, marks, locals, data }, written, wanted };
            return self.half_written(half, &e);
        }
        open.consumed(bytes, marks);
        open.head = head;
        open.locals += locals;
        open.dirty |= data;
        self.grew(written);
        let others = if self.others_write() { "aof-write-active-child" } else { "aof-write-alone" };
        self.note_latency(others, took_us);
        self.note_latency("aof-write", took_us);
        if self.engine.durable.is_failing() && self.is_flushed_or_fine()? {
            self.heal(Some("AOF write error looks solved, Redis can write again."));
        }
        let left = self.open.as_ref().is_some_and(|open| open.cursor.lag_bytes() > 0 || !open.switches.is_empty());
        Ok(if left { Turn::More } else { Turn::Wrote })
    }

    /// After a write that went well while an error is on record: whether that error is over.
    fn is_flushed_or_fine(&mut self) -> Result<bool, Fatal> {
        // It may have been the flush that failed: then that must work first.
        Ok(!self.aof.is_tainted() || self.flush()? != Turn::Failed)
    }

    fn grew(&mut self, bytes: usize) {
        if let Some(open) = &mut self.open {
            open.length += bytes as u64;
            self.aof.current_bytes.fetch_add(bytes as u64, Relaxed);
            self.aof.incr_bytes.store(open.length, Relaxed);
        }
    }

    /// A write ended early: the half is taken back, so that the file ends with a whole request.
    fn half_written(&mut self, half: Half, error: &io::Error) -> Result<Turn, Fatal> {
        let Half { chunks, plan, written, wanted } = half;
        let Some(open) = &mut self.open else { return Ok(Turn::Idle) };
        if written == 0 {
            return self.failed("Error writing to", error);
        }
        let may_log = clock::mono_ms() >= self.quiet_until_ms;
        if may_log {
            log::warning!("Short write while writing to the AOF file: (nwritten={written}, expected={wanted})");
        }
        if let Err(e) = open.file.truncate(open.length) {
            if may_log {
                log::warning!(
                    "Could not remove short write from the append-only file.  Redis may refuse to load the AOF the next \
                     time it starts.  ftruncate: {}",
                    os_reason(&e)
                );
            }
            // Then the next attempt goes on where this one ended.
            let mut all = Vec::with_capacity(wanted);
            for piece in &plan.pieces {
                match piece {
                    Piece::Own(bytes) => all.extend_from_slice(bytes),
                    Piece::Log(chunk, from, to) => all.extend_from_slice(&chunks[*chunk].as_ref()[*from..*to]),
                }
            }
            open.rest = all.split_off(written);
            open.consumed(chunks.iter().map(Chunk::len).sum(), plan.marks);
            open.head = plan.head;
            open.locals += plan.locals;
            open.dirty = true;
            self.grew(written);
        }
        self.failed("Error writing to", error)
    }

    /// Writing or flushing failed: with `always` that is the end, else writes are refused until it works again.
    fn failed(&mut self, what: &str, error: &io::Error) -> Result<Turn, Fatal> {
        let errno = error.raw_os_error().unwrap_or(ENOSPC);
        let now_ms = clock::mono_ms();
        if now_ms >= self.quiet_until_ms {
            log::warning!("{what} the AOF file: {}", os_reason(error));
            self.quiet_until_ms = now_ms + LOG_ERROR_MS;
        }
        if self.replies_wait() {
            return Err(Fatal(
                "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...".into(),
            ));
        }
        self.aof.last_errno.store(errno, Relaxed);
        self.engine.durable.set_failing(Some(errno));
        self.engine.durable.release(i64::MAX, u64::MAX);
        Ok(Turn::Failed)
    }

    fn heal(&mut self, line: Option<&str>) {
        if self.engine.durable.is_failing() {
            self.engine.durable.set_failing(None);
            self.quiet_until_ms = 0;
            if let Some(line) = line {
                log::notice!("{line}");
            }
        }
    }

    /// The cut of a rewrite was reached: all that follows goes into the next file, unless something speaks against it; then
    /// the rewrite has failed.
    fn switch(&mut self, switch: Switch) -> Result<Turn, Fatal> {
        // The former file has to be whole on disk before another one follows it in the list.
        let unflushed = self.open.as_ref().is_some_and(|open| open.length != open.flushed_length);
        if unflushed && self.flush()? == Turn::Failed {
            return Ok(Turn::Failed);
        }
        if let Err(e) = self.aof.list_incr(&self.engine.settings()) {
            log::warning!("{}", e.what);
            if !e.replaced {
                return Ok(Turn::More);
            }
            if self.replies_wait() {
                return Err(Fatal(
                    "Can't persist the AOF manifest when the AOF fsync policy is 'always'. Exiting...".into(),
                ));
            }
            // Either list may be found after a loss of power, and only one of them names the file.
            self.aof.taint();
        }
        self.aof.switched.store(true, Relaxed);
        let Some(open) = &mut self.open else { return Ok(Turn::Idle) };
        let Switch { at, file, db, names, .. } = switch;
        open.file = file;
        (open.length, open.flushed_length, open.let_go) = (0, 0, 0);
        open.head = Head { db, names_due: names.is_some(), names, noted: at, aside: None };
        self.aof.incr_bytes.store(0, Relaxed);
        Ok(Turn::More)
    }

    fn flush_if_due(&mut self, put_off: bool) -> Result<Turn, Fatal> {
        let policy = self.policy();
        let Some(open) = &mut self.open else { return Ok(Turn::Idle) };
        let (dirty, notes) = (open.dirty, open.length != open.flushed_length);
        let due = match policy {
            AppendFsync::Always if dirty => true,
            // Notes alone have time.
            AppendFsync::Always | AppendFsync::Everysec => {
                notes && clock::mono_ms() - open.last_flush_ms >= FLUSH_PERIOD_MS
            }
            AppendFsync::No => false,
        };
        if !dirty {
            // Whatever came since was no data.
            open.flushed = open.written();
            if self.engine.durable.is_failing() && open.cursor.lag_bytes() == 0 && open.rest.is_empty() {
                self.heal(Some("AOF write error looks solved, Redis can write again."));
            }
        }
        if !due || put_off {
            return Ok(Turn::Idle);
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<Turn, Fatal> {
        let always = self.replies_wait();
        let Some(open) = &mut self.open else { return Ok(Turn::Idle) };
        let started_us = clock::mono_us();
        self.aof.flushing.store(true, Relaxed);
        let result = open.file.sync();
        self.aof.flushing.store(false, Relaxed);
        let took_us = clock::mono_us() - started_us;
        self.flush_us = took_us;
        open.last_flush_ms = clock::mono_ms();
        match result {
            Ok(()) => {
                open.flushed_length = open.length;
                open.flushed = open.written();
                open.dirty = false;
                if open.rest.is_empty() {
                    open.locals_flushed = open.locals;
                }
                if always {
                    self.note_latency("aof-fsync-always", took_us);
                } else if took_us > SLOW_FLUSH_US && open.cursor.lag_bytes() > 0 {
                    self.aof.delayed_flushes.fetch_add(1, Relaxed);
                    log::notice!(
                        "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without waiting \
                         for fsync to complete, this may slow down Redis."
                    );
                }
                self.heal(Some("AOF fsync error looks solved, Redis can write again."));
                Ok(Turn::Wrote)
            }
            Err(e) if always => Err(Fatal(format!(
                "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. Exiting...",
                os_reason(&e)
            ))),
            Err(e) => {
                // The system may have let go of what it could not write, and say so only once: what is missing comes with
                // the next base file.
                if !self.aof.is_tainted() {
                    self.aof.taint();
                }
                self.failed("Fail to fsync", &e)
            }
        }
    }

    fn note_latency(&self, event: &'static str, took_us: i64) {
        let spike_ms = self.engine.config.now().latency_monitor_threshold;
        if spike_ms > 0 && took_us >= spike_ms.saturating_mul(1000) {
            self.engine.stats.spikes.add(event, clock::now_ms() / 1000, took_us as u64 / 1000);
        }
    }
}

/// What an error without a number counts as: only a short write has none.
const ENOSPC: i32 = 28;

/// A write that ended early.
struct Half {
    chunks: SmallVec<[Chunk; 8]>,
    plan: Plan,
    written: usize,
    wanted: usize,
}

impl Open {
    fn is_idle(&self) -> bool {
        self.cursor.lag_bytes() == 0 && !self.cursor.is_stale()
    }

    /// Offset of the last byte that is in the file.
    fn written(&self) -> i64 {
        // What is stashed belongs to what was consumed last: then less is in the file than that.
        if self.rest.is_empty() { self.cursor.next_offset() - 1 } else { self.flushed }
    }

    /// What is on disk is not read again before the next start, and new memory for what comes costs more than to use its.
    fn let_go(&mut self) {
        if self.flushed_length.saturating_sub(self.let_go) >= LET_GO_BYTES {
            // Whole pages are let go: those that were not whole yet the last time are so now.
            self.file.let_go(self.let_go - self.let_go % LET_GO_BYTES, self.flushed_length);
            self.let_go = self.flushed_length;
        }
    }

    /// So many bytes and marks are dealt with, whether or not that was anything for the file.
    fn consumed(&mut self, bytes: usize, marks: usize) {
        self.cursor.advance(bytes);
        self.marks.drain(..marks);
        self.marks_done += marks as u64;
    }

    /// What of these chunks, the last byte of which has that offset, goes into the file, with what has to stand between.
    /// `whole`: they end with a whole request or transaction.
    fn plan(&self, chunks: &[Chunk], last: i64, whole: bool) -> Plan {
        let mut draft = Draft::new(self);
        // Those that lie behind a switch are for the next file, even if nothing in the log lies between.
        let switch = self.switches.front().filter(|switch| switch.at <= last);
        let marks = switch.map_or(u64::MAX, |switch| switch.marks.saturating_sub(self.marks_done));
        let mut marks = self.marks.iter().take(usize::try_from(marks).unwrap_or(usize::MAX)).peekable();
        for (i, chunk) in chunks.iter().enumerate() {
            let (first, end) = (chunk.offset(), chunk.offset() + chunk.len() as i64);
            let mut at = first;
            while let Some(mark) = marks.peek().filter(|mark| mark.first() < end) {
                draft.log(i, first, at..mark.first());
                at = at.max(mark.first());
                if let Mark::Aside { last, .. } = mark {
                    let upto = end.min(last + 1);
                    draft.aside(&chunk.as_ref()[(at - first) as usize..(upto - first) as usize]);
                    at = upto;
                    if *last >= end {
                        // The next chunk begins with the rest of it.
                        break;
                    }
                }
                draft.mark(mark, at - 1);
                marks.next();
            }
            draft.log(i, first, at..end);
        }
        let in_aside = marks.peek().is_some_and(|mark| mark.first() <= last);
        while !in_aside && let Some(mark) = marks.next_if(|mark| mark.first() == last + 1 && !mark.is_aside()) {
            draft.mark(mark, last);
        }
        if !in_aside {
            draft.end(last, whole);
        }
        draft.plan
    }
}

/// A plan that is being made.
struct Draft {
    plan: Plan,
    /// Where in the file the next byte goes.
    at: u64,
    /// Bytes of requests since the last note that are not of the stream.
    own: u64,
}

impl Draft {
    fn new(open: &Open) -> Self {
        let plan = Plan { pieces: Pieces::new(), head: open.head.clone(), marks: 0, locals: 0, data: false };
        let mut me = Self { plan, at: open.length, own: 0 };
        if me.plan.head.names_due {
            me.select();
            me.note_names(open.head.noted);
        }
        me
    }

    /// What the reader of the file must select and the stream does not.
    fn select(&mut self) {
        if let Some(db) = self.plan.head.db.take() {
            let mut select = Vec::new();
            encode_command(&mut select, [&b"SELECT"[..], itoa::Buffer::new().format(db).as_bytes()]);
            self.own_requests(select);
        }
    }

    fn own_requests(&mut self, requests: Vec<u8>) {
        self.own += requests.len() as u64;
        self.plan.data = true;
        self.push(requests);
    }

    fn push(&mut self, bytes: Vec<u8>) {
        self.at += bytes.len() as u64;
        self.plan.pieces.push(Piece::Own(bytes));
    }

    /// Data of the stream, of chunk `i` that begins at `first`.
    fn log(&mut self, i: usize, first: i64, range: std::ops::Range<i64>) {
        if range.is_empty() {
            return;
        }
        self.select();
        if self.own > 0 || self.plan.head.aside.is_some() {
            self.note(range.start - 1);
        }
        self.plan.data = true;
        self.at += (range.end - range.start) as u64;
        self.plan.pieces.push(Piece::Log(i, (range.start - first) as usize, (range.end - first) as usize));
    }

    fn aside(&mut self, bytes: &[u8]) {
        let names = self.plan.head.names.is_some();
        let aside = self.plan.head.aside.get_or_insert_with(|| Aside { bytes: Vec::new(), is_whole: names });
        aside.is_whole &= aside.bytes.len() + bytes.len() <= ASIDE_MAX;
        if aside.is_whole {
            aside.bytes.extend_from_slice(bytes);
        }
    }

    /// A mark, up to which the log was dealt with.
    fn mark(&mut self, mark: &Mark, offset: i64) {
        self.plan.marks += 1;
        match mark {
            Mark::Aside { .. } => {}
            Mark::Moment { unix_s, .. } => {
                if offset > self.plan.head.noted {
                    // Whoever goes back to before this moment goes back to here.
                    self.note(offset);
                }
                self.push(format!("#TS:{unix_s}\r\n").into_bytes());
            }
            Mark::Local { requests, .. } => {
                self.select();
                self.plan.locals += 1;
                self.own_requests(requests.to_vec());
            }
            Mark::Names { names, .. } => {
                if self.own > 0 || offset > self.plan.head.noted {
                    // Up to here under the former.
                    self.note(offset);
                }
                self.plan.head.names = names.clone();
                if names.is_some() {
                    self.note_names(offset);
                }
            }
        }
    }

    fn note_names(&mut self, offset: i64) {
        let head = &mut self.plan.head;
        let line = Note { offset, at: self.at, own: self.own, aside: Vec::new(), names: head.names.as_deref() }.line();
        (head.noted, head.names_due, head.aside) = (offset, false, None);
        self.own = 0;
        self.push(line);
    }

    fn note(&mut self, offset: i64) {
        let head = &mut self.plan.head;
        let aside = head.aside.take().filter(|aside| aside.is_whole).map(|aside| aside.bytes).unwrap_or_default();
        let own = std::mem::take(&mut self.own);
        if head.names.is_none() {
            return;
        }
        head.noted = offset;
        let line = Note { offset, at: self.at, own, aside, names: None }.line();
        self.push(line);
    }

    fn end(&mut self, last: i64, whole: bool) {
        if self.own > 0 || whole && (last > self.plan.head.noted || self.plan.head.aside.is_some()) {
            self.note(last);
        }
    }
}
