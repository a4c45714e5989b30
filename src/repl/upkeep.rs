//! What a node does for its replicas by itself: pings, time-outs, limits, the backlog's end, snapshots that are due.
//!
//! Called by the server's cron, off the workers. What is to be done, [`super::master`] says.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::fullsync;
use super::handover;
use super::id::ReplOffset;
use super::master::{Chore, MasterConfig, Phase};
use super::note::Note;
use super::state::{Repl, log};
use crate::base::clock;
use crate::exec::client::ClientHandle;
use crate::exec::{Engine, output_limit};
use crate::resp::encode_command;

pub fn master_config(engine: &Engine) -> MasterConfig {
    let s = engine.settings();
    MasterConfig {
        timeout_ms: s.repl_timeout * 1000,
        ping_period_ms: s.repl_ping_replica_period * 1000,
        backlog_ttl_ms: s.repl_backlog_ttl.saturating_mul(1000),
        diskless: s.repl_diskless_sync,
        diskless_delay_ms: s.repl_diskless_sync_delay * 1000,
        diskless_max_replicas: s.repl_diskless_sync_max_replicas as usize,
        dialects_differ: engine.ks.has_volatile(),
    }
}

/// Writes a request into the stream that is no effect. The caller is behind a gate.
fn tell_replicas(engine: &Engine, words: &[&[u8]]) {
    let mut request = Vec::new();
    encode_command(&mut request, words);
    engine.log.append_aside(&request);
    engine.log.notify_readers();
}

/// Has every replica acknowledge at once what it has. The caller is behind a gate; the node is a master.
pub fn ask_for_acks(engine: &Engine) {
    tell_replicas(engine, &[b"REPLCONF", b"GETACK", b"*"]);
}

/// Called `hz` times a second.
pub fn cron(engine: &Arc<Engine>, now_ms: i64) {
    let repl = Repl::of(engine);
    // Whoever appended off the workers may have told nobody.
    engine.log.notify_readers();
    if !repl.replicas().is_empty() {
        // Feeds whose sockets take nothing do not look at the log.
        repl.note_log_end(engine);
    }
    enforce_output_limits(engine);
    fullsync::look(engine, &repl, now_ms);
    handover::look(engine, &repl, now_ms);
    if now_ms < repl.next_look_ms.load(Relaxed) {
        return;
    }
    repl.next_look_ms.store(now_ms + 1000, Relaxed);
    look_after_replicas(engine, &repl, now_ms);
}

/// Ends replicas that are too far behind, and says at which end of the log to look again. Called when the log has grown to
/// that, and by the cron.
pub fn enforce_output_limits(engine: &Engine) {
    let (repl, now_ms) = (Repl::of(engine), clock::now_ms());
    let (mut look_at, mut is_behind) = (ReplOffset::MAX, false);
    for feed in repl.feeds() {
        if !feed.client.is_killed() && feed.is_over_limit(engine, now_ms) {
            output_limit::note(engine, &feed.client);
            log(Note::notice(feed.limit_advice(engine)));
            feed.client.kill();
        }
        let look = feed.look_again(engine);
        look_at = look_at.min(look.again_at);
        is_behind |= look.is_behind;
    }
    // Whoever writes to disk may have caught up since we looked: the cron's next look finds that, at the latest.
    if is_behind {
        engine.state.spill_behind.store(true, Relaxed);
    } else {
        engine.state.caught_up(&engine.state.spill_behind);
    }
    engine.state.log_watched_at.store(look_at, Relaxed);
}

fn look_after_replicas(engine: &Arc<Engine>, repl: &Repl, now_ms: i64) {
    let is_master = !engine.state.is_replica();
    let chores = {
        let mut replicas = repl.replicas();
        let ids: Vec<u64> = replicas.iter().filter(|r| r.phase == Phase::WaitEnd).map(|r| r.id).collect();
        for id in ids {
            let stalled_ms = repl.feed(id).and_then(|feed| feed.stalled_since_ms());
            if let Some(replica) = replicas.get_mut(id) {
                replica.stalled_ms = stalled_ms;
            }
        }
        repl.note_progress(engine, &mut replicas);
        let paused = repl.failover().is_active();
        let has_backlog = engine.log.backlog().is_some();
        let cfg = master_config(engine);
        replicas.tick(now_ms, is_master, paused, has_backlog, repl.running(), &cfg)
    };
    repl.count_good_replicas(engine);
    let client = |id| -> Option<Arc<ClientHandle>> { engine.clients.get(id) };
    for chore in chores {
        match chore {
            Chore::Log(note) => log(note),
            Chore::Ping => {
                let _gate = engine.gates.pass(engine.gates.outsider());
                if !engine.state.is_replica() {
                    tell_replicas(engine, &[b"PING"]);
                }
            }
            Chore::Newline(id) => {
                if let Some(client) = client(id) {
                    client.post(b"\n");
                }
            }
            Chore::Disconnect(id) => {
                if let Some(client) = client(id) {
                    client.kill();
                }
            }
            Chore::FreeBacklog => {
                let _gates = engine.gates.take_all();
                if repl.replicas().is_empty() && !engine.state.is_replica() {
                    repl.start_new_history();
                    engine.log.free_backlog();
                    repl.tell_names(engine);
                }
            }
        }
    }
}
