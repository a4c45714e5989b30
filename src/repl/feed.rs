//! One replica's connection, from PSYNC to its end: the snapshot, then the stream out of the log; in the other direction
//! its acknowledgements.
//!
//! Only moves bytes: what a replica's state is and what follows from an acknowledgement stands in [`super::master`]; who
//! makes the snapshot, in [`super::fullsync`].
//!
//! ```text
//!   orders:   Begin(line, tail) -----> Lanes / File --------------> (ACK) ---> stream from the tail, then from the log
//!             Begin(line, cursor) ------------- partial resync --------------> stream from the log
//! ```

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::fanout::{Fanout, Next};
use super::greeting::{Answer, Greeting};
use super::id::ReplOffset;
use super::master::{Phase, Replica};
use super::note::{Note, printable};
use super::progress::Progress;
use super::spill::{self, Held, Look, Spill, Tail};
use super::state::{Repl, log};
use crate::base::clock;
use crate::exec::call::Socket;
use crate::exec::client::ClientHandle;
use crate::exec::hold::Hold;
use crate::exec::{Engine, Session};
use crate::oplog::{Chunk, Cursor};
use crate::resp::{Argv, Batch, Input, Limits, OwnedArgv};
use crate::spec::flag;

/// Taken out of the log for one write.
const STREAM_BYTES: usize = 256 << 10;
/// Read of a snapshot's file at once.
const FILE_BYTES: u64 = 256 << 10;
/// Sent in one go before others on this worker get their turn.
const TURN_BYTES: usize = 1 << 20;

/// What a feed is told to do, in this order.
pub enum Order {
    /// The answer to PSYNC, none to SYNC, and where the stream begins that follows.
    Begin { line: Option<String>, stream: Stream },
    /// Take the snapshot from here.
    Lanes(Arc<Fanout>),
    /// Send this file.
    File { file: File, bytes: u64 },
    /// The stream goes over another connection of this replica, which has taken its place in it.
    LetStreamGo,
}

/// Where a feed gets the stream from.
pub enum Stream {
    Log(Cursor),
    /// What was written since the cut of its snapshot; from there it goes on to the log.
    Behind(Box<Tail>),
}

impl Stream {
    fn next_offset(&self) -> ReplOffset {
        match self {
            Self::Log(cursor) => cursor.next_offset(),
            Self::Behind(tail) => tail.next_offset(),
        }
    }
}

/// The part of a feed that others hold.
pub struct FeedHandle {
    pub client: Arc<ClientHandle>,
    orders: Mutex<Vec<Order>>,
    waker: Arc<AtomicWaker>,
    /// Offset of the next byte to send; -1 while there is no cursor.
    next_offset: AtomicI64,
    /// The snapshot it takes part in.
    lanes: Mutex<Option<Arc<Fanout>>>,
    /// What it reads until it has caught up with the log.
    spill: Mutex<Option<Arc<Spill>>>,
    sync: Sync,
}

/// Of a full sync under way.
#[derive(Default)]
struct Sync {
    /// Unix ms; 0 without one.
    began_ms: AtomicI64,
    sent_bytes: AtomicU64,
    /// Of the file; 0 while it is not finished, or there will be none.
    file_bytes: AtomicU64,
}

impl FeedHandle {
    pub fn new(client: Arc<ClientHandle>) -> Arc<Self> {
        Arc::new(Self {
            client,
            orders: Mutex::default(),
            waker: Arc::default(),
            next_offset: AtomicI64::new(-1),
            lanes: Mutex::default(),
            spill: Mutex::default(),
            sync: Sync::default(),
        })
    }

