//! Replicas through their phases, by hand.

use super::super::wait::{Need, Tally, WaitList};
use super::*;

fn replica(id: u64, eof: bool) -> Replica {
    let greeting = Greeting {
        listening_port: id as u16,
        capa: Capa { eof, psync2: true, dual_channel: false },
        ..Greeting::default()
    };
    Replica::new(id, "10.0.0.1".into(), greeting, false, 0)
}

fn disk() -> MasterConfig {
    MasterConfig { diskless: false, ..MasterConfig::default() }
}

#[test]
fn a_file_serves_all_who_come_while_it_is_written() {
    let (mut replicas, mut notes) = (Replicas::default(), Vec::new());
    assert_eq!(replicas.add_full(replica(1, true), Running::Nothing, &disk(), &mut notes), Plan::Wait);
    let start = replicas.due(0, Running::Nothing, &disk()).unwrap();
    assert_eq!(start, Start { target: Target::Disk, filter: Filter::default(), dialect: Dialect::Redis, ids: vec![1] });
    replicas.started(&start, 700);
    let running = Running::Snapshot(Target::Disk);
    assert_eq!(replicas.add_full(replica(2, true), running, &disk(), &mut notes), Plan::Attach { offset: 700 });
    assert_eq!(replicas.add_full(replica(3, false), running, &disk(), &mut notes), Plan::Wait, "it can do less");
    assert!(replicas.due(0, running, &disk()).is_none());
    assert!(replicas.finished(Target::Disk, true, 5, &mut notes).is_empty());
    assert_eq!(
        replicas.iter().map(|r| r.phase).collect::<Vec<_>>(),
        [Phase::SendBulk, Phase::SendBulk, Phase::WaitStart]
    );
    assert!(replicas.bulk_sent(1, 6, &mut notes));
    assert!(replicas.get(1).unwrap().takes_stream());
    assert_eq!(replicas.due(9, Running::Nothing, &disk()).unwrap().ids, [3]);
}

#[test]
fn sockets_wait_for_company_and_stream_from_the_first_ack() {
    let cfg = MasterConfig { diskless_max_replicas: 3, ..MasterConfig::default() };
    let (mut replicas, mut notes) = (Replicas::default(), Vec::new());
    replicas.add_full(replica(1, true), Running::Nothing, &cfg, &mut notes);
    replicas.add_full(replica(2, true), Running::Nothing, &cfg, &mut notes);
    assert!(replicas.due(4_999, Running::Nothing, &cfg).is_none());
    assert!(replicas.due(5_000, Running::Nothing, &cfg).is_some());
    replicas.add_full(replica(3, true), Running::Nothing, &cfg, &mut notes);
    let start = replicas.due(10, Running::Nothing, &cfg).unwrap();
    assert_eq!((start.target, start.ids.len()), (Target::Sockets, 3));
    replicas.started(&start, 50);
    replicas.finished(Target::Sockets, true, 20, &mut notes);
    assert_eq!(replicas.get(2).unwrap().phase, Phase::Online);
    assert!(!replicas.get(2).unwrap().takes_stream());
    assert!(replicas.acked(2, 50, None, 30));
    assert!(replicas.get(2).unwrap().takes_stream());
    assert!(!replicas.acked(2, 40, None, 40), "nothing new");
    assert_eq!(replicas.get(2).unwrap().ack_offset, 50, "an offset does not go back");
}

#[test]
fn one_that_knows_no_mark_makes_it_a_file() {
    let cfg = MasterConfig::default();
    let (mut replicas, mut notes) = (Replicas::default(), Vec::new());
    replicas.add_full(replica(1, true), Running::Nothing, &cfg, &mut notes);
    replicas.add_full(replica(2, false), Running::Nothing, &cfg, &mut notes);
    assert_eq!(replicas.due(0, Running::Nothing, &cfg).unwrap().target, Target::Disk);
}

#[test]
fn a_failed_snapshot_and_a_finished_download_end_the_connection() {
    let (mut replicas, mut notes) = (Replicas::default(), Vec::new());
    let mut only = replica(1, true);
    only.greeting.rdb_only = true;
    replicas.add_full(only, Running::Nothing, &disk(), &mut notes);
    let start = replicas.due(0, Running::Nothing, &disk()).unwrap();
    replicas.started(&start, 1);
    replicas.finished(Target::Disk, true, 0, &mut notes);
    assert!(!replicas.bulk_sent(1, 0, &mut notes));
    assert_eq!(replicas.get(1).unwrap().info(0, 0), None);
    replicas.add_full(replica(2, true), Running::Nothing, &disk(), &mut notes);
    replicas.started(&replicas.due(0, Running::Nothing, &disk()).unwrap(), 1);
    assert_eq!(replicas.finished(Target::Disk, false, 0, &mut notes), [2]);
}

