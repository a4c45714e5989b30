//! The replicas of this node, as data: in what phase each is, how far it says to be, and what that asks of us.
//!
//! Knows no sockets, no log and no clock: the caller attaches cursors, moves bytes and passes the time in. A node that is
//! itself a replica has replicas too; they are kept here just the same.
//!
//! ```text
//!   SYNC/PSYNC -----> WaitStart ----cut----> WaitEnd --file done--> SendBulk --all sent--> Online
//!      |                                        +---- sockets done ----------------------> Online (stream from the first ACK)
//!      +---- partial resync ------------------------------------------------------------> Online
//! ```
//! A replica with two connections is two of these: the one for the snapshot ends as RdbTransmitted, the one for the stream
//! gets it as BgLoad, while the replica loads, until it acknowledges.

use super::greeting::{Capa, Filter, Greeting};
use super::id::ReplOffset;
use super::note::{Note, address};
use super::progress::{Progress, TELL_EVERY_MS};
use crate::rdb::Dialect;

/// How far the full resync of a replica has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for a snapshot to begin.
    WaitStart,
    /// The snapshot of which it will get the data is being made, or is being sent to it as it is made.
    WaitEnd,
    /// The finished file is being sent.
    SendBulk,
    /// Gets the stream, and keeps it until it has loaded the snapshot that goes over its other connection.
    BgLoad,
    /// Gets the stream.
    Online,
    /// Got the snapshot and wanted nothing else.
    RdbTransmitted,
}

impl Phase {
    /// The word in INFO; a replica without one is not shown.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::WaitStart | Self::WaitEnd => Some("wait_bgsave"),
            Self::SendBulk => Some("send_bulk"),
            Self::BgLoad => Some("bg_transfer"),
            Self::Online => Some("online"),
            Self::RdbTransmitted => None,
        }
    }
}

/// How often a replica acknowledges by itself, whichever make it is.
const ACK_PERIOD_MS: i64 = 1000;

/// Where a snapshot for replicas goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Disk,
    Sockets,
}

#[derive(Clone, Debug)]
pub struct Replica {
    /// The client id.
    pub id: u64,
    /// Address it connected from.
    pub peer_ip: String,
    pub greeting: Greeting,
    pub phase: Phase,
    /// It came by SYNC: it acknowledges nothing and is not expected to.
    pub pre_psync: bool,
    /// What it says to have applied, and to have on disk; 0 until it says so.
    pub ack_offset: ReplOffset,
    pub disk_offset: ReplOffset,
    pub ack_ms: i64,
    /// How long, when it last acknowledged, it had lacked what it lacked; `None` before it ever did.
    pub behind_ms: Option<i64>,
    /// Offset of the snapshot it gets.
    pub initial_offset: ReplOffset,
    /// Online after a transfer to its socket: the stream begins with its first acknowledgement.
    pub waits_for_ack: bool,
    /// It has acknowledged something: what it was sent in full is loaded.
    pub heard: bool,
    /// Since when it waits for a snapshot.
    pub asked_ms: i64,
    /// While its socket takes part in a snapshot: since when it takes nothing.
    pub stalled_ms: Option<i64>,
    /// Where its full sync stands, and when that was last told in the log. Brought up to date by the caller.
    pub progress: Option<Progress>,
    pub told_ms: i64,
}

impl Replica {
    pub fn new(id: u64, peer_ip: String, greeting: Greeting, pre_psync: bool, now_ms: i64) -> Self {
        Self {
            id,
            peer_ip,
            greeting,
            phase: Phase::WaitStart,
            pre_psync,
            ack_offset: 0,
            disk_offset: 0,
            ack_ms: now_ms,
            behind_ms: None,
            initial_offset: 0,
            waits_for_ack: false,
            heard: false,
            asked_ms: now_ms,
            stalled_ms: None,
            progress: None,
            told_ms: now_ms,
        }
    }

    /// The address others can reach it by: announced, or where it came from.
    pub fn host(&self) -> &str {
        self.greeting.announced_ip.as_deref().unwrap_or(&self.peer_ip)
    }

    /// What the log calls it.
    pub fn name(&self) -> String {
        match (self.host(), self.greeting.listening_port) {
            ("", _) => format!("client id #{}", self.id),
            (host, 0) => format!("{host}:<unknown-replica-port>"),
            (host, port) => address(host, port),
        }
    }

    /// Seconds since it was heard, for INFO and `min-replicas-max-lag`.
    pub fn lag_s(&self, now_ms: i64) -> i64 {
        if self.phase == Phase::Online { now_ms.div_euclid(1000) - self.ack_ms.div_euclid(1000) } else { 0 }
    }