    pub fn order(&self, order: Order) {
        match &order {
            Order::Begin { stream, .. } => {
                self.next_offset.store(stream.next_offset(), Relaxed);
                if let Stream::Behind(tail) = stream {
                    *self.spill.lock() = Some(tail.spill().clone());
                    self.sync.began_ms.store(clock::now_ms(), Relaxed);
                }
            }
            Order::Lanes(fanout) => {
                fanout.join(self.client.id, self.waker.clone());
                *self.lanes.lock() = Some(fanout.clone());
            }
            Order::File { bytes, .. } => {
                // From here on bytes are counted, not keys.
                self.sync.began_ms.store(clock::now_ms(), Relaxed);
                self.sync.file_bytes.store(*bytes, Relaxed);
            }
            Order::LetStreamGo => {
                self.next_offset.store(-1, Relaxed);
                *self.spill.lock() = None;
            }
        }
        self.orders.lock().push(order);
        self.waker.wake();
    }

    /// What was written since the cut of its snapshot, while it has not caught up.
    pub fn behind(&self) -> Option<Arc<Spill>> {
        self.spill.lock().clone()
    }

    /// Since when its socket takes nothing of the snapshot.
    pub fn stalled_since_ms(&self) -> Option<i64> {
        self.lanes.lock().as_ref()?.stalled_since_ms(self.client.id)
    }

    /// Whether `client-output-buffer-limit replica` ends it: what it has still to get out of the log is too much.
    pub fn is_over_limit(&self, engine: &Engine, now_ms: i64) -> bool {
        let settings = engine.config.now();
        let end = engine.log.end_offset();
        self.client.out_bytes.store(self.held(end).memory_bytes as usize, Relaxed);
        let counted = self.counted_from(settings.repl_full_sync_buffer_limit).map_or(0, |from| (end + 1 - from).max(0));
        let class = &settings.client_output_buffer_limit.replica;
        self.client.soft_limit.is_exceeded(class, floor_bytes(engine), counted as u64, now_ms)
    }

    /// What it has still to get of the stream.
    fn held(&self, end: ReplOffset) -> Held {
        let next = self.next_offset.load(Relaxed);
        match &*self.spill.lock() {
            _ if next < 0 => Held::default(),
            Some(spill) => spill.held(next, end),
            None => Held { memory_bytes: (end + 1 - next).max(0) as u64, disk_bytes: 0 },
        }
    }

    /// The first byte of the stream that its output limit counts.
    fn counted_from(&self, budget_bytes: u64) -> Option<ReplOffset> {
        let next = self.next_offset.load(Relaxed);
        let from = self.spill.lock().as_ref().map_or(next, |spill| spill.counted_from(next, budget_bytes));
        (next >= 0).then_some(from)
    }

    /// What would have kept it from being ended by its limit.
    pub fn limit_advice(&self, engine: &Engine) -> String {
        let syncing = self.sync.began_ms.load(Relaxed) != 0;
        if syncing && engine.config.now().repl_full_sync_buffer_limit == 0 {
            "Its full sync was under way, and what was written meanwhile stayed in memory: with \
             repl-full-sync-buffer-limit above 0 it goes to disk and does not count"
                .into()
        } else if syncing {
            "Its full sync was under way, and the disk did not take what was written meanwhile as fast as it came: a \
             higher client-output-buffer-limit replica, or a faster or larger disk under `dir`, lets it succeed"
                .into()
        } else {
            "It takes the stream more slowly than it is written: a higher client-output-buffer-limit replica, or a \
             larger repl-backlog-size for its return, spares it a full sync"
                .into()
        }
    }

    /// Where its full sync stands, until it has caught up.
    pub fn progress(&self, engine: &Engine) -> Option<Progress> {
        let began_ms = self.sync.began_ms.load(Relaxed);
        if began_ms == 0 {
            return None;
        }
        let bytes = self.sync.sent_bytes.load(Relaxed);
        let (done, total) = match self.sync.file_bytes.load(Relaxed) {
            0 => {
                let (saved, total) = (&engine.state.snapshot_keys_saved, &engine.state.snapshot_keys_total);
                (saved.load(Relaxed), total.load(Relaxed))
            }
            file_bytes => (bytes, file_bytes),
        };
        Some(Progress { began_ms, done, total, bytes, waiting: self.held(engine.log.end_offset()) })
    }

