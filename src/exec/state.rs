//! What this node is at the moment: master or replica, loading or not. Plain atomics that any thread reads.
//!
//! Who changes them: `repl` the role and the link, `persist` loading and save results, `server` shutdown.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::rand;

#[derive(Default)]
pub struct State {
    /// This node replicates another.
    pub replica: AtomicBool,
    /// Raised, with every gate held, when the node becomes a master, a replica, or another master's replica: what was
    /// admitted before may not be admissible any more.
    role_epoch: AtomicU64,
    /// The link to the master is up and in step.
    pub link_up: AtomicBool,
    /// A data set is being loaded; most commands are refused.
    pub loading: AtomicBool,
    /// A data set is being loaded beside the one that is served.
    pub async_loading: AtomicBool,
    /// The last BGSAVE failed.
    pub save_failed: AtomicBool,
    /// Replicas whose last ACK is recent enough for `min-replicas-max-lag`.
    pub good_replicas: AtomicU32,
    /// Once the log ends there, a replica may be too far behind: see [`Engine::on_log_growth`](super::Engine).
    pub log_watched_at: AtomicI64,
    pub shutting_down: AtomicBool,
    /// Unix time at which a shutdown no longer waits for replicas; 0 while none does.
    pub shutdown_deadline_ms: AtomicI64,
    /// DEBUG SET-ACTIVE-EXPIRE 0.
    pub active_expire_off: AtomicBool,
    /// Writes are refused while a coordinated failover hands over.
    pub failover_in_progress: AtomicBool,
    /// Changes since the last successful save.
    pub dirty: AtomicU64,
    pub last_save_s: AtomicI64,
    /// Workers that serve the connections at present.
    pub workers_in_use: AtomicUsize,
    pub started_ms: AtomicI64,
    /// Bytes and percent of a load in progress, for INFO.
    pub loading_total_bytes: AtomicU64,
    pub loading_loaded_bytes: AtomicU64,
    pub loading_start_s: AtomicI64,
    /// DEBUG PAUSE-CRON 1.
    pub cron_paused: AtomicBool,
    run_id: OnceLock<[u8; 40]>,
    /// The next snapshot's epoch.
    pub snapshot_epoch: AtomicU32,
    /// Writers put more into the running snapshot than its sink takes: clients are slowed down.
    pub snapshot_behind: AtomicBool,
    /// Twice as much: not only those who write much.
    pub snapshot_far_behind: AtomicBool,
    /// More is written while replicas sync than the disk takes: the same.
    pub spill_behind: AtomicBool,
    /// One of the two has caught up: those who waited may go on.
    caught_up: Notify,
    /// The data that BGSAVE saves was flushed: its file is not to take the place of a newer one.
    pub save_unwanted: AtomicBool,
    /// Bytes that writers have put into the running snapshot, because they changed what it had not saved yet.
    pub snapshot_kept_bytes: AtomicU64,
    pub snapshot_keys_total: AtomicU64,
    pub snapshot_keys_saved: AtomicU64,
    /// Keys that clients of this replica gave an expiry, by database. Empty on a master.
    pub own_expiring: Mutex<BTreeSet<(usize, Box<[u8]>)>>,
    /// The shard at which the active expiry cycle begins its next round.
    pub expire_shard: AtomicU32,
    /// The cycle rests until this, mono ms, or until the log ends elsewhere than there; 0: it does not.
    pub expiry_rests_until_ms: AtomicI64,
    pub expiry_rests_at: AtomicI64,
}

/// A sink may stand still for good: nobody waits longer than this for it.
const GIVE_WAY: Duration = Duration::from_millis(5);
/// Nor for the disk, which is our own.
const GIVE_WAY_TO_DISK: Duration = Duration::from_millis(100);

impl State {
    /// Whether a client is to give way that has sent `much`, or not.
    #[inline]
    pub fn is_behind(&self, much: bool) -> bool {
        self.spill_behind.load(Relaxed)
            || self.snapshot_behind.load(Relaxed) && (much || self.snapshot_far_behind.load(Relaxed))
    }

    /// What writers brought was taken: they may bring more. `flag` is one of the two.
    pub fn caught_up(&self, flag: &AtomicBool) {
        if flag.swap(false, Relaxed) {
            self.snapshot_far_behind.store(false, Relaxed);
            self.caught_up.notify_waiters();
        }
    }

    /// While something cannot follow the writers, everybody waits a moment, holding nothing.
    pub async fn give_way(&self) {
        let mut caught_up = pin!(self.caught_up.notified());
        // Registered before looking, so that no news in between is missed.
        caught_up.as_mut().enable();
        if self.is_behind(true) {
            let patience = if self.spill_behind.load(Relaxed) { GIVE_WAY_TO_DISK } else { GIVE_WAY };
            let _ = tokio::time::timeout(patience, caught_up).await;
        }
    }

    pub fn is_replica(&self) -> bool {
        self.replica.load(Relaxed)
    }

    pub fn role_epoch(&self) -> u64 {
        self.role_epoch.load(Relaxed)
    }

    /// Changes the role. The caller holds every gate; their mutexes order it with whatever runs behind one.
    pub fn set_role(&self, replica: bool) -> u64 {
        self.own_expiring.lock().clear();
        self.replica.store(replica, Relaxed);
        self.role_epoch.fetch_add(1, Relaxed) + 1
    }

    /// The name of this run of the server, as INFO tells it: Sentinel knows a restart by it.
    pub fn run_id(&self) -> &str {
        std::str::from_utf8(self.run_id.get_or_init(rand::hex_id)).unwrap_or_default()
    }

    pub fn is_loading(&self) -> bool {
        self.loading.load(Relaxed)
    }
}
