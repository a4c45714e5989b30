//! What the rest of the server sees of a connection: its line in CLIENT LIST, its outbox, and the means to end it.
//!
//! Knows nothing of sockets; the connection's task polls its handle.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::output_limit::SoftLimit;
use crate::resp::Reply;

/// Bits of [`ClientHandle::flags`].
pub mod flag {
    pub const MULTI: u32 = 1;
    pub const BLOCKED: u32 = 1 << 1;
    pub const MONITOR: u32 = 1 << 2;
    pub const NO_EVICT: u32 = 1 << 3;
    pub const NO_TOUCH: u32 = 1 << 4;
    pub const UNIX: u32 = 1 << 5;
    pub const PUBSUB: u32 = 1 << 6;
    pub const REPLICA: u32 = 1 << 7;
    pub const MASTER: u32 = 1 << 8;
    pub const READONLY: u32 = 1 << 9;
    /// Blocked, but not for ever.
    pub const TIMED: u32 = 1 << 10;
}

/// How the wait of a blocked command ended.
#[derive(Debug)]
pub enum End {
    /// Its key had something: the reply, and the log's end behind what was written for it.
    Served {
        reply: Reply,
        offset: Option<i64>,
    },
    Timeout,
    /// CLIENT UNBLOCK … ERROR.
    Unblocked,
    /// This node became a replica, or another master's.
    RoleChanged,
}

/// Where a connection stands with a blocked command. Between `Waiting` and `Ended` there is one step, taken by one.
#[derive(Debug, Default)]
enum Waiting {
    #[default]
    No,
    Yes,
    Ended(End),
}

/// What other threads have put in for a connection to send.
#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
}

/// Names a client gives itself.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub name: Option<Bytes>,
    pub lib_name: Option<Bytes>,
    pub lib_ver: Option<Bytes>,
    pub user: Bytes,
}

pub struct ClientHandle {
    pub id: u64,
    pub addr: String,
    pub laddr: String,
    pub fd: i32,
    pub created_ms: i64,
    pub flags: AtomicU32,
    pub names: Mutex<Names>,
    pub db: AtomicU32,
    pub resp: AtomicU8,
    pub last_active_ms: AtomicI64,
    /// The last command's number in the command table; `u32::MAX` before the first.
    pub last_command: AtomicU32,
    /// Queued by MULTI; -1 outside of one.
    pub multi_len: AtomicI64,
    pub watching: AtomicUsize,
    pub subs: AtomicUsize,
    pub psubs: AtomicUsize,
    pub ssubs: AtomicUsize,
    pub query_bytes: AtomicUsize,
    pub query_capacity_bytes: AtomicUsize,
    /// The most of the former since the cron looked last.
    pub query_peak_bytes: AtomicUsize,
    pub multi_bytes: AtomicUsize,
    /// Words of the command being carried out, while somebody may look.
    pub argv_bytes: AtomicUsize,
    pub out_bytes: AtomicUsize,
    pub soft_limit: SoftLimit,
    /// Memory of the buffer that replies are collected in, and the most it held.
    pub reply_capacity_bytes: AtomicUsize,
    pub reply_peak_bytes: AtomicUsize,
    /// Set when a watched key changed.
    pub dirty_cas: Mutex<Option<Arc<AtomicBool>>>,
    /// What it counts for in [`Clients::bytes`].
    counted_bytes: AtomicUsize,
    /// And in [`Clients::leaving_bytes`].
    leaving_bytes: AtomicUsize,
    pub net_in_bytes: AtomicU64,
    pub net_out_bytes: AtomicU64,
    pub authenticated: AtomicBool,
    killed: AtomicBool,
    /// The query buffer is larger than it has to be.
    shrink: AtomicBool,
    /// Locked while a waiter is served, so innermost but for the log.
    waiting: Mutex<Waiting>,
    outbox: Mutex<Outbox>,
    has_mail: AtomicBool,
    /// Something of the above wants the connection's attention: one look for the usual case that nothing does.
    news: AtomicBool,
    waker: AtomicWaker,
}

impl ClientHandle {
    /// Connected from this machine, as `enable-debug-command` and the like mean it.
    pub fn is_local(&self) -> bool {
        let ip = self.addr.rsplit_once(':').map(|(ip, _)| ip.trim_matches(['[', ']']));
        self.has(flag::UNIX)
            || ip.and_then(|ip| ip.parse::<IpAddr>().ok()).is_some_and(|ip| ip.to_canonical().is_loopback())
    }

