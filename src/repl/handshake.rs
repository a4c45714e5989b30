//! A replica's link to its master: connecting, greeting, asking for a resync, keeping alive, coming back.
//!
//! ```text
//!            set_master                 PING .. PSYNC           +FULLRESYNC            loaded
//!   None ---> Connecting --connected--> Handshake ------------> Transfer -----------> Connected
//!    ^           ^  ^                       |  +CONTINUE           |                   ^   |
//!    |unset      |  |                       +---------------------------------------- -+   |
//!    |           |  +---- at once: timeout, broken transfer, lost link -----+--------------+
//!    |           +------- Connect <-- error in the handshake; tried again at the next tick
//! ```
//!
//! With `dual-channel-replication-enabled` the reply to PSYNC may be `+DUALCHANNELSYNC`. Then a second connection asks for the
//! snapshot ([`super::rdb_channel`]); as soon as its point in the stream is known, this one asks for what follows, which is
//! kept until the snapshot is loaded.
//!
//! A value with no socket, no clock and no data: [`MasterLink::step`] takes what happened and says what to do. Whoever
//! moves the bytes hands those of the handshake to [`MasterLink::receive`]; after the reply to PSYNC they belong to
//! [`super::transfer::Receiver`] or to the stream, and the link is only told how that goes. Order, wording and
//! tolerance are those of stock 7.2. A peer's bytes never panic here.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::fence::{self, Fenced};
use super::id::{ReplId, ReplOffset, Resume};
pub use super::link_config::LinkConfig;
use super::note::{Note, address, printable};
use super::rdb_channel::Point;
use crate::base::number::parse_i64;
use crate::resp::encode_command;

/// Longest line of a reply. Stock takes 256 bytes; error replies of proxies can be longer.
const MAX_LINE: usize = 1024;

/// The link as ROLE and INFO tell of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// We are a master.
    #[default]
    None,
    /// To be tried at the next tick.
    Connect,
    Connecting,
    Handshake,
    /// Receiving or loading the master's data.
    Sync,
    Connected,
}

impl LinkState {
    /// The word in ROLE.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Connect => "connect",
            Self::Connecting => "connecting",
            Self::Handshake => "handshake",
            Self::Sync => "sync",
            Self::Connected => "connected",
        }
    }
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// REPLICAOF, or a failover to a replica of ours. `held` is the history that a former master or a connected replica
    /// holds at this moment; the link remembers what else it knew.
    SetMaster { host: String, port: u16, held: Option<Resume>, failover: bool },
    /// The configuration file at the start. `held` is the history of the data that was loaded, if that tells.
    Restart { host: String, port: u16, held: Option<Resume> },
    /// REPLICAOF NO ONE.
    Unset,
    /// REPLICAOF … FORCE, with the master we have: whatever it offers next is to be taken.
    Force,
    /// The connection stands.
    Connected,
    /// It could not be made.
    ConnectFailed(String),
    /// The connection broke or was closed by the master; or, while connected, we close it for a reason of our own.
    /// `held` is where the stream stopped, or `None` if going on from there is out of the question.
    Lost { error: String, held: Option<Resume> },
    /// What was to be sent could not be.
    WriteFailed(String),
    /// Bytes of the transfer or of the stream arrived.
    Heard,
    /// The transfer cannot be used: the master's error, a full disk, damaged data. The text is logged.
    TransferFailed(String),
    /// The second connection learnt where the stream behind its snapshot begins.
    SnapshotPoint(Point),
    /// The second connection came to nothing.
    ChannelFailed(String),
    /// The payload is complete, or is being read as it comes: loading takes time, and the master must hear from us.
    LoadStarted,
    /// The data we held before is gone: there is nothing left to go on from.
    OldDataDropped,
    /// The master's data is in place under its id and offset.
    Loaded,
    /// Once a second.
    Tick,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Log(Note),
    /// Resolve and connect; then [`Event::Connected`] or [`Event::ConnectFailed`].
    Connect {
        host: String,
        port: u16,
    },
    Send(Vec<u8>),
    /// Drop the connection, or the attempt, and with it a transfer that is under way. No event follows from it.
    Close,
    /// The master will send its data: prepare a sink, receive. `from` is the id and offset the data will have; a master
    /// that knows only SYNC gives none, and then the data begins a history of our own.
    BeginFullSync {
        from: Option<Resume>,
    },
    /// The master sends its data over a connection of its own: open it, say who we are, and tell
    /// [`Event::SnapshotPoint`] or [`Event::ChannelFailed`]. What follows on this one after [`Action::BeginFullSync`] is the
    /// stream.
    OpenRdbChannel,
    /// The stream continues where we stopped. A new id is to be adopted ([`super::Identity::continue_as`]), and then our
    /// own replicas are to be disconnected, so that they learn of it.
    Continue {
        new_replid: Option<ReplId>,
    },
    /// Acknowledge what has been applied: [`ack`].
    SendAck,
    /// The answer to `PSYNC … FAILOVER`. After a refusal the node is to become a master again.
    FailoverAnswered {
        accepted: bool,
    },
    State(LinkState),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    None,
    Connect,
    Connecting,
    Awaiting(Reply),
    /// The second connection is about to learn where the stream begins.
    RdbChannel,
    Transfer {
        loading: bool,
    },
    Connected,
}