    /// The log's end at which it will be worth looking again, if the replica takes nothing until then, and whether the disk
    /// takes less than is written for it.
    pub fn look_again(&self, engine: &Engine) -> Look {
        let settings = engine.config.now();
        let budget_bytes = settings.repl_full_sync_buffer_limit;
        let Some(from) = self.counted_from(budget_bytes).filter(|_| !self.client.is_killed()) else {
            return Look::NEVER;
        };
        let spill = self.spill.lock().clone();
        let end = engine.log.end_offset();
        let spills = spill.map_or(Look::NEVER, |spill| spill.look(end, budget_bytes, &settings.dir));
        let class = &settings.client_output_buffer_limit.replica;
        // Once the soft limit's time runs, the cron watches it.
        let soft = if self.client.soft_limit.is_running() { 0 } else { class.soft_bytes };
        let floor = floor_bytes(engine);
        let limit =
            [class.hard_bytes, soft].into_iter().filter(|limit| *limit != 0).map(|limit| limit.max(floor)).min();
        let limit_at = limit.map_or(ReplOffset::MAX, |limit| (from - 1).saturating_add_unsigned(limit));
        Look { again_at: limit_at.min(spills.again_at), ..spills }
    }
}

/// Less than the backlog would cut off replicas that could just resync from it (as stock).
fn floor_bytes(engine: &Engine) -> u64 {
    engine.log.backlog_limit_bytes() as u64
}

/// What is being sent behind `out`.
enum Stage {
    /// Nothing yet: the snapshot has not begun.
    Waiting,
    Lanes(Arc<Fanout>, Option<Piece>),
    File(Box<Sending>),
    /// A replica of the old kind gets its file without anything before it; all others get here.
    Stream,
}

struct Piece {
    bytes: Bytes,
    sent: usize,
}

/// A file on its way.
struct Sending {
    file: Arc<File>,
    at: u64,
    bytes: u64,
    buffer: Vec<u8>,
    sent: usize,
    /// The disk is read off the worker.
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

/// Why a feed ends.
enum End {
    Killed,
    Closed,
    /// The snapshot was all it wanted.
    Finished,
    Failed(String),
}

enum Woken {
    Read,
    /// Something of the snapshot's end came: look at the orders and go on.
    Again,
    End(End),
}

pub struct Feed {
    engine: Arc<Engine>,
    repl: Arc<Repl>,
    handle: Arc<FeedHandle>,
    socket: Box<dyn Socket>,
    session: Session,
    input: Input,
    /// Sent before anything else.
    out: Vec<u8>,
    out_sent: usize,
    stage: Stage,
    stream: Option<Stream>,
    log_waiter: crate::oplog::Waiter,
    /// What our own file does not hold yet as `appendfsync` wants it is not for replicas either.
    hold: Hold,
    /// The snapshot tells of all up to this offset.
    snapshot_upto: ReplOffset,
    /// It is known to read the stream as it comes.
    has_loaded: bool,
    /// REPLCONF's number in the command table, for CLIENT LIST.
    replconf: u32,
}

impl Feed {
    pub fn new(
        engine: Arc<Engine>,
        repl: Arc<Repl>,
        handle: Arc<FeedHandle>,
        socket: Box<dyn Socket>,
        session: Session,
        received: &[u8],
    ) -> Self {
        let mut input = Input::new(Limits::default());
        input.feed(received);
        let waker = handle.waker.clone();
        let log_waiter = engine.log.waiter(move || waker.wake());
        let name = OwnedArgv::from_words([b"replconf"]);
        let replconf = engine.table.resolve(&name.as_argv()).map_or(u32::MAX, |command| u32::from(command.id.0));
        socket.set_nodelay(!engine.settings().repl_disable_tcp_nodelay);
        Self {
            engine,
            repl,
            handle,
            socket,
            session,
            input,
            out: Vec::new(),
            out_sent: 0,
            stage: Stage::Waiting,
            stream: None,
            log_waiter,
            hold: Hold::default(),
            snapshot_upto: 0,
            has_loaded: false,
            replconf,
        }
    }

    fn id(&self) -> u64 {
        self.handle.client.id
    }

