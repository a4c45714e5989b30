//! DEBUG SLEEP: the whole server stands still, as if one thread were all it had.
//!
//! Every gate is held, so no data moves; and every runtime is given a task that does nothing but sleep, so that nobody
//! is answered, heard or acknowledged either. Knows no command.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::gate::Gates;
use crate::base::clock;

#[derive(Default)]
pub struct Standstill {
    runtimes: Mutex<Vec<Handle>>,
}

impl Standstill {
    /// Registers a runtime of one thread, to be stopped with the others.
    pub fn add(&self, runtime: Handle) {
        self.runtimes.lock().push(runtime);
    }

    /// Stops everything for so long. `gates`: `None` if the caller holds them all already.
    pub fn hold(&self, gates: Option<&Gates>, us: u64) {
        let _all = gates.map(Gates::take_all);
        let until = clock::mono_us().saturating_add_unsigned(us);
        let own = Handle::try_current().map(|h| h.id()).ok();
        for runtime in self.runtimes.lock().iter().filter(|r| Some(r.id()) != own) {
            runtime.spawn(async move { sleep_until(until) });
        }
        sleep_until(until);
    }
}

fn sleep_until(until_us: i64) {
    let left = until_us - clock::mono_us();
    if left > 0 {
        std::thread::sleep(Duration::from_micros(left.unsigned_abs()));
    }
}