/// The reply that comes next. After PONG all others but PSYNC's were asked for in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Pong,
    Auth,
    Port,
    Ip,
    Capa,
    Version,
    Psync,
    RdbClient,
}

/// Told for Valkey's masters: to whom tells none, they write what Valkey 8 could read, and give up where a hash has fields
/// that expire. It is the first version whose files hold these.
pub(super) const READS_AS_VALKEY: &str = "9.0.0";

#[derive(Debug)]
pub struct MasterLink {
    pub config: LinkConfig,
    master: Option<(String, u16)>,
    state: State,
    /// Where to go on from: stock's cached master.
    resume: Option<Resume>,
    /// What the transfer under way will give.
    incoming: Option<Resume>,
    /// The next PSYNC tells the replica to take over.
    failover: bool,
    /// What was asked for after PONG, whatever the configuration says by now.
    asked_auth: bool,
    asked_ip: bool,
    /// What the second connection gets, once that is known.
    snapshot: Option<Resume>,
    /// A second connection is under way, or has been: what comes over the first is the stream.
    two_channels: bool,
    /// This master sent us to a second connection and would not have it.
    one_channel: bool,
    /// The master knows neither ids nor offsets: it gets no acknowledgements.
    pre_psync: bool,
    /// The master closed while we were loading what it had sent in full.
    lost_while_loading: Option<String>,
    line: Vec<u8>,
    heard_ms: i64,
    /// Since when a link that once stood is down.
    down_since_ms: Option<i64>,
    /// We have been in step with this master since it was named, or had its data when we started: nobody asked for another
    /// data set.
    settled: bool,
    /// What the transfer under way will give is another history than the one we hold, unasked for.
    doubtful: bool,
    /// What it offered was refused.
    fenced: Option<Fenced>,
    /// Not to be asked again before.
    rest_until_ms: i64,
}

impl MasterLink {
    pub fn new(config: LinkConfig) -> Self {
        Self {
            config,
            master: None,
            state: State::None,
            resume: None,
            incoming: None,
            failover: false,
            asked_auth: false,
            asked_ip: false,
            snapshot: None,
            two_channels: false,
            one_channel: false,
            pre_psync: false,
            lost_while_loading: None,
            line: Vec::new(),
            heard_ms: 0,
            down_since_ms: None,
            settled: false,
            doubtful: false,
            fenced: None,
            rest_until_ms: 0,
        }
    }

    pub fn state(&self) -> LinkState {
        match self.state {
            State::None => LinkState::None,
            State::Connect => LinkState::Connect,
            State::Connecting => LinkState::Connecting,
            State::Awaiting(_) | State::RdbChannel => LinkState::Handshake,
            State::Transfer { .. } => LinkState::Sync,
            State::Connected => LinkState::Connected,
        }
    }

