//! From a command line to a serving process, and back to an end.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use tracing::{error, info};

use super::commands::table;
use super::cron;
use super::listen::Listeners;
use super::workers::Workers;
use crate::base::{clock, log, version};
use crate::config::{Config, LoadOptions, LogLevel, Settings};
use crate::exec::engine::Engine;
use crate::repl::{Follower, Repl};

/// Runs the server with the arguments behind the program's name, until it ends.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let options = LoadOptions { sentinel: false, check_paths: true };
    let config = match Config::load(&args, &mut std::io::stdin(), options) {
        Ok(config) => config,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    match serve(config) {
        Ok(code) => code,
        Err(reason) => {
            error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// The level that `loglevel` names.
pub fn log_level(settings: &Settings) -> log::Level {
    match settings.loglevel {
        LogLevel::Debug => log::Level::Debug,
        LogLevel::Verbose => log::Level::Verbose,
        LogLevel::Notice => log::Level::Notice,
        LogLevel::Warning => log::Level::Warning,
        LogLevel::Nothing => log::Level::Nothing,
    }
}

fn serve(config: Config) -> Result<ExitCode, String> {
    let settings = config.snapshot();
    log::init(log_level(&settings));
    let workers = settings.io_threads.clamp(1, 128) as usize;
    let engine = Engine::new(config, table(), workers);
    super::config_cmd::register_hooks(&engine);
    engine.state.started_ms.store(clock::now_ms(), std::sync::atomic::Ordering::Relaxed);
    let main = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("main").enable_all().build();
    let main = main.map_err(|e| e.to_string())?;
    let repl = Repl::new();
    let follower = Follower::new(engine.clone(), repl.clone(), main.handle().clone());
    engine.extend([repl as Arc<dyn std::any::Any + Send + Sync>, follower.clone()]);
    let workers = Arc::new(Workers::start(workers).map_err(|e| e.to_string())?);
    info!("Server initialized");
    let listeners = Listeners::new(engine.clone(), workers, main.handle().clone());
    listeners.open_tcp(&settings)?;
    listeners.open_unix(&settings)?;
    cron::start(engine.clone()).map_err(|e| e.to_string())?;
    log::set_role('M');
    follower.start(None);
    info!("Ready to accept connections tcp");
    let _ = version::PANDO;
    main.block_on(async {
        let _ = tokio::signal::ctrl_c().await;
    });
    listeners.close();
    main.shutdown_background();
    Ok(ExitCode::SUCCESS)
}
