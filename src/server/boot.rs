//! From a command line to a serving process.
//!
//! The order and the words of the log are those of stock servers, since tools and test suites wait for them. Whatever
//! must happen before the first thread (the title's memory, going to the background) comes first.

use std::any::Any;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tracing::{info, warn};

use super::commands::table;
use super::daemon::{self, PidFile};
use super::listen::{self, Listeners};
use super::shutdown::Shutdown;
use super::workers::Workers;
use super::{banner, cron, limits, load, proc_title, signals};
use crate::base::log::Syslog;
use crate::base::{clock, log, os_reason, version};
use crate::config::{Config, ConfigError, LoadOptions, LogLevel, Settings};
use crate::exec::call::Handler;
use crate::exec::engine::{Engine, Hooks};
use crate::exec::evict;
use crate::exec::gate::WorkerId;
use crate::persist::aof::restore::parse_moment;
use crate::persist::disk::FileSystem;
use crate::persist::{Aof, Saver};
use crate::repl::{Follower, Repl, fullsync, restart, upkeep};
use crate::spec::{RenameError, Table};

/// Runs the server with the arguments behind the program's name, until it ends.
pub fn run(mut args: Vec<OsString>) -> ExitCode {
    proc_title::prepare();
    let restore_to_s = match take_moment(&mut args) {
        Ok(unix_s) => unix_s,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    let program = std::env::args_os().next().unwrap_or_default().to_string_lossy().into_owned();
    let options = LoadOptions { sentinel: false, check_paths: true };
    let loaded = Config::load(&args, &mut std::io::stdin(), options).and_then(|config| {
        let table = renamed_table(&config)?;
        Ok((config, table))
    });
    let (config, table) = match loaded {
        Ok(loaded) => loaded,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    match serve(config, table, &program, args.is_empty(), restore_to_s) {
        Ok(never) => match never {},
        Err(reason) => {
            warn!("{reason}");
            // Not by returning: that would wait for threads that have nothing to wait for.
            std::process::exit(1)
        }
    }
}

/// Takes `--aof-restore-to TIME` out. It is no directive: in a configuration file it would cut at every start.
fn take_moment(args: &mut Vec<OsString>) -> Result<Option<i64>, String> {
    let Some(at) = args.iter().position(|arg| arg == "--aof-restore-to") else { return Ok(None) };
    let text = args.get(at + 1).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    args.drain(at..args.len().min(at + 2));
    match parse_moment(&text) {
        Some(unix_s) => Ok(Some(unix_s)),
        None => {
            Err(format!("Invalid time '{text}' in --aof-restore-to: wanted are Unix seconds or 2026-11-21T15:40:00Z"))
        }
    }
}

/// The command table, its names as `rename-command` has them.
fn renamed_table(config: &Config) -> Result<Table<Handler>, ConfigError> {
    let mut table = table();
    for line in &config.extras().rename_command {
        let [from, to] = line.words.as_slice() else { continue };
        table.rename(from, to).map_err(|e| {
            line.at.error(match e {
                RenameError::NoSuchCommand => "No such command in rename-command",
                RenameError::NameTaken => "Target command name already exists",
            })
        })?;
    }
    Ok(table)
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

/// Goes to the working directory, which all other paths start from, and opens the log.
fn open_log(settings: &Settings) -> Result<(), String> {
    log::init(log_level(settings));
    if !settings.dir.is_empty() {
        std::env::set_current_dir(&settings.dir)
            .map_err(|e| format!("Can't chdir to '{}': {}", settings.dir, os_reason(&e)))?;
    }
    if !settings.logfile.is_empty() {
        let path = std::path::absolute(&settings.logfile).map_err(|e| e.to_string())?;
        log::set_file(Some(path)).map_err(|e| format!("Can't open the log file: {}", os_reason(&e)))?;
    }
    if settings.syslog_enabled {
        let facility = settings.syslog_facility.as_str().to_owned();
        log::set_syslog(Some(&Syslog { ident: settings.syslog_ident.clone(), facility })).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn say_who_starts(config: &Config, program: &str, no_arguments: bool) {
    info!("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    info!(
        "Redis version={}, bits={}, commit={}, modified=0, pid={}, just started (Pando {})",
        version::REDIS,
        usize::BITS,
        option_env!("PANDO_GIT_SHA").unwrap_or("00000000"),
        std::process::id(),
        version::PANDO,
    );
    if no_arguments {
        warn!(
            "Warning: no config file specified, using the default config. In order to specify a config file use \
             {program} /path/to/redis.conf"
        );
    } else {
        info!("Configuration loaded");
    }
    for note in config.notes() {
        info!("{note}");
    }
}

enum Never {}

type Part = Arc<dyn Any + Send + Sync>;

/// Everything behind the configuration. Comes back only with the reason why there is nothing to serve.
fn serve(
    config: Config,
    table: Table<Handler>,
    program: &str,
    no_arguments: bool,
    restore_to_s: Option<i64>,
) -> Result<Never, String> {
    let settings = config.snapshot();
    open_log(&settings)?;
    limits::decline_huge_pages(&settings);
    let supervised = daemon::find_supervisor(&settings);
    let background = settings.daemonize && !supervised;
    if background {
        daemon::detach().map_err(|e| format!("Can't go to the background: {e}"))?;
    }
    say_who_starts(&config, program, no_arguments);
    log::set_role(if settings.replicaof.is_some() { 'S' } else { 'M' });
    log_panics();
    limits::adjust_open_files(&config)?;
    info!("monotonic clock: POSIX clock_gettime");

    let settings = config.snapshot();
    let sentinel = config.is_sentinel();
    let config_file = config.path().map(|p| p.display().to_string()).unwrap_or_default();
    let pid_file = PidFile::create(&settings, background);
    proc_title::set(&settings, program, &config_file, sentinel);
    banner::show(&settings, sentinel);
    limits::check_backlog(&settings);

    let threads = settings.io_threads.clamp(1, 128) as usize;
    let engine = Engine::new(config, table, threads);
    engine.state.started_ms.store(clock::now_ms(), Relaxed);
    // As if saved: save points count from the start.
    engine.state.last_save_s.store(clock::now_ms() / 1000, Relaxed);
    let main = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("main").enable_all().build();
    let main = main.map_err(|e| e.to_string())?;
    let workers = Arc::new(Workers::start(threads, settings.io_threads_always_active).map_err(|e| e.to_string())?);
    for (i, runtime) in workers.runtimes().enumerate() {
        let engine = engine.clone();
        runtime.spawn(async move { engine.durable.replies.herald(WorkerId(i)).await });
    }
    let listeners = Arc::new(Listeners::new(engine.clone(), workers, main.handle().clone()));
    let shutdown = Shutdown::new(pid_file);
    let repl = Repl::new();
    let follower = Follower::new(engine.clone(), repl.clone(), main.handle().clone());
    let saver = Arc::new(Saver::new(Arc::new(FileSystem), Box::new(fullsync::cut_here)));
    let aof = Arc::new(Aof::of_history(restart::known));
    let parts: [Part; 6] = [listeners.clone(), shutdown.clone(), repl, follower.clone(), saver, aof.clone()];
    engine.extend(parts);
    engine.set_hooks(Hooks {
        log_grew: upkeep::enforce_output_limits,
        flushed_all: |engine| engine.part::<Saver>().flushed(engine),
        more_on_disk: |engine| Repl::of(engine).acks.notify_waiters(),
    });
    super::config_cmd::register_hooks(&engine);
    limits::register_hooks(&engine);
    listen::register_hooks(&engine, &listeners);
    let title = (program.to_owned(), config_file);
    engine.config.on_change(&["port", "bind", "proc-title-template"], move |_, new| {
        proc_title::set(new, &title.0, &title.1, sentinel);
        Ok(())
    });
    signals::watch(main.handle(), engine.clone(), shutdown).map_err(|e| e.to_string())?;

    // Clients may come, and are told to wait.
    engine.state.loading.store(true, Relaxed);
    if settings.replicaof.is_some() {
        // A replica before anybody can ask. Nothing else runs yet, so no gate is needed.
        engine.state.set_role(true);
        log::set_role('S');
    }
    open_listeners(&listeners, &settings)?;
    info!("Server initialized");
    let held = load::load(&engine, restore_to_s)?;
    if settings.appendonly {
        aof.open(&engine)?;
    }
    if settings.port != 0 {
        info!("Ready to accept connections tcp");
    }
    if !settings.unixsocket.is_empty() {
        info!("Ready to accept connections unix");
    }
    // Whoever gets an answer may count on the lines above.
    engine.state.loading.store(false, Relaxed);
    evict::start(engine.clone()).map_err(|e| e.to_string())?;
    cron::start(engine.clone()).map_err(|e| e.to_string())?;
    follower.start(held);
    tell_supervisor(&settings);
    if settings.maxmemory > 0 && settings.maxmemory < 1 << 20 {
        warn!(
            "WARNING: You specified a maxmemory value that is less than 1MB (current value is {} bytes). Are you sure \
             this is what you really want?",
            settings.maxmemory
        );
    }
    // Logged where it fails; no reason not to serve.
    let _ = limits::set_oom_score(&settings, engine.state.is_replica());
    // The end comes from the shutdown thread.
    main.block_on(std::future::pending())
}

fn open_listeners(listeners: &Listeners, settings: &Settings) -> Result<(), String> {
    let tcp = listeners.open_tcp(settings);
    let tcp = tcp.map_err(|_| format!("Failed listening on port {} (tcp), aborting.", settings.port))?;
    listeners.open_unix(settings)?;
    if tcp == 0 && settings.unixsocket.is_empty() {
        return Err("Configured to not listen anywhere, exiting.".into());
    }
    Ok(())
}

fn tell_supervisor(settings: &Settings) {
    daemon::notify(match settings.replicaof {
        None => "STATUS=Ready to accept connections\n",
        Some(_) => "STATUS=Ready to accept connections in read-only mode. Waiting for MASTER <-> REPLICA sync\n",
    });
    daemon::notify("READY=1\n");
}

/// A panic is a bug of ours: the log tells where, in the frame that crash reports of stock servers have. Only the task
/// at hand is lost, so the server goes on.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("(no message)");
        let thread = std::thread::current().name().unwrap_or("?").to_owned();
        let trace = std::backtrace::Backtrace::force_capture();
        log::raw("\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n");
        warn!("Pando {} panicked on thread {thread}: {message} #{place}", version::PANDO);
        log::raw(&format!("\n------ STACK TRACE ------\n{trace}\n"));
        log::raw("=== REDIS BUG REPORT END. ===\n\n");
    }));
}