    /// Milliseconds it is behind, -1 if it has not told. What it said with its last acknowledgement holds until the next one
    /// is overdue; from then on it counts for how long it has lacked the byte after its offset. `lacking_ms`: that time as
    /// it is now.
    pub fn lag_ms(&self, lacking_ms: i64, now_ms: i64) -> i64 {
        match self.behind_ms {
            Some(told) if self.phase == Phase::Online => {
                let overdue = now_ms - self.ack_ms > ACK_PERIOD_MS + ACK_PERIOD_MS / 2;
                if overdue { told.max(lacking_ms) } else { told }
            }
            Some(_) | None => -1,
        }
    }

    /// The value of `slave<n>:` in INFO: stock's, and `lag_ms` behind it.
    pub fn info(&self, lacking_ms: i64, now_ms: i64) -> Option<String> {
        let state = self.phase.word()?;
        let ip = self.host();
        let (port, offset, lag) = (self.greeting.listening_port, self.ack_offset, self.lag_s(now_ms));
        let lag_ms = self.lag_ms(lacking_ms, now_ms);
        // In Valkey's words, where there are two.
        let kind = match (self.greeting.rdb_channel, self.greeting.rdb_client_id) {
            (true, _) => ",type=rdb-channel",
            (false, Some(_)) if self.phase == Phase::BgLoad => ",type=main-channel",
            (false, _) => "",
        };
        let sync = self.progress.map(|progress| format!(",{}", progress.info(now_ms))).unwrap_or_default();
        Some(format!("ip={ip},port={port},state={state},offset={offset},lag={lag},lag_ms={lag_ms}{kind}{sync}"))
    }

    /// Whether bytes of the stream are to be sent to it now.
    pub fn takes_stream(&self) -> bool {
        self.phase == Phase::BgLoad || self.phase == Phase::Online && !self.waits_for_ack
    }

    /// Whether it reads the stream as it comes, as far as we can know.
    pub fn has_loaded(&self) -> bool {
        self.pre_psync || self.heard
    }
}

/// What the configuration says about serving replicas.
#[derive(Clone, Copy, Debug)]
pub struct MasterConfig {
    /// `repl-timeout`
    pub timeout_ms: i64,
    /// `repl-ping-replica-period`
    pub ping_period_ms: i64,
    /// `repl-backlog-ttl`; 0 keeps the backlog for ever.
    pub backlog_ttl_ms: i64,
    /// `repl-diskless-sync`, `-delay`, `-max-replicas`
    pub diskless: bool,
    pub diskless_delay_ms: i64,
    pub diskless_max_replicas: usize,
    /// There is what Redis and Valkey write differently: hash fields that expire.
    pub dialects_differ: bool,
}

impl MasterConfig {
    /// In which of the two a snapshot for this replica is written.
    fn dialect(&self, replica: &Replica) -> Dialect {
        if self.dialects_differ { replica.greeting.dialect() } else { Dialect::Redis }
    }
}

impl Default for MasterConfig {
    fn default() -> Self {
        Self {
            timeout_ms: 60_000,
            ping_period_ms: 10_000,
            backlog_ttl_ms: 3_600_000,
            diskless: true,
            diskless_delay_ms: 5_000,
            diskless_max_replicas: 0,
            dialects_differ: false,
        }
    }
}

/// The snapshot that is being made while somebody asks for a full resync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    Nothing,
    Snapshot(Target),
    /// A rewrite of the append-only file or the like, during which no snapshot begins.
    Other,
}

/// What becomes of a new full resync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The file being written will do: its offset is this. Answer `+FULLRESYNC` now.
    Attach { offset: ReplOffset },
    /// [`Replicas::due`] will say when.
    Wait,
}

/// A snapshot to begin for these replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub target: Target,
    pub filter: Filter,
    /// How they read what Redis and Valkey write differently.
    pub dialect: Dialect,
    pub ids: Vec<u64>,
}

impl Start {
    /// The stock log line at its beginning.
    pub fn describe(&self) -> String {
        let target = match self.target {
            Target::Disk => "disk",
            Target::Sockets => "replicas sockets",
        };
        format!("Starting BGSAVE for SYNC with target: {target}")
    }
}

/// What the once-a-second look asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chore {
    Log(Note),
    /// Append a PING to the log: replicas tell by it that we live. Masters only.
    Ping,
    /// Send one `\n`, which is no protocol: it is waiting for a snapshot.
    Newline(u64),
    Disconnect(u64),
    /// Nobody has come for the backlog: free it, and begin a history of our own, for without a backlog writes no longer
    /// advance the offset.
    FreeBacklog,
}