#[test]
fn the_tick_pings_keeps_alive_and_times_out() {
    let cfg = disk();
    let (mut replicas, mut notes) = (Replicas::default(), Vec::new());
    let tick = |replicas: &mut Replicas, now_ms: i64| replicas.tick(now_ms, true, false, true, Running::Nothing, &cfg);
    replicas.add_partial(replica(1, true), 0);
    replicas.add_full(replica(2, true), Running::Nothing, &cfg, &mut notes);
    // The first PING comes a whole period after the first look.
    assert_eq!(tick(&mut replicas, 10_000), [Chore::Newline(2)]);
    assert_eq!(tick(&mut replicas, 11_000), [Chore::Newline(2)]);
    assert_eq!(tick(&mut replicas, 20_000), [Chore::Ping, Chore::Newline(2)]);
    replicas.acked(1, 5, None, 20_000);
    assert_eq!(replicas.good(30_000, 10), 1);
    assert_eq!(replicas.good(31_000, 10), 0);
    let line = |replicas: &Replicas, lacking_ms, now_ms| replicas.get(1).unwrap().info(lacking_ms, now_ms).unwrap();
    assert_eq!(line(&replicas, 7, 22_500), "ip=10.0.0.1,port=1,state=online,offset=5,lag=2,lag_ms=-1");
    // What it told holds until it is overdue; then it counts what it lacks.
    replicas.told_lag(1, 3);
    assert_eq!(line(&replicas, 900, 21_000), "ip=10.0.0.1,port=1,state=online,offset=5,lag=1,lag_ms=3");
    assert_eq!(line(&replicas, 2400, 22_500), "ip=10.0.0.1,port=1,state=online,offset=5,lag=2,lag_ms=2400");
    assert_eq!(line(&replicas, 0, 22_500), "ip=10.0.0.1,port=1,state=online,offset=5,lag=2,lag_ms=3");
    assert!(tick(&mut replicas, 80_001).contains(&Chore::Disconnect(1)));
    replicas.remove(1, 80_001, &mut notes).unwrap();
    replicas.remove(2, 80_001, &mut notes).unwrap();
    assert!(tick(&mut replicas, 3_680_001).is_empty());
    assert_eq!(tick(&mut replicas, 3_680_002)[0], Chore::FreeBacklog);
    assert!(
        replicas.tick(9_000_000, false, false, true, Running::Nothing, &cfg).is_empty(),
        "a replica keeps its backlog"
    );
    assert!(tick(&mut replicas, 9_000_001).is_empty(), "and has a time of its own when it is promoted");
    assert!(tick(&mut replicas, 12_600_001).is_empty());
    assert_eq!(tick(&mut replicas, 12_600_002)[0], Chore::FreeBacklog);
}

#[test]
fn waiting_clients_are_let_go_by_acknowledgements() {
    let mut replicas = Replicas::default();
    replicas.add_partial(replica(1, true), 0);
    replicas.add_partial(replica(2, true), 0);
    let mut waiting = WaitList::default();
    waiting.add("one", 100, Need::Applied { replicas: 1 });
    waiting.add("two", 100, Need::Applied { replicas: 2 });
    waiting.add("disk", 90, Need::OnDisk { local: true, replicas: 1 });
    replicas.acked(1, 100, Some(90), 0);
    assert_eq!(waiting.satisfied(&replicas, 10), [("one", Tally::Applied { replicas: 1 })]);
    replicas.acked(2, 99, None, 0);
    assert_eq!(waiting.satisfied(&replicas, 95), [("disk", Tally::OnDisk { local: true, replicas: 1 })]);
    assert_eq!(waiting.remove(&"two"), Some((100, Need::Applied { replicas: 2 })));
    assert!(waiting.is_empty());
}

#[test]
fn the_log_names_a_replica_by_what_it_announced() {
    let mut r = replica(6380, true);
    assert_eq!(r.name(), "10.0.0.1:6380");
    r.greeting.announced_ip = Some("::1".into());
    assert_eq!(r.name(), "[::1]:6380");
    r.greeting.listening_port = 0;
    assert_eq!(r.name(), "::1:<unknown-replica-port>");
    r.greeting.announced_ip = Some(String::new());
    assert_eq!(r.name(), "client id #6380");
}
