//! What happens by itself, `hz` times a second: statistics, expiry, idle clients.
//!
//! Runs on a thread of its own and passes the outsiders' gate, so that no worker waits for it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::base::clock;
use crate::exec::client::flag;
use crate::exec::client_memory;
use crate::exec::engine::Engine;
use crate::exec::{expire_cycle, output_limit};
use crate::persist::{Aof, Saver};

/// Starts the cron thread; it ends when the process does.
pub fn start(engine: Arc<Engine>) -> std::io::Result<()> {
    std::thread::Builder::new().name("cron".into()).spawn(move || {
        let mut replica = engine.state.is_replica();
        loop {
            let settings = engine.settings();
            let hz = settings.hz.clamp(1, 500) as u64;
            std::thread::sleep(Duration::from_micros(1_000_000 / hz));
            if engine.state.cron_paused.load(Relaxed) {
                continue;
            }
            let started_us = clock::mono_us();
            engine.stats.sample(clock::now_ms());
            // As stock: up to a quarter of the time, a little more with each step of effort.
            let percent = 25 + 2 * (settings.active_expire_effort - 1);
            expire_cycle::cycle(&engine, 10_000 * percent / hz as i64);
            if replica != engine.state.is_replica() {
                replica = !replica;
                // Logged where it fails.
                let _ = super::limits::set_oom_score(&settings, replica);
            }
            // Replies and requests take memory too, which no command that is run looks at.
            if settings.maxmemory > 0 {
                engine.evictor.wake();
            }
            client_memory::check(&engine);
            client_memory::shrink(&engine, clock::now_ms());
            drop_idle_clients(&engine, settings.timeout);
            output_limit::enforce(&engine, clock::now_ms());
            crate::repl::upkeep::cron(&engine, clock::now_ms());
            engine.part::<Aof>().cron(&engine, clock::now_ms());
            engine.part::<Saver>().cron(&engine, clock::now_ms());
            let took_us = (clock::mono_us() - started_us).max(1) as u64;
            engine.stats.cycle(engine.gates.outsider().0, took_us, 0);
        }
    })?;
    Ok(())
}

/// Ends connections that said nothing for `timeout_s`; replicas, masters, subscribers and waiting ones may be silent.
fn drop_idle_clients(engine: &Engine, timeout_s: i64) {
    if timeout_s == 0 {
        return;
    }
    let quiet = flag::REPLICA | flag::MASTER | flag::BLOCKED | flag::PUBSUB;
    let now = clock::now_ms();
    for c in engine.clients.list() {
        if c.flags.load(Relaxed) & quiet == 0 && now - c.last_active_ms.load(Relaxed) > timeout_s * 1000 {
            tracing::debug!("Closing idle client");
            c.kill();
        }
    }
}
