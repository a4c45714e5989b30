//! What both sides of replication share: who we are, who hangs below us, how the link above us stands.
//!
//! Made once at boot and hung into the engine. Knows no socket: the replica's link writes [`LinkStatus`], the feeds of our
//! own replicas keep their entry in [`Replicas`] up to date, commands and INFO read both.
//!
//! Lock order: gates, then `replicas`, then `identity`; the log's own lock is innermost. None is held across `.await`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::failover::Failover;
use super::feed::FeedHandle;
use super::fence::Fenced;
use super::handshake::LinkState;
use super::id::{Identity, ReplId, ReplOffset, Resume};
use super::master::{Phase, Replicas, Running};
use super::note::Note;
use super::progress::Progress;
use super::restart;
use super::spill::Spill;
use super::timeline::Timeline;
use super::verify::Verification;
use crate::base::log::Level;
use crate::base::{clock, rand};
use crate::exec::{Engine, expire_cycle};
use crate::oplog::Backlog;
use crate::persist::aof::position;

/// The link to our master, as INFO and ROLE tell of it. Written by the link, read by anybody.
#[derive(Debug, Default)]
pub struct LinkStatus {
    /// Host and port of the master; `None` on a master.
    master: Mutex<Option<(String, u16)>>,
    state: Mutex<LinkState>,
    /// Unix ms of the last byte from the master.
    pub last_io_ms: AtomicI64,
    /// The master's data is being received or loaded.
    pub sync_in_progress: AtomicBool,
    /// Size of the payload; -1 while unknown (a payload ended by a mark).
    pub sync_total_bytes: AtomicI64,
    pub sync_read_bytes: AtomicI64,
    /// Of the stream, held until the payload is loaded.
    pub buffered_bytes: AtomicU64,
    /// When the payload began, unix ms.
    pub sync_began_ms: AtomicI64,
    /// Since when the link is down, unix ms; 0 while it never was up, -1 while it is up.
    pub down_since_ms: AtomicI64,
    /// Offset of the last byte applied or, while the link is down, of the point to go on from; 1 without one.
    pub offset: AtomicI64,
    /// Offset of the last byte received.
    pub read_offset: AtomicI64,
    /// The lineage fence, if it stands.
    pub(super) fenced: Mutex<Option<Fenced>>,
    /// Since when, on the clock that never jumps, something received has not been applied; 0 if there is nothing.
    pub unapplied_since_ms: AtomicI64,
}

impl LinkStatus {
    pub fn master(&self) -> Option<(String, u16)> {
        self.master.lock().clone()
    }

    pub fn set_master(&self, master: Option<(String, u16)>) {
        *self.master.lock() = master;
    }

    pub fn state(&self) -> LinkState {
        *self.state.lock()
    }

    pub fn set_state(&self, state: LinkState) {
        *self.state.lock() = state;
    }

    /// For how long what was received waits to be applied.
    pub fn unapplied_ms(&self, mono_ms: i64) -> i64 {
        match self.unapplied_since_ms.load(Relaxed) {
            0 => 0,
            since => (mono_ms - since).max(0),
        }
    }

    /// Where the transfer of the payload stands.
    pub fn progress(&self) -> Progress {
        let bytes = self.sync_read_bytes.load(Relaxed).max(0) as u64;
        Progress {
            began_ms: self.sync_began_ms.load(Relaxed),
            done: bytes,
            total: self.sync_total_bytes.load(Relaxed).max(0) as u64,
            bytes,
            ..Progress::default()
        }
    }

    pub fn is_connected(&self) -> bool {
        self.state() == LinkState::Connected
    }
}

pub struct Repl {
    identity: Mutex<Identity>,
    replicas: Mutex<Replicas>,
    failover: Mutex<Failover>,
    /// When our log had which offset, on the clock that never jumps. Locked last of all, and for a moment.
    timeline: Mutex<Timeline>,
    pub(super) verification: Verification,
    /// The connections of our replicas, by client id.
    feeds: Mutex<HashMap<u64, Arc<FeedHandle>>>,
    /// The snapshot for replicas that is being made.
    running: Mutex<Running>,
    /// What was written since its cut, for those who come for its file.
    behind: Mutex<Option<Arc<Spill>>>,
    /// Since when, unix s.
    running_since_s: AtomicI64,
    /// When the next once-a-second look is due, unix ms.
    pub(super) next_look_ms: AtomicI64,
    pub link: LinkStatus,
    /// Somebody may know the id that was drawn last.
    told: AtomicBool,
    /// Up to this offset the backlog is an earlier process's.
    kept_until: AtomicI64,
    /// An acknowledgement came in, or a replica left: look again, if you wait for one.
    pub acks: Notify,
}

