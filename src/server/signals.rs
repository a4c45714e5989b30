//! Signals: SIGTERM and SIGINT ask for an orderly end, SIGHUP for nothing. (SIGPIPE is ignored from the start.)

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use super::shutdown::Shutdown;
use crate::exec::engine::Engine;
use crate::persist::temp;

/// Begins to watch, on `runtime`. The signals have no other effect from here on.
pub fn watch(runtime: &tokio::runtime::Handle, engine: Arc<Engine>, shutdown: Arc<Shutdown>) -> std::io::Result<()> {
    let _guard = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Having a listener is what keeps the process alive: a terminal that closes is nothing to a server.
    let mut hangup = signal(SignalKind::hangup())?;
    // A file as long as the system lets it be is a disk that refuses to write, and told as that.
    let file_size = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
    runtime.spawn(async move {
        let _file_size = file_size;
        loop {
            let sigint = tokio::select! {
                _ = terminate.recv() => false,
                _ = interrupt.recv() => true,
                _ = hangup.recv() => continue,
            };
            if sigint && shutdown.is_under_way() {
                warn!("You insist... exiting now.");
                temp::remove_all();
                std::process::exit(1);
            }
            let settings = engine.settings();
            if engine.state.loading.load(Relaxed) {
                warn!("Received shutdown signal during loading, scheduling shutdown.");
            } else {
                warn!("Received {} scheduling shutdown...", if sigint { "SIGINT" } else { "SIGTERM" });
            }
            let how = if sigint { settings.shutdown_on_sigint } else { settings.shutdown_on_sigterm };
            shutdown.begin(&engine, how, true);
        }
    });
    Ok(())
}
