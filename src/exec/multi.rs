//! MULTI's queue, and EXEC: many commands as one unit.
//!
//! Knows which keys the queued commands declare; how a single command runs is `batch`'s business.

use smallvec::SmallVec;

use super::call::Handler;
use super::engine::Engine;
use crate::keyspace::Key;
use crate::resp::OwnedArgv;
use crate::spec::{CommandId, Flags, KeyList, flag, keys};

/// A command waiting for EXEC.
pub struct Queued {
    pub id: CommandId,
    pub argv: OwnedArgv,
}

#[derive(Default)]
pub struct Multi {
    pub queue: Vec<Queued>,
    /// An error while queueing: EXEC will refuse.
    pub aborted: bool,
    /// Bytes of all queued words, and of a pointer to each, as stock counts them.
    pub bytes: usize,
    /// Whether one of the queued commands may write, or may need a database of a replica in step.
    pub flags: Flags,
    /// Permissions that one of the queued commands lacks: then EXEC lacks them as well.
    lacks: Flags,
}

/// What a queued command needs, and EXEC then needs as well.
const NEEDS: Flags =
    flag::READONLY.or(flag::WRITE).or(flag::DENYOOM).or(flag::MAY_REPLICATE).or(flag::NO_ASYNC_LOADING);

/// Flags by which a command is let in where others are not.
const PERMISSIONS: Flags = flag::STALE.or(flag::LOADING);

/// What an EXEC must hold.
pub enum Footprint {
    /// These keys' hashes; every command is a data command.
    Keys(SmallVec<[u64; 16]>),
    /// Everything.
    Alone,
}

impl Multi {
    pub fn push(&mut self, queued: Queued, flags: Flags) {
        self.bytes += queued.argv.as_argv().iter().map(|word| word.len() + size_of::<usize>()).sum::<usize>();
        self.flags = self.flags.or(flags);
        self.lacks = self.lacks.or(PERMISSIONS.without(flags));
        self.queue.push(queued);
    }

    /// What EXEC, with these flags of its own, asks for with this queue.
    pub fn flags_of_exec(&self, own: Flags) -> Flags {
        own.or(self.flags.and(NEEDS)).without(self.lacks)
    }

    /// What the queue's commands touch together.
    pub fn footprint(&self, engine: &Engine) -> Footprint {
        let mut hashes = SmallVec::new();
        for q in &self.queue {
            let command = engine.table.get(q.id);
            let Handler::Data(_) = command.handler else { return Footprint::Alone };
            let argv = q.argv.as_argv();
            if command.row.runs_alone(&argv) {
                return Footprint::Alone;
            }
            let mut found = KeyList::new();
            // Wrong keys make the command itself answer with the error; it touches nothing then.
            if keys::keys(command.row, &argv, &mut found).is_ok() {
                hashes.extend(found.iter().map(|k| Key::new(argv.word(k.index as usize)).hash));
            }
        }
        if hashes.is_empty() { Footprint::Alone } else { Footprint::Keys(hashes) }
    }
}
