//! INFO's sections Persistence and Keyspace.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Page;
use crate::base::clock;
use crate::exec::engine::Engine;
use crate::persist::{Aof, Saver};
use crate::repl::Repl;

/// A snapshot needs no child. What stock servers tell of one is told of the thread that takes its place, and instead of the
/// pages that were copied on write, what writes made the snapshot keep.
pub fn persistence(engine: &Arc<Engine>, page: &mut Page) {
    let (state, saver) = (&engine.state, engine.part::<Saver>());
    page.put("loading", u8::from(state.is_loading()));
    page.put("async_loading", u8::from(state.async_loading.load(Relaxed)));
    let syncing_s = Repl::of(engine).snapshot_took_s();
    let in_progress = saver.in_progress() || syncing_s >= 0;
    let walking = in_progress || engine.part::<Aof>().rewrite_runs();
    let now = |value: u64| if walking { value } else { 0 };
    let kept = now(state.snapshot_kept_bytes.load(Relaxed));
    let (saved, total) = (now(state.snapshot_keys_saved.load(Relaxed)), now(state.snapshot_keys_total.load(Relaxed)));
    page.put("current_cow_peak", kept);
    page.put("current_cow_size", kept);
    page.put("current_cow_size_age", 0);
    page.put_ratio("current_fork_perc", 100.0 * saved as f64 / total.max(1) as f64);
    page.put("current_save_keys_processed", saved);
    page.put("current_save_keys_total", total);
    page.put("rdb_changes_since_last_save", state.dirty.load(Relaxed));
    page.put("rdb_bgsave_in_progress", u8::from(in_progress));
    page.put("rdb_last_save_time", state.last_save_s.load(Relaxed));
    page.put("rdb_last_bgsave_status", if state.save_failed.load(Relaxed) { "err" } else { "ok" });
    page.put("rdb_last_bgsave_time_sec", saver.last_took_s.load(Relaxed));
    page.put("rdb_current_bgsave_time_sec", saver.current_took_s().max(syncing_s));
    page.put("rdb_saves", saver.saves.load(Relaxed));
    page.put("rdb_last_cow_size", saver.last_kept_bytes.load(Relaxed));
    page.put("rdb_last_load_keys_expired", saver.last_expired.load(Relaxed));
    page.put("rdb_last_load_keys_loaded", saver.last_loaded.load(Relaxed));
    let (always, with_file) = engine.part::<Aof>().info(engine);
    always.iter().for_each(|(field, value)| page.put(field, value));
    page.put("module_fork_in_progress", 0);
    page.put("module_fork_last_cow_size", 0);
    with_file.iter().for_each(|(field, value)| page.put(field, value));
    if state.is_loading() {
        loading(engine, page);
    }
}

fn loading(engine: &Arc<Engine>, page: &mut Page) {
    let state = &engine.state;
    let (total, loaded) = (state.loading_total_bytes.load(Relaxed), state.loading_loaded_bytes.load(Relaxed));
    let started_s = state.loading_start_s.load(Relaxed);
    let elapsed_s = (clock::now_ms() / 1000 - started_s).max(0).unsigned_abs();
    // Without an elapsed second there is nothing to tell the speed by.
    let eta_s = if elapsed_s == 0 { 1 } else { elapsed_s * total.saturating_sub(loaded) / (loaded + 1) };
    page.put("loading_start_time", started_s);
    page.put("loading_total_bytes", total);
    page.put("loading_rdb_used_mem", 0);
    page.put("loading_loaded_bytes", loaded);
    page.put_ratio("loading_loaded_perc", 100.0 * loaded as f64 / total.max(1) as f64);
    page.put("loading_eta_seconds", eta_s);
}

/// Keys that the mean time to live is guessed from, and how many are picked to find so many that expire.
const TTL_SAMPLES: usize = 16;
const TTL_TRIES: usize = 256;

pub fn keyspace(engine: &Arc<Engine>, page: &mut Page) {
    for db in 0..engine.ks.databases() {
        let (keys, expires) = engine.ks.count(db);
        if keys > 0 {
            let avg_ttl = if expires > 0 { mean_ttl_ms(engine, db) } else { 0 };
            // Redis 7.4 and later say how many hashes have fields that expire; told where there are any.
            let subexpiry = match engine.ks.count_volatile(db) {
                0 => String::new(),
                hashes => format!(",subexpiry={hashes}"),
            };
            page.put(&format!("db{db}"), format_args!("keys={keys},expires={expires},avg_ttl={avg_ttl}{subexpiry}"));
        }
    }
}

/// A guess from a few keys picked at random.
fn mean_ttl_ms(engine: &Arc<Engine>, db: usize) -> i64 {
    let now = clock::now_ms();
    let (mut sum, mut count) = (0i64, 0);
    for (_, at) in (0..TTL_TRIES).filter_map(|_| engine.ks.random_key(db)) {
        if count as usize == TTL_SAMPLES {
            break;
        }
        if let Some(left) = at.map(|at| (at - now).max(0)) {
            sum = sum.saturating_add(left);
            count += 1;
        }
    }
    sum / count.max(1)
}
