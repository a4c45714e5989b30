//! One connection: bytes in, requests to the runner, replies out.
//!
//! The socket is read and written in one loop, so that a client that sends without reading is served as far as its
//! output limit allows, and never deadlocks. Knows no command.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncReadExt;

use crate::base::clock;
use crate::exec::batch::{BATCH_MAX, Next, Runner, Source};
use crate::exec::call::{Completion, Ending, Takeover, Wait};
use crate::exec::client::{End, flag};
use crate::exec::client_memory;
use crate::exec::engine::Engine;
use crate::exec::hold::Hold;
use crate::exec::output_limit;
use crate::exec::round;
use crate::exec::session::Session;
use crate::resp::{Batch, Input, Limits, Reply};

use super::outlet::{Halves, Outlet};
use super::workers::Place;

/// What woke the connection.
enum Woken {
    /// So many bytes were read; 0: the peer closed.
    Read(usize),
    /// Everything was sent.
    Sent,
    /// Somebody posted, killed or unblocked.
    News,
    /// What a blocked command waited for has come about.
    Done(Completion),
    /// A blocked command's time is up.
    TimeUp,
    /// CLIENT PAUSE is over.
    Unpaused,
    /// Others of this worker had their turn.
    Turn,
    Failed,
}

/// What the connection waits for besides its socket.
enum Waiting {
    /// Nothing: requests are executed as they come.
    No,
    /// A blocked command.
    Command(Blocked),
    /// CLIENT PAUSE; the command is executed again then.
    Pause(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// The turn of others: there are requests left of those that were read.
    Turn(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// A blocked command, and its time.
struct Blocked {
    wait: Wait,
    until: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Blocked {
    fn new(wait: Wait) -> Self {
        let ms = u64::try_from(wait.timeout_ms).ok().filter(|ms| *ms > 0);
        let until = ms.map(|ms| Box::pin(tokio::time::sleep(std::time::Duration::from_millis(ms))));
        Self { wait, until }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        if let Some(done) = &mut self.wait.done
            && let Poll::Ready(completion) = done.as_mut().poll(cx)
        {
            return Poll::Ready(Woken::Done(completion));
        }
        if let Some(until) = &mut self.until
            && until.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Woken::TimeUp);
        }
        Poll::Pending
    }
}

/// Others of this worker wait no longer for one connection's requests, however many it has sent at once. Looked at every
/// so many requests, since one that makes a running snapshot keep what it changes may take a hundred microseconds; not
/// before so many, since replies to a few requests go out together or, beyond the output limit, not at all.
const TURN_US: u64 = 1000;
const TURN_LOOK: usize = 8;
const TURN_LEAST: usize = 32;

/// Who has sent less has not done much to put a snapshot behind, and gives way only when it is far behind.
const MUCH_INPUT: usize = 4 << 10;

fn took_us(started_ticks: u64) -> u64 {
    clock::ticks_to_us(clock::ticks().saturating_sub(started_ticks))
}

/// Why this worker serves a connection no longer.
enum Over {
    Closed,
    /// The peer sends nothing more, and may still read.
    Left,
    Taken(Takeover),
    /// Another worker wants it.
    Moved(usize),
}

/// A connection on its way to another worker.
pub struct Moving<S: Halves> {
    pub to: usize,
    socket: S::Bare,
    engine: Arc<Engine>,
    session: Session,
    input: Input,
    batch: Batch,
    at: usize,
    out: Reply,
}

impl<S: Halves> Moving<S> {
    /// Goes on at the new place, in whose runtime this is called.
    pub fn arrive(mut self, place: Place) -> io::Result<Conn<S>> {
        let socket = S::dress(self.socket).inspect_err(|_| self.session.close(&self.engine))?;
        let fresh = Conn::new(self.engine, place, socket, self.session);
        Ok(Conn { input: self.input, batch: self.batch, at: self.at, out: self.out, ..fresh })
    }
}

/// Unread input of a blocked client is kept, but not without end.
const BLOCKED_INPUT_MAX: usize = 1 << 20;

pub struct Conn<S: Halves> {
    engine: Arc<Engine>,
    place: Place,
    reader: S::Reader,
    outlet: Arc<Outlet<S>>,
    session: Session,
    input: Input,
    batch: Batch,
    /// The batch's first request that was not executed.
    at: usize,
    out: Reply,
    /// What was in `out` lies at the outlet.
    away: bool,
    /// What is in `out` may be sent once the log is written, or on disk, up to here.
    hold: Hold,
    closing: bool,
}

impl<S: Halves> Conn<S> {
    pub fn new(engine: Arc<Engine>, place: Place, socket: S, session: Session) -> Self {
        let settings = engine.settings();
        let limits = Limits {
            max_bulk_bytes: settings.proto_max_bulk_len as usize,
            max_query_buffer_bytes: settings.client_query_buffer_limit as usize,
            authenticated: session.authenticated,
            ..Limits::default()
        };
        let (reader, writer) = socket.halves();
        let outlet = Arc::new(Outlet::new(engine.clone(), place.worker, session.handle.clone(), writer));
        Self {
            engine,
            place,
            reader,
            outlet,
            session,
            input: Input::new(limits),
            batch: Batch::default(),
            at: 0,
            out: Reply::new(2),
            away: false,
            hold: Hold::default(),
            closing: false,
        }
    }

    /// Serves until the end, or until another worker is to do so.
    pub async fn run(mut self) -> Option<Moving<S>> {
        let end = self.serve().await;
        if let Over::Moved(to) = end {
            return self.leave(to);
        }
        if let Over::Left = end {
            // What was to go out at the end of the round does so now, as far as the socket takes it.
            let _ = std::future::poll_fn(|cx| Poll::Ready(self.poll_send(cx))).await;
        }
        let writer = self.outlet.close();
        if let Over::Taken(takeover) = end {
            let executed = self.batch.len();
            debug_assert_eq!(self.at, executed, "a replica does not pipeline behind PSYNC");
            self.input.consume(&mut self.batch, executed);
            let rest = self.input.into_rest();
            self.session.discard(&self.engine);
            if let Some(socket) = writer.and_then(|writer| S::whole(self.reader, writer)) {
                takeover(Box::new(socket), self.session, rest).await;
            }
            return None;
        }
        // Before anybody reckons without them.
        drop((self.input, self.batch, self.out));
        self.session.close(&self.engine);
        if let Some(mut writer) = writer {
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
        }
        None
    }

    /// Packs up for another worker. If the socket does not come along, the connection is at its end.
    fn leave(mut self, to: usize) -> Option<Moving<S>> {
        let socket = self.outlet.close().and_then(|writer| S::whole(self.reader, writer));
        match socket.map(S::bare) {
            Some(Ok(socket)) => Some(Moving {
                to,
                socket,
                engine: self.engine,
                session: self.session,
                input: self.input,
                batch: self.batch,
                at: self.at,
                out: self.out,
            }),
            Some(Err(_)) | None => {
                self.session.close(&self.engine);
                None
            }
        }
    }

    async fn serve(&mut self) -> Over {
        let mut waiting = Waiting::No;
        loop {
            let woken = std::future::poll_fn(|cx| self.poll(cx, &mut waiting)).await;
            if std::mem::take(&mut self.away) {
                self.outlet.take_back(&mut self.out);
            }
            match woken {
                Woken::Failed | Woken::Read(0) => return Over::Left,
                Woken::Sent if self.closing => return Over::Closed,
                Woken::Sent => continue,
                Woken::News => {
                    if self.session.handle.is_killed() {
                        return Over::Closed;
                    }
                    if self.session.handle.take_shrink() {
                        self.input.shrink();
                    }
                    self.collect_mail();
                    if self.over_limits() {
                        return Over::Closed;
                    }
                    if !matches!(waiting, Waiting::Command(_)) || !self.session.handle.wait_is_over() {
                        continue;
                    }
                    self.end_wait(&mut waiting, None);
                }
                Woken::TimeUp => self.end_wait(&mut waiting, None),
                Woken::Done(completion) => self.end_wait(&mut waiting, Some(completion)),
                Woken::Unpaused => {
                    self.session.handle.set(flag::BLOCKED, false);
                    self.session.handle.last_active_ms.store(clock::now_ms(), Relaxed);
                    waiting = Waiting::No;
                }
                Woken::Turn => waiting = Waiting::No,
                Woken::Read(n) => {
                    self.engine.stats.network(self.place.worker.0, n, 0);
                    self.session.handle.net_in_bytes.fetch_add(n as u64, Relaxed);
                    if self.over_client_limit() {
                        return Over::Closed;
                    }
                    match waiting {
                        Waiting::No => {}
                        Waiting::Command(_) | Waiting::Pause(_) | Waiting::Turn(_) => continue,
                    }
                }
            }
            if self.engine.state.is_behind(self.input.buffered_bytes() >= MUCH_INPUT) {
                self.engine.state.give_way().await;
            }
            let next = if self.closing { Some(Next::Close) } else { self.execute() };
            match next {
                None => {
                    // Yielding ends no round.
                    round::send_all();
                    waiting = Waiting::Turn(Box::pin(tokio::task::yield_now()));
                }
                Some(Next::More) => {}
                Some(Next::Close) => self.closing = true,
                Some(Next::Wait(wait)) => {
                    if wait.ending.is_none() {
                        self.session.handle.set(flag::BLOCKED, true);
                    }
                    waiting = Waiting::Command(Blocked::new(wait));
                }
                Some(Next::Paused { writes }) => {
                    self.session.handle.set(flag::BLOCKED, true);
                    let engine = self.engine.clone();
                    let over = async move { engine.pause.over(writes).await };
                    waiting = Waiting::Pause(Box::pin(over));
                }
                Some(Next::Takeover(t)) => {
                    // Who takes over has counted this connection in already, and finds the socket broken.
                    let _ = self.flush().await;
                    return Over::Taken(t);
                }
            }
            self.collect_mail();
            if self.over_limits() {
                return Over::Closed;
            }
            if self.closing && self.out.is_empty() {
                return Over::Closed;
            }
            if !self.closing && !self.hold.is_on() && matches!(waiting, Waiting::No) {
                if let Some(to) = self.place.wanted_by() {
                    return Over::Moved(to);
                }
                self.away = self.outlet.give(&mut self.out);
            }
        }
    }

    /// Moves what can be moved, and tells what happened.
    fn poll(&mut self, cx: &mut Context<'_>, waiting: &mut Waiting) -> Poll<Woken> {
        if !self.out.is_empty() {
            match self.poll_send(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(Woken::Failed),
                Poll::Ready(Ok(())) => {
                    if self.closing {
                        return Poll::Ready(Woken::Sent);
                    }
                }
                Poll::Pending => {}
            }
        }
        if self.session.handle.take_news() {
            return Poll::Ready(Woken::News);
        }
        match waiting {
            Waiting::No => {}
            Waiting::Command(blocked) => {
                if let Poll::Ready(woken) = blocked.poll(cx) {
                    return Poll::Ready(woken);
                }
            }
            Waiting::Pause(over) => {
                if over.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Woken::Unpaused);
                }
            }
            // Nobody may push the point further off that the replies wait for.
            Waiting::Turn(others) => {
                if !self.hold.is_on() && others.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Woken::Turn);
                }
            }
        }
        let may_read = match waiting {
            // Nobody may push the point further off that the replies wait for.
            Waiting::No => !self.closing && !self.hold.is_on(),
            Waiting::Turn(_) => false,
            // A blocked client is still read, to learn that it left.
            Waiting::Command(_) | Waiting::Pause(_) => self.input.buffered_bytes() < BLOCKED_INPUT_MAX,
        };
        // A connection that was idle for long has no buffer until something comes.
        if may_read && (!self.input.is_released() || S::poll_readable(&self.reader, cx).is_ready()) {
            let read = pin!(self.reader.read_buf(self.input.spare()));
            match read.poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(n)) => return Poll::Ready(Woken::Read(n)),
                Poll::Ready(Err(_)) => return Poll::Ready(Woken::Failed),
            }
        }
        // Registered before the last look, so that nothing posted in between is missed.
        self.session.handle.register(cx.waker());
        if self.session.handle.take_news() { Poll::Ready(Woken::News) } else { Poll::Pending }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hold.is_on() {
            ready!(self.hold.poll(&self.engine.durable.replies, self.place.worker, cx));
        }
        self.outlet.poll_send(&mut self.out, cx)
    }

    async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_send(cx)).await
    }

    /// Executes what was received, as far as it goes. `None`: there is more, but it is the turn of others.
    fn execute(&mut self) -> Option<Next> {
        let (started, mut commands) = (clock::ticks(), 0);
        let next = self.execute_batches(started, &mut commands);
        // Writes of others count as well: who has seen one must not lose it.
        let end = self.engine.log.end_offset();
        if self.engine.durable.holds(end) && !self.out.is_empty() {
            self.hold.begin(&self.engine.durable.replies, end);
        }
        let took_us = took_us(started);
        self.engine.stats.cycle(self.place.worker.0, took_us, commands);
        self.place.served(took_us);
        next
    }

    fn execute_batches(&mut self, started: u64, commands: &mut u64) -> Option<Next> {
        let engine = self.engine.clone();
        let mut runner = Runner::new(&engine, self.place.worker, Source::Client);
        self.out.set_full_at(runner.output_max(&self.session));
        self.session.handle.last_active_ms.store(runner.now_ms(), Relaxed);
        self.note_input();
        let mut done = 0;
        loop {
            if self.at >= self.batch.len() {
                self.input.consume(&mut self.batch, self.at);
                self.at = 0;
                self.input.set_authenticated(self.session.authenticated);
                if let Err(e) = self.input.next_batch(&mut self.batch, BATCH_MAX) {
                    tracing::debug!("Protocol error ({e}) from client: {}", self.session.handle.addr);
                    if let Some(reply) = e.reply() {
                        engine.stats.error(&reply);
                        self.out.error(&reply);
                    }
                    return Some(Next::Close);
                }
                if self.batch.is_empty() {
                    if self.input.is_mid_request() {
                        // Room for the rest of it, which is about to come and counts from now on.
                        self.input.spare();
                    }
                    self.note_input();
                    return Some(Next::More);
                }
            }
            *commands += (self.batch.len() - self.at) as u64;
            let prepared =
                runner.prepare(self.session.db, (self.at..self.batch.len()).map(|i| self.batch.argv(&self.input, i)));
            for p in &prepared {
                let argv = self.batch.argv(&self.input, self.at);
                let raw = self.batch.raw(&self.input, self.at);
                match runner.run(&mut self.session, *p, argv, raw, &mut self.out) {
                    Next::More => {
                        self.at += 1;
                        done += 1;
                        if done >= TURN_LEAST && done.is_multiple_of(TURN_LOOK) && took_us(started) > TURN_US {
                            engine.log.notify_readers();
                            return None;
                        }
                    }
                    other => {
                        engine.log.notify_readers();
                        // What is paused is the same request again, later.
                        self.at += usize::from(!matches!(other, Next::Paused { .. }));
                        return Some(other);
                    }
                }
            }
            engine.log.notify_readers();
        }
    }

    /// For CLIENT LIST.
    fn note_input(&self) {
        let bytes = self.input.buffered_bytes();
        self.session.handle.query_bytes.store(bytes, Relaxed);
        if bytes > self.session.handle.query_peak_bytes.load(Relaxed) {
            self.session.handle.query_peak_bytes.store(bytes, Relaxed);
        }
        self.session.handle.query_capacity_bytes.store(self.input.memory_bytes(), Relaxed);
    }

    fn collect_mail(&mut self) {
        if let Some(mail) = self.session.handle.mail() {
            self.out.raw(&mail);
        }
    }

    /// A blocked command is over: by itself with `completion`, by others, or else because its time is up.
    fn end_wait(&mut self, waiting: &mut Waiting, completion: Option<Completion>) {
        let Waiting::Command(blocked) = std::mem::replace(waiting, Waiting::No) else { return };
        let mark = self.out.mark();
        // Who was first has told others that it was: that counts, whatever woke us.
        let end = self.session.handle.finish_wait();
        let ending: Option<Ending> = blocked.wait.ending;
        match (end, completion, ending) {
            (None, Some(completion), _) => completion(&mut self.session, &mut self.out),
            (end, _, Some(ending)) => ending(end.unwrap_or(End::Timeout), &mut self.session, &mut self.out),
            (_, _, None) => {}
        }
        self.session.mute(&mut self.out, mark, false);
        self.session.handle.last_active_ms.store(clock::now_ms(), Relaxed);
        self.closing |= self.session.close_after_reply;
    }

    fn over_limits(&mut self) -> bool {
        self.over_output_limit() || self.over_client_limit()
    }

    /// Whether `maxmemory-clients` ends this connection, now that its buffers have changed.
    fn over_client_limit(&mut self) -> bool {
        self.note_input();
        client_memory::count(&self.engine, &self.session.handle);
        self.session.handle.is_killed()
    }

    /// Whether `client-output-buffer-limit` ends this connection.
    fn over_output_limit(&mut self) -> bool {
        let size = self.out.len();
        let handle = &self.session.handle;
        handle.reply_capacity_bytes.store(self.out.memory_bytes(), Relaxed);
        handle.reply_peak_bytes.fetch_max(size, Relaxed);
        // Less than that is sent before anybody could have seen it waiting.
        if size < 16 << 10 && !handle.soft_limit.is_running() {
            return false;
        }
        handle.out_bytes.store(size, Relaxed);
        output_limit::ends(&self.engine, handle, clock::now_ms())
    }
}
