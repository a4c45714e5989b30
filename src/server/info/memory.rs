//! INFO's section Memory, and what MEMORY STATS shares with it: how much is used, and how much of that is not data.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Page;
use crate::exec::client::flag;
use crate::exec::engine::Engine;
use crate::exec::{describe, evict};
use crate::persist::Aof;
use crate::stats::memory as allocator;

/// A number of bytes as people read it, in the stock format.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "K", "M", "G", "T", "P", "E"];
    let unit = (bytes.max(1).ilog2() / 10) as usize;
    if unit == 0 {
        format!("{bytes}B")
    } else {
        format!("{:.2}{}", bytes as f64 / f64::powi(1024.0, unit as i32), UNITS[unit])
    }
}

/// Keys and table of one database.
pub struct DbOverhead {
    pub db: usize,
    pub keys: usize,
    pub table_bytes: usize,
}

/// Where the memory goes.
pub struct Overhead {
    pub used: u64,
    pub peak: u64,
    pub startup: u64,
    pub resident: u64,
    pub backlog: u64,
    pub replication_buffers: u64,
    pub replicas: u64,
    pub clients: u64,
    /// Databases that have keys.
    pub dbs: Vec<DbOverhead>,
    /// All of it that is not data.
    pub total: u64,
}

impl Overhead {
    pub fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.total)
    }

    /// The data's share of what came since the start, in percent.
    pub fn dataset_percent(&self) -> f64 {
        100.0 * self.dataset() as f64 / self.used.saturating_sub(self.startup).max(1) as f64
    }

    pub fn peak_percent(&self) -> f64 {
        100.0 * self.used as f64 / self.peak.max(1) as f64
    }

    /// Resident memory for each byte in use.
    pub fn fragmentation(&self) -> f64 {
        self.resident as f64 / self.used.max(1) as f64
    }

    pub fn fragmentation_bytes(&self) -> i64 {
        self.resident as i64 - self.used as i64
    }

    pub fn keys(&self) -> usize {
        self.dbs.iter().map(|db| db.keys).sum()
    }
}

/// Memory in use, and how much of it is the log's: buffers that are being freed at this moment are in both or in neither.
fn used_with_buffers(engine: &Engine) -> (u64, u64) {
    let mut buffers = engine.log.memory_bytes();
    for _ in 0..100 {
        let used = allocator::used();
        let before = std::mem::replace(&mut buffers, engine.log.memory_bytes());
        if buffers == before {
            return (used as u64, buffers as u64);
        }
    }
    (allocator::used() as u64, buffers as u64)
}

pub fn overhead(engine: &Engine) -> Overhead {
    let (used, replication_buffers) = used_with_buffers(engine);
    let peak = engine.stats.peak_memory.fetch_max(used, Relaxed).max(used);
    let (mut replicas, mut clients) = (0, 0);
    // Who was killed counts no more, whenever its task finds out.
    for c in engine.clients.list().iter().filter(|c| !c.is_killed()) {
        let of = if c.has(flag::REPLICA) { &mut replicas } else { &mut clients };
        *of += describe::memory_bytes(c) as u64;
    }
    let count = |db| DbOverhead { db, keys: engine.ks.count(db).0, table_bytes: engine.ks.table_bytes(db) };
    let dbs: Vec<DbOverhead> = (0..engine.ks.databases()).map(count).filter(|db| db.keys > 0).collect();
    let backlog = engine.log.backlog().map_or(0, |b| b.histlen.max(0) as u64);
    let tables: usize = dbs.iter().map(|db| db.table_bytes).sum();
    let startup = allocator::startup() as u64;
    let total = startup + replication_buffers + replicas + clients + tables as u64;
    let resident = allocator::resident() as u64;
    Overhead { used, peak, startup, resident, backlog, replication_buffers, replicas, clients, dbs, total }
}

/// Bytes of memory the machine has.
fn system_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kb = text.lines().find_map(|l| l.strip_prefix("MemTotal:")).map(|l| l.trim().trim_end_matches(" kB"));
    kb.and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1024
}

pub fn memory(engine: &Arc<Engine>, page: &mut Page) {
    let (o, s) = (overhead(engine), engine.settings());
    let both = |page: &mut Page, field: &str, bytes: u64| {
        page.put(field, bytes);
        page.put(&format!("{field}_human"), human(bytes));
    };
    both(page, "used_memory", o.used);
    both(page, "used_memory_rss", o.resident);
    both(page, "used_memory_peak", o.peak);
    page.put("used_memory_peak_perc", format_args!("{:.2}%", o.peak_percent()));
    page.put("used_memory_overhead", o.total);
    page.put("used_memory_startup", o.startup);
    page.put("used_memory_dataset", o.dataset());
    page.put("used_memory_dataset_perc", format_args!("{:.2}%", o.dataset_percent()));
    // The allocator does not tell the pages it holds apart from those the system gave us.
    page.put("allocator_allocated", o.used);
    page.put("allocator_active", o.resident);
    page.put("allocator_resident", o.resident);
    both(page, "total_system_memory", system_bytes());
    scripts(page);
    both(page, "maxmemory", s.maxmemory);
    page.put("maxmemory_policy", s.maxmemory_policy.as_str());
    page.put_ratio("allocator_frag_ratio", o.fragmentation());
    page.put("allocator_frag_bytes", o.fragmentation_bytes());
    page.put_ratio("allocator_rss_ratio", 1.0);
    page.put("allocator_rss_bytes", 0);
    page.put_ratio("rss_overhead_ratio", 1.0);
    page.put("rss_overhead_bytes", 0);
    page.put_ratio("mem_fragmentation_ratio", o.fragmentation());
    page.put("mem_fragmentation_bytes", o.fragmentation_bytes());
    page.put("mem_not_counted_for_evict", evict::not_counted(o.replication_buffers as usize, &s));
    page.put("mem_replication_backlog", o.backlog);
    page.put("mem_total_replication_buffers", o.replication_buffers);
    page.put("mem_clients_slaves", o.replicas);
    page.put("mem_clients_normal", o.clients);
    page.put("mem_cluster_links", 0);
    page.put("mem_aof_buffer", engine.part::<Aof>().buffered_bytes(engine));
    page.put("mem_allocator", "mimalloc");
    page.put("active_defrag_running", 0);
    page.put("lazyfree_pending_objects", engine.freeing().pending.load(Relaxed));
    page.put("lazyfreed_objects", engine.freeing().freed.load(Relaxed));
}

/// There are no scripts and no functions yet.
fn scripts(page: &mut Page) {
    let none = [
        ("used_memory_lua", "0"),
        ("used_memory_vm_eval", "0"),
        ("used_memory_lua_human", "0B"),
        ("used_memory_scripts_eval", "0"),
        ("number_of_cached_scripts", "0"),
        ("number_of_functions", "0"),
        ("number_of_libraries", "0"),
        ("used_memory_vm_functions", "0"),
        ("used_memory_vm_total", "0"),
        ("used_memory_vm_total_human", "0B"),
        ("used_memory_functions", "0"),
        ("used_memory_scripts", "0"),
        ("used_memory_scripts_human", "0B"),
    ];
    none.iter().for_each(|(field, value)| page.put(field, value));
}
