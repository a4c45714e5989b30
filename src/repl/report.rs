//! INFO replication: the lines of a stock server, in its order.

use std::sync::atomic::Ordering::Relaxed;

use super::handshake::LinkState;
use super::state::Repl;
use crate::base::clock;
use crate::exec::Engine;

/// Names and values.
pub fn info(engine: &Engine) -> Vec<(String, String)> {
    let repl = Repl::of(engine);
    let mut fields = Vec::new();
    let mut add = |name: &str, value: String| fields.push((name.to_owned(), value));
    let settings = engine.settings();
    let now_ms = clock::now_ms();
    let is_replica = engine.state.is_replica();
    add("role", if is_replica { "slave" } else { "master" }.into());
    if is_replica {
        link(&repl, engine, now_ms, &mut add);
        add("slave_priority", settings.replica_priority.to_string());
        add("slave_read_only", u8::from(settings.replica_read_only).to_string());
        add("replica_announced", u8::from(settings.replica_announced).to_string());
    }
    let mut replicas = repl.replicas();
    repl.note_progress(engine, &mut replicas);
    add("connected_slaves", replicas.len().to_string());
    if settings.min_replicas_to_write > 0 && settings.min_replicas_max_lag > 0 {
        add("min_slaves_good_slaves", engine.state.good_replicas.load(Relaxed).to_string());
    }
    let lacking_ms = |offset| repl.lacking_ms(engine, offset);
    for (n, line) in replicas.iter().filter_map(|r| r.info(lacking_ms(r.ack_offset), now_ms)).enumerate() {
        add(&format!("slave{n}"), line);
    }
    drop(replicas);
    let identity = repl.identity();
    let backlog = engine.log.backlog();
    add("master_failover_state", repl.failover().state().word().into());
    add("master_replid", identity.replid.to_string());
    add("master_replid2", identity.replid2.to_string());
    add("master_repl_offset", engine.log.end_offset().to_string());
    add("second_repl_offset", identity.second_offset.to_string());
    add("repl_backlog_active", u8::from(backlog.is_some()).to_string());
    add("repl_backlog_size", engine.log.backlog_limit_bytes().to_string());
    // What an earlier process left is beyond what stock servers have, whose tests look at these closely: told by itself.
    let kept = backlog.map_or(0, |b| repl.kept_bytes(b));
    add("repl_backlog_first_byte_offset", backlog.map_or(0, |b| b.first_byte_offset + kept).to_string());
    add("repl_backlog_histlen", backlog.map_or(0, |b| b.histlen - kept).to_string());
    add("repl_backlog_kept_bytes", kept.to_string());
    fields
}

/// How the link to our master stands.
fn link(repl: &Repl, engine: &Engine, now_ms: i64, add: &mut impl FnMut(&str, String)) {
    let link = &repl.link;
    let connected = link.is_connected();
    let syncing = link.state() == LinkState::Sync;
    let seconds_since = |ms: i64| if ms > 0 { (now_ms - ms).max(0) / 1000 } else { -1 };
    // While the data set is loaded, nobody follows the configuration yet.
    let (host, port) = repl.master_addr().or_else(|| engine.settings().replicaof.clone()).unwrap_or_default();
    // Received and applied are told apart only while a batch is being applied.
    let applied = if connected { engine.log.end_offset() } else { link.offset.load(Relaxed).max(1) };
    let last_io = seconds_since(link.last_io_ms.load(Relaxed));
    add("master_host", host);
    add("master_port", port.to_string());
    add("master_link_status", if connected { "up" } else { "down" }.into());
    add("master_last_io_seconds_ago", if connected { last_io } else { -1 }.to_string());
    add("master_sync_in_progress", u8::from(syncing).to_string());
    add(
        "slave_read_repl_offset",
        if connected { link.read_offset.load(Relaxed).max(applied) } else { applied }.to_string(),
    );
    add("slave_repl_offset", applied.to_string());
    if syncing {
        let (total, read) = (link.sync_total_bytes.load(Relaxed), link.sync_read_bytes.load(Relaxed));
        let percent = if total > 0 { read as f64 / total as f64 * 100.0 } else { 0.0 };
        add("master_sync_total_bytes", total.to_string());
        add("master_sync_read_bytes", read.to_string());
        add("master_sync_left_bytes", (total - read).to_string());
        add("master_sync_perc", format!("{percent:.2}"));
        add("master_sync_last_io_seconds_ago", last_io.to_string());
        add("replicas_repl_buffer_size", link.buffered_bytes.load(Relaxed).to_string());
        add("master_sync_eta_seconds", link.progress().left_s(now_ms).to_string());
    }
    if !connected {
        add("master_link_down_since_seconds", seconds_since(link.down_since_ms.load(Relaxed)).to_string());
    }
    let fenced = *link.fenced.lock();
    add("lineage_fence", u8::from(fenced.is_some()).to_string());
    if let Some(fenced) = fenced {
        add("lineage_fence_since_seconds", seconds_since(fenced.since_ms).to_string());
        add("lineage_fence_held_keys", fenced.held_keys.to_string());
        add("lineage_fence_offered_keys", fenced.offered_keys.to_string());
        add("lineage_fence_refusals", fenced.refusals.to_string());
    }
    // What the master is ahead of us by, only the master can tell; this is our own share of it.
    add("slave_apply_lag_ms", link.unapplied_ms(clock::mono_ms()).to_string());
}
