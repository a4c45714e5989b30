//! CONFIG, and what a changed directive changes at once.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::base::{Error, log, os_reason};
use crate::config::SetContext;
use crate::exec::call::{Call, Flow, SessionCommand};

use crate::exec::engine::Engine;
use crate::exec::help::help;
use crate::persist::Aof;
use crate::repl::Repl;
use crate::spec::prelude::*;

pub const CONFIG: Row = Row {
    name: "config",
    arity: -2,
    flags: SESSION,
    since: "2.0.0",
    complexity: "That of the subcommand",
    summary: "Looks at the configuration and changes it.",
    ..Row::EMPTY
};

pub const CONFIG_GET: Row = Row {
    name: "config|get",
    arity: -3,
    syntax: "parameter...",
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SESSION),
    since: "2.0.0",
    complexity: "O(N), N being the number of directives given",
    summary: "Tells the values of the directives whose names match.",
    ..Row::EMPTY
};

pub const CONFIG_HELP: Row = Row {
    name: "config|help",
    arity: 2,
    flags: LOADING.or(STALE).or(SESSION),
    since: "5.0.0",
    complexity: "O(1)",
    summary: "Lists the subcommands of CONFIG.",
    ..Row::EMPTY
};

pub const CONFIG_RESETSTAT: Row = Row {
    name: "config|resetstat",
    arity: 2,
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SESSION),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    since: "2.0.0",
    complexity: "O(1)",
    summary: "Sets the counters of INFO back to zero.",
    ..Row::EMPTY
};

pub const CONFIG_REWRITE: Row = Row {
    name: "config|rewrite",
    arity: 2,
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SESSION),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    since: "2.8.0",
    complexity: "O(1)",
    summary: "Writes the present configuration to the file it came from.",
    ..Row::EMPTY
};

pub const CONFIG_SET: Row = Row {
    name: "config|set",
    arity: -4,
    syntax: "data:{parameter value}...",
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(SESSION),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    since: "2.0.0",
    complexity: "O(N), N being the number of directives given",
    summary: "Changes directives, all of them or none.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[
    SessionCommand { row: &CONFIG_GET, run: get },
    SessionCommand { row: &CONFIG_HELP, run: help },
    SessionCommand { row: &CONFIG_RESETSTAT, run: resetstat },
    SessionCommand { row: &CONFIG_REWRITE, run: rewrite },
    SessionCommand { row: &CONFIG_SET, run: set },
];

fn get(call: &mut Call<'_>) -> Result<Flow, Error> {
    let patterns: Vec<&[u8]> = call.argv.skip(2).iter().collect();
    let found = call.engine.config.get(&patterns);
    call.out.map(found.len());
    for (name, value) in found {
        call.out.bulk(&name);
        call.out.bulk(&value);
    }
    Ok(Flow::Done)
}

fn set(call: &mut Call<'_>) -> Result<Flow, Error> {
    let words: Vec<&[u8]> = call.argv.skip(2).iter().collect();
    let context = SetContext { loading: call.engine.state.is_loading(), local: call.session.handle.is_local() };
    call.engine.config.set(&words, context)?;
    call.out.ok();
    Ok(Flow::Done)
}

fn rewrite(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.engine.config.rewrite(false)?;
    tracing::info!("CONFIG REWRITE executed with success.");
    call.out.ok();
    Ok(Flow::Done)
}

fn resetstat(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.engine.stats.reset();
    call.engine.freeing().freed.store(0, Relaxed);
    call.engine.part::<Aof>().reset_stats();
    call.out.ok();
    Ok(Flow::Done)
}

/// Makes CONFIG SET take effect on what already runs. Once, at boot.
pub fn register_hooks(engine: &Arc<Engine>) {
    // The hooks come last at boot: what is in use now is what an empty server takes.
    crate::stats::memory::note_startup();
    engine.stats.track_latency.store(engine.settings().latency_tracking, Relaxed);
    let config = &engine.config;
    let weak = Arc::downgrade(engine);
    // The engine lives as long as the process; a weak handle only keeps it from owning itself.
    let with = move |f: fn(&Engine, &crate::config::Settings)| {
        let weak = weak.clone();
        move |_: &crate::config::Settings, new: &crate::config::Settings| {
            if let Some(engine) = weak.upgrade() {
                f(&engine, new);
            }
            Ok(())
        }
    };
    config.on_change(&["requirepass"], with(|e, s| e.acl.set_requirepass(s.requirepass.as_bytes())));
    config.on_change(&["repl-backlog-size"], with(|e, s| e.log.set_backlog_limit_bytes(s.repl_backlog_size as usize)));
    config.on_change(&["latency-tracking"], with(|e, s| e.stats.track_latency.store(s.latency_tracking, Relaxed)));
    config
        .on_change(&["min-replicas-to-write", "min-replicas-max-lag"], with(|e, _| Repl::of(e).count_good_replicas(e)));
    let weak = Arc::downgrade(engine);
    config.on_change(&["appendonly"], move |_, new| {
        let Some(engine) = weak.upgrade() else { return Ok(()) };
        let aof = engine.part::<Aof>();
        if new.appendonly {
            aof.start(&engine)
        } else {
            aof.stop();
            Ok(())
        }
    });
    config.on_change(&["appendfsync", "aof-timestamp-enabled"], with(|e, _| e.part::<Aof>().reconfigured()));
    config.on_change(&["loglevel"], |_, new| {
        log::set_level(super::boot::log_level(new));
        Ok(())
    });
    config.on_change(&["dir"], |_, new| std::env::set_current_dir(&new.dir).map_err(|e| os_reason(&e)));
}