impl Default for Repl {
    fn default() -> Self {
        Self {
            identity: Mutex::new(Identity::new(ReplId::new(rand::hex_id()))),
            replicas: Mutex::default(),
            failover: Mutex::default(),
            timeline: Mutex::default(),
            verification: Verification::default(),
            feeds: Mutex::default(),
            running: Mutex::new(Running::Nothing),
            behind: Mutex::default(),
            running_since_s: AtomicI64::new(0),
            next_look_ms: AtomicI64::new(0),
            link: LinkStatus::default(),
            told: AtomicBool::new(false),
            kept_until: AtomicI64::new(0),
            acks: Notify::new(),
        }
    }
}

impl Repl {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The one that was hung into the engine at boot.
    pub fn of(engine: &Engine) -> Arc<Self> {
        engine.part::<Self>()
    }

    pub fn identity(&self) -> Identity {
        *self.identity.lock()
    }

    pub fn replid(&self) -> ReplId {
        self.identity.lock().replid
    }

    /// For what starts from a file, and for DEBUG CHANGE-REPL-ID.
    pub fn set_identity(&self, identity: Identity) {
        *self.identity.lock() = identity;
        self.told.store(false, Relaxed);
    }

    /// The name under which a master that turns replica asks to go on. Its own is one that it drew when it was promoted or
    /// restarted: as long as it wrote nothing under it and told it nobody, its data is still what went by the former name,
    /// which others know. With every gate held.
    pub(super) fn name_to_go_on_by(&self, engine: &Engine) -> Resume {
        let (identity, offset) = (self.identity(), engine.log.end_offset());
        let unknown = !self.told.load(Relaxed) && identity.replid2 != ReplId::NONE;
        let former = unknown && identity.second_offset == offset + 1;
        Resume { replid: if former { identity.replid2 } else { identity.replid }, offset }
    }

    /// The backlog up to here comes from an earlier process.
    pub(super) fn note_kept(&self, until: ReplOffset) {
        self.kept_until.store(until, Relaxed);
    }

    /// How much of the backlog that is.
    pub fn kept_bytes(&self, backlog: Backlog) -> i64 {
        let kept = self.kept_until.load(Relaxed) + 1 - backlog.first_byte_offset;
        kept.clamp(0, backlog.histlen.max(0))
    }

    /// Host and port of the master we follow.
    pub fn master_addr(&self) -> Option<(String, u16)> {
        self.link.master()
    }

    /// Counts the replicas that `min-replicas-to-write` asks for. To be called when one comes or goes, when what is asked
    /// changes, and each second.
    pub fn count_good_replicas(&self, engine: &Engine) {
        let good = self.replicas.lock().good(clock::now_ms(), engine.config.now().min_replicas_max_lag);
        engine.state.good_replicas.store(good as u32, Relaxed);
    }