    /// Host and port of the master, if we are a replica.
    pub fn master(&self) -> Option<(&str, u16)> {
        self.master.as_ref().map(|(host, port)| (host.as_str(), *port))
    }

    /// When the master was last heard.
    pub fn heard_ms(&self) -> i64 {
        self.heard_ms
    }

    /// Since when the link is down; `None` while it is up and before it ever was.
    pub fn down_since_ms(&self) -> Option<i64> {
        self.down_since_ms
    }

    /// The refusal that stands.
    pub fn fenced(&self) -> Option<Fenced> {
        self.fenced
    }

    /// Whether the transfer under way may have to be refused: then nothing may be given up before its size is known.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// The transfer under way brings so many keys in place of those held, of which nothing was given up yet. False if it is
    /// refused: then the link is closed and rests.
    pub fn offered(&mut self, now_ms: i64, held_keys: u64, offered_keys: u64, actions: &mut Vec<Action>) -> bool {
        let State::Transfer { .. } = self.state else { return false };
        let min_keys = self.config.fence_keys.filter(|_| self.doubtful);
        if !min_keys.is_some_and(|min_keys| fence::shrinks(held_keys, offered_keys, min_keys)) {
            return true;
        }
        let before = self.state();
        let so_far = self.fenced.unwrap_or(Fenced { held_keys, offered_keys, since_ms: now_ms, refusals: 0 });
        self.fenced = Some(Fenced { held_keys, offered_keys, refusals: so_far.refusals + 1, ..so_far });
        if so_far.refusals == 0 {
            let (host, port) = self.master().unwrap_or_default();
            warn(
                actions,
                format!(
                    "LINEAGE FENCE: master {} came back with another history and {offered_keys} keys, while this replica \
                     holds {held_keys}: it keeps and serves them instead of taking the master's data set. If the master \
                     lost its data, restore it there, or promote this replica by REPLICAOF NO ONE. If the data is meant \
                     to be gone: REPLICAOF {host} {port} FORCE. See replica-lineage-fence.",
                    address(host, port),
                ),
            );
        } else {
            note(actions, format!("The lineage fence still stands: {held_keys} keys here, {offered_keys} offered"));
        }
        self.retry_later(actions);
        self.rest_until_ms = now_ms + fence::RETRY_MS;
        self.tell_state(before, actions);
        false
    }

    /// The point a partial resync would be asked for from; `None` while connected.
    pub fn resume(&self) -> Option<Resume> {
        self.resume
    }

    pub fn step(&mut self, now_ms: i64, event: Event, actions: &mut Vec<Action>) {
        let before = self.state();
        match event {
            Event::SetMaster { host, port, held, failover } => {
                self.set_master(now_ms, (host, port), held, failover, actions);
            }
            Event::Restart { host, port, held } => {
                self.set_master(now_ms, (host, port), held, false, actions);
                // The data is what an earlier process had, and nobody has asked for other data since.
                self.settled = held.is_some();
            }
            Event::Unset => self.unset(actions),
            Event::Force => self.force(now_ms, actions),
            Event::Connected => self.connected(now_ms, actions),
            Event::ConnectFailed(error) => {
                if self.state == State::Connecting {
                    warn(actions, format!("Error condition on socket for SYNC: {error}"));
                    self.state = State::Connect;
                }
            }
            Event::Lost { error, held } => self.lost(now_ms, error, held, actions),
            Event::WriteFailed(error) => self.write_failed(now_ms, error, actions),
            Event::Heard => self.heard_ms = now_ms,
            Event::TransferFailed(text) => {
                if let State::Transfer { .. } = self.state {
                    warn(actions, text);
                    self.retry_at_once(now_ms, actions);
                }
            }
            Event::LoadStarted => {
                if let State::Transfer { loading } = &mut self.state {
                    *loading = true;
                }
            }
            Event::SnapshotPoint(point) => self.snapshot_begins(now_ms, point, actions),
            Event::ChannelFailed(error) => {
                if self.two_channels && self.state != State::Connect {
                    warn(actions, format!("The second connection to the MASTER failed: {error}"));
                    // A sync over one is better than none.
                    self.one_channel = true;
                    self.retry_later(actions);
                }
            }
            Event::OldDataDropped => self.discard_resume(actions),
            Event::Loaded => self.loaded(now_ms, actions),
            Event::Tick => self.tick(now_ms, actions),
        }
        self.tell_state(before, actions);
    }

