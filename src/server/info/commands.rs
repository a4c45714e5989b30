//! INFO's sections Commandstats, Errorstats and Latencystats: what was called, what failed, how long it took.

use std::sync::Arc;

use super::Page;
use crate::config::percentile;
use crate::exec::engine::Engine;

pub fn calls(engine: &Arc<Engine>, page: &mut Page) {
    for command in engine.table.entries() {
        let total = engine.stats.command(command.id.0);
        if total.calls | total.failed | total.rejected == 0 {
            continue;
        }
        let mean_us = if total.calls == 0 { 0.0 } else { total.usec as f64 / total.calls as f64 };
        page.put(
            &format!("cmdstat_{}", command.row.name),
            format_args!(
                "calls={},usec={},usec_per_call={mean_us:.2},rejected_calls={},failed_calls={}",
                total.calls, total.usec, total.rejected, total.failed
            ),
        );
    }
}

pub fn errors(engine: &Arc<Engine>, page: &mut Page) {
    for (code, count) in engine.stats.errors() {
        // What a client made up must not break a line or look like a field.
        let code: String = code.chars().map(|c| if "#:\r\n".contains(c) { '_' } else { c }).collect();
        page.put(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

pub fn latencies(engine: &Arc<Engine>, page: &mut Page) {
    let settings = engine.settings();
    if !settings.latency_tracking {
        return;
    }
    for command in engine.table.entries() {
        let latency = engine.stats.latency(command.id.0);
        if latency.total == 0 {
            continue;
        }
        let told: Vec<String> = settings
            .latency_tracking_info_percentiles
            .iter()
            .map(|p| format!("p{}={:.3}", percentile(*p), latency.percentile_us(*p)))
            .collect();
        page.put(&format!("latency_percentiles_usec_{}", command.row.name), told.join(","));
    }
}
