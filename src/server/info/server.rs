//! INFO's sections Server, Clients, CPU and Cluster: the process, who is connected, and what it costs.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Page;
use crate::base::{clock, version};
use crate::config::Supervised;
use crate::exec::client::flag;
use crate::exec::engine::Engine;

pub fn server(engine: &Arc<Engine>, page: &mut Page) {
    let s = engine.settings();
    let now_us = clock::now_us();
    let uptime_s = (now_us / 1000 - engine.state.started_ms.load(Relaxed)).max(0) / 1000;
    let name = rustix::system::uname();
    let os = [name.sysname(), name.release(), name.machine()].map(|part| part.to_string_lossy().into_owned());
    page.put("redis_version", version::REDIS);
    page.put("server_name", "pando");
    page.put("pando_version", version::PANDO);
    page.put("redis_git_sha1", option_env!("PANDO_GIT_SHA").unwrap_or("00000000"));
    page.put("redis_git_dirty", 0);
    page.put("redis_build_id", format_args!("{:016x}", build_id()));
    page.put("redis_mode", if s.cluster_enabled { "cluster" } else { "standalone" });
    page.put("os", os.join(" "));
    page.put("arch_bits", usize::BITS);
    page.put("monotonic_clock", "POSIX clock_gettime");
    page.put("multiplexing_api", "epoll");
    page.put("atomicvar_api", "rust-std");
    // As a stock server that was not built with GCC.
    page.put("gcc_version", "0.0.0");
    page.put("process_id", std::process::id());
    page.put("process_supervised", supervised(s.supervised));
    page.put("run_id", engine.state.run_id());
    page.put("tcp_port", if s.port == 0 { s.tls_port } else { s.port });
    page.put("server_time_usec", now_us);
    page.put("uptime_in_seconds", uptime_s);
    page.put("uptime_in_days", uptime_s / 86_400);
    page.put("hz", s.hz);
    page.put("configured_hz", s.hz);
    page.put("lru_clock", (now_us / 1_000_000) & 0x00ff_ffff);
    page.put("executable", std::env::current_exe().unwrap_or_default().display());
    page.put("config_file", engine.config.path().map(|p| p.display().to_string()).unwrap_or_default());
    page.put("io_threads_active", u8::from(engine.state.workers_in_use.load(Relaxed) > 1));
    let deadline_ms = engine.state.shutdown_deadline_ms.load(Relaxed);
    if deadline_ms != 0 {
        page.put("shutdown_in_milliseconds", deadline_ms - now_us / 1000);
    }
    listeners(&s, page);
}

/// Where the server can be reached, a line for each kind of socket.
fn listeners(s: &crate::config::Settings, page: &mut Page) {
    let mut lines = Vec::new();
    if s.port != 0 {
        let binds: String = s.bind.iter().map(|b| format!(",bind={b}")).collect();
        lines.push(format!("name=tcp{binds},port={}", s.port));
    }
    if !s.unixsocket.is_empty() {
        lines.push(format!("name=unix,bind={}", s.unixsocket));
    }
    for (i, line) in lines.iter().enumerate() {
        page.put(&format!("listener{i}"), line);
    }
}

/// Tells builds apart: a hash of what we call ourselves.
fn build_id() -> u64 {
    crate::base::crc::crc64(0, concat!(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")).as_bytes())
}

fn supervised(how: Supervised) -> &'static str {
    let notify = std::env::var_os("NOTIFY_SOCKET").is_some();
    match how {
        Supervised::No => "no",
        Supervised::Upstart => "upstart",
        Supervised::Systemd => "systemd",
        Supervised::Auto if notify => "systemd",
        Supervised::Auto => "no",
    }
}

pub fn clients(engine: &Arc<Engine>, page: &mut Page) {
    let (mut connected, mut blocked, mut timed, mut max_in, mut max_out) = (0, 0, 0, 0, 0);
    for c in engine.clients.list() {
        // Replicas have a line of their own; the link to our master is no client.
        if c.has(flag::REPLICA | flag::MASTER) {
            continue;
        }
        connected += 1;
        blocked += usize::from(c.has(flag::BLOCKED));
        timed += usize::from(c.has(flag::TIMED));
        max_in = max_in.max(c.query_bytes.load(Relaxed));
        max_out = max_out.max(c.out_bytes.load(Relaxed));
    }
    page.put("connected_clients", connected);
    page.put("cluster_connections", 0);
    page.put("maxclients", engine.settings().maxclients);
    page.put("client_recent_max_input_buffer", max_in);
    page.put("client_recent_max_output_buffer", max_out);
    page.put("blocked_clients", blocked);
    page.put("tracking_clients", 0);
    page.put("clients_in_timeout_table", timed);
    let (waited_for, on_gone) = engine.ks.waited_for();
    page.put("total_blocking_keys", waited_for);
    page.put("total_blocking_keys_on_nokey", on_gone);
}

/// User and system time in seconds that a `stat` file of `/proc` tells, for itself and for ended children.
fn cpu_times(path: &str) -> [f64; 4] {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The second field, the name, may hold spaces: count from its closing parenthesis. `utime` is the 14th field.
    let fields = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks_a_second = rustix::param::clock_ticks_per_second() as f64;
    let mut times = fields.split_ascii_whitespace().skip(11).map(|n| n.parse().unwrap_or(0.0) / ticks_a_second);
    std::array::from_fn(|_| times.next().unwrap_or(0.0))
}

pub fn cpu(_: &Arc<Engine>, page: &mut Page) {
    let [user, sys, children_user, children_sys] = cpu_times("/proc/self/stat");
    let [main_user, main_sys, ..] = cpu_times(&format!("/proc/self/task/{}/stat", std::process::id()));
    let mut put = |field, seconds: f64| page.put(field, format_args!("{seconds:.6}"));
    put("used_cpu_sys", sys);
    put("used_cpu_user", user);
    put("used_cpu_sys_children", children_sys);
    put("used_cpu_user_children", children_user);
    put("used_cpu_sys_main_thread", main_sys);
    put("used_cpu_user_main_thread", main_user);
}

pub fn cluster(engine: &Arc<Engine>, page: &mut Page) {
    page.put("cluster_enabled", u8::from(engine.settings().cluster_enabled));
}
