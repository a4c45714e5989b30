//! MEMORY USAGE: what a key and its value take. Knows nothing of the rest of the memory.

use super::{DataCommand, Effect, command};
use crate::base::Error;
use crate::keyspace::Data;
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const MEMORY_USAGE: Row = Row {
    name: "memory|usage",
    arity: -3,
    syntax: "key:key [count:integer=SAMPLES]",
    flags: READONLY,
    keys: &[KEY2_RO],
    since: "4.0.0",
    complexity: "O(N), N being the number of sampled elements",
    summary: "Tells how many bytes a key and its value take.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[command(&MEMORY_USAGE, usage)];

/// What an entry takes in its bucket: the pointer and its fingerprint.
const SLOT_BYTES: usize = size_of::<usize>() + 1;

fn usage(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let key = a.key()?;
    while !a.is_at_end() {
        if !a.option("SAMPLES") || a.next_i64()? < 0 {
            return Err(Error::Syntax);
        }
    }
    match db.peek(key) {
        None => out.null(),
        Some(entry) => out.int((entry.memory_bytes() + SLOT_BYTES) as i64),
    }
    Ok(Effect::None)
}
