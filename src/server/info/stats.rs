//! INFO's section Stats: counters since the start or the last CONFIG RESETSTAT.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Page;
use crate::exec::engine::Engine;
use crate::exec::pubsub::Kind;

pub fn stats(engine: &Arc<Engine>, page: &mut Page) {
    let (stats, c, instant) = (&engine.stats, &engine.stats.counters, engine.stats.instant());
    let (repl_in, repl_out) = (c.repl_in.load(Relaxed), c.repl_out.load(Relaxed));
    let kbps = |bytes: u64| bytes as f64 / 1024.0;
    page.put("total_connections_received", c.connections_received.load(Relaxed));
    page.put("total_commands_processed", stats.commands_processed());
    page.put("instantaneous_ops_per_sec", instant.ops);
    page.put("total_net_input_bytes", stats.net_in() + repl_in);
    page.put("total_net_output_bytes", stats.net_out() + repl_out);
    page.put("total_net_repl_input_bytes", repl_in);
    page.put("total_net_repl_output_bytes", repl_out);
    page.put_ratio("instantaneous_input_kbps", kbps(instant.net_in_bytes));
    page.put_ratio("instantaneous_output_kbps", kbps(instant.net_out_bytes));
    page.put_ratio("instantaneous_input_repl_kbps", kbps(instant.repl_in_bytes));
    page.put_ratio("instantaneous_output_repl_kbps", kbps(instant.repl_out_bytes));
    page.put("rejected_connections", c.connections_rejected.load(Relaxed));
    page.put("sync_full", c.sync_full.load(Relaxed));
    page.put("sync_partial_ok", c.sync_partial_ok.load(Relaxed));
    page.put("sync_partial_err", c.sync_partial_err.load(Relaxed));
    page.put("expired_subkeys", c.expired_subkeys.load(Relaxed));
    page.put("expired_keys", c.expired_keys.load(Relaxed));
    // The cycle finds what is due by its deadline, so nothing stale is left to be guessed at.
    page.put_ratio("expired_stale_perc", 0.0);
    page.put("expired_time_cap_reached_count", c.expired_time_cap_reached.load(Relaxed));
    page.put("expire_cycle_cpu_milliseconds", c.expire_cycle_us.load(Relaxed) / 1000);
    page.put("evicted_keys", c.evicted_keys.load(Relaxed));
    page.put("evicted_clients", c.evicted_clients.load(Relaxed));
    let exceeded_us = engine.evictor.exceeded_us();
    page.put("total_eviction_exceeded_time", (c.eviction_exceeded_us.load(Relaxed) + exceeded_us) / 1000);
    page.put("current_eviction_exceeded_time", exceeded_us / 1000);
    page.put("keyspace_hits", stats.hits());
    page.put("keyspace_misses", stats.misses());
    page.put("pubsub_channels", engine.pubsub.names(Kind::Channel));
    page.put("pubsub_patterns", engine.pubsub.names(Kind::Pattern));
    page.put("pubsubshard_channels", engine.pubsub.names(Kind::Shard));
    // Of things this server does without: forks, moving keys by MIGRATE, defragmentation, tracking, I/O threads.
    for field in ["latest_fork_usec", "total_forks", "migrate_cached_sockets"] {
        page.put(field, 0);
    }
    page.put("slave_expires_tracked_keys", engine.state.own_expiring.lock().len());
    for field in [
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
        "tracking_total_keys",
        "tracking_total_items",
        "tracking_total_prefixes",
    ] {
        page.put(field, 0);
    }
    page.put("unexpected_error_replies", c.unexpected_error_replies.load(Relaxed));
    page.put("total_error_replies", c.errors.load(Relaxed));
    page.put("dump_payload_sanitizations", c.dump_payload_sanitizations.load(Relaxed));
    page.put("total_reads_processed", stats.reads());
    page.put("total_writes_processed", stats.writes());
    for field in
        ["io_threaded_reads_processed", "io_threaded_writes_processed", "reply_buffer_shrinks", "reply_buffer_expands"]
    {
        page.put(field, 0);
    }
    let (cycles, cycles_us) = stats.cycles();
    page.put("eventloop_cycles", cycles);
    page.put("eventloop_duration_sum", cycles_us);
    page.put("eventloop_duration_cmd_sum", stats.commands_us());
    page.put("instantaneous_eventloop_cycles_per_sec", instant.cycles);
    page.put("instantaneous_eventloop_duration_usec", instant.cycle_us);
    page.put("acl_access_denied_auth", c.acl_denied_auth.load(Relaxed));
    for field in ["acl_access_denied_cmd", "acl_access_denied_key", "acl_access_denied_channel"] {
        page.put(field, 0);
    }
}

/// INFO's section Debug. A cycle is a look at what one connection sent, or one of the cron's.
pub fn debug(engine: &Arc<Engine>, page: &mut Page) {
    let stats = &engine.stats;
    page.put("eventloop_duration_aof_sum", 0);
    page.put("eventloop_duration_cron_sum", stats.cron_us());
    page.put("eventloop_duration_max", stats.longest_cycle_us());
    page.put("eventloop_cmd_per_cycle_max", stats.most_commands_a_cycle());
}
