//! The link against masters of every temper, told line by line.

use proptest::prelude::*;

use super::*;

const A: ReplId = ReplId::new([b'a'; 40]);
const B: ReplId = ReplId::new([b'b'; 40]);
const HELD: Resume = Resume { replid: A, offset: 99 };

/// A link and everything it did.
struct Told {
    link: MasterLink,
    now_ms: i64,
    actions: Vec<Action>,
}

impl Told {
    fn new(held: Option<Resume>) -> Self {
        let mut told = Self { link: MasterLink::new(LinkConfig::default()), now_ms: 0, actions: Vec::new() };
        told.step(Event::SetMaster { host: "m".into(), port: 7000, held, failover: false });
        told
    }

    /// As far as the reply to PSYNC.
    fn asking(held: Option<Resume>) -> Self {
        let mut told = Self::new(held);
        told.step(Event::Connected);
        told.reply("+PONG\r\n+OK\r\n+OK\r\n-ERR Unrecognized\r\n");
        told
    }

    fn step(&mut self, event: Event) {
        self.link.step(self.now_ms, event, &mut self.actions);
    }

    fn reply(&mut self, text: &str) -> usize {
        self.link.receive(self.now_ms, text.as_bytes(), &mut self.actions)
    }

    fn at(&mut self, now_ms: i64) -> &mut Self {
        self.now_ms = now_ms;
        self.actions.clear();
        self
    }

    fn sent(&self) -> String {
        let sent = self.actions.iter().filter_map(|action| match action {
            Action::Send(bytes) => Some(String::from_utf8_lossy(bytes)),
            _ => None,
        });
        sent.collect::<String>().replace("\r\n", " ")
    }

    fn logged(&self, text: &str) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Log(note) if note.text.contains(text)))
    }

    fn did(&self, action: &Action) -> bool {
        self.actions.contains(action)
    }

    fn connects(&self) -> usize {
        self.actions.iter().filter(|action| matches!(action, Action::Connect { .. })).count()
    }
}

#[test]
fn a_first_sync_goes_from_ping_to_connected() {
    let mut told = Told::new(None);
    assert!(told.did(&Action::Connect { host: "m".into(), port: 7000 }));
    assert!(told.logged("Connecting to MASTER m:7000") && told.logged("MASTER <-> REPLICA sync started"));
    told.step(Event::Connected);
    assert_eq!(told.sent(), "*1 $4 PING ");
    told.at(1);
    told.reply("+PONG\r\n");
    assert_eq!(
        told.sent(),
        "*3 $8 REPLCONF $14 listening-port $4 6379 *5 $8 REPLCONF $4 capa $3 eof $4 capa $6 psync2 *3 $8 REPLCONF $7 version $5 9.0.0 "
    );
    told.at(2);
    told.reply("+OK\r");
    told.reply("\n+OK\r\n+O");
    assert_eq!(told.sent(), "");
    told.reply("K\r\n");
    assert_eq!(told.sent(), "*3 $5 PSYNC $1 ? $2 -1 ");
    told.at(3);
    told.reply("\n\n");
    assert_eq!(told.link.state(), LinkState::Handshake);
    let line = format!("+FULLRESYNC {B} 1234\r\n");
    assert_eq!(told.reply(&format!("{line}$5\r\nhello")), line.len(), "the payload is left alone");
    assert!(told.did(&Action::BeginFullSync { from: Some(Resume { replid: B, offset: 1234 }) }));
    assert!(told.did(&Action::State(LinkState::Sync)));
    told.at(4).step(Event::LoadStarted);
    told.step(Event::Tick);
    assert_eq!(told.sent(), "\n");
    told.step(Event::Loaded);
    assert!(told.did(&Action::SendAck) && told.did(&Action::State(LinkState::Connected)));
    told.at(5).step(Event::Tick);
    assert_eq!(told.actions, [Action::SendAck]);
}