#[derive(Debug, Default)]
pub struct Replicas {
    list: Vec<Replica>,
    /// Since when a backlog of ours has been without anybody.
    none_since_ms: Option<i64>,
    pinged_ms: i64,
}

impl Replicas {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// In the order they came.
    pub fn iter(&self) -> impl Iterator<Item = &Replica> {
        self.list.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Replica> {
        self.list.iter_mut()
    }

    pub fn get(&self, id: u64) -> Option<&Replica> {
        self.list.iter().find(|replica| replica.id == id)
    }

    pub fn get_mut(&mut self, id: u64) -> Option<&mut Replica> {
        self.list.iter_mut().find(|replica| replica.id == id)
    }

    /// One that goes on from where it was.
    pub fn add_partial(&mut self, mut replica: Replica, now_ms: i64) {
        replica.phase = Phase::Online;
        replica.ack_ms = now_ms;
        self.list.push(replica);
    }

    /// The second connection of one whose first gets the snapshot.
    pub fn add_beside(&mut self, mut replica: Replica, now_ms: i64) {
        replica.phase = Phase::BgLoad;
        replica.ack_ms = now_ms;
        self.list.push(replica);
    }

    /// One that needs everything.
    pub fn add_full(&mut self, replica: Replica, running: Running, cfg: &MasterConfig, notes: &mut Vec<Note>) -> Plan {
        let eof = replica.greeting.capa.eof;
        let (plan, text) = match running {
            Running::Snapshot(Target::Disk) => match self.attachable(&replica, cfg) {
                Some(offset) => (Plan::Attach { offset }, "Waiting for end of BGSAVE for SYNC"),
                None => {
                    (Plan::Wait, "Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC")
                }
            },
            Running::Snapshot(Target::Sockets) => {
                (Plan::Wait, "Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC")
            }
            Running::Other => (
                Plan::Wait,
                "No BGSAVE in progress, but another BG operation is active. BGSAVE for replication delayed",
            ),
            Running::Nothing if cfg.diskless && eof && cfg.diskless_delay_ms > 0 => {
                (Plan::Wait, "Delay next BGSAVE for diskless SYNC")
            }
            Running::Nothing => (Plan::Wait, ""),
        };
        if !text.is_empty() {
            notes.push(Note::notice(text));
        }
        self.list.push(replica);
        if let (Plan::Attach { offset }, Some(added)) = (plan, self.list.last_mut()) {
            added.phase = Phase::WaitEnd;
            added.initial_offset = offset;
        }
        plan
    }

    /// The offset of the file being written, if that is one a replica waits for and this one can take.
    fn attachable(&self, new: &Replica, cfg: &MasterConfig) -> Option<ReplOffset> {
        let other =
            self.list.iter().find(|r| r.phase == Phase::WaitEnd && (!r.greeting.rdb_only || new.greeting.rdb_only))?;
        let fits = !new.greeting.rdb_channel
            && new.greeting.capa.covers(other.greeting.capa)
            && new.greeting.filter == other.greeting.filter
            && cfg.dialect(new) == cfg.dialect(other);
        fits.then_some(other.initial_offset)
    }

    /// The snapshot that should begin now, if any. To be asked after each [`Replicas::add_full`], at each tick and when
    /// something that was running has ended.
    pub fn due(&self, now_ms: i64, running: Running, cfg: &MasterConfig) -> Option<Start> {
        if running != Running::Nothing {
            return None;
        }
        let first = self.list.iter().find(|r| r.phase == Phase::WaitStart)?;
        let (filter, dialect) = (first.greeting.filter, cfg.dialect(first));
        let fits = |r: &&Replica| r.greeting.filter == filter && cfg.dialect(r) == dialect;
        let waiting = || self.list.iter().filter(|r| r.phase == Phase::WaitStart).filter(fits);
        let capa = waiting().fold(first.greeting.capa, |capa, r| Capa::common(capa, r.greeting.capa));
        let alone = waiting().any(|r| r.greeting.rdb_channel);
        let sockets = (cfg.diskless || alone || !filter.is_empty()) && capa.eof;
        let waited_ms = waiting().map(|r| now_ms - r.asked_ms).max().unwrap_or(0);
        let many = cfg.diskless_max_replicas > 0 && waiting().count() >= cfg.diskless_max_replicas;
        // Others may be on their way; with sockets they could not join later.
        if sockets && cfg.diskless && !many && waited_ms < cfg.diskless_delay_ms {
            return None;
        }
        let target = if sockets { Target::Sockets } else { Target::Disk };
        Some(Start { target, filter, dialect, ids: waiting().map(|r| r.id).collect() })
    }

    /// The cut was made: these replicas get the data as it was at `offset`. Each is to be told `+FULLRESYNC`, unless it
    /// came by SYNC, and to be given a cursor behind `offset`.
    pub fn started(&mut self, start: &Start, offset: ReplOffset) {
        for replica in self.list.iter_mut().filter(|r| start.ids.contains(&r.id)) {
            replica.phase = Phase::WaitEnd;
            replica.initial_offset = offset;
        }
    }

    /// The snapshot for replicas is done. Gives those to disconnect; with `Disk`, those in [`Phase::SendBulk`] are now to
    /// be sent the file.
    pub fn finished(&mut self, target: Target, ok: bool, now_ms: i64, notes: &mut Vec<Note>) -> Vec<u64> {
        let mut disconnect = Vec::new();
        for replica in self.list.iter_mut().filter(|r| r.phase == Phase::WaitEnd) {
            replica.stalled_ms = None;
            if !ok {
                notes.push(Note::warning("SYNC failed. BGSAVE child returned an error"));
                disconnect.push(replica.id);
                continue;
            }
            match target {
                Target::Disk => replica.phase = Phase::SendBulk,
                Target::Sockets if replica.greeting.rdb_channel => {
                    // It closes this connection itself, once the other one is in step.
                    replica.phase = Phase::RdbTransmitted;
                    replica.ack_ms = now_ms;
                    let name = replica.name();
                    notes.push(Note::notice(format!("The snapshot was sent to replica {name} on its own connection")));
                }
                Target::Sockets => {
                    notes.push(Note::notice(format!(
                        "Streamed RDB transfer with replica {} succeeded (socket). Waiting for REPLCONF ACK from replica \
                         to enable streaming",
                        replica.name()
                    )));
                    replica.waits_for_ack = true;
                    if !put_online(replica, now_ms, notes) {
                        disconnect.push(replica.id);
                    }
                }
            }
        }
        disconnect
    }

    /// The whole file was sent. False if the replica is now to be disconnected.
    pub fn bulk_sent(&mut self, id: u64, now_ms: i64, notes: &mut Vec<Note>) -> bool {
        self.get_mut(id).is_some_and(|replica| put_online(replica, now_ms, notes))
    }

    /// What its acknowledgement means in time.
    pub fn told_lag(&mut self, id: u64, behind_ms: i64) {
        if let Some(replica) = self.get_mut(id) {
            replica.behind_ms = Some(behind_ms);
        }
    }

    /// `REPLCONF ACK`. True if it says more than before, or lets the stream begin: look at waiting clients, and write.
    pub fn acked(&mut self, id: u64, offset: ReplOffset, on_disk: Option<ReplOffset>, now_ms: i64) -> bool {
        let Some(replica) = self.get_mut(id) else { return false };
        replica.ack_ms = now_ms;
        replica.heard = true;
        let loaded = replica.phase == Phase::BgLoad;
        if loaded {
            replica.phase = Phase::Online;
        }
        let begins = loaded || replica.phase == Phase::Online && std::mem::take(&mut replica.waits_for_ack);
        let disk = on_disk.unwrap_or(replica.disk_offset);
        let more = offset > replica.ack_offset || disk > replica.disk_offset;
        replica.ack_offset = replica.ack_offset.max(offset);
        replica.disk_offset = replica.disk_offset.max(disk);
        begins || more
    }

    /// Its connection is gone.
    pub fn remove(&mut self, id: u64, now_ms: i64, notes: &mut Vec<Note>) -> Option<Replica> {
        let at = self.list.iter().position(|replica| replica.id == id)?;
        let replica = self.list.remove(at);
        notes.push(Note::notice(format!("Connection with replica {} lost.", replica.name())));
        if self.list.is_empty() {
            self.none_since_ms = Some(now_ms);
        }
        Some(replica)
    }

    /// A snapshot to disk that nobody waits for any more may be given up.
    pub fn anybody_waits_for_snapshot(&self) -> bool {
        self.list.iter().any(|replica| replica.phase == Phase::WaitEnd)
    }

    /// Replicas that get the stream and were heard within `max_lag_s`, for `min-replicas-to-write`.
    pub fn good(&self, now_ms: i64, max_lag_s: i64) -> usize {
        self.list.iter().filter(|r| r.phase == Phase::Online && r.lag_s(now_ms) <= max_lag_s).count()
    }

    /// Replicas that have applied everything up to `offset`.
    pub fn count_acked(&self, offset: ReplOffset) -> usize {
        self.list.iter().filter(|r| r.phase == Phase::Online && r.ack_offset >= offset).count()
    }

    /// Replicas that have everything up to `offset` on disk.
    pub fn count_on_disk(&self, offset: ReplOffset) -> usize {
        self.list.iter().filter(|r| r.phase == Phase::Online && r.disk_offset >= offset).count()
    }

    /// The replica at this address, for FAILOVER TO.
    pub fn find(&self, host: &str, port: u16) -> Option<&Replica> {
        self.list.iter().find(|r| r.greeting.listening_port == port && r.host().eq_ignore_ascii_case(host))
    }

    /// Once a second. `paused`: writes are held up for a failover, which must not see the offset move.
    pub fn tick(
        &mut self,
        now_ms: i64,
        is_master: bool,
        paused: bool,
        has_backlog: bool,
        running: Running,
        cfg: &MasterConfig,
    ) -> Vec<Chore> {
        let mut chores = Vec::new();
        if !is_master || self.list.is_empty() || self.pinged_ms == 0 {
            // The first one comes a whole period after there is somebody to hear it: a PING that reaches some replicas
            // and not the one that is promoted meanwhile would cost those a full sync.
            self.pinged_ms = now_ms;
        } else if !paused && now_ms - self.pinged_ms >= cfg.ping_period_ms {
            self.pinged_ms = now_ms;
            chores.push(Chore::Ping);
        }
        let sockets = running == Running::Snapshot(Target::Sockets);
        for replica in &mut self.list {
            if now_ms - replica.told_ms >= TELL_EVERY_MS
                && let Some(progress) = replica.progress
            {
                replica.told_ms = now_ms;
                let text = format!("Sync of replica {}: {}", replica.name(), progress.describe(now_ms));
                chores.push(Chore::Log(Note::notice(text)));
            }
            let silent = |since_ms: i64| now_ms - since_ms > cfg.timeout_ms;
            let timed_out = match replica.phase {
                Phase::WaitStart => {
                    chores.push(Chore::Newline(replica.id));
                    None
                }
                Phase::WaitEnd if sockets => replica.stalled_ms.is_some_and(silent).then_some("full sync"),
                Phase::WaitEnd => {
                    chores.push(Chore::Newline(replica.id));
                    None
                }
                // Its other connection must have come by now.
                Phase::RdbTransmitted if replica.greeting.rdb_channel => {
                    silent(replica.ack_ms).then_some("snapshot's connection")
                }
                Phase::SendBulk | Phase::BgLoad | Phase::RdbTransmitted => None,
                Phase::Online => (!replica.pre_psync && silent(replica.ack_ms)).then_some("streaming sync"),
            };
            if let Some(what) = timed_out {
                let text = format!("Disconnecting timedout replica ({what}): {}", replica.name());
                chores.push(Chore::Log(Note::warning(text)));
                chores.push(Chore::Log(Note::notice(format!(
                    "It took nothing for more than {} seconds; if that is no fault of the line, a larger repl-timeout \
                     here and there helps",
                    cfg.timeout_ms / 1000
                ))));
                chores.push(Chore::Disconnect(replica.id));
            }
        }
        if !is_master || !has_backlog || !self.list.is_empty() {
            // Whoever is promoted begins with a time of its own.
            self.none_since_ms = None;
            return chores;
        }
        let idle_ms = now_ms - *self.none_since_ms.get_or_insert(now_ms);
        if cfg.backlog_ttl_ms > 0 && idle_ms > cfg.backlog_ttl_ms {
            chores.push(Chore::FreeBacklog);
            let seconds = cfg.backlog_ttl_ms / 1000;
            chores.push(Chore::Log(Note::notice(format!(
                "Replication backlog freed after {seconds} seconds without connected replicas."
            ))));
        }
        chores
    }
}

/// False if the replica wanted the snapshot only and is to be disconnected.
fn put_online(replica: &mut Replica, now_ms: i64, notes: &mut Vec<Note>) -> bool {
    if replica.greeting.rdb_only {
        replica.phase = Phase::RdbTransmitted;
        notes.push(Note::notice(format!(
            "RDB transfer completed, rdb only replica ({}) should be disconnected asap",
            replica.name()
        )));
        return false;
    }
    replica.phase = Phase::Online;
    // It had no occasion to acknowledge anything so far.
    replica.ack_ms = now_ms;
    notes.push(Note::notice(format!("Synchronization with replica {} succeeded", replica.name())));
    true
}

#[cfg(test)]
mod tests;
