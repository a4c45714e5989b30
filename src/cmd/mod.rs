//! Floor 4: the data commands, a file a family. A handler sees data and arguments, never a connection.

pub mod bitmap;
pub mod compare;
pub mod counter;
pub mod database;
pub mod dump;
mod first_of;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hash_ttl;
pub mod hyperloglog;
pub mod lcs;
pub mod list;
pub mod list_move;
pub mod memory;
pub mod scan;
pub mod set;
pub mod sort;
pub mod stream;
pub mod string;
pub mod zset;
pub mod zset_algebra;
pub mod zset_pop;
pub mod zset_range;

use bytes::Bytes;

use crate::base::{Error, number};
use crate::keyspace::{Data, Key, Type};
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
    /// Nothing was to be had yet: the client waits, and the same handler runs again when there may be.
    Block(Box<Block>),
}

/// What a blocking command waits for. Where nobody may wait (inside EXEC), it ends as if its time were over.
#[derive(Debug)]
pub struct Block {
    /// Any of these keys of the selected database.
    pub keys: Vec<Box<[u8]>>,
    /// They must hold this type to be of use.
    pub kind: Type,
    /// 0: without end.
    pub timeout_ms: i64,
    pub on_timeout: OnTimeout,
    /// The request to run again, if it is not the one that came (XREAD's `$` made concrete).
    pub argv: Option<OwnedArgv>,
    /// Run again as well when a key goes away or changes its type.
    pub on_gone: bool,
    /// What replicas are told already: XREADGROUP makes its consumer before it waits.
    pub told: Vec<OwnedArgv>,
}

/// The reply when the time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTimeout {
    Null,
    NullArray,
}

impl OnTimeout {
    pub fn reply(self, out: &mut Reply) {
        match self {
            Self::Null => out.null(),
            Self::NullArray => out.null_array(),
        }
    }
}

impl Effect {
    pub fn block(block: Block) -> Self {
        Self::Block(Box::new(block))
    }

    /// `Verbatim` if something changed.
    pub fn verbatim_if(changed: bool) -> Self {
        if changed { Self::Verbatim } else { Self::None }
    }

    /// A key that is gone, `lazily` where a directive says so.
    pub fn gone(key: Key<'_>, lazily: bool) -> Self {
        Self::rewrite([if lazily { b"UNLINK" } else { &b"DEL"[..] }, key.bytes])
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

/// Seconds, or parts of them, to wait; in milliseconds. 0: without end.
fn timeout_ms(db: &Data<'_>, word: &[u8]) -> Result<i64, Error> {
    let bad = Error::text("ERR timeout is not a float or out of range");
    let ms = (number::parse_f64(word).ok_or(bad)? * 1000.0).ceil();
    if ms < 0.0 {
        return Err(Error::TimeoutNegative);
    }
    if ms >= (i64::MAX - db.unit.now_ms) as f64 {
        return Err(Error::text("ERR timeout is out of range"));
    }
    Ok(ms as i64)
}

const fn command(row: &'static Row, run: DataFn) -> DataCommand {
    DataCommand { row, run }
}

/// Every data command.
pub fn commands() -> impl Iterator<Item = &'static DataCommand> {
    [
        bitmap::COMMANDS,
        compare::COMMANDS,
        counter::COMMANDS,
        database::COMMANDS,
        dump::COMMANDS,
        generic::COMMANDS,
        geo::COMMANDS,
        hash::COMMANDS,
        hash_ttl::COMMANDS,
        hyperloglog::COMMANDS,
        lcs::COMMANDS,
        list::COMMANDS,
        list_move::COMMANDS,
        memory::COMMANDS,
        set::COMMANDS,
        sort::COMMANDS,
        stream::add::COMMANDS,
        stream::claim::COMMANDS,
        stream::delete::COMMANDS,
        stream::group::COMMANDS,
        stream::info::COMMANDS,
        stream::pending::COMMANDS,
        stream::range::COMMANDS,
        stream::read::COMMANDS,
        string::COMMANDS,
        zset::COMMANDS,
        zset_algebra::COMMANDS,
        zset_pop::COMMANDS,
        zset_range::COMMANDS,
    ]
    .into_iter()
    .flatten()
}
