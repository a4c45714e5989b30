//! Ports that belong to one test at a time, across processes.

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A port nobody else gets while this lives, so that a server can be stopped and started again on it.
///
/// The system's own free ports (bind to 0) would be handed to the next outgoing connection as soon as the server
/// is down, so these come from below that range, each guarded by a lock on a file.
pub struct Port {
    pub number: u16,
    _lock: File,
}

const FIRST: u16 = 12_000;
const COUNT: u32 = 18_000;

impl Port {
    pub fn reserve() -> Port {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let start = std::process::id().wrapping_mul(7919);
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + (start.wrapping_add(step.wrapping_mul(13)) % COUNT) as u16;
            if let Some(port) = Self::take(number) {
                return port;
            }
        }
        panic!("no free port between {FIRST} and {}", u32::from(FIRST) + COUNT);
    }

    fn take(number: u16) -> Option<Port> {
        let dir = lock_dir();
        std::fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let lock = File::options().create(true).append(true).open(dir.join(number.to_string())).ok()?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
        }
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Port { number, _lock: lock })
    }
}

fn lock_dir() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("pando-test-ports-{user}"))
}
