//! What the append-only file's threads share, and what INFO tells of it. A part of the engine.
//!
//! ```text
//!                CONFIG SET, boot                    the first base file is whole
//!   Off ---------------------------> Waiting ------------------------------------> On
//!    ^                                  |                                           |
//!    '---------------- CONFIG SET, a full resync of this replica -------------------'
//! ```
//! While waiting, writes are gathered in a temporary incremental file and nothing is promised yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU64, Ordering, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::thread::Thread;

use parking_lot::Mutex;

use super::manifest::{AofFile, Manifest};
use crate::base::clock;
use crate::config::Settings;
use crate::exec::Engine;
use crate::oplog::Cursor;
use crate::persist::disk::{Disk, FileSystem, OutFile};
use crate::persist::history::{self, Standing};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Off,
    /// The first base file is being made, or about to.
    Waiting,
    On,
}

/// What the writer is told to do.
pub(super) enum Order {
    /// Write what this cursor reads into this file.
    Begin(Box<Begin>),
    /// What lies behind this offset goes into another file.
    Switch(Switch),
    /// Forget those switches that were not made yet.
    Stay(Sender<()>),
    /// Bring everything to disk, and say how that went.
    Flush(Sender<bool>),
    /// The same, and let go of the file.
    End(Sender<bool>),
    /// The mode has changed: tell how far the file is.
    Publish,
}

pub(super) struct Begin {
    pub cursor: Cursor,
    pub file: Box<dyn OutFile>,
    pub length: u64,
    /// The database that a reader of the file must select first, if nothing in the stream will say so.
    pub db: Option<i32>,
    /// What the history is called.
    pub names: Option<Arc<[u8]>>,
    /// So many requests had been carried out that are not in the log.
    pub locals: u64,
}

pub(super) struct Switch {
    /// The last byte of the former file.
    pub at: i64,
    /// So many remarks on the log had been made.
    pub marks: u64,
    pub file: Box<dyn OutFile>,
    pub db: Option<i32>,
    pub names: Option<Arc<[u8]>>,
}

/// Tells which history the log holds, and how far, if anybody can refer to it. To be asked behind all gates.
pub type StandingOf = fn(&Engine) -> Option<Standing>;

/// The part of the engine that keeps the append-only file.
pub struct Aof {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) standing_of: StandingOf,
    mode: AtomicU8,
    /// Held while the mode or the list of files changes, and never together with a gate.
    pub(super) manifest: Mutex<Manifest>,
    orders: Mutex<Vec<Order>>,
    pub(super) writer: Mutex<Option<Thread>>,
    /// Since when a rewrite runs, unix s.
    pub(super) rewriting: Mutex<Option<i64>>,
    /// The rewrite under way is not wanted any more.
    pub(super) unwanted: AtomicBool,
    /// The writer has made the switch that the last cut asked for.
    pub(super) switched: AtomicBool,
    pub(super) scheduled: AtomicBool,
    /// How often flushing failed, after which something may be missing on disk; how many of these the last cut covered;
    /// and how many a base file since makes up for. Until it makes up for all, nothing more is said to be on disk.
    taints: AtomicU64,
    taints_at_cut: AtomicU64,
    taints_covered: AtomicU64,
    pub(super) limit: Mutex<super::rewrite::Limit>,

    pub(super) rewrites: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) last_rewrite_ok: AtomicBool,
    pub(super) last_took_s: AtomicI64,
    pub(super) last_kept_bytes: AtomicU64,
    /// Of base and incremental files together.
    pub(super) current_bytes: AtomicU64,
    /// What `current_bytes` was after the last rewrite, or at the start.
    pub(super) base_bytes: AtomicU64,
    /// Of the file being written.
    pub(super) incr_bytes: AtomicU64,
    /// Offset behind which the log is not written yet.
    pub(super) written: AtomicI64,
    pub(super) flushing: AtomicBool,
    pub(super) delayed_flushes: AtomicU64,
    pub(super) last_errno: AtomicI32,
    /// How long the writer rests before it writes: a test's wish (`DEBUG AOF-FLUSH-SLEEP`).
    pub rest_us: AtomicU64,
}

impl Default for Aof {
    fn default() -> Self {
        Self::new(Arc::new(FileSystem), |_| None)
    }
}

impl Aof {
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The files of a node whose history others know.
    pub fn of_history(standing_of: StandingOf) -> Self {
        Self::new(Arc::new(FileSystem), standing_of)
    }

    pub fn new(disk: Arc<dyn Disk>, standing_of: StandingOf) -> Self {
        Self {
            disk,
            standing_of,
            mode: AtomicU8::new(Mode::Off as u8),
            manifest: Mutex::default(),
            orders: Mutex::default(),
            writer: Mutex::default(),
            rewriting: Mutex::default(),
            unwanted: AtomicBool::new(false),
            switched: AtomicBool::new(false),
            scheduled: AtomicBool::new(false),
            taints: AtomicU64::new(0),
            taints_at_cut: AtomicU64::new(0),
            taints_covered: AtomicU64::new(0),
            limit: Mutex::default(),
            rewrites: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last_rewrite_ok: AtomicBool::new(true),
            last_took_s: AtomicI64::new(-1),
            last_kept_bytes: AtomicU64::new(0),
            current_bytes: AtomicU64::new(0),
            base_bytes: AtomicU64::new(0),
            incr_bytes: AtomicU64::new(0),
            written: AtomicI64::new(0),
            flushing: AtomicBool::new(false),
            delayed_flushes: AtomicU64::new(0),
            last_errno: AtomicI32::new(0),
            rest_us: AtomicU64::new(0),
        }
    }

