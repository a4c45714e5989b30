//! Room for what a command may need. Knows nothing of which keys go: that is `exec::evict`.

use super::{OUT_OF_MEMORY, Runner, Source};
use crate::exec::evict;
use crate::stats::memory;

/// What is known of the memory that commands may still take.
pub(super) enum Room {
    /// There is no `maxmemory`.
    Unlimited,
    /// To be looked at before the next command.
    Unknown,
    /// Enough for so many commands, while the thread's own count stays below.
    Ample { until: isize, commands: u32 },
}

const ROOM_TO_IGNORE: usize = 256 << 10;
const COMMANDS_UNSEEN: u32 = 15;

impl Runner<'_> {
    /// Looks at memory unless that was done just now, and makes room if it is short.
    #[inline]
    pub(super) fn look_at_memory(&mut self) {
        match &mut self.room {
            Room::Unlimited => {}
            Room::Ample { until, commands } if *commands > 0 && memory::of_thread() < *until => *commands -= 1,
            Room::Ample { .. } | Room::Unknown => self.make_room(),
        }
    }

    #[cold]
    fn make_room(&mut self) {
        self.held = None;
        let (engine, limit) = (self.engine, self.settings.maxmemory as usize);
        let outcome = {
            let _gate = self.gate.is_none().then(|| engine.gates.pass(self.worker));
            evict::perform(engine, &self.settings, self.worker)
        };
        self.forbidden &= !OUT_OF_MEMORY;
        if outcome == evict::Outcome::Full && self.source == Source::Client {
            self.forbidden |= OUT_OF_MEMORY;
        }
        // Where all workers together cannot take what is left before each looks again, a few commands pass unseen.
        let share = limit.saturating_sub(memory::used()) / (4 * engine.gates.count());
        self.room = if share > ROOM_TO_IGNORE {
            Room::Ample { until: memory::of_thread().saturating_add_unsigned(share), commands: COMMANDS_UNSEEN }
        } else {
            Room::Unknown
        };
    }
}
