//! `maxmemory-clients`: the memory of all clients' buffers, and who has to leave when it is too much.
//!
//! Every connection counts itself when it has read, executed or collected something. Knows nothing of what is in the
//! buffers.

use std::sync::atomic::Ordering::Relaxed;

use super::client::{ClientHandle, flag};
use super::describe::{self, ClientType};
use super::engine::Engine;
use crate::config::Settings;

/// The limit in bytes, 0 for none. A percentage is one of `maxmemory`, and of nothing without that.
pub fn limit_bytes(s: &Settings) -> usize {
    match s.maxmemory_clients {
        percent @ ..0 => (u128::from(s.maxmemory) * u128::from(percent.unsigned_abs()) / 100) as usize,
        bytes => bytes as usize,
    }
}

/// Takes the limit from the settings, and makes it hold.
pub fn apply(engine: &Engine, s: &Settings) {
    let limit = limit_bytes(s);
    engine.clients.limit_bytes.store(limit, Relaxed);
    if limit != 0 {
        check(engine);
    }
}

/// What a client weighs: its own class is limited, those of replicas and masters are not.
fn weight(client: &ClientHandle) -> usize {
    match ClientType::of(client) {
        ClientType::Normal | ClientType::PubSub => describe::memory_bytes(client),
        ClientType::Replica | ClientType::Master => 0,
    }
}

/// A client's buffers have changed.
#[inline]
pub fn count(engine: &Engine, client: &ClientHandle) {
    if exceeds(engine, client) {
        check(engine);
    }
}

/// The same for those who cannot send anybody away right now; tells whether it must be done.
#[inline]
pub fn exceeds(engine: &Engine, client: &ClientHandle) -> bool {
    let limit = engine.clients.limit_bytes.load(Relaxed);
    limit != 0 && engine.clients.count(client, weight(client)) >= limit
}

/// Counts all clients anew, and has the largest leave until the rest is within the limit.
#[cold]
pub fn check(engine: &Engine) {
    let limit = engine.clients.limit_bytes.load(Relaxed);
    if limit == 0 {
        return;
    }
    // One at a time, or several would each send clients away for the same bytes.
    let _turn = engine.clients.eviction.lock();
    let mut weighed = Vec::new();
    let mut sum = 0;
    for client in engine.clients.list() {
        let weight = weight(&client);
        engine.clients.count(&client, weight);
        sum += weight;
        if weight != 0 && !client.has(flag::NO_EVICT) && !client.is_killed() {
            weighed.push((weight, client));
        }
    }
    if sum < limit {
        return;
    }
    weighed.sort_unstable_by_key(|(weight, client)| (*weight, client.id));
    while sum >= limit {
        let Some((weight, client)) = weighed.pop() else {
            tracing::warn!("Over client maxmemory after evicting all evictable clients");
            return;
        };
        tracing::info!("Evicting client: {}", describe::line(engine, &client));
        // Nobody sees it any more, whenever its task finds out, and no key has to go for what it will give back.
        engine.clients.send_away(&client, weight);
        client.kill();
        engine.stats.counters.evicted_clients.fetch_add(1, Relaxed);
        sum -= weight;
    }
}

/// Idle for so long, a client needs no query buffer.
const IDLE_MS: i64 = 2000;
/// So much beyond what is in it is not worth a reallocation.
const SPARE_BYTES: usize = 1024;
/// A buffer up to this size is kept while it is in use.
const BUFFER_BYTES: usize = 32 << 10;

/// The cron's look at query buffers that are larger than they have to be.
pub fn shrink(engine: &Engine, now_ms: i64) {
    engine.clients.for_each(|client| {
        let capacity = client.query_capacity_bytes.load(Relaxed);
        if capacity == 0 || client.has(flag::REPLICA | flag::MASTER) {
            return;
        }
        let peak = client.query_peak_bytes.swap(client.query_bytes.load(Relaxed), Relaxed);
        let idle = now_ms - client.last_active_ms.load(Relaxed) > IDLE_MS;
        if idle && capacity > client.query_bytes.load(Relaxed) + SPARE_BYTES || capacity > BUFFER_BYTES.max(2 * peak) {
            client.ask_to_shrink();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_may_be_a_share_of_maxmemory() {
        for (clients, maxmemory, limit) in
            [(0, 0, 0), (5000, 0, 5000), (-5, 0, 0), (-5, 1000, 50), (-100, u64::MAX, usize::MAX)]
        {
            let s = Settings { maxmemory_clients: clients, maxmemory, ..Settings::default() };
            assert_eq!(limit_bytes(&s), limit);
        }
    }
}