    pub fn replicas(&self) -> MutexGuard<'_, Replicas> {
        self.replicas.lock()
    }

    pub fn failover(&self) -> MutexGuard<'_, Failover> {
        self.failover.lock()
    }

    /// Remembers that the log ends where it does. Told by whoever passes the log on, and by the cron.
    pub(super) fn note_log_end(&self, engine: &Engine) {
        self.timeline.lock().note(engine.log.end_offset(), clock::mono_ms());
    }

    /// For how long who has everything up to `offset` has lacked what follows.
    pub(super) fn lacking_ms(&self, engine: &Engine, offset: ReplOffset) -> i64 {
        let (mut timeline, now_ms) = (self.timeline.lock(), clock::mono_ms());
        timeline.note(engine.log.end_offset(), now_ms);
        timeline.behind_ms(offset, now_ms)
    }

    pub(super) fn add_feed(&self, engine: &Engine, feed: Arc<FeedHandle>) {
        self.told.store(true, Relaxed);
        expire_cycle::no_rest(engine);
        self.feeds.lock().insert(feed.client.id, feed);
    }

    pub(super) fn feed(&self, id: u64) -> Option<Arc<FeedHandle>> {
        self.feeds.lock().get(&id).cloned()
    }

    pub(super) fn feeds(&self) -> Vec<Arc<FeedHandle>> {
        self.feeds.lock().values().cloned().collect()
    }

    pub(super) fn forget_feed(&self, id: u64) {
        self.feeds.lock().remove(&id);
    }

    pub(super) fn running(&self) -> Running {
        *self.running.lock()
    }

    /// What was written since the cut of the running snapshot.
    pub(super) fn behind(&self) -> Option<Arc<Spill>> {
        self.behind.lock().clone()
    }

    pub(super) fn set_behind(&self, spill: Option<Arc<Spill>>) {
        let old = std::mem::replace(&mut *self.behind.lock(), spill);
        drop(old);
    }

    /// Has each replica's entry tell where its full sync stands.
    pub(super) fn note_progress(&self, engine: &Engine, replicas: &mut Replicas) {
        let feeds = self.feeds.lock();
        for replica in replicas.iter_mut() {
            replica.progress = feeds.get(&replica.id).and_then(|feed| feed.progress(engine));
        }
    }

    /// Seconds the snapshot for replicas has taken, -1 if there is none.
    pub fn snapshot_took_s(&self) -> i64 {
        match self.running() {
            Running::Snapshot(_) => clock::now_ms() / 1000 - self.running_since_s.load(Relaxed),
            Running::Nothing | Running::Other => -1,
        }
    }

    pub(super) fn set_running(&self, running: Running) {
        self.running_since_s.store(clock::now_ms() / 1000, Relaxed);
        *self.running.lock() = running;
    }

    /// A history of our own, unlike any other.
    pub fn start_new_history(&self) {
        self.kept_until.store(0, Relaxed);
        self.identity.lock().start_new(ReplId::new(rand::hex_id()));
    }

    /// Whoever keeps the log in a file learns what the history is called from here on. To be called where names change, with
    /// every gate held.
    pub fn tell_names(&self, engine: &Engine) {
        let names = restart::known(engine).as_ref().map(position::names);
        engine.log.with(|log| log.names(names));
        engine.log.notify_readers();
    }

    /// A replica becomes a master (`State::set_role` is the caller's, who holds every gate). Our replicas are
    /// disconnected, so that they learn the new id; they may go on from where they are.
    pub fn promote(&self, engine: &Engine) {
        let offset = engine.log.end_offset();
        let identity = {
            let mut identity = self.identity.lock();
            identity.shift(ReplId::new(rand::hex_id()), offset);
            *identity
        };
        log(Note::notice(format!(
            "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {}",
            identity.replid2, identity.second_offset, identity.replid
        )));
        self.drop_replicas(engine);
        self.told.store(false, Relaxed);
        // The window must hold what our former fellow replicas lack; so there is one even if none of them comes.
        engine.log.create_backlog();
        engine.log.forget_selected_db();
        self.tell_names(engine);
    }

    /// A full resync put the master's data in place; the log begins anew behind `offset`. The caller holds every gate,
    /// and has disconnected our replicas when the old data went.
    pub fn adopt(&self, engine: &Engine, master: ReplId, offset: ReplOffset) {
        self.kept_until.store(0, Relaxed);
        self.identity.lock().adopt(master);
        engine.log.create_backlog();
        engine.log.reset(offset);
        self.timeline.lock().clear();
    }

    /// A partial resync was accepted; with a new id, our own replicas are disconnected so that they learn it.
    pub fn continue_as(&self, engine: &Engine, master: Option<ReplId>) {
        engine.log.create_backlog();
        let changed = master.is_some_and(|id| self.identity.lock().continue_as(id, engine.log.end_offset()));
        if changed {
            self.drop_replicas(engine);
        }
        self.tell_names(engine);
    }

    /// Ends the connections of all our replicas: what they follow is no longer ours. They come back and ask again.
    pub fn drop_replicas(&self, engine: &Engine) {
        self.drop_replicas_if(engine, |_| true);
    }

    /// Ends the connections of replicas that have not got our data yet: a master that turns replica is about to give it
    /// up, and two that turn to each other at once would else feed each other for ever.
    pub fn drop_syncing_replicas(&self, engine: &Engine) {
        self.drop_replicas_if(engine, |phase| {
            matches!(phase, Phase::WaitStart | Phase::WaitEnd | Phase::SendBulk | Phase::BgLoad)
        });
    }

    fn drop_replicas_if(&self, engine: &Engine, wanted: impl Fn(Phase) -> bool) {
        let ids: Vec<u64> = self.replicas.lock().iter().filter(|r| wanted(r.phase)).map(|r| r.id).collect();
        for client in ids.into_iter().filter_map(|id| engine.clients.get(id)) {
            client.kill();
        }
    }

    /// Whether SYNC and PSYNC have to be refused because we have no data to give.
    pub fn waits_for_own_master(&self, engine: &Engine) -> bool {
        engine.state.is_replica() && !engine.state.link_up.load(Relaxed)
    }
}

/// Puts a state machine's line into the server's log.
pub fn log(note: Note) {
    let Note { level, text } = note;
    match level {
        Level::Debug => tracing::trace!("{text}"),
        Level::Verbose => tracing::debug!("{text}"),
        Level::Notice => tracing::info!("{text}"),
        Level::Warning => tracing::warn!("{text}"),
        Level::Nothing => {}
    }
}
