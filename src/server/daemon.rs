//! What makes a process a service: going to the background, its pid file, and telling a supervisor how it fares.
//!
//! Knows nothing of what is served.

use std::fs::OpenOptions;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::process::{Signal, getpid, kill_process, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::base::os_reason;
use crate::config::{Settings, Supervised};

/// Where a daemon leaves its process id when nothing else was said.
const DEFAULT_PIDFILE: &str = "/var/run/redis.pid";

/// Goes to the background: the parent ends well, the child leads a session of its own and has no terminal. Only before
/// the first thread is started.
pub fn detach() -> io::Result<()> {
    // SAFETY: the process has one thread at this point (boot has started none), so the child owns everything it needs.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        // SAFETY: ends the process at once; nothing of the parent's is left to be flushed.
        _ => unsafe { libc::_exit(0) },
    }
    // Fails only for a group leader, which a fresh child is not.
    let _ = setsid();
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

static SYSTEMD: AtomicBool = AtomicBool::new(false);

/// Reports to the supervisor that the settings name or, with `auto`, the environment betrays. Whether there is one: a
/// supervised server stays in the foreground.
pub fn find_supervisor(settings: &Settings) -> bool {
    let upstart = || std::env::var_os("UPSTART_JOB").is_some();
    let systemd = || std::env::var_os("NOTIFY_SOCKET").is_some();
    let kind = match settings.supervised {
        Supervised::Auto if upstart() => {
            tracing::debug!("Upstart supervision detected.");
            Supervised::Upstart
        }
        Supervised::Auto if systemd() => {
            tracing::debug!("Systemd supervision detected.");
            Supervised::Systemd
        }
        other => other,
    };
    match kind {
        Supervised::Upstart if upstart() => {
            tracing::info!("supervised by upstart, will stop to signal readiness.");
            // Upstart waits for the stop, and continues us.
            let _ = kill_process(getpid(), Signal::STOP);
            true
        }
        Supervised::Upstart => {
            tracing::warn!("upstart supervision requested, but UPSTART_JOB not found!");
            false
        }
        Supervised::Systemd if !systemd() => {
            tracing::warn!("systemd supervision error: NOTIFY_SOCKET not found!");
            false
        }
        Supervised::Systemd => {
            SYSTEMD.store(true, Relaxed);
            if !notify("STATUS=Redis is loading...\n") {
                SYSTEMD.store(false, Relaxed);
                return false;
            }
            tracing::info!(
                "Supervised by systemd. Please make sure you set appropriate values for TimeoutStartSec and \
                 TimeoutStopSec in your service unit."
            );
            true
        }
        Supervised::Auto | Supervised::No => false,
    }
}

/// Tells systemd, if that is who supervises us. Whether the message was taken.
pub fn notify(message: &str) -> bool {
    if !SYSTEMD.load(Relaxed) {
        return false;
    }
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return false };
    match send(Path::new(&path), message) {
        Ok(()) => true,
        Err(e) => {
            tracing::warn!("systemd supervision error: sd_notify: {}", os_reason(&e));
            false
        }
    }
}

/// One datagram to the socket at `path`; a leading `@` stands for the NUL of an abstract name.
fn send(path: &Path, message: &str) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let name = path.as_os_str().as_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}

/// The file that holds our process id; gone again when the server ends in order.
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file of a daemon, or one that the settings name. That it cannot be written is no reason not to serve.
    pub fn create(settings: &Settings, background: bool) -> Option<Self> {
        let path = match settings.pidfile.as_str() {
            "" if !background => return None,
            "" => DEFAULT_PIDFILE,
            named => named,
        };
        // Absolute, because CONFIG SET dir may move us.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        if let Err(e) = std::fs::write(&path, format!("{}\n", std::process::id())) {
            tracing::warn!("Failed to write PID file: {}", os_reason(&e));
        }
        Some(Self(path))
    }

    pub fn remove(&self) {
        tracing::info!("Removing the pid file.");
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_reach_path_and_abstract_sockets() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let receiver = UnixDatagram::bind(&path).expect("a socket");
        send(&path, "READY=1\n").expect("sent");
        let mut buffer = [0; 64];
        let n = receiver.recv(&mut buffer).expect("a message");
        assert_eq!(&buffer[..n], b"READY=1\n");

        let name = format!("pando-notify-{}", std::process::id());
        let receiver = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("bound");
        send(Path::new(&format!("@{name}")), "STOPPING=1\n").expect("sent");
        let n = receiver.recv(&mut buffer).expect("a message");
        assert_eq!(&buffer[..n], b"STOPPING=1\n");
        assert!(send(Path::new("/nowhere/at/all"), "x").is_err());
    }

    #[test]
    fn a_pid_file_is_written_only_when_wanted() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.pid");
        let mut settings = Settings::default();
        assert!(PidFile::create(&settings, false).is_none());
        settings.pidfile = path.to_string_lossy().into_owned();
        let file = PidFile::create(&settings, false).expect("named explicitly");
        assert_eq!(std::fs::read_to_string(&path).expect("written"), format!("{}\n", std::process::id()));
        file.remove();
        assert!(!path.exists());
    }
}