    /// Serves the replica until its connection ends.
    pub async fn run(mut self) {
        let end = loop {
            if let Err(end) = self.read_requests() {
                break end;
            }
            match std::future::poll_fn(|cx| self.poll(cx)).await {
                Woken::Read | Woken::Again => {}
                Woken::End(end) => break end,
            }
        };
        self.finish(end).await;
    }

    async fn finish(mut self, end: End) {
        let id = self.id();
        match end {
            End::Killed | End::Closed | End::Finished => {}
            End::Failed(text) => log(Note::warning(text)),
        }
        if let Some(fanout) = self.handle.lanes.lock().take() {
            fanout.leave(id);
        }
        self.repl.forget_feed(id);
        // Who sees that it is gone sees as well that nothing is kept for it.
        self.stream = None;
        *self.handle.spill.lock() = None;
        let mut notes = Vec::new();
        {
            let mut replicas = self.repl.replicas();
            replicas.remove(id, clock::now_ms(), &mut notes);
            if !replicas.anybody_waits_for_snapshot() {
                // The snapshot is about to be given up.
                self.repl.set_behind(None);
            }
        }
        notes.into_iter().for_each(log);
        self.repl.acks.notify_waiters();
        self.repl.count_good_replicas(&self.engine);
        self.session.close(&self.engine);
        let _ = self.socket.shutdown().await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        self.handle.waker.register(cx.waker());
        self.handle.client.register(cx.waker());
        if self.handle.client.is_killed() {
            return Poll::Ready(Woken::End(End::Killed));
        }
        self.take_orders();
        if let Poll::Ready(woken) = self.poll_send(cx) {
            return Poll::Ready(woken);
        }
        let read = pin!(self.socket.read_buf(self.input.spare()));
        match read.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0)) => Poll::Ready(Woken::End(End::Closed)),
            Poll::Ready(Ok(n)) => {
                self.handle.client.net_in_bytes.fetch_add(n as u64, Relaxed);
                Poll::Ready(Woken::Read)
            }
            Poll::Ready(Err(_)) => Poll::Ready(Woken::End(End::Closed)),
        }
    }

    fn take_orders(&mut self) {
        // Lines posted from outside: the newlines that keep a waiting replica patient.
        if let Some(mail) = self.handle.client.mail()
            && matches!(self.stage, Stage::Waiting)
        {
            self.out.extend_from_slice(&mail);
        }
        let orders = std::mem::take(&mut *self.handle.orders.lock());
        for order in orders {
            match order {
                Order::Begin { line, stream } => {
                    self.out.extend_from_slice(line.unwrap_or_default().as_bytes());
                    self.snapshot_upto = stream.next_offset() - 1;
                    self.stream = Some(stream);
                    if self.takes_stream() {
                        self.stage = Stage::Stream;
                    }
                }
                Order::Lanes(fanout) => self.stage = Stage::Lanes(fanout, None),
                Order::File { file, bytes } => {
                    self.out.extend_from_slice(format!("${bytes}\r\n").as_bytes());
                    let file = Arc::new(file);
                    let sending = Sending { file, at: 0, bytes, buffer: Vec::new(), sent: 0, reading: None };
                    self.stage = Stage::File(Box::new(sending));
                }
                Order::LetStreamGo => self.stream = None,
            }
        }
    }

    fn takes_stream(&self) -> bool {
        self.repl.replicas().get(self.id()).is_some_and(|r| r.takes_stream())
    }

    // --- out

    /// Sends what there is. Pending: the socket is full, or there is nothing to send now.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        let mut turn = 0;
        loop {
            if turn >= TURN_BYTES {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let sent = if self.out_sent < self.out.len() {
                self.poll_out(cx)
            } else {
                match &mut self.stage {
                    Stage::Waiting => return Poll::Pending,
                    Stage::Lanes(..) => self.poll_lanes(cx),
                    Stage::File(_) => self.poll_file(cx),
                    Stage::Stream => self.poll_stream(cx),
                }
            };
            match sent {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Progressed::Sent(n))) => {
                    turn += n;
                    self.handle.client.net_out_bytes.fetch_add(n as u64, Relaxed);
                    self.engine.stats.counters.repl_out.fetch_add(n as u64, Relaxed);
                }
                Poll::Ready(Ok(Progressed::Stage)) => return Poll::Ready(Woken::Again),
                Poll::Ready(Err(end)) => return Poll::Ready(Woken::End(end)),
            }
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progressed, End>> {
        let n = wrote(ready!(Pin::new(&mut self.socket).poll_write(cx, &self.out[self.out_sent..])))?;
        self.out_sent += n;
        if self.out_sent == self.out.len() {
            self.out.clear();
            self.out_sent = 0;
        }
        sent(n)
    }

    /// Ready once a replica may be told of everything up to this offset.
    fn poll_released(&mut self, offset: ReplOffset, cx: &mut Context<'_>) -> Poll<()> {
        let replies = &self.engine.durable.replies;
        if !self.hold.is_on() && replies.holds(offset) {
            self.hold.begin(replies, offset);
        }
        // Woken by the file's writer itself: replicas are few.
        self.hold.poll(replies, self.engine.gates.outsider(), cx)
    }

    /// How much may be sent from this offset on. What clients are not told of before it is in the append-only file, replicas
    /// are not either: else they would have what we do not after a crash, and no way to go on with us.
    fn poll_allowed(&mut self, next: ReplOffset, cx: &mut Context<'_>) -> Poll<usize> {
        loop {
            ready!(self.poll_released(next, cx));
            let allowed = self.engine.durable.replies.released().saturating_sub(next - 1);
            if allowed > 0 {
                return Poll::Ready(allowed as usize);
            }
        }
    }

    fn poll_lanes(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progressed, End>> {
        let id = self.id();
        ready!(self.poll_released(self.snapshot_upto, cx));
        let Stage::Lanes(fanout, piece) = &mut self.stage else { return Poll::Pending };
        if piece.is_none() {
            match fanout.poll_next(id, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Next::Piece(bytes)) => *piece = Some(Piece { bytes, sent: 0 }),
                Poll::Ready(Next::End) => {
                    // What follows is the stream, once the replica has acknowledged; `read_requests` notices that.
                    self.stage = Stage::Waiting;
                    return Poll::Ready(Ok(Progressed::Stage));
                }
                Poll::Ready(Next::Broken) => return Poll::Ready(Err(End::Killed)),
            }
        }
        let Some(Piece { bytes, sent: done }) = piece else { return Poll::Pending };
        let n = wrote(ready!(Pin::new(&mut self.socket).poll_write(cx, &bytes[*done..])))?;
        *done += n;
        if *done == bytes.len() {
            *piece = None;
            fanout.taken(id);
        } else {
            fanout.progress(id);
        }
        self.handle.sync.sent_bytes.fetch_add(n as u64, Relaxed);
        sent(n)
    }

    fn poll_file(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progressed, End>> {
        ready!(self.poll_released(self.snapshot_upto, cx));
        let Stage::File(sending) = &mut self.stage else { return Poll::Pending };
        if sending.sent == sending.buffer.len() {
            if sending.at == sending.bytes {
                return Poll::Ready(self.file_sent());
            }
            let reading = sending.reading.get_or_insert_with(|| {
                let (file, at) = (sending.file.clone(), sending.at);
                let n = (sending.bytes - at).min(FILE_BYTES) as usize;
                tokio::task::spawn_blocking(move || read_at(&file, at, n))
            });
            let read = ready!(Pin::new(reading).poll(cx));
            sending.reading = None;
            match read.unwrap_or_else(|e| Err(io::Error::other(e))) {
                Ok(buffer) => {
                    sending.at += buffer.len() as u64;
                    (sending.buffer, sending.sent) = (buffer, 0);
                }
                Err(e) => return Poll::Ready(Err(End::Failed(format!("Read error sending DB to replica: {e}")))),
            }
        }
        let n = wrote(ready!(Pin::new(&mut self.socket).poll_write(cx, &sending.buffer[sending.sent..])))?;
        sending.sent += n;
        self.handle.sync.sent_bytes.fetch_add(n as u64, Relaxed);
        sent(n)
    }

    fn file_sent(&mut self) -> Result<Progressed, End> {
        let mut notes = Vec::new();
        let goes_on = self.repl.replicas().bulk_sent(self.id(), clock::now_ms(), &mut notes);
        notes.into_iter().for_each(log);
        self.repl.count_good_replicas(&self.engine);
        if !goes_on {
            return Err(End::Finished);
        }
        self.stage = Stage::Stream;
        Ok(Progressed::Stage)
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progressed, End>> {
        let next = match &self.stream {
            // The log holds another history now; this replica has to ask anew.
            Some(Stream::Log(cursor)) if cursor.is_stale() => return Poll::Ready(Err(End::Killed)),
            Some(stream) => stream.next_offset(),
            None => return Poll::Pending,
        };
        let allowed = self.poll_allowed(next, cx);
        let Some(Stream::Log(cursor)) = &mut self.stream else {
            return self.poll_behind(if let Poll::Ready(n) = allowed { n } else { 0 }, cx);
        };
        let allowed = ready!(allowed).min(STREAM_BYTES);
        let mut chunks = cursor.read(allowed);
        if chunks.is_empty() {
            self.log_waiter.arm();
            chunks = cursor.read(allowed);
            if chunks.is_empty() {
                return Poll::Pending;
            }
        }
        self.repl.note_log_end(&self.engine);
        let mut slices = [io::IoSlice::new(&[]); 16];
        let n = fill(&mut slices, &chunks);
        let n = wrote(ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, &slices[..n])))?;
        cursor.advance(n);
        self.handle.next_offset.store(cursor.next_offset(), Relaxed);
        sent(n)
    }

    /// What was written since the cut; so much of it may be sent.
    fn poll_behind(&mut self, allowed: usize, cx: &mut Context<'_>) -> Poll<Result<Progressed, End>> {
        let Some(Stream::Behind(tail)) = &mut self.stream else { return Poll::Pending };
        let failed = |e| End::Failed(format!("Read error sending the replica what was written during its sync: {e}"));
        // As long as it loads it may stop reading at any time: what it lacks then goes to disk.
        if !self.has_loaded {
            self.has_loaded = self.repl.replicas().get(self.handle.client.id).is_some_and(Replica::has_loaded);
        }
        let mut next = ready!(tail.poll_next(cx, self.has_loaded)).map_err(failed)?;
        if matches!(&next, spill::Next::Log(chunks) if chunks.is_empty()) {
            self.log_waiter.arm();
            next = ready!(tail.poll_next(cx, self.has_loaded)).map_err(failed)?;
        }
        let socket = Pin::new(&mut self.socket);
        let wrote_now = match next {
            spill::Next::Disk if allowed == 0 => return Poll::Pending,
            spill::Next::Disk => {
                let ahead = tail.ahead();
                socket.poll_write(cx, &ahead[..ahead.len().min(allowed)])
            }
            spill::Next::Log(mut chunks) => {
                Chunk::shorten(&mut chunks, allowed);
                if chunks.is_empty() {
                    return Poll::Pending;
                }
                let mut slices = [io::IoSlice::new(&[]); 16];
                let n = fill(&mut slices, &chunks);
                socket.poll_write_vectored(cx, &slices[..n])
            }
            spill::Next::Stale => return Poll::Ready(Err(End::Killed)),
            spill::Next::CaughtUp(cursor) => {
                self.stream = Some(Stream::Log(cursor));
                *self.handle.spill.lock() = None;
                self.handle.sync.began_ms.store(0, Relaxed);
                // Its limit is that of all others now.
                self.engine.state.log_watched_at.store(0, Relaxed);
                return Poll::Ready(Ok(Progressed::Stage));
            }
        };
        let n = wrote(ready!(wrote_now))?;
        tail.advance(n);
        self.handle.next_offset.store(tail.next_offset(), Relaxed);
        sent(n)
    }

    // --- in

    /// What the replica said. Only acknowledgements are expected of it, and nothing is answered.
    fn read_requests(&mut self) -> Result<(), End> {
        let mut batch = Batch::new();
        loop {
            if let Err(e) = self.input.next_batch(&mut batch, 64) {
                return Err(End::Failed(format!("Protocol error ({e}) from replica {}", self.handle.client.addr)));
            }
            if batch.is_empty() {
                return Ok(());
            }
            for i in 0..batch.len() {
                let argv = batch.argv(&self.input, i);
                // A lone newline is a sign of life.
                if argv.is_empty() {
                    continue;
                }
                let words: Vec<&[u8]> = argv.iter().collect();
                let answer = match argv.get(0) {
                    Some(name) if name.eq_ignore_ascii_case(b"replconf") => {
                        Greeting::default().replconf(&words[1..]).unwrap_or(Answer::Ok)
                    }
                    // Asked again what is under way already.
                    Some(name) if name.eq_ignore_ascii_case(b"sync") || name.eq_ignore_ascii_case(b"psync") => {
                        Answer::Silence
                    }
                    _ => Answer::Ok,
                };
                match answer {
                    Answer::Ack { offset, on_disk } => self.acked(offset, on_disk),
                    // To be asked for an acknowledgement is for those who have a master on this connection.
                    Answer::SendAck | Answer::Silence => {}
                    Answer::Ok => return Err(refuse(&self.engine, &self.handle.client, argv)),
                }
            }
            let done = batch.len();
            self.input.consume(&mut batch, done);
            self.handle.client.last_active_ms.store(clock::now_ms(), Relaxed);
        }
    }

    fn acked(&mut self, offset: ReplOffset, on_disk: Option<ReplOffset>) {
        let id = self.handle.client.id;
        self.handle.client.last_command.store(self.replconf, Relaxed);
        let behind_ms = self.repl.lacking_ms(&self.engine, offset);
        let more = {
            let mut replicas = self.repl.replicas();
            replicas.told_lag(id, behind_ms);
            let was = replicas.get(id).map(|replica| replica.phase);
            let more = replicas.acked(id, offset, on_disk, clock::now_ms());
            if was == Some(Phase::BgLoad)
                && let Some(replica) = replicas.get(id)
            {
                log(Note::notice(format!("Synchronization with replica {} succeeded", replica.name())));
            }
            more
        };
        if more {
            self.repl.acks.notify_waiters();
        }
        if matches!(self.stage, Stage::Waiting) && self.stream.is_some() && self.takes_stream() {
            self.stage = Stage::Stream;
        }
    }
}

