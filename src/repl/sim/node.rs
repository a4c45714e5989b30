//! One simulated server: the machines of `repl`, the log, and a keyspace of a few numbers.
//!
//! Knows no other node: what it wants done goes into [`Io`], what happens to it comes as calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::failover::{Act, Failover, FailoverState};
use super::super::greeting::{Answer, Greeting};
use super::super::handshake::{Action, Event, LinkConfig, LinkState, MasterLink, ack};
use super::super::id::{Identity, ReplId, Resume};
use super::super::master::{Chore, MasterConfig, Plan, Replica, Replicas, Running, Target};
use super::super::note::Note;
use super::super::psync::{self, Decision, FailoverRequest, Request, Standing};
use super::super::transfer::{Piece, Receiver};
use super::disk::{Entry, Journal, Kept, Saved};
use crate::base::rand::Rng;
use crate::oplog::{Cursor, Log};
use crate::resp::encode_command;

/// Of the fifty keys that are written.
const FENCE_KEYS: u64 = 20;

/// What a node did, for the world to carry out.
pub(super) enum Out {
    Connect { host: String, port: u16 },
    SendUp(Vec<u8>),
    CloseUp,
    SendDown(u64, Vec<u8>),
    CloseDown(u64),
    After(i64, Timer),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    SnapshotDone(u64),
    LoadDone(u64),
}

/// Everything a node may use of the world, and what it leaves there.
pub(super) struct Io<'a> {
    pub now_ms: i64,
    pub rng: &'a mut Rng,
    pub out: Vec<Out>,
    /// "My data under this id at this offset is the outcome of this history."
    pub claims: Vec<(ReplId, i64, u64)>,
    pub notes: Vec<Note>,
    /// Of the replica whose request is being served: the history it really holds.
    pub truth: Option<u64>,
}

impl Io<'_> {
    fn fresh(&mut self) -> ReplId {
        ReplId::new(self.rng.hex_id())
    }
}

/// How PSYNC requests ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    pub full: usize,
    pub partial: usize,
    /// Full although the bytes were there: the replica's id was too old to be recognised.
    pub missed: usize,
    /// Data sets refused by the lineage fence.
    pub fenced: usize,
}

enum Up {
    Idle,
    Handshake,
    Transfer {
        receiver: Receiver,
        payload: Vec<u8>,
        from: Option<Resume>,
    },
    /// `early`: the stream follows a file at once; it stays unread until the file is loaded.
    Loading {
        payload: Vec<u8>,
        from: Option<Resume>,
        epoch: u64,
        early: Vec<u8>,
    },
    Stream(Vec<u8>),
}

struct Session {
    peer: String,
    greeting: Greeting,
    input: Vec<u8>,
    cursor: Option<Cursor>,
}

struct Snapshot {
    epoch: u64,
    target: Target,
    payload: Vec<u8>,
    mark: [u8; 40],
}

pub(super) struct Node {
    pub index: usize,
    pub alive: bool,
    pub data: BTreeMap<u64, u64>,
    /// A hash of every write that made the data: equal only for equal histories.
    pub history: u64,
    /// The history as it was at each offset since it was loaded.
    history_at: BTreeMap<i64, u64>,
    pub identity: Identity,
    pub log: Arc<Log>,
    pub link: MasterLink,
    up: Up,
    pub replicas: Replicas,
    sessions: BTreeMap<u64, Session>,
    running: Option<Snapshot>,
    epoch: u64,
    pub failover: Failover,
    pub paused: bool,
    pub disk: Option<Saved>,
    /// Instead of what is saved now and then.
    journal: Option<Journal>,
    /// The last change of the data that is not in it.
    change: Option<(u64, u64)>,
    /// It did not end in good order.
    pub crashed: bool,
    /// Somebody may know the id that was drawn last.
    told: bool,
    pub config: MasterConfig,
    /// Keeps the old data until the new is complete.
    pub swap_load: bool,
    /// Most bytes sent to a replica at once: makes some masters slow.
    pub pump_bytes: usize,
    pub backlog_bytes: usize,
    /// Whether a snapshot may fail: a full disk, a killed process.
    pub fragile: bool,
    /// Was in step with its master since it was told to follow it: it did not ask for another data set.
    settled: bool,
    /// An operator is at hand who takes whatever the master offers.
    pub gives_in: bool,
    pub stats: Stats,
    writes: u64,
}