    /// Takes the connection's bytes during the handshake and says how many it consumed: all, unless the reply to PSYNC
    /// was among them.
    pub fn receive(&mut self, now_ms: i64, bytes: &[u8], actions: &mut Vec<Action>) -> usize {
        let before = self.state();
        let mut rest = bytes;
        while let State::Awaiting(reply) = self.state {
            let end = memchr::memchr(b'\n', rest);
            let (head, tail) = rest.split_at(end.unwrap_or(rest.len()));
            if self.line.len() + head.len() > MAX_LINE {
                warn(actions, "Master sent a line too long for a reply, are you sure the host and port are right?");
                self.retry_later(actions);
                break;
            }
            self.line.extend_from_slice(head);
            rest = tail.get(1..).unwrap_or_default();
            if end.is_none() {
                break;
            }
            let line = std::mem::take(&mut self.line);
            self.heard_ms = now_ms;
            self.replied(now_ms, reply, line.strip_suffix(b"\r").unwrap_or(&line), actions);
        }
        self.tell_state(before, actions);
        bytes.len() - rest.len()
    }

    fn tell_state(&self, before: LinkState, actions: &mut Vec<Action>) {
        if self.state() != before {
            actions.push(Action::State(self.state()));
        }
    }

    fn set_master(
        &mut self,
        now_ms: i64,
        master: (String, u16),
        held: Option<Resume>,
        failover: bool,
        actions: &mut Vec<Action>,
    ) {
        match self.state {
            State::None => {
                self.resume = held;
                if held.is_some() {
                    note(
                        actions,
                        "Before turning into a replica, using my own master parameters to synthesize a cached master: \
                         I may be able to synchronize with the new master with just a partial transfer.",
                    );
                }
            }
            State::Connected => {
                self.drop_connected(now_ms, held, actions);
                actions.push(Action::Close);
            }
            State::Connect => {}
            State::Connecting | State::Awaiting(_) | State::RdbChannel | State::Transfer { .. } => {
                actions.push(Action::Close);
            }
        }
        self.one_channel = false;
        note(actions, format!("Connecting to MASTER {}", address(&master.0, master.1)));
        self.master = Some(master);
        self.failover = failover;
        self.trust();
        self.connect(now_ms, actions);
    }

    /// Whatever the master offers next was asked for.
    fn trust(&mut self) {
        (self.settled, self.doubtful, self.fenced, self.rest_until_ms) = (false, false, None, 0);
    }

    fn force(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        match self.state {
            // There is nothing to force: the next loss is another matter.
            State::None | State::Connected => {}
            State::Connecting | State::Awaiting(_) | State::RdbChannel | State::Transfer { .. } => self.trust(),
            State::Connect => {
                self.trust();
                self.connect(now_ms, actions);
            }
        }
    }

    fn unset(&mut self, actions: &mut Vec<Action>) {
        match self.state {
            State::None => return,
            State::Connect => {}
            State::Connected => {
                note(actions, "Connection with master lost.");
                actions.push(Action::Close);
            }
            State::Connecting | State::Awaiting(_) | State::RdbChannel | State::Transfer { .. } => {
                actions.push(Action::Close);
            }
        }
        self.discard_resume(actions);
        self.state = State::None;
        self.master = None;
        self.failover = false;
        self.down_since_ms = None;
        self.trust();
    }

    fn connect(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        let Some((host, port)) = self.master.clone() else { return };
        self.state = State::Connecting;
        self.heard_ms = now_ms;
        self.line.clear();
        self.incoming = None;
        self.snapshot = None;
        self.two_channels = false;
        self.lost_while_loading = None;
        note(actions, "MASTER <-> REPLICA sync started");
        actions.push(Action::Connect { host, port });
    }