fn refuse(engine: &Engine, client: &ClientHandle, argv: Argv<'_>) -> End {
    let known = engine.table.resolve(&argv).ok();
    let name = known.map_or_else(|| printable(argv.word(0)), |command| command.row.name.to_owned());
    if known.is_some_and(|command| command.flags.has(flag::WRITE.or(flag::READONLY))) {
        log(Note::warning(format!(
            "== CRITICAL == This master is sending an error to its replica: 'ERR Replica can't interact with the \
             keyspace' after processing the command '{name}'"
        )));
    }
    let who = crate::exec::describe::line(engine, client);
    End::Failed(format!("Replica generated a reply to command '{name}', disconnecting it: {who}"))
}

enum Progressed {
    Sent(usize),
    /// The stage changed.
    Stage,
}

fn sent<E>(n: usize) -> Poll<Result<Progressed, E>> {
    Poll::Ready(Ok(Progressed::Sent(n)))
}

fn wrote(result: io::Result<usize>) -> Result<usize, End> {
    match result {
        Ok(0) | Err(_) => Err(End::Closed),
        Ok(n) => Ok(n),
    }
}

fn read_at(file: &File, at: u64, n: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; n];
    file.read_exact_at(&mut buffer, at)?;
    Ok(buffer)
}

fn fill<'a>(slices: &mut [io::IoSlice<'a>], chunks: &'a [Chunk]) -> usize {
    let n = slices.len().min(chunks.len());
    for (slice, chunk) in slices.iter_mut().zip(chunks) {
        *slice = io::IoSlice::new(chunk.as_ref());
    }
    n
}