    pub fn new(id: u64, addr: String, laddr: String, fd: i32, now_ms: i64, flags: u32) -> Self {
        Self {
            id,
            addr,
            laddr,
            fd,
            created_ms: now_ms,
            flags: AtomicU32::new(flags),
            names: Mutex::new(Names { user: Bytes::from_static(b"default"), ..Names::default() }),
            db: AtomicU32::new(0),
            resp: AtomicU8::new(2),
            last_active_ms: AtomicI64::new(now_ms),
            last_command: AtomicU32::new(u32::MAX),
            multi_len: AtomicI64::new(-1),
            watching: AtomicUsize::new(0),
            subs: AtomicUsize::new(0),
            psubs: AtomicUsize::new(0),
            ssubs: AtomicUsize::new(0),
            query_bytes: AtomicUsize::new(0),
            query_capacity_bytes: AtomicUsize::new(0),
            query_peak_bytes: AtomicUsize::new(0),
            multi_bytes: AtomicUsize::new(0),
            argv_bytes: AtomicUsize::new(0),
            out_bytes: AtomicUsize::new(0),
            soft_limit: SoftLimit::default(),
            reply_capacity_bytes: AtomicUsize::new(0),
            reply_peak_bytes: AtomicUsize::new(0),
            dirty_cas: Mutex::default(),
            counted_bytes: AtomicUsize::new(0),
            leaving_bytes: AtomicUsize::new(0),
            net_in_bytes: AtomicU64::new(0),
            net_out_bytes: AtomicU64::new(0),
            authenticated: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            shrink: AtomicBool::new(false),
            waiting: Mutex::default(),
            outbox: Mutex::default(),
            has_mail: AtomicBool::new(false),
            news: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    pub fn has(&self, bit: u32) -> bool {
        self.flags.load(Relaxed) & bit != 0
    }

    pub fn set(&self, bit: u32, on: bool) {
        if on {
            self.flags.fetch_or(bit, Relaxed);
        } else {
            self.flags.fetch_and(!bit, Relaxed);
        }
    }

    /// Hands bytes over for sending, after what the connection is sending now. Gives the outbox's size then.
    pub fn post(&self, bytes: &[u8]) -> usize {
        if self.is_killed() {
            return 0;
        }
        let mut outbox = self.outbox.lock();
        outbox.bytes.extend_from_slice(bytes);
        let size = outbox.bytes.len();
        drop(outbox);
        // Release pairs with the Acquire in `mail`.
        if !self.has_mail.swap(true, std::sync::atomic::Ordering::Release) {
            self.announce();
        }
        size
    }

    pub fn outbox_bytes(&self) -> usize {
        if self.has_mail.load(Relaxed) { self.outbox.lock().bytes.len() } else { 0 }
    }

    pub fn outbox_capacity_bytes(&self) -> usize {
        if self.has_mail.load(Relaxed) { self.outbox.lock().bytes.capacity() } else { 0 }
    }

    /// Takes what was posted.
    pub fn mail(&self) -> Option<Vec<u8>> {
        // Acquire pairs with the Release in `post`.
        if !self.has_mail.load(Relaxed) || !self.has_mail.swap(false, std::sync::atomic::Ordering::Acquire) {
            return None;
        }
        Some(std::mem::take(&mut self.outbox.lock().bytes))
    }

    /// Has the connection look at what is new, or at what it has still to send.
    pub fn announce(&self) {
        // Release pairs with the Acquire in `take_news`: who sees the news sees what it is about.
        self.news.store(true, std::sync::atomic::Ordering::Release);
        self.waker.wake();
    }

    /// Whether something waits for the connection's task; once. Register first, then look, before going to sleep.
    #[inline]
    pub fn take_news(&self) -> bool {
        self.news.load(Relaxed) && self.news.swap(false, std::sync::atomic::Ordering::Acquire)
    }

    pub fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    /// Has the connection give its query buffer back, as far as it is not in use.
    pub fn ask_to_shrink(&self) {
        self.shrink.store(true, Relaxed);
        self.announce();
    }

    pub fn take_shrink(&self) -> bool {
        self.shrink.load(Relaxed) && self.shrink.swap(false, Relaxed)
    }

    /// Ends the connection as soon as its task looks.
    pub fn kill(&self) {
        self.killed.store(true, Relaxed);
        self.announce();
    }

    pub fn is_killed(&self) -> bool {
        self.killed.load(Relaxed)
    }

    /// A blocking command begins to wait. `timed`: not for ever.
    pub fn begin_wait(&self, timed: bool) {
        let mut waiting = self.waiting.lock();
        *waiting = Waiting::Yes;
        self.set(flag::BLOCKED, true);
        self.set(flag::TIMED, timed);
    }

    /// Ends the wait of a blocking command. False if none waits, or another was first.
    pub fn end_wait(&self, end: End) -> bool {
        self.serve(|| Some(end))
    }

    /// Lets `f` end the wait if it can: it runs only if the wait is not over, and nobody else ends it meanwhile.
    pub fn serve(&self, f: impl FnOnce() -> Option<End>) -> bool {
        let mut waiting = self.waiting.lock();
        if !matches!(*waiting, Waiting::Yes) || self.is_killed() {
            return false;
        }
        let Some(end) = f() else { return false };
        *waiting = Waiting::Ended(end);
        // Others see at once that it no longer waits, whenever its connection comes to answer.
        self.set(flag::BLOCKED | flag::TIMED, false);
        drop(waiting);
        self.announce();
        true
    }

    pub fn wait_is_over(&self) -> bool {
        matches!(*self.waiting.lock(), Waiting::Ended(_))
    }

    /// The connection itself ends the wait. Gives what another has ended it with, if one was first.
    pub fn finish_wait(&self) -> Option<End> {
        let mut waiting = self.waiting.lock();
        self.set(flag::BLOCKED | flag::TIMED, false);
        match std::mem::take(&mut *waiting) {
            Waiting::No | Waiting::Yes => None,
            Waiting::Ended(end) => Some(end),
        }
    }
}

/// Everybody who is connected.
#[derive(Default)]
pub struct Clients {
    all: RwLock<BTreeMap<u64, Arc<ClientHandle>>>,
    next_id: AtomicU64,
    /// `maxmemory-clients` in bytes; 0: no limit, and nothing is counted.
    pub limit_bytes: AtomicUsize,
    /// The sum of what clients count for.
    bytes: AtomicUsize,
    /// What clients who were sent away for it are about to give back.
    leaving_bytes: AtomicUsize,
    /// Held by whoever sends clients away.
    pub eviction: Mutex<()>,
}

impl Clients {
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed) + 1
    }