impl Node {
    pub(super) fn new(index: usize, io: &mut Io<'_>) -> Self {
        let config = LinkConfig {
            listening_port: 7000 + index as u16,
            timeout_ms: 10_000,
            fence_keys: io.rng.chance(0.6).then_some(FENCE_KEYS),
            ..LinkConfig::default()
        };
        let mut node = Self {
            index,
            alive: true,
            data: BTreeMap::new(),
            history: io.rng.u64(),
            history_at: BTreeMap::new(),
            identity: Identity::new(io.fresh()),
            log: Log::new(0),
            link: MasterLink::new(config),
            up: Up::Idle,
            replicas: Replicas::default(),
            sessions: BTreeMap::new(),
            running: None,
            epoch: 0,
            failover: Failover::default(),
            paused: false,
            disk: None,
            journal: io.rng.chance(0.4).then(Journal::default),
            change: None,
            crashed: false,
            told: true,
            config: MasterConfig {
                timeout_ms: 10_000,
                ping_period_ms: 3_000,
                backlog_ttl_ms: 2_000 + io.rng.below(10_000) as i64,
                diskless: io.rng.chance(0.5),
                diskless_delay_ms: io.rng.below(3) as i64 * 500,
                ..MasterConfig::default()
            },
            swap_load: io.rng.chance(0.3),
            pump_bytes: if io.rng.chance(0.3) { 2000 } else { 1 << 20 },
            backlog_bytes: if io.rng.chance(0.5) { 1 << 24 } else { 1 },
            fragile: true,
            settled: false,
            gives_in: false,
            stats: Stats::default(),
            writes: (index as u64) << 40,
        };
        node.log.set_backlog_limit_bytes(node.backlog_bytes);
        node.begin_journal();
        node.remember();
        node
    }