#[test]
fn user_password_and_announced_address_are_told_in_order() {
    let mut told = Told::new(None);
    told.link.config = LinkConfig {
        user: Some(b"u".to_vec()),
        password: Some(b"p w".to_vec()),
        listening_port: 7,
        announce_ip: Some("10.0.0.1".into()),
        timeout_ms: 60_000,
        ..LinkConfig::default()
    };
    told.step(Event::Connected);
    told.at(1);
    told.reply("-NOAUTH Authentication required.\r\n");
    assert_eq!(
        told.sent(),
        "*3 $4 AUTH $1 u $3 p w *3 $8 REPLCONF $14 listening-port $1 7 *3 $8 REPLCONF $10 ip-address $8 10.0.0.1 \
         *5 $8 REPLCONF $4 capa $3 eof $4 capa $6 psync2 *3 $8 REPLCONF $7 version $5 9.0.0 "
    );
    // A change of the configuration in between does not shift the replies.
    told.link.config = LinkConfig::default();
    told.at(2);
    told.reply("+OK\r\n-ERR unknown\r\n-ERR unknown\r\n-ERR unknown\r\n-ERR unknown\r\n");
    for option in ["listening-port", "ip-address", "capa"] {
        assert!(told.logged(&format!("(Non critical) Master does not understand REPLCONF {option}: -ERR unknown")));
    }
    assert_eq!(told.sent(), "*3 $5 PSYNC $1 ? $2 -1 ");
}

#[test]
fn a_wrong_password_is_tried_again_at_the_next_tick() {
    let mut told = Told::new(None);
    told.link.config.password = Some(b"wrong".to_vec());
    told.step(Event::Connected);
    told.reply("-NOAUTH x\r\n-WRONGPASS invalid username-password pair\r\n");
    assert!(told.logged("Unable to AUTH to MASTER: -WRONGPASS invalid"));
    assert!(told.did(&Action::Close));
    assert_eq!(told.link.state(), LinkState::Connect);
    told.at(1000).step(Event::Tick);
    assert_eq!(told.connects(), 1);
}

#[test]
fn a_peer_that_is_no_redis_is_named_and_left() {
    for (peer, said) in [
        ("HTTP/1.1 400 Bad Request\r\n", "Error reply to PING from master: 'HTTP/1.1 400 Bad Request'"),
        ("-LOADING Redis is loading the dataset in memory\r\n", "Error reply to PING from master: '-LOADING"),
        ("\x1b[31mSSH-2.0\n", "'?[31mSSH-2.0'"),
        (&"x".repeat(5000), "line too long"),
    ] {
        let mut told = Told::new(None);
        told.step(Event::Connected);
        told.reply(peer);
        assert!(told.logged(said), "{:?}", told.actions);
        assert_eq!((told.link.state(), told.did(&Action::Close)), (LinkState::Connect, true));
    }
}

#[test]
fn a_partial_resync_continues_and_may_rename_the_history() {
    let mut told = Told::asking(Some(HELD));
    assert!(told.logged(&format!("Trying a partial resynchronization (request {A}:100).")));
    let line = format!("+CONTINUE {A}\r\n");
    assert_eq!(told.reply(&format!("{line}*1\r\n")), line.len(), "the stream is left alone");
    assert!(told.did(&Action::Continue { new_replid: None }));
    assert_eq!((told.link.state(), told.link.resume()), (LinkState::Connected, None));

    let mut told = Told::asking(Some(HELD));
    told.reply(&format!("+CONTINUE {B}\r\n"));
    assert!(told.logged(&format!("Master replication ID changed to {B}")));
    assert!(told.did(&Action::Continue { new_replid: Some(B) }));

    let mut told = Told::asking(Some(HELD));
    told.reply("+CONTINUE\r\n");
    assert!(told.did(&Action::Continue { new_replid: None }));

    let mut told = Told::asking(None);
    told.reply(&format!("+CONTINUE {B}\r\n"));
    assert_eq!(told.link.state(), LinkState::Connect, "nothing was asked to be continued");
}

#[test]
fn each_refusal_of_psync_has_its_answer() {
    for (reply, said, state) in [
        ("-NOMASTERLINK Can't SYNC\r\n", "should be in the future", LinkState::Connect),
        ("-LOADING wait\r\n", "should be in the future", LinkState::Connect),
        ("-ERR unknown command\r\n", "Master does not support PSYNC", LinkState::Sync),
        ("-NOAUTH\r\n", "Unexpected reply to PSYNC from master: -NOAUTH", LinkState::Sync),
        ("+FULLRESYNC short 1\r\n", "wrong +FULLRESYNC syntax", LinkState::Connect),
        ("+FULLRESYNC\r\n", "wrong +FULLRESYNC syntax", LinkState::Connect),
    ] {
        let mut told = Told::asking(Some(HELD));
        told.at(1);
        told.reply(reply);
        assert!(told.logged(said), "{reply}: {:?}", told.actions);
        assert_eq!(told.link.state(), state, "{reply}");
        assert_eq!(told.sent() == "SYNC ", state == LinkState::Sync);
        assert_eq!(told.link.resume(), Some(HELD), "what we hold is still good");
    }
}