    pub fn add(&self, client: Arc<ClientHandle>) {
        self.all.write().insert(client.id, client);
    }

    pub fn remove(&self, id: u64) -> bool {
        let removed = self.all.write().remove(&id);
        if let Some(client) = &removed {
            self.count(client, 0);
        }
        removed.is_some()
    }

    /// Removes a client that so many bytes are to come back from.
    pub fn send_away(&self, client: &ClientHandle, bytes: usize) {
        client.leaving_bytes.store(bytes, Relaxed);
        self.leaving_bytes.fetch_add(bytes, Relaxed);
        // Its task may have ended by itself in this moment: then nobody else takes them off again.
        if !self.remove(client.id) {
            self.has_left(client);
        }
    }

    /// To be called when a connection's buffers are gone.
    pub fn has_left(&self, client: &ClientHandle) {
        self.leaving_bytes.fetch_sub(client.leaving_bytes.swap(0, Relaxed), Relaxed);
    }

    pub fn leaving_bytes(&self) -> usize {
        self.leaving_bytes.load(Relaxed)
    }

    /// Says what a client counts for now; gives the sum of all.
    pub fn count(&self, client: &ClientHandle, bytes: usize) -> usize {
        let before = client.counted_bytes.swap(bytes, Relaxed);
        // Wrapping: where two add at once, only the sum of both is right.
        let by = bytes.wrapping_sub(before);
        self.bytes.fetch_add(by, Relaxed).wrapping_add(by)
    }

    pub fn get(&self, id: u64) -> Option<Arc<ClientHandle>> {
        self.all.read().get(&id).cloned()
    }

    pub fn len(&self) -> usize {
        self.all.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows all of them, in order of connecting. Nobody comes or goes meanwhile.
    pub fn for_each(&self, mut f: impl FnMut(&ClientHandle)) {
        self.all.read().values().for_each(|client| f(client));
    }

    /// In order of connecting.
    pub fn list(&self) -> Vec<Arc<ClientHandle>> {
        self.all.read().values().cloned().collect()
    }
}