    fn connected(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        if self.state != State::Connecting {
            return;
        }
        note(actions, "Non blocking connect for SYNC fired the event.");
        self.heard_ms = now_ms;
        self.state = State::Awaiting(Reply::Pong);
        send(actions, &[b"PING"]);
    }

    fn replied(&mut self, now_ms: i64, reply: Reply, line: &[u8], actions: &mut Vec<Action>) {
        let refused = line.first() == Some(&b'-');
        // An option that an old master does not know is no reason to do without it.
        let tolerate = |option: &str, actions: &mut Vec<Action>| {
            if refused {
                let text = printable(line);
                note(actions, format!("(Non critical) Master does not understand REPLCONF {option}: {text}"));
            }
        };
        match reply {
            Reply::Pong => {
                // A master that wants a password says so even to PING, each version in its own way.
                let accepted = [b"+".as_slice(), b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted"];
                if !accepted.iter().any(|start| line.starts_with(start)) {
                    warn(actions, format!("Error reply to PING from master: '{}'", printable(line)));
                    return self.retry_later(actions);
                }
                note(actions, "Master replied to PING, replication can continue...");
                self.introduce(actions);
                self.state = State::Awaiting(if self.asked_auth { Reply::Auth } else { Reply::Port });
            }
            Reply::Auth => {
                if refused {
                    warn(actions, format!("Unable to AUTH to MASTER: {}", printable(line)));
                    return self.retry_later(actions);
                }
                self.state = State::Awaiting(Reply::Port);
            }
            Reply::Port => {
                tolerate("listening-port", actions);
                self.state = State::Awaiting(if self.asked_ip { Reply::Ip } else { Reply::Capa });
            }
            Reply::Ip => {
                tolerate("ip-address", actions);
                self.state = State::Awaiting(Reply::Capa);
            }
            Reply::Capa => {
                tolerate("capa", actions);
                self.state = State::Awaiting(Reply::Version);
            }
            // Redis' masters do not know it, and need not.
            Reply::Version => {
                self.ask_for_sync(actions);
                self.state = State::Awaiting(Reply::Psync);
            }
            Reply::Psync => self.psync_replied(now_ms, line, actions),
            Reply::RdbClient => {
                if refused {
                    warn(actions, format!("Master does not know the second connection any more: {}", printable(line)));
                    return self.retry_later(actions);
                }
                self.ask_for_sync(actions);
                self.state = State::Awaiting(Reply::Psync);
            }
        }
    }

    /// Who we are, in one go.
    fn introduce(&mut self, actions: &mut Vec<Action>) {
        let mut out = Vec::new();
        self.asked_auth = self.config.password.is_some();
        self.config.put_auth(&mut out);
        let port = self.config.listening_port.to_string();
        encode_command(&mut out, ["REPLCONF", "listening-port", &port]);
        self.asked_ip = self.config.announce_ip.is_some();
        if let Some(ip) = &self.config.announce_ip {
            encode_command(&mut out, ["REPLCONF", "ip-address", ip]);
        }
        let capa = ["REPLCONF", "capa", "eof", "capa", "psync2", "capa", "dual-channel"];
        let both = self.config.dual_channel && !self.one_channel;
        encode_command(&mut out, capa.split_at(if both { 7 } else { 5 }).0);
        encode_command(&mut out, ["REPLCONF", "version", READS_AS_VALKEY]);
        actions.push(Action::Send(out));
    }

    fn ask_for_sync(&mut self, actions: &mut Vec<Action>) {
        let (id, first_byte) = match self.snapshot.or(self.resume) {
            Some(Resume { replid, offset }) => {
                let first_byte = (offset + 1).to_string();
                note(actions, format!("Trying a partial resynchronization (request {replid}:{first_byte})."));
                (replid.as_bytes().to_vec(), first_byte)
            }
            None => {
                note(actions, "Partial resynchronization not possible (no cached master)");
                (b"?".to_vec(), "-1".to_owned())
            }
        };
        let words: [&[u8]; 4] = [b"PSYNC", &id, first_byte.as_bytes(), b"FAILOVER"];
        send(actions, words.split_at(if self.failover { 4 } else { 3 }).0);
    }

    fn psync_replied(&mut self, now_ms: i64, line: &[u8], actions: &mut Vec<Action>) {
        if line.is_empty() {
            // The master is preparing its answer and shows that it lives.
            return;
        }
        if let Some(from) = self.snapshot.take() {
            if !line.starts_with(b"+CONTINUE") {
                let text = printable(line);
                warn(actions, format!("Master does not send the stream behind its snapshot (reply: {text})"));
                self.one_channel = true;
                return self.retry_later(actions);
            }
            note(
                actions,
                "MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization, RDB load in background.",
            );
            return self.begin_transfer(now_ms, Some(from), actions);
        }
        if line == b"+DUALCHANNELSYNC" && self.config.dual_channel && !self.failover {
            note(actions, "PSYNC is not possible, initialize RDB channel.");
            self.state = State::RdbChannel;
            self.two_channels = true;
            actions.push(Action::OpenRdbChannel);
            return;
        }
        if let Some(rest) = line.strip_prefix(b"+FULLRESYNC") {
            let Some(from) = full_resync_point(rest) else {
                warn(actions, format!("Master replied with wrong +FULLRESYNC syntax. ({})", printable(line)));
                self.failover_answered(false, actions);
                return self.retry_later(actions);
            };
            note(actions, format!("Full resync from master: {}:{}", from.replid, from.offset));
            self.failover_answered(true, actions);
            return self.begin_transfer(now_ms, Some(from), actions);
        }
        if let Some(rest) = line.strip_prefix(b"+CONTINUE") {
            let Some(resume) = self.resume else {
                warn(actions, "Master wants to continue a replication that was not asked to be continued.");
                self.failover_answered(false, actions);
                return self.retry_later(actions);
            };
            note(actions, "Successful partial resynchronization with master.");
            self.failover_answered(true, actions);
            let id = rest.strip_prefix(b" ").and_then(ReplId::parse).filter(|id| *id != resume.replid);
            if let Some(id) = id {
                note(actions, format!("Master replication ID changed to {id}"));
            }
            self.resume = None;
            self.pre_psync = false;
            self.enter_connected(now_ms, actions);
            actions.push(Action::Continue { new_replid: id });
            note(actions, "MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
            return;
        }
        let text = printable(line);
        if line.starts_with(b"-NOMASTERLINK") || line.starts_with(b"-LOADING") {
            note(actions, format!("Master is currently unable to PSYNC but should be in the future: {text}"));
            self.failover_answered(false, actions);
            return self.retry_later(actions);
        }
        if line.starts_with(b"-ERR") {
            note(actions, format!("Master does not support PSYNC or is in error state (reply: {text})"));
        } else {
            warn(actions, format!("Unexpected reply to PSYNC from master: {text}"));
        }
        if self.failover {
            // The one we wanted to hand over to will not have it: asking it for its data is not the way on.
            self.failover_answered(false, actions);
            return self.retry_later(actions);
        }
        note(actions, "Retrying with SYNC...");
        actions.push(Action::Send(b"SYNC\r\n".to_vec()));
        self.begin_transfer(now_ms, None, actions);
    }

    fn snapshot_begins(&mut self, now_ms: i64, point: Point, actions: &mut Vec<Action>) {
        if self.state != State::RdbChannel {
            return;
        }
        self.heard_ms = now_ms;
        let Point { from, client_id } = point;
        note(actions, format!("Full resync from master: {}:{}, over a second connection", from.replid, from.offset));
        self.snapshot = Some(from);
        send(actions, &[b"REPLCONF", b"set-rdb-client-id", client_id.to_string().as_bytes()]);
        self.state = State::Awaiting(Reply::RdbClient);
    }

    fn failover_answered(&mut self, accepted: bool, actions: &mut Vec<Action>) {
        if std::mem::take(&mut self.failover) {
            actions.push(Action::FailoverAnswered { accepted });
        }
    }

    fn begin_transfer(&mut self, now_ms: i64, from: Option<Resume>, actions: &mut Vec<Action>) {
        self.state = State::Transfer { loading: false };
        self.heard_ms = now_ms;
        self.incoming = from;
        self.pre_psync = from.is_none();
        // A master that tells no history cannot be held to one.
        self.doubtful =
            self.settled && from.is_some_and(|from| self.resume.map(|held| held.replid) != Some(from.replid));
        actions.push(Action::BeginFullSync { from });
    }

    fn enter_connected(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        self.one_channel = false;
        if self.fenced.is_some() {
            note(actions, "The lineage fence is lifted: in step with the master again");
        }
        self.trust();
        self.settled = true;
        self.state = State::Connected;
        self.heard_ms = now_ms;
        self.down_since_ms = None;
    }

    fn loaded(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        let State::Transfer { .. } = self.state else { return };
        self.discard_resume(actions);
        self.enter_connected(now_ms, actions);
        note(actions, "MASTER <-> REPLICA sync: Finished with success");
        if let Some(error) = self.lost_while_loading.take() {
            // What it sent is whole and ours; only now it matters that it is gone.
            let held = self.incoming;
            return self.lost(now_ms, error, held, actions);
        }
        // A diskless master sends the stream only once it hears that we have its data.
        if !self.pre_psync {
            actions.push(Action::SendAck);
        }
    }

    fn lost(&mut self, now_ms: i64, error: String, held: Option<Resume>, actions: &mut Vec<Action>) {
        match self.state {
            State::None | State::Connect => {}
            State::Connecting => {
                warn(actions, format!("Error condition on socket for SYNC: {error}"));
                self.retry_later(actions);
            }
            State::Awaiting(reply) => {
                warn(actions, format!("Failed to read response from the server: {error}"));
                if reply == Reply::Psync {
                    warn(actions, "Master did not reply to PSYNC, will try later");
                    self.failover_answered(false, actions);
                } else {
                    warn(actions, "Master did not respond to command during SYNC handshake");
                }
                self.retry_later(actions);
            }
            State::RdbChannel => {
                warn(actions, format!("The connection to the master broke before its snapshot began: {error}"));
                self.retry_later(actions);
            }
            State::Transfer { loading: true } => self.lost_while_loading = Some(error),
            State::Transfer { loading: false } => {
                warn(actions, format!("I/O error trying to sync with MASTER: {error}"));
                note(
                    actions,
                    "The data had not arrived in full. If it was the master that ended the link, its log says why: often \
                     repl-timeout or client-output-buffer-limit replica, to be raised there",
                );
                self.retry_at_once(now_ms, actions);
            }
            State::Connected => {
                self.drop_connected(now_ms, held, actions);
                actions.push(Action::Close);
                self.reconnect(now_ms, "", actions);
            }
        }
    }

    fn write_failed(&mut self, now_ms: i64, error: String, actions: &mut Vec<Action>) {
        match self.state {
            State::Awaiting(reply) => {
                if reply == Reply::Psync {
                    warn(actions, format!("Unable to send PSYNC to master: {error}"));
                    self.failover_answered(false, actions);
                }
                warn(
                    actions,
                    format!("Sending command to master in replication handshake: -Writing to master: {error}"),
                );
                self.retry_later(actions);
            }
            State::Transfer { loading: false } => {
                warn(actions, format!("I/O error writing to MASTER: {error}"));
                self.retry_at_once(now_ms, actions);
            }
            // Reading will tell, and knows where the stream stopped.
            State::None
            | State::Connect
            | State::RdbChannel
            | State::Connecting
            | State::Transfer { loading: true }
            | State::Connected => {}
        }
    }

    fn tick(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        let silent = now_ms - self.heard_ms > self.config.timeout_ms;
        match self.state {
            State::None => {}
            State::Connecting | State::Awaiting(_) | State::RdbChannel if silent => {
                warn(actions, "Timeout connecting to the MASTER...");
                self.retry_at_once(now_ms, actions);
            }
            State::Transfer { loading: false } if silent => {
                warn(
                    actions,
                    "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' \
                     parameter in redis.conf to a larger value.",
                );
                self.retry_at_once(now_ms, actions);
            }
            State::Connecting | State::Awaiting(_) | State::RdbChannel => {}
            State::Transfer { loading: false } if !self.two_channels => {}
            // One byte that is no protocol: the master must not take a long load for a death.
            State::Transfer { .. } => actions.push(Action::Send(b"\n".to_vec())),
            State::Connect if now_ms < self.rest_until_ms => {}
            State::Connect => {
                if let Some((host, port)) = &self.master {
                    note(actions, format!("Connecting to MASTER {}", address(host, *port)));
                }
                self.connect(now_ms, actions);
            }
            State::Connected => {
                if !self.pre_psync {
                    actions.push(Action::SendAck);
                }
            }
        }
    }

    /// A connected master has not been heard for too long. The caller, who knows where the stream stands, then reports
    /// [`Event::Lost`]; this only logs and answers.
    pub fn timed_out(&self, now_ms: i64, actions: &mut Vec<Action>) -> bool {
        let silent = self.state == State::Connected && now_ms - self.heard_ms > self.config.timeout_ms;
        if silent {
            warn(actions, "MASTER timeout: no data nor PING received...");
        }
        silent
    }

    fn drop_connected(&mut self, now_ms: i64, held: Option<Resume>, actions: &mut Vec<Action>) {
        note(actions, "Connection with master lost.");
        self.down_since_ms = Some(now_ms);
        self.resume = if self.pre_psync { None } else { held };
        if self.resume.is_some() {
            note(actions, "Caching the disconnected master state.");
        }
        self.state = State::Connect;
    }

    fn discard_resume(&mut self, actions: &mut Vec<Action>) {
        if self.resume.take().is_some() {
            note(actions, "Discarding previously cached master state.");
        }
    }

    fn retry_later(&mut self, actions: &mut Vec<Action>) {
        self.line.clear();
        self.state = State::Connect;
        actions.push(Action::Close);
    }

    fn retry_at_once(&mut self, now_ms: i64, actions: &mut Vec<Action>) {
        self.retry_later(actions);
        self.reconnect(now_ms, " after failure", actions);
    }

    fn reconnect(&mut self, now_ms: i64, why: &str, actions: &mut Vec<Action>) {
        if let Some((host, port)) = &self.master {
            note(actions, format!("Reconnecting to MASTER {}{why}", address(host, *port)));
        }
        self.connect(now_ms, actions);
    }
}

/// ` <id> <offset>`, as it follows `+FULLRESYNC`.
fn full_resync_point(rest: &[u8]) -> Option<Resume> {
    let mut words = rest.strip_prefix(b" ")?.split(|b| *b == b' ');
    let replid = ReplId::parse(words.next()?)?;
    let offset: ReplOffset = parse_i64(words.next()?)?;
    (offset >= 0 && words.next().is_none()).then_some(Resume { replid, offset })
}

/// The acknowledgement of everything up to `offset`; with an append-only file also of what is on disk.
pub fn ack(offset: ReplOffset, on_disk: Option<ReplOffset>) -> Vec<u8> {
    let mut out = Vec::new();
    let offset = offset.to_string();
    match on_disk {
        Some(disk) => encode_command(&mut out, ["REPLCONF", "ACK", &offset, "FACK", &disk.to_string()]),
        None => encode_command(&mut out, ["REPLCONF", "ACK", &offset]),
    }
    out
}

fn send(actions: &mut Vec<Action>, words: &[&[u8]]) {
    let mut out = Vec::new();
    encode_command(&mut out, words);
    actions.push(Action::Send(out));
}

fn note(actions: &mut Vec<Action>, text: impl Into<String>) {
    actions.push(Action::Log(Note::notice(text)));
}

fn warn(actions: &mut Vec<Action>, text: impl Into<String>) {
    actions.push(Action::Log(Note::warning(text)));
}

#[cfg(test)]
mod tests;