    fn begin_journal(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.begin(&self.data, &self.log);
            self.change = None;
        }
    }

    pub(super) fn is_master(&self) -> bool {
        self.link.master().is_none()
    }

    fn held(&self) -> Resume {
        Resume { replid: self.identity.replid, offset: self.log.end_offset() }
    }

    fn remember(&mut self) {
        self.history_at.insert(self.log.end_offset(), self.history);
    }

    /// Records where the data stands. Without a log offsets stand still, and nobody can refer to them.
    fn claim(&mut self, io: &mut Io<'_>) {
        self.remember();
        if let Some(journal) = &mut self.journal {
            let identity = self.log.backlog().map(|_| self.identity);
            let (change, offset) = (self.change.take(), self.log.end_offset());
            journal.add(Entry { change, offset, history: self.history, identity });
        }
        if self.log.is_active() {
            io.claims.push((self.identity.replid, self.log.end_offset(), self.history));
        }
    }

    // ---- as a server of clients

    /// One write by a client.
    pub(super) fn write(&mut self, io: &mut Io<'_>) {
        if !self.alive || !self.is_master() || self.paused {
            return;
        }
        self.writes += 1;
        let (key, value) = (io.rng.below(50).to_string(), self.writes.to_string());
        let padding = vec![b'x'; if io.rng.chance(0.3) { io.rng.below(400) as usize } else { 0 }];
        let mut record = Vec::new();
        encode_command(&mut record, [b"SET".as_slice(), key.as_bytes(), value.as_bytes(), &padding]);
        self.apply(&[b"SET".to_vec(), key.into_bytes(), value.into_bytes()], &record);
        self.log.append(&record);
        self.claim(io);
        self.pump_all(io);
    }

    fn apply(&mut self, words: &[Vec<u8>], record: &[u8]) {
        if let [name, key, value, ..] = words
            && name == b"SET"
        {
            let change = (number(key), number(value));
            self.data.insert(change.0, change.1);
            self.change = Some(change);
        }
        self.history = record.iter().fold(self.history, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
        self.history ^= self.history >> 29;
    }

    /// `REPLICAOF host port`.
    pub(super) fn follow(&mut self, host: String, port: u16, failover: bool, io: &mut Io<'_>) {
        let mut held = self.held();
        // As long as nobody has heard of it, its data is what went by the former name.
        let identity = self.identity;
        if self.is_master() && !self.told && identity.second_offset == held.offset + 1 {
            held.replid = identity.replid2;
        }
        self.settled = false;
        self.step(Event::SetMaster { host, port, held: Some(held), failover }, io);
    }

    /// `REPLICAOF NO ONE`.
    pub(super) fn promote(&mut self, io: &mut Io<'_>) {
        if self.is_master() {
            return;
        }
        self.step(Event::Unset, io);
        self.identity.shift(io.fresh(), self.log.end_offset());
        self.told = false;
        self.log.create_backlog();
        self.drop_replicas(io);
        self.log.forget_selected_db();
        self.claim(io);
    }

    pub(super) fn start_failover(&mut self, io: &mut Io<'_>) {
        let force = io.rng.chance(0.3);
        let target = self.replicas.iter().next().map(|r| (r.host().to_owned(), r.greeting.listening_port));
        let request = super::super::failover::Request {
            target: target.filter(|_| force || io.rng.chance(0.5)),
            force,
            timeout_ms: Some(1 + io.rng.below(4000) as i64),
        };
        let (mut acts, is_replica) = (Vec::new(), !self.is_master());
        let _ = self.failover.request(io.now_ms, request, is_replica, &self.replicas, &mut acts);
        self.act(acts, io);
    }

    pub(super) fn abort_failover(&mut self, io: &mut Io<'_>) {
        let mut acts = Vec::new();
        let _ = self.failover.abort_request(&mut acts);
        self.act(acts, io);
    }

    fn look_at_failover(&mut self, io: &mut Io<'_>) {
        let mut acts = Vec::new();
        self.failover.look(io.now_ms, self.log.end_offset(), &self.replicas, &mut acts);
        self.act(acts, io);
    }

    fn act(&mut self, acts: Vec<Act>, io: &mut Io<'_>) {
        for act in acts {
            match act {
                Act::Log(note) => io.notes.push(note),
                Act::PauseWrites => self.paused = true,
                Act::ResumeWrites => self.paused = false,
                Act::Follow { host, port } => self.follow(host, port, true, io),
                Act::Unfollow => self.promote(io),
            }
        }
    }

    // ---- stopping and starting

    /// The disk is gone.
    pub(super) fn lose_disk(&mut self) {
        self.disk = None;
        if let Some(journal) = &mut self.journal {
            journal.lose();
        }
    }

    /// What a snapshot on disk would hold now. The history is noted only when it can be referred to.
    pub(super) fn save(&mut self) {
        let known = match self.link.state() {
            LinkState::None => self.log.backlog().is_some(),
            LinkState::Connected => true,
            _ => self.link.resume().is_some(),
        };
        let resume = known.then(|| self.held());
        let (former, backlog) = (self.identity.former().collect(), self.kept());
        self.disk = Some(Saved { data: self.data.clone(), history: self.history, resume, former, backlog });
    }

    fn kept(&self) -> Option<Kept> {
        let first_byte_offset = self.log.backlog()?.first_byte_offset;
        let mut cursor = self.log.attach(first_byte_offset)?;
        let mut bytes = Vec::new();
        loop {
            let taken = bytes.len();
            cursor.read(1 << 16).iter().for_each(|chunk| bytes.extend_from_slice(chunk.as_ref()));
            if bytes.len() == taken {
                return Some(Kept { first_byte_offset, bytes, history_at: self.history_at.clone() });
            }
            cursor.advance(bytes.len() - taken);
        }
    }

    /// The process that comes after this one, with the same configuration file.
    pub(super) fn restarted(&self, as_master: bool, io: &mut Io<'_>) -> Self {
        let mut node = Self::new(self.index, io);
        let master = self.link.master().filter(|_| !as_master).map(|(host, port)| (host.to_owned(), port));
        node.disk = self.disk.clone();
        if let Some(journal) = &self.journal {
            // In good order nothing of the backlog is lost.
            node.disk = journal.found(self.kept(), self.crashed, io.rng);
        }
        node.journal = self.journal.as_ref().map(|_| Journal::default());
        node.stats = self.stats;
        node.writes = self.writes;
        node.backlog_bytes = self.backlog_bytes;
        node.log.set_backlog_limit_bytes(node.backlog_bytes);
        node.history_at.clear();
        let mut held = None;
        if let Some(saved) = node.disk.clone() {
            (node.data, node.history) = (saved.data, saved.history);
            if let Some(resume) = saved.resume {
                node.log.create_backlog();
                node.log.reset(saved.backlog.as_ref().map_or(resume.offset, |kept| kept.first_byte_offset - 1));
                let goes_on = saved.backlog.as_ref().is_some_and(|kept| kept.end() > resume.offset);
                if let Some(kept) = saved.backlog {
                    node.log.append(&kept.bytes);
                    node.history_at = kept.history_at;
                }
                if goes_on && master.is_some() {
                    // Not all of it is known to be its master's.
                    node.log.free_backlog();
                    node.log.reset(0);
                    node.history_at.clear();
                } else if master.is_some() {
                    node.identity = Identity::new(resume.replid).with_former(saved.former);
                    held = Some(resume);
                } else {
                    node.identity = Identity::restored(io.fresh(), resume).with_former(saved.former);
                    node.told = false;
                }
            }
        }
        node.begin_journal();
        node.claim(io);
        if let Some((host, port)) = master {
            node.settled = held.is_some();
            node.step(Event::Restart { host, port, held }, io);
        }
        node
    }

    // ---- as a replica

    pub(super) fn step(&mut self, event: Event, io: &mut Io<'_>) {
        let mut actions = Vec::new();
        self.link.step(io.now_ms, event, &mut actions);
        self.carry_out(actions, io);
    }

    fn carry_out(&mut self, actions: Vec<Action>, io: &mut Io<'_>) {
        for action in actions {
            match action {
                Action::Log(note) => io.notes.push(note),
                Action::Connect { host, port } => {
                    self.up = Up::Handshake;
                    io.out.push(Out::Connect { host, port });
                }
                Action::Send(bytes) => io.out.push(Out::SendUp(bytes)),
                Action::Close => {
                    self.up = Up::Idle;
                    io.out.push(Out::CloseUp);
                }
                Action::OpenRdbChannel => unreachable!("simulated replicas take the snapshot over one connection"),
                Action::BeginFullSync { from } => {
                    self.up = Up::Transfer { receiver: Receiver::new(), payload: Vec::new(), from };
                }
                Action::Continue { new_replid } => {
                    self.up = Up::Stream(Vec::new());
                    self.settled = true;
                    let offset = self.log.end_offset();
                    if new_replid.is_some_and(|id| self.identity.continue_as(id, offset)) {
                        self.drop_replicas(io);
                    }
                    self.log.create_backlog();
                    self.claim(io);
                }
                Action::SendAck => io.out.push(Out::SendUp(ack(self.log.end_offset(), None))),
                Action::FailoverAnswered { accepted } => {
                    let mut acts = Vec::new();
                    self.failover.answered(accepted, &mut acts);
                    self.act(acts, io);
                }
                Action::State(_) => {}
            }
        }
    }

    /// Bytes from the master.
    pub(super) fn heard_master(&mut self, bytes: &[u8], io: &mut Io<'_>) {
        let mut rest = bytes;
        if let Up::Handshake = self.up {
            let mut actions = Vec::new();
            let used = self.link.receive(io.now_ms, rest, &mut actions);
            self.carry_out(actions, io);
            rest = &rest[used..];
        }
        if rest.is_empty() {
            return;
        }
        if let Up::Transfer { receiver, payload, from } = &mut self.up {
            let received = receiver.receive(rest, |piece| {
                if let Piece::Payload(bytes) = piece {
                    payload.extend_from_slice(bytes);
                }
            });
            match received {
                Err(error) => return self.step(Event::TransferFailed(error.to_string()), io),
                Ok(used) => {
                    if !receiver.is_done() {
                        return self.step(Event::Heard, io);
                    }
                    let (payload, from) = (std::mem::take(payload), *from);
                    if !self.is_taken(&payload, from, io) {
                        return;
                    }
                    self.epoch += 1;
                    self.up = Up::Loading { payload, from, epoch: self.epoch, early: rest[used..].to_vec() };
                    self.step(Event::LoadStarted, io);
                    if !self.swap_load {
                        self.drop_data(io);
                    }
                    let delay = io.rng.below(1500) as i64;
                    io.out.push(Out::After(delay, Timer::LoadDone(self.epoch)));
                }
            }
            return;
        }
        if let Up::Loading { early, .. } = &mut self.up {
            early.extend_from_slice(rest);
            return;
        }
        if let Up::Stream(buffer) = &mut self.up {
            buffer.extend_from_slice(rest);
            let input = std::mem::take(buffer);
            self.step(Event::Heard, io);
            let mut at = 0;
            while let Some((used, words)) = parse(&input[at..]) {
                // First the data, then the log: what the log holds has been applied, whenever we are cut off.
                let record = &input[at..at + used];
                self.apply(&words, record);
                self.log.append(record);
                self.claim(io);
                at += used;
            }
            if let Up::Stream(buffer) = &mut self.up {
                buffer.extend_from_slice(&input[at..]);
            }
            self.pump_all(io);
        }
    }

    pub(super) fn lost_master(&mut self, error: &str, io: &mut Io<'_>) {
        let held = Some(self.held());
        self.step(Event::Lost { error: error.into(), held }, io);
    }

    /// What we hold is going: nobody may refer to it any more, and nobody may go on from it.
    fn drop_data(&mut self, io: &mut Io<'_>) {
        if let Some(journal) = &mut self.journal {
            journal.suspend();
        }
        self.step(Event::OldDataDropped, io);
        self.drop_replicas(io);
        self.log.free_backlog();
        self.identity.start_new(io.fresh());
        self.data.clear();
        self.history = io.rng.u64();
        self.history_at.clear();
    }

    /// The lineage fence, against the truth: a data set is refused if, and only if, nobody asked for another history and
    /// next to nothing would be left.
    fn is_taken(&mut self, payload: &[u8], from: Option<Resume>, io: &mut Io<'_>) -> bool {
        let (held, offered) = (self.data.len() as u64, decode(payload).0.len() as u64);
        let mut actions = Vec::new();
        let taken = self.link.offered(io.now_ms, held, offered, &mut actions);
        self.carry_out(actions, io);
        let other = from.is_some_and(|from| from.replid != self.identity.replid);
        let fence = self.link.config.fence_keys.is_some_and(|keys| held >= keys);
        let lost = fence && self.settled && other && offered * 10 < held;
        assert_eq!(taken, !lost, "n{}: {held} keys held, {offered} offered, {from:?}", self.index);
        self.stats.fenced += usize::from(!taken);
        taken
    }

    fn loaded(&mut self, io: &mut Io<'_>) {
        let Up::Loading { payload, from, early, .. } = std::mem::replace(&mut self.up, Up::Stream(Vec::new())) else {
            return;
        };
        let from = from.expect("simulated masters know PSYNC");
        if self.swap_load {
            self.drop_data(io);
        }
        (self.data, self.history) = decode(&payload);
        self.identity.adopt(from.replid);
        self.log.reset(from.offset);
        self.log.create_backlog();
        self.history_at.clear();
        self.begin_journal();
        self.claim(io);
        self.settled = true;
        self.step(Event::Loaded, io);
        if let Up::Stream(_) = self.up {
            self.heard_master(&early, io);
        }
    }

    // ---- as a master

    pub(super) fn accepted(&mut self, conn: u64, peer: String) {
        let session = Session { peer, greeting: Greeting::default(), input: Vec::new(), cursor: None };
        self.sessions.insert(conn, session);
    }

    pub(super) fn lost_replica(&mut self, conn: u64, io: &mut Io<'_>) {
        if self.sessions.remove(&conn).is_some() {
            self.replicas.remove(conn, io.now_ms, &mut io.notes);
        }
    }

    fn disconnect(&mut self, conn: u64, io: &mut Io<'_>) {
        self.lost_replica(conn, io);
        io.out.push(Out::CloseDown(conn));
    }

    fn drop_replicas(&mut self, io: &mut Io<'_>) {
        let conns: Vec<u64> = self.replicas.iter().map(|r| r.id).collect();
        for conn in conns {
            self.disconnect(conn, io);
        }
        self.running = None;
    }

    /// Bytes from a client that is, or may become, a replica.
    pub(super) fn heard_replica(&mut self, conn: u64, bytes: &[u8], io: &mut Io<'_>) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut session.input);
        let mut at = 0;
        while let Some((used, words)) = parse(&input[at..]) {
            at += used;
            self.request(conn, &words, io);
        }
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.input.extend_from_slice(&input[at..]);
        }
    }

    fn request(&mut self, conn: u64, words: &[Vec<u8>], io: &mut Io<'_>) {
        let reply = |io: &mut Io<'_>, text: &str| io.out.push(Out::SendDown(conn, text.as_bytes().to_vec()));
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        match words {
            [name] if name == b"PING" => reply(io, "+PONG\r\n"),
            [name, options @ ..] if name == b"REPLCONF" => match session.greeting.replconf(options) {
                Ok(Answer::Ok) => reply(io, "+OK\r\n"),
                Ok(Answer::Ack { offset, on_disk }) => {
                    if self.replicas.acked(conn, offset, on_disk, io.now_ms) {
                        self.pump(conn, io);
                    }
                    self.look_at_failover(io);
                }
                Ok(Answer::SendAck | Answer::Silence) => {}
                Err(error) => reply(io, &format!("-{error}\r\n")),
            },
            [name, replid, first_byte, rest @ ..] if name == b"PSYNC" => {
                let first_byte = std::str::from_utf8(first_byte).unwrap().parse().unwrap();
                self.psync(conn, replid, first_byte, !rest.is_empty(), io);
            }
            [] => {}
            _ => reply(io, "-ERR unknown command\r\n"),
        }
    }

    fn psync(&mut self, conn: u64, replid: &[u8], first_byte: i64, failover: bool, io: &mut Io<'_>) {
        if failover {
            match psync::failover_request(!self.is_master(), &self.identity, replid) {
                FailoverRequest::Promote => self.promote(io),
                FailoverRequest::Refuse(error) => {
                    return io.out.push(Out::SendDown(conn, format!("-{error}\r\n").into_bytes()));
                }
            }
        }
        let waits = !self.is_master() && self.link.state() != LinkState::Connected;
        if let Some(error) = psync::refusal(self.failover.is_active(), waits) {
            return io.out.push(Out::SendDown(conn, format!("-{error}\r\n").into_bytes()));
        }
        let Some(session) = self.sessions.get(&conn) else { return };
        self.told = true;
        let replica = Replica::new(conn, session.peer.clone(), session.greeting.clone(), false, io.now_ms);
        let backlog = self.log.backlog();
        let standing = Standing { identity: self.identity, backlog, end_offset: self.log.end_offset() };
        let request = Request { replid, first_byte, name: &replica.name() };
        let decision = psync::decide(&standing, &request, &mut io.notes);

        // The truth beside the decision: are the bytes there, and do they continue what the replica really holds?
        let in_window =
            backlog.is_some_and(|b| (b.first_byte_offset..=b.first_byte_offset + b.histlen).contains(&first_byte));
        let same = in_window && io.truth.is_some() && self.history_at.get(&(first_byte - 1)).copied() == io.truth;
        match decision {
            Decision::Continue { .. } => assert!(
                same,
                "n{} would continue a history not its own: asked {}:{first_byte}, {standing:?}, mine then {:?}, its {:?}",
                self.index,
                String::from_utf8_lossy(replid),
                self.history_at.get(&(first_byte - 1)),
                io.truth
            ),
            Decision::FullNeeded if same => {
                // A replica that went on under a new id does not learn how far its master's old one is good, and takes
                // its own offset for it, as stock does. That is the one way to miss what would be possible.
                let known = self.identity.shares(replid, first_byte);
                assert!(!known, "node {} gives a full resync where a partial one was possible", self.index);
                self.stats.missed += 1;
            }
            Decision::FullNeeded | Decision::FullAsked => {}
        }

        if let Decision::Continue { first_byte, .. } = decision {
            self.stats.partial += 1;
            let line = psync::continue_line(&self.identity, session.greeting.capa.psync2);
            io.out.push(Out::SendDown(conn, line.into_bytes()));
            let cursor = self.log.attach(first_byte).expect("the decision saw the window");
            self.sessions.get_mut(&conn).unwrap().cursor = Some(cursor);
            self.replicas.add_partial(replica, io.now_ms);
            return self.pump(conn, io);
        }
        self.stats.full += 1;
        if self.replicas.is_empty() && backlog.is_none() {
            self.identity.start_new(io.fresh());
            self.log.create_backlog();
            self.claim(io);
        }
        let running = self.running();
        if let Plan::Attach { offset } = self.replicas.add_full(replica, running, &self.config, &mut io.notes) {
            self.answer_full(conn, offset, io);
        }
        self.start_due(io);
    }

    fn running(&self) -> Running {
        self.running.as_ref().map_or(Running::Nothing, |s| Running::Snapshot(s.target))
    }

    fn answer_full(&mut self, conn: u64, offset: i64, io: &mut Io<'_>) {
        let line = psync::full_resync_line(&self.identity, offset);
        io.out.push(Out::SendDown(conn, line.into_bytes()));
        let cursor = self.log.attach(offset + 1).expect("the snapshot's offset is held by whoever it was made for");
        self.sessions.get_mut(&conn).expect("it is a replica").cursor = Some(cursor);
    }

    fn start_due(&mut self, io: &mut Io<'_>) {
        let Some(start) = self.replicas.due(io.now_ms, self.running(), &self.config) else { return };
        io.notes.push(Note::notice(start.describe()));
        let offset = self.log.end_offset();
        self.replicas.started(&start, offset);
        self.log.forget_selected_db();
        let payload = encode(&self.data, self.history);
        self.epoch += 1;
        let mark = io.rng.hex_id();
        for conn in &start.ids {
            self.answer_full(*conn, offset, io);
            if start.target == Target::Sockets {
                let head = [b"$EOF:".as_slice(), &mark, b"\r\n", &payload[..payload.len() / 2]].concat();
                io.out.push(Out::SendDown(*conn, head));
            }
        }
        let delay = io.rng.below(2500) as i64;
        io.out.push(Out::After(delay, Timer::SnapshotDone(self.epoch)));
        self.running = Some(Snapshot { epoch: self.epoch, target: start.target, payload, mark });
    }

    fn snapshot_done(&mut self, io: &mut Io<'_>) {
        let Some(Snapshot { target, payload, mark, .. }) = self.running.take() else { return };
        let receivers: Vec<u64> =
            self.replicas.iter().filter(|r| r.phase == super::super::master::Phase::WaitEnd).map(|r| r.id).collect();
        let ok = !self.fragile || io.rng.chance(0.9);
        for conn in self.replicas.finished(target, ok, io.now_ms, &mut io.notes) {
            self.disconnect(conn, io);
        }
        for conn in receivers.into_iter().filter(|_| ok) {
            match target {
                Target::Sockets => {
                    let tail = [&payload[payload.len() / 2..], &mark].concat();
                    io.out.push(Out::SendDown(conn, tail));
                }
                Target::Disk => {
                    let file = [format!("${}\r\n", payload.len()).as_bytes(), &payload].concat();
                    io.out.push(Out::SendDown(conn, file));
                    self.replicas.bulk_sent(conn, io.now_ms, &mut io.notes);
                    self.pump(conn, io);
                }
            }
        }
        self.start_due(io);
    }

    fn pump_all(&mut self, io: &mut Io<'_>) {
        let conns: Vec<u64> = self.sessions.keys().copied().collect();
        for conn in conns {
            self.pump(conn, io);
        }
    }

    fn pump(&mut self, conn: u64, io: &mut Io<'_>) {
        if !self.replicas.get(conn).is_some_and(Replica::takes_stream) {
            return;
        }
        let Some(cursor) = self.sessions.get_mut(&conn).and_then(|s| s.cursor.as_mut()) else { return };
        assert!(!cursor.is_stale(), "a replica of a history that was given up is still attached");
        let chunks = cursor.read(self.pump_bytes);
        let bytes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.as_ref().to_vec()).collect();
        if !bytes.is_empty() {
            cursor.advance(bytes.len());
            io.out.push(Out::SendDown(conn, bytes));
        }
    }

    // ---- time

    pub(super) fn timer(&mut self, timer: Timer, io: &mut Io<'_>) {
        match timer {
            Timer::SnapshotDone(epoch) if self.running.as_ref().is_some_and(|s| s.epoch == epoch) => {
                self.snapshot_done(io);
            }
            Timer::LoadDone(epoch) if matches!(self.up, Up::Loading { epoch: e, .. } if e == epoch) => self.loaded(io),
            Timer::SnapshotDone(_) | Timer::LoadDone(_) => {}
        }
    }

    /// Once a second.
    pub(super) fn tick(&mut self, io: &mut Io<'_>) {
        let mut actions = Vec::new();
        if self.link.timed_out(io.now_ms, &mut actions) {
            self.carry_out(actions, io);
            self.lost_master("timeout", io);
        }
        self.step(Event::Tick, io);
        if self.gives_in && self.link.fenced().is_some() {
            self.settled = false;
            self.step(Event::Force, io);
        }
        self.look_at_failover(io);
        let (is_master, paused) = (self.is_master(), self.paused);
        let has_backlog = self.log.backlog().is_some();
        for chore in self.replicas.tick(io.now_ms, is_master, paused, has_backlog, self.running(), &self.config) {
            match chore {
                Chore::Log(note) => io.notes.push(note),
                Chore::Ping => {
                    let mut record = Vec::new();
                    encode_command(&mut record, ["PING"]);
                    self.apply(&[b"PING".to_vec()], &record);
                    self.log.append(&record);
                    self.claim(io);
                }
                Chore::Newline(conn) => io.out.push(Out::SendDown(conn, b"\n".to_vec())),
                Chore::Disconnect(conn) => self.disconnect(conn, io),
                Chore::FreeBacklog => {
                    self.log.free_backlog();
                    self.identity.start_new(io.fresh());
                }
            }
        }
        self.start_due(io);
        self.pump_all(io);
        if self.failover.state() == FailoverState::None {
            assert!(!self.paused, "writes stay paused after a failover");
        }
    }
}