#[test]
fn a_master_without_offsets_gets_no_acknowledgements_and_is_not_continued() {
    let mut told = Told::asking(None);
    told.reply("-ERR unknown command 'PSYNC'\r\n");
    assert!(told.did(&Action::BeginFullSync { from: None }));
    told.at(1).step(Event::Loaded);
    told.step(Event::Tick);
    assert!(!told.did(&Action::SendAck));
    told.step(Event::Lost { error: "gone".into(), held: Some(HELD) });
    assert_eq!(told.link.resume(), None);
}

#[test]
fn a_lost_link_is_made_again_at_once_from_where_it_stopped() {
    let mut told = Told::asking(Some(HELD));
    told.reply(&format!("+CONTINUE {A}\r\n"));
    told.at(5000).step(Event::Lost { error: "reset".into(), held: Some(Resume { replid: A, offset: 120 }) });
    for said in
        ["Connection with master lost.", "Caching the disconnected master state.", "Reconnecting to MASTER m:7000"]
    {
        assert!(told.logged(said), "{said}");
    }
    assert_eq!((told.connects(), told.link.down_since_ms()), (1, Some(5000)));
    told.step(Event::Connected);
    told.reply("+PONG\r\n+OK\r\n+OK\r\n-ERR Unrecognized\r\n");
    assert!(told.sent().ends_with("121 "), "{}", told.sent());
    told.reply("+CONTINUE\r\n");
    assert_eq!(told.link.down_since_ms(), None);
}

#[test]
fn silence_ends_every_phase() {
    let mut told = Told::new(None);
    told.at(60_000).step(Event::Tick);
    assert!(told.actions.is_empty());
    told.at(60_001).step(Event::Tick);
    assert!(told.logged("Timeout connecting to the MASTER...") && told.connects() == 1);

    let mut told = Told::asking(None);
    told.reply(&format!("+FULLRESYNC {A} 1\r\n"));
    told.at(50_000).step(Event::Heard);
    told.at(110_000).step(Event::Tick);
    assert!(told.actions.is_empty());
    told.at(110_001).step(Event::Tick);
    assert!(told.logged("Timeout receiving bulk data from MASTER...") && told.connects() == 1);

    let mut told = Told::asking(Some(HELD));
    told.reply("+CONTINUE\r\n");
    assert!(!told.link.timed_out(60_000, &mut told.actions));
    assert!(told.link.timed_out(60_001, &mut told.actions));
}

#[test]
fn a_broken_transfer_keeps_what_is_held_until_that_is_dropped() {
    let mut told = Told::asking(Some(HELD));
    told.reply(&format!("+FULLRESYNC {B} 1\r\n"));
    told.at(1).step(Event::TransferFailed("MASTER aborted replication with an error: x".into()));
    assert!(told.logged("MASTER aborted") && told.logged("Reconnecting to MASTER m:7000 after failure"));
    assert_eq!((told.link.resume(), told.connects()), (Some(HELD), 1));

    let mut told = Told::asking(Some(HELD));
    told.reply(&format!("+FULLRESYNC {B} 1\r\n"));
    told.step(Event::OldDataDropped);
    assert!(told.logged("Discarding previously cached master state."));
    told.step(Event::Lost { error: "connection lost".into(), held: None });
    assert_eq!(told.link.resume(), None);
}

#[test]
fn a_master_that_closes_while_we_load_loses_us_only_then() {
    let mut told = Told::asking(None);
    told.reply(&format!("+FULLRESYNC {B} 7\r\n"));
    told.step(Event::LoadStarted);
    told.at(1).step(Event::Lost { error: "closed".into(), held: None });
    assert!(told.actions.is_empty());
    told.step(Event::Loaded);
    assert!(told.logged("Finished with success") && told.logged("Reconnecting to MASTER"));
    assert_eq!(told.link.resume(), Some(Resume { replid: B, offset: 7 }));
}