    pub fn mode(&self) -> Mode {
        // Acquire: pairs with the Release in `set_mode`; who sees a mode sees what it came with.
        match self.mode.load(Ordering::Acquire) {
            0 => Mode::Off,
            1 => Mode::Waiting,
            _ => Mode::On,
        }
    }

    /// From waiting to on, unless the file was turned off meanwhile.
    pub(super) fn arrive(&self) -> bool {
        let (waiting, on) = (Mode::Waiting as u8, Mode::On as u8);
        self.mode.compare_exchange(waiting, on, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Release);
    }

    pub(super) fn is_tainted(&self) -> bool {
        self.taints.load(Relaxed) > self.taints_covered.load(Relaxed)
    }

    /// Something may be missing on disk: the file is to be written anew.
    pub(super) fn taint(&self) {
        self.taints.fetch_add(1, Relaxed);
        self.scheduled.store(true, Relaxed);
    }

    /// A cut was made.
    pub(super) fn cover_taints(&self) {
        self.taints_at_cut.store(self.taints.load(Relaxed), Relaxed);
    }

    /// The base file of that cut is in force.
    pub(super) fn uncover_taints(&self) {
        self.taints_covered.store(self.taints_at_cut.load(Relaxed), Relaxed);
    }

    /// Tells the writer what to do, in this order.
    pub(super) fn order(&self, order: Order) {
        self.orders.lock().push(order);
        self.wake();
    }

    /// Has the writer look at once.
    pub(super) fn wake(&self) {
        self.writer.lock().as_ref().inspect(|thread| thread.unpark());
    }

    pub(super) fn has_orders(&self) -> bool {
        !self.orders.lock().is_empty()
    }

    pub(super) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.orders.lock())
    }

    /// The part that is being written, unless that is about to change. To be asked without any gate.
    pub fn last_part(&self) -> Option<AofFile> {
        if self.mode() != Mode::On || self.rewrite_runs() {
            return None;
        }
        self.manifest.lock().incr.last().cloned()
    }

    /// What nothing but the file as it is now has: its last part and that one's length. To be asked when everything is on
    /// disk.
    pub fn tail(&self, last: &AofFile) -> Vec<u8> {
        tail_tag(last, self.incr_bytes.load(Relaxed))
    }

    pub fn rewrite_runs(&self) -> bool {
        self.rewriting.lock().is_some()
    }

    pub fn reset_stats(&self) {
        self.rewrites.store(0, Relaxed);
        self.failures.store(0, Relaxed);
        self.delayed_flushes.store(0, Relaxed);
    }

    /// INFO's fields of the section Persistence: always told, and told while there is a file.
    pub fn info(&self, engine: &Engine) -> (Vec<(&'static str, String)>, Vec<(&'static str, String)>) {
        let word = |ok: bool| if ok { "ok" } else { "err" }.to_owned();
        let flag = |yes: bool| u8::from(yes).to_string();
        let number = |n: &AtomicU64| n.load(Relaxed).to_string();
        let running = *self.rewriting.lock();
        let took_s = running.map_or(-1, |since_s| clock::now_ms() / 1000 - since_s);
        let (on, scheduled) = (self.mode() != Mode::Off, self.scheduled.load(Relaxed));
        let failures = self.failures.load(Relaxed);
        let always = vec![
            ("aof_enabled", flag(on)),
            ("aof_rewrite_in_progress", flag(running.is_some())),
            ("aof_rewrite_scheduled", flag(scheduled)),
            ("aof_last_rewrite_time_sec", self.last_took_s.load(Relaxed).to_string()),
            ("aof_current_rewrite_time_sec", took_s.to_string()),
            ("aof_last_bgrewrite_status", word(self.last_rewrite_ok.load(Relaxed) && failures == 0)),
            ("aof_rewrites", number(&self.rewrites)),
            ("aof_rewrites_consecutive_failures", failures.to_string()),
            ("aof_last_write_status", word(!engine.durable.is_failing())),
            ("aof_last_cow_size", number(&self.last_kept_bytes)),
        ];
        if !on {
            return (always, Vec::new());
        }
        let with_file = vec![
            ("aof_current_size", number(&self.current_bytes)),
            ("aof_base_size", number(&self.base_bytes)),
            ("aof_pending_rewrite", "0".to_owned()),
            ("aof_buffer_length", self.buffered_bytes(engine).to_string()),
            ("aof_pending_bio_fsync", flag(self.flushing.load(Relaxed))),
            ("aof_delayed_fsync", number(&self.delayed_flushes)),
        ];
        (always, with_file)
    }

    /// What of the log is not written yet.
    pub fn buffered_bytes(&self, engine: &Engine) -> i64 {
        if self.mode() == Mode::Off {
            return 0;
        }
        (engine.log.end_offset() - self.written.load(Relaxed)).max(0)
    }
}

/// The directory of the files, from the working directory on.
pub(super) fn dir_of(settings: &Settings) -> &Path {
    Path::new(&settings.appenddirname)
}

/// [`Aof::tail`] of the files that the list names.
pub fn tail_on_disk(settings: &Settings, list: &Manifest) -> Option<Vec<u8>> {
    let file = list.incr.last()?;
    let length = file.path(dir_of(settings)).metadata().ok()?.len();
    Some(tail_tag(file, length))
}

fn tail_tag(file: &AofFile, length: u64) -> Vec<u8> {
    format!("{} {length}", file.label()).into_bytes()
}

/// Where the history of the append-only file is kept.
pub fn history_path(settings: &Settings) -> PathBuf {
    history::beside(&dir_of(settings).join(&settings.appendfilename))
}