fn number(text: &[u8]) -> u64 {
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

fn encode(data: &BTreeMap<u64, u64>, history: u64) -> Vec<u8> {
    let words = std::iter::once(history).chain(data.iter().flat_map(|(k, v)| [*k, *v]));
    words.flat_map(u64::to_le_bytes).collect()
}

fn decode(payload: &[u8]) -> (BTreeMap<u64, u64>, u64) {
    let words: Vec<u64> = payload.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect();
    (words[1..].chunks_exact(2).map(|kv| (kv[0], kv[1])).collect(), words[0])
}

/// One request, or an empty line, from the front of `input`, with its length. The simulated peers send nothing else.
fn parse(input: &[u8]) -> Option<(usize, Vec<Vec<u8>>)> {
    if input.first() == Some(&b'\n') {
        return Some((1, Vec::new()));
    }
    let mut at = 0;
    let mut line = |kind: u8| {
        let end = at + input.get(at..)?.windows(2).position(|w| w == b"\r\n")?;
        let text = &input[at..end];
        assert_eq!(text[0], kind, "the stream lost its frame: {:?}", String::from_utf8_lossy(input));
        let n = number(&text[1..]) as usize;
        at = end + 2;
        if kind == b'$' {
            let word = input.get(at..at + n)?.to_vec();
            input.get(at + n..at + n + 2)?;
            at += n + 2;
            return Some((n, word));
        }
        Some((n, Vec::new()))
    };
    let (count, _) = line(b'*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        words.push(line(b'$')?.1);
    }
    Some((at, words))
}