#[test]
fn another_master_is_asked_to_continue_what_the_first_began() {
    let mut told = Told::asking(Some(HELD));
    told.reply("+CONTINUE\r\n");
    let held = Resume { replid: A, offset: 300 };
    told.at(1).step(Event::SetMaster { host: "::1".into(), port: 8, held: Some(held), failover: false });
    assert!(told.did(&Action::Close) && told.logged("Connecting to MASTER [::1]:8"));
    assert_eq!(told.link.resume(), Some(held));
    // While connecting, what the node reports is not looked at: it is no master and has no stream.
    told.step(Event::SetMaster { host: "m".into(), port: 9, held: None, failover: false });
    assert_eq!(told.link.resume(), Some(held));
    told.at(2).step(Event::Unset);
    assert_eq!(told.link.state(), LinkState::None);
    assert!(told.did(&Action::Close));
    told.at(2000).step(Event::Tick);
    assert!(told.actions.is_empty());
}

#[test]
fn a_failover_asks_the_replica_to_take_over_and_reports_its_answer() {
    let ask = |reply: &str| {
        let mut told = Told::new(None);
        told.step(Event::SetMaster { host: "r".into(), port: 1, held: None, failover: true });
        told.link.resume = Some(HELD);
        told.step(Event::Connected);
        told.reply("+PONG\r\n+OK\r\n+OK\r\n-ERR Unrecognized\r\n");
        assert!(told.sent().ends_with("$3 100 $8 FAILOVER "), "{}", told.sent());
        told.reply(reply);
        told
    };
    assert!(ask(&format!("+CONTINUE {B}\r\n")).did(&Action::FailoverAnswered { accepted: true }));
    assert!(ask(&format!("+FULLRESYNC {B} 5\r\n")).did(&Action::FailoverAnswered { accepted: true }));
    for refusal in ["-ERR PSYNC FAILOVER can't be sent to a master.\r\n", "-NOMASTERLINK x\r\n", "-LOADING\r\n"] {
        let told = ask(refusal);
        assert!(told.did(&Action::FailoverAnswered { accepted: false }));
        assert_eq!(told.link.state(), LinkState::Connect);
    }
}

