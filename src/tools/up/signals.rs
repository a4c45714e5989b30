//! The signals `up` lives by, as events: a thread that waits for them and tells the main loop.

use std::io;
use std::sync::mpsc::Sender;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Event;

/// From here on SIGINT, SIGTERM and SIGHUP ask for a stop instead of ending the process; SIGWINCH tells of a resize.
pub fn watch(events: Sender<Event>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listen = |kind| {
        let _guard = runtime.enter();
        signal(kind)
    };
    let mut interrupt: Signal = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let mut resize = listen(SignalKind::window_change())?;
    thread::spawn(move || {
        runtime.block_on(async move {
            loop {
                let event = tokio::select! {
                    _ = interrupt.recv() => Event::Stop,
                    _ = terminate.recv() => Event::Stop,
                    _ = hangup.recv() => Event::Stop,
                    _ = resize.recv() => Event::Resized,
                };
                if events.send(event).is_err() {
                    return;
                }
            }
        });
    });
    Ok(())
}
