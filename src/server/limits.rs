//! What the system allows the process and thinks of it: open files, pages, and whom to kill when memory runs out.
//!
//! Knows nothing of clients but how many may come.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::base::os_reason;
use crate::config::{Config, OomScoreAdj, Settings};
use crate::exec::client_memory;
use crate::exec::engine::Engine;
use crate::stats::memory;

/// Files the server opens for itself: listeners, the log, snapshots, links to other servers.
const RESERVED_FILES: u64 = 32;
/// Files of each worker's runtime.
const FILES_A_WORKER: u64 = 4;

/// Raises the limit of open files to what `maxclients` needs, or lowers `maxclients` to what the limit allows.
pub fn adjust_open_files(config: &Config) -> Result<(), String> {
    let settings = config.snapshot();
    let wanted = settings.maxclients + RESERVED_FILES;
    let own = FILES_A_WORKER * settings.io_threads.max(1) as u64;
    let before = getrlimit(Resource::Nofile);
    // No limit at all reads as `None`.
    let old = before.current.unwrap_or(u64::MAX);
    if old >= wanted + own {
        return Ok(());
    }
    let (reached, refusal) = raise_open_files(before, wanted + own);
    if reached >= wanted {
        if reached > old {
            info!("Increased maximum number of open files to {wanted} (it was originally set to {old}).");
        }
        return Ok(());
    }
    if reached <= RESERVED_FILES {
        return Err(format!(
            "Your current 'ulimit -n' of {old} is not enough for the server to start. Please increase your open file \
             limit to at least {wanted}. Exiting."
        ));
    }
    let fewer = reached - RESERVED_FILES;
    warn!("You requested maxclients of {} requiring at least {wanted} max file descriptors.", settings.maxclients);
    warn!("Server can't set maximum open files to {wanted} because of OS error: {refusal}.");
    warn!(
        "Current maximum open files is {reached}. maxclients has been reduced to {fewer} to compensate for low ulimit. \
         If you need higher maxclients increase 'ulimit -n'."
    );
    config.update(|s| s.maxclients = fewer);
    Ok(())
}

/// As many as can be had up to `wanted`: the limit in force then, and why it is not more.
fn raise_open_files(before: Rlimit, wanted: u64) -> (u64, String) {
    let old = before.current.unwrap_or(u64::MAX);
    // Raising the hard limit is the privilege of few.
    let hard = before.maximum.map(|hard| hard.max(wanted));
    let refusal = match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: hard }) {
        Ok(()) => return (wanted.max(old), String::new()),
        Err(e) => os_reason(&e.into()),
    };
    let most = before.maximum.unwrap_or(wanted).min(wanted);
    if most > old && setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: before.maximum }).is_ok() {
        return (most, refusal);
    }
    (old, refusal)
}

/// CONFIG SET maxclients: refused where the system has not so many files for us.
fn allow_clients(new: &Settings) -> Result<(), String> {
    let wanted = new.maxclients + RESERVED_FILES + FILES_A_WORKER * new.io_threads.max(1) as u64;
    let before = getrlimit(Resource::Nofile);
    let old = before.current.unwrap_or(u64::MAX);
    let reached = if old >= wanted { old } else { raise_open_files(before, wanted).0 };
    if reached < new.maxclients + RESERVED_FILES {
        let fewer = reached.saturating_sub(RESERVED_FILES);
        return Err(format!(
            "The operating system is not able to handle the specified number of clients, try with {fewer}"
        ));
    }
    Ok(())
}

/// Says so where the kernel keeps fewer waiting connections than `tcp-backlog` asks for.
pub fn check_backlog(settings: &Settings) {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    if let Ok(most) = text.trim().parse::<i64>()
        && most > 0
        && most < settings.tcp_backlog
    {
        warn!(
            "WARNING: The TCP backlog setting of {} cannot be enforced because /proc/sys/net/core/somaxconn is set to \
             the lower value of {most}.",
            settings.tcp_backlog
        );
    }
}

/// `disable-thp`: where the system gives huge pages to everybody, we decline.
pub fn decline_huge_pages(settings: &Settings) {
    let mode = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if !settings.disable_thp || !mode.contains("[always]") {
        return;
    }
    // SAFETY: this option takes plain numbers and no pointer.
    if unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } != 0 {
        let reason = os_reason(&io::Error::last_os_error());
        warn!("WARNING: transparent huge pages stay enabled for this process: {reason}");
    }
}

/// The score before we first changed it, and what it was last set to.
#[derive(Default)]
struct OomScore {
    base: Option<i64>,
    current: Option<i64>,
}

static OOM: Mutex<OomScore> = Mutex::new(OomScore { base: None, current: None });

const OOM_FILE: &str = "/proc/self/oom_score_adj";

/// Tells the kernel how dear we are, as `oom-score-adj` has it for a master or a replica.
pub fn set_oom_score(settings: &Settings, replica: bool) -> Result<(), String> {
    let mut oom = OOM.lock();
    let score = match (settings.oom_score_adj, oom.base) {
        (OomScoreAdj::No, None) => return Ok(()),
        // What we changed once is put back.
        (OomScoreAdj::No, Some(base)) => base,
        (how, base) => {
            let read = || std::fs::read_to_string(OOM_FILE).map(|text| text.trim().parse().unwrap_or(0));
            let base = match base {
                Some(base) => base,
                None => read().map_err(|e| failed("read", &e))?,
            };
            oom.base = Some(base);
            let offset = if how == OomScoreAdj::Relative { base } else { 0 };
            settings.oom_score_adj_values[usize::from(replica)] + offset
        }
    };
    let score = score.clamp(-1000, 1000);
    if oom.current == Some(score) {
        return Ok(());
    }
    std::fs::write(OOM_FILE, format!("{score}\n")).map_err(|e| failed("write", &e))?;
    oom.current = Some(score);
    if settings.oom_score_adj == OomScoreAdj::No {
        *oom = OomScore::default();
    }
    Ok(())
}

fn failed(what: &str, e: &io::Error) -> String {
    warn!("Unable to {what} oom_score_adj: {}", os_reason(e));
    "Failed to apply new oom_score_adj configuration, check server logs.".into()
}

/// Makes CONFIG SET take effect on these. Once, at boot.
pub fn register_hooks(engine: &Arc<Engine>) {
    engine.config.on_change(
        &["maxclients"],
        |old, new| {
            if new.maxclients > old.maxclients { allow_clients(new) } else { Ok(()) }
        },
    );
    let weak = Arc::downgrade(engine);
    engine.config.on_change(&["maxmemory"], move |_, new| {
        let used = memory::used();
        if new.maxmemory > 0 && (new.maxmemory as usize) < used {
            warn!(
                "WARNING: the new maxmemory value set via CONFIG SET ({}) is smaller than the current memory usage ({used}). \
                 This will result in key eviction and/or the inability to accept new write commands depending on the \
                 maxmemory-policy.",
                new.maxmemory
            );
        }
        if let Some(engine) = weak.upgrade() {
            engine.evictor.wake();
        }
        Ok(())
    });
    client_memory::apply(engine, &engine.settings());
    let weak = Arc::downgrade(engine);
    engine.config.on_change(&["maxmemory-clients", "maxmemory"], move |_, new| {
        if let Some(engine) = weak.upgrade() {
            client_memory::apply(&engine, new);
        }
        Ok(())
    });
    let weak = Arc::downgrade(engine);
    engine.config.on_change(&["oom-score-adj", "oom-score-adj-values"], move |_, new| {
        set_oom_score(new, weak.upgrade().is_some_and(|e| e.state.is_replica()))
    });
}
