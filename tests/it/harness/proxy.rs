//! A wire between two servers that a test can cut, hold and close to newcomers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

#[derive(Default)]
struct State {
    refusing: bool,
    held: bool,
    closed: bool,
    /// Bytes still let through from the far end, when there is a limit.
    allowance: Option<usize>,
    wires: Vec<TcpStream>,
    accepted: u64,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic holds this lock")
    }
}

/// Forwards connections on its port to another port of this machine.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn to(target: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let mut state = ours.lock();
                if state.closed {
                    return;
                }
                if state.refusing {
                    continue;
                }
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else { continue };
                let (Ok(near2), Ok(far2)) = (near.try_clone(), far.try_clone()) else { continue };
                let (Ok(near3), Ok(far3)) = (near.try_clone(), far.try_clone()) else { continue };
                state.wires.extend([near3, far3]);
                state.accepted += 1;
                drop(state);
                let (a, b) = (Arc::clone(&ours), Arc::clone(&ours));
                thread::spawn(move || pump(near, far2, &a, false));
                thread::spawn(move || pump(far, near2, &b, true));
            }
        });
        Proxy { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection; new ones are welcome.
    pub fn cut(&self) {
        for wire in self.shared.lock().wires.drain(..) {
            let _ = wire.shutdown(Shutdown::Both);
        }
    }

    /// Takes newcomers and hangs up on them (or no longer).
    pub fn refuse(&self, yes: bool) {
        self.shared.lock().refusing = yes;
    }

    /// Keeps connections open and lets no byte through (or all of them again).
    pub fn hold(&self, yes: bool) {
        self.shared.lock().held = yes;
        self.shared.changed.notify_all();
    }

    /// Lets `bytes` more come back from the far end, then cuts that connection.
    pub fn cut_after(&self, bytes: usize) {
        self.shared.lock().allowance = Some(bytes);
    }

    /// Connections forwarded so far.
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.hold(false);
        self.cut();
        // Wakes the listener, which then sees that it is closed.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Shared, back: bool) {
    let mut buf = vec![0; 16 * 1024];
    while let Ok(n) = from.read(&mut buf) {
        let mut state = shared.lock();
        while state.held {
            state = shared.changed.wait(state).expect("no panic holds this lock");
        }
        let mut pass = n;
        if back && let Some(left) = state.allowance {
            pass = n.min(left);
            state.allowance = if pass < n { None } else { Some(left - pass) };
        }
        drop(state);
        if n == 0 || to.write_all(&buf[..pass]).is_err() || pass < n {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