#[test]
fn an_acknowledgement_is_a_request() {
    assert_eq!(ack(12, None), b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$2\r\n12\r\n");
    assert!(ack(12, Some(9)).ends_with(b"$4\r\nFACK\r\n$1\r\n9\r\n"));
}

proptest! {
    /// Lines a peer may say, right ones among them, in any pieces and with any events between.
    #[test]
    fn no_peer_breaks_the_link(script in prop::collection::vec((0u8..14, "[+-]?(PONG|OK|CONTINUE|FULLRESYNC|NOAUTH|ERR)?[ a-z0-9]{0,50}\r?\n?", any::<Vec<u8>>()), 0..60)) {
        let mut told = Told::new(Some(HELD));
        for (what, line, noise) in script {
            told.now_ms += 500;
            match what {
                0 => told.step(Event::Connected),
                1 => told.step(Event::ConnectFailed("no".into())),
                2 => told.step(Event::Lost { error: "x".into(), held: Some(HELD) }),
                3 => told.step(Event::Loaded),
                4 => told.step(Event::LoadStarted),
                5 => told.step(Event::Tick),
                6 => { told.link.receive(told.now_ms, &noise, &mut told.actions); }
                7 => { told.reply(&format!("+CONTINUE {B}\r\n")); }
                8 => { told.reply(&format!("+FULLRESYNC {B} 3\r\n")); }
                9 => { told.step(Event::Connected); told.reply("+PONG\r\n+OK\r\n+OK\r\n-ERR Unrecognized\r\n"); }
                _ => { told.reply(&line); }
            }
            prop_assert!(told.link.line.len() <= MAX_LINE);
            prop_assert!(told.link.state() != LinkState::None, "only being told makes a master");
        }
        // However it was left, it comes back.
        told.at(told.now_ms + 100_000);
        told.step(Event::Lost { error: "end".into(), held: Some(HELD) });
        told.step(Event::Loaded);
        told.step(Event::Tick);
        told.step(Event::Tick);
        prop_assert!(told.connects() > 0);
    }
}

/// In step with a master at history A; then that master is back, and begins a full sync of history `back`.
fn synced_anew(back: ReplId, prepare: impl FnOnce(&mut Told)) -> Told {
    let mut told = Told::asking(None);
    told.reply(&format!("+FULLRESYNC {A} 99\r\n"));
    assert!(told.link.offered(0, 0, 5000, &mut Vec::new()));
    told.step(Event::Loaded);
    told.at(1000).step(Event::Lost { error: "gone".into(), held: Some(HELD) });
    prepare(&mut told);
    told.step(Event::Connected);
    told.reply("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n");
    told.reply(&format!("+FULLRESYNC {back} 7\r\n"));
    told
}

impl Told {
    fn is_taken(&mut self, held_keys: u64, offered_keys: u64) -> bool {
        let taken = self.link.offered(self.now_ms, held_keys, offered_keys, &mut self.actions);
        assert_eq!(taken, self.link.state() == LinkState::Sync);
        taken
    }
}

#[test]
fn a_master_that_comes_back_without_its_data_is_refused_until_it_has_it() {
    let mut told = synced_anew(B, |_| {});
    assert!(told.link.is_doubtful());
    assert!(!told.is_taken(5000, 0));
    assert!(told.logged("LINEAGE FENCE: master m:7000 came back with another history and 0 keys"));
    assert!(told.logged("REPLICAOF m 7000 FORCE"));
    assert!(told.did(&Action::Close) && told.did(&Action::State(LinkState::Connect)));
    let first = Fenced { held_keys: 5000, offered_keys: 0, since_ms: 1000, refusals: 1 };
    assert_eq!(told.link.fenced(), Some(first));
    // It rests, and asks again from where it was.
    told.at(10_999).step(Event::Tick);
    assert!(told.actions.is_empty());
    told.at(11_000).step(Event::Tick);
    told.step(Event::Connected);
    told.reply("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n");
    assert!(told.sent().contains(&format!("PSYNC $40 {A} ")), "{}", told.sent());
    told.reply(&format!("+FULLRESYNC {B} 9\r\n"));
    assert!(!told.is_taken(5000, 3));
    assert_eq!(told.link.fenced(), Some(Fenced { offered_keys: 3, refusals: 2, ..first }));
    assert!(told.logged("still stands"));
    // Its data is back.
    told.at(30_000).step(Event::Tick);
    told.step(Event::Connected);
    told.reply("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n");
    told.reply(&format!("+FULLRESYNC {B} 9\r\n"));
    assert!(told.is_taken(5000, 4000));
    told.step(Event::Loaded);
    assert!(told.logged("fence is lifted"));
    assert_eq!((told.link.fenced(), told.link.is_doubtful()), (None, false));
}

#[test]
fn what_was_asked_for_or_is_the_same_history_is_never_refused() {
    // The same history, only too far behind.
    assert!(synced_anew(A, |_| {}).is_taken(5000, 0));
    // Named anew by an operator.
    let renamed = |told: &mut Told| {
        told.step(Event::SetMaster { host: "m".into(), port: 7000, held: Some(HELD), failover: false });
    };
    assert!(synced_anew(B, renamed).is_taken(5000, 0));
    // Switched off.
    assert!(synced_anew(B, |told| told.link.config.fence_keys = None).is_taken(5000, 0));
    // Too little to lose, and enough to gain.
    assert!(synced_anew(B, |_| {}).is_taken(999, 0));
    assert!(synced_anew(B, |_| {}).is_taken(5000, 500));
    // The first sync with a master that was just named.
    let mut told = Told::asking(Some(HELD));
    told.reply(&format!("+FULLRESYNC {B} 7\r\n"));
    assert!(told.is_taken(5000, 0));
}

#[test]
fn after_a_restart_the_fence_stands_around_data_whose_history_is_known() {
    for (held, offered_by, keys, taken) in
        [(Some(HELD), B, 0, false), (Some(HELD), B, 500, true), (Some(HELD), A, 0, true), (None, B, 0, true)]
    {
        let mut told = Told { link: MasterLink::new(LinkConfig::default()), now_ms: 0, actions: Vec::new() };
        told.step(Event::Restart { host: "m".into(), port: 7000, held });
        told.step(Event::Connected);
        told.reply("+PONG\r\n+OK\r\n+OK\r\n-ERR Unrecognized\r\n");
        told.reply(&format!("+FULLRESYNC {offered_by} 7\r\n"));
        assert_eq!(told.is_taken(5000, keys), taken, "{held:?}, {keys} keys of {offered_by:?}");
    }
    // Whoever names the master once more wants what it has.
    let mut told = Told { link: MasterLink::new(LinkConfig::default()), now_ms: 0, actions: Vec::new() };
    told.step(Event::Restart { host: "m".into(), port: 7000, held: Some(HELD) });
    told.step(Event::SetMaster { host: "m".into(), port: 7000, held: None, failover: false });
    told.step(Event::Connected);
    told.reply("+PONG\r\n+OK\r\n+OK\r\n-ERR Unrecognized\r\n");
    told.reply(&format!("+FULLRESYNC {B} 7\r\n"));
    assert!(told.is_taken(5000, 0));
}

#[test]
fn force_takes_what_is_offered_once() {
    let mut told = synced_anew(B, |_| {});
    assert!(!told.is_taken(5000, 0));
    told.at(2000).step(Event::Force);
    assert_eq!(told.link.state(), LinkState::Connecting, "at once");
    told.step(Event::Connected);
    told.reply("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n");
    told.reply(&format!("+FULLRESYNC {B} 9\r\n"));
    assert!(told.is_taken(5000, 0));
    told.step(Event::Loaded);
    // In step again, it forces nothing for later.
    told.step(Event::Force);
    let held = Resume { replid: B, offset: 9 };
    told.at(9000).step(Event::Lost { error: "gone".into(), held: Some(held) });
    told.step(Event::Connected);
    told.reply("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n");
    told.reply(&format!("+FULLRESYNC {A} 9\r\n"));
    assert!(!told.is_taken(5000, 0));
    // A force that comes during the transfer counts for it.
    let mut told = synced_anew(B, |_| {});
    told.step(Event::Force);
    assert!(told.is_taken(5000, 0));
}

/// As far as the second connection, which learnt of its point.
fn with_two_channels() -> Told {
    let mut told = Told::new(None);
    told.link.config.dual_channel = true;
    told.step(Event::Connected);
    told.at(1).reply("+PONG\r\n");
    assert!(told.sent().contains("$4 capa $12 dual-channel"));
    told.reply("+OK\r\n+OK\r\n+OK\r\n+DUALCHANNELSYNC\r\n");
    assert!(told.did(&Action::OpenRdbChannel));
    assert_eq!(told.link.state(), LinkState::Handshake);
    let from = Resume { replid: B, offset: 1234 };
    told.at(2).step(Event::SnapshotPoint(Point { from, client_id: 7 }));
    assert_eq!(told.sent(), "*3 $8 REPLCONF $17 set-rdb-client-id $1 7 ");
    told
}

#[test]
fn the_snapshot_may_come_over_a_second_connection() {
    let mut told = with_two_channels();
    told.at(3).reply("+OK\r\n");
    assert_eq!(told.sent(), format!("*3 $5 PSYNC $40 {B} $4 1235 "));
    let line = format!("+CONTINUE {B}\r\n");
    assert_eq!(told.reply(&format!("{line}*1")), line.len(), "the stream is left alone");
    assert!(told.did(&Action::BeginFullSync { from: Some(Resume { replid: B, offset: 1234 }) }));
    // Whether it receives or loads: the first connection must not fall silent.
    told.at(4).step(Event::Tick);
    assert_eq!(told.sent(), "\n");
    told.step(Event::Loaded);
    assert!(told.did(&Action::SendAck) && told.did(&Action::State(LinkState::Connected)));
}

#[test]
fn without_a_second_connection_the_next_try_takes_one() {
    let mut failed = with_two_channels();
    failed.step(Event::ChannelFailed("refused".into()));
    let mut refused = with_two_channels();
    refused.at(3).reply("+OK\r\n-ERR no\r\n");
    for mut told in [failed, refused] {
        assert!(told.did(&Action::Close) && told.link.state() == LinkState::Connect);
        told.at(5).step(Event::Tick);
        told.step(Event::Connected);
        told.reply("+PONG\r\n");
        assert!(told.sent().contains("psync2") && !told.sent().contains("dual-channel"));
    }
}
