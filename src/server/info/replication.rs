//! INFO's section Replication: whom we follow, who follows us, and which history the data belongs to.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Page;
use crate::base::clock;
use crate::config::Settings;
use crate::exec::engine::Engine;
use crate::repl::Repl;
use crate::repl::handshake::LinkState;

pub fn replication(engine: &Arc<Engine>, page: &mut Page) {
    let (repl, s, now_ms) = (Repl::of(engine), engine.settings(), clock::now_ms());
    match repl.master_addr() {
        None => page.put("role", "master"),
        Some(master) => {
            page.put("role", "slave");
            link(&repl, &s, &master, now_ms, page);
        }
    }
    page.put("connected_slaves", repl.replicas().len());
    if s.min_replicas_to_write > 0 && s.min_replicas_max_lag > 0 {
        page.put("min_slaves_good_slaves", engine.state.good_replicas.load(Relaxed));
    }
    for (i, line) in repl.replicas().iter().filter_map(|r| r.info(now_ms)).enumerate() {
        page.put(&format!("slave{i}"), line);
    }
    let (identity, backlog) = (repl.identity(), engine.log.backlog());
    page.put("master_failover_state", repl.failover().state().word());
    page.put("master_replid", identity.replid);
    page.put("master_replid2", identity.replid2);
    page.put("master_repl_offset", engine.log.end_offset());
    page.put("second_repl_offset", identity.second_offset);
    page.put("repl_backlog_active", u8::from(backlog.is_some()));
    page.put("repl_backlog_size", engine.log.backlog_limit_bytes());
    page.put("repl_backlog_first_byte_offset", backlog.map_or(0, |b| b.first_byte_offset));
    page.put("repl_backlog_histlen", backlog.map_or(0, |b| b.histlen));
}

/// How the link to our master stands.
fn link(repl: &Repl, s: &Settings, master: &(String, u16), now_ms: i64, page: &mut Page) {
    let (link, state) = (&repl.link, repl.link.state());
    let syncing = link.sync_in_progress.load(Relaxed) || state == LinkState::Sync;
    let since_io_s = (now_ms - link.last_io_ms.load(Relaxed)).max(0) / 1000;
    page.put("master_host", &master.0);
    page.put("master_port", master.1);
    page.put("master_link_status", if link.is_connected() { "up" } else { "down" });
    page.put("master_last_io_seconds_ago", if link.is_connected() { since_io_s } else { -1 });
    page.put("master_sync_in_progress", u8::from(syncing));
    page.put("slave_read_repl_offset", link.read_offset.load(Relaxed));
    page.put("slave_repl_offset", link.offset.load(Relaxed));
    if syncing {
        let (total, read) = (link.sync_total_bytes.load(Relaxed), link.sync_read_bytes.load(Relaxed));
        page.put("master_sync_total_bytes", total);
        page.put("master_sync_read_bytes", read);
        page.put("master_sync_left_bytes", total - read);
        page.put_ratio("master_sync_perc", if total == 0 { 0.0 } else { 100.0 * read as f64 / total as f64 });
        page.put("master_sync_last_io_seconds_ago", since_io_s);
    }
    if !link.is_connected() {
        let since = link.down_since_ms.load(Relaxed);
        page.put("master_link_down_since_seconds", if since > 0 { (now_ms - since).max(0) / 1000 } else { -1 });
    }
    page.put("slave_priority", s.replica_priority);
    page.put("slave_read_only", u8::from(s.replica_read_only));
    page.put("replica_announced", u8::from(s.replica_announced));
}
