//! Floor 4: the data commands, a file a family. A handler sees data and arguments, never a connection.

pub mod counter;
pub mod database;
pub mod dump;
pub mod generic;
pub mod lcs;
pub mod memory;
pub mod string;

use bytes::Bytes;

use crate::base::Error;
use crate::keyspace::Data;
use crate::resp::{OwnedArgv, Reply};
use crate::spec::{Args, Row};

/// What replicas and the append-only file are told of a command.
#[derive(Debug)]
pub enum Effect {
    /// Nothing changed.
    None,
    /// The request as it came.
    Verbatim,
    /// Another request with the same effect and no choice left in it (no clock, no chance).
    Rewrite(OwnedArgv),
    /// Several such requests, in order.
    Many(Vec<OwnedArgv>),
}

impl Effect {
    /// `Verbatim` if something changed.
    pub fn verbatim_if(changed: bool) -> Self {
        if changed { Self::Verbatim } else { Self::None }
    }

    pub fn rewrite<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> Self {
        Self::Rewrite(OwnedArgv::from_words(words))
    }
}

pub type DataFn = fn(&mut Data<'_>, &mut Args<'_>, &mut Reply) -> Result<Effect, Error>;

/// A row and the handler that carries it out.
pub struct DataCommand {
    pub row: &'static Row,
    pub run: DataFn,
}

/// The next word as a value: its bytes, and the buffer it may keep if it has one to itself.
fn next_value<'a>(a: &mut Args<'a>) -> Result<(&'a [u8], Option<&'a Bytes>), Error> {
    let bytes = a.next()?;
    Ok((bytes, a.last_own()))
}

const fn command(row: &'static Row, run: DataFn) -> DataCommand {
    DataCommand { row, run }
}

/// Every data command.
pub fn commands() -> impl Iterator<Item = &'static DataCommand> {
    [
        counter::COMMANDS,
        database::COMMANDS,
        dump::COMMANDS,
        generic::COMMANDS,
        lcs::COMMANDS,
        memory::COMMANDS,
        string::COMMANDS,
    ]
    .into_iter()
    .flatten()
}
