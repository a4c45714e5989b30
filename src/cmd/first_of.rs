//! What the commands that take from the first of several keys share, whatever the keys hold: how they are asked, and how
//! they wait.

use smallvec::SmallVec;

use super::{Block, Effect, OnTimeout, timeout_ms};
use crate::base::{Error, number};
use crate::keyspace::{Data, Key, Type};
use crate::spec::Args;

pub(super) type Keys<'a> = SmallVec<[Key<'a>; 4]>;

/// The keys, the end and the count of LMPOP, ZMPOP and those that wait.
pub(super) struct Asked<'a, E> {
    pub(super) keys: Keys<'a>,
    pub(super) end: E,
    pub(super) count: usize,
}

impl<'a, E> Asked<'a, E> {
    pub(super) fn parse(a: &mut Args<'a>, end: impl FnOnce(&mut Args<'a>) -> Result<E, Error>) -> Result<Self, Error> {
        let positive = |word: &[u8], error: &'static str| {
            let n = number::parse_i64(word).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
            n.ok_or(Error::text(error))
        };
        let count = positive(a.next()?, "ERR numkeys should be greater than 0")?;
        if count >= a.left() {
            return Err(Error::Syntax);
        }
        let keys = (0..count).map(|_| a.key()).collect::<Result<_, _>>()?;
        let end = end(a)?;
        let mut count = None;
        while !a.is_at_end() {
            if count.is_some() || !a.option("COUNT") {
                return Err(Error::Syntax);
            }
            count = Some(positive(a.next()?, "ERR count should be greater than 0")?);
        }
        Ok(Self { keys, end, count: count.unwrap_or(1) })
    }
}

/// The words of BLPOP and its like: keys, and a time in ms behind them.
pub(super) fn keys_and_timeout<'a>(db: &Data<'_>, a: &mut Args<'a>) -> Result<(Keys<'a>, i64), Error> {
    let keys = (1..a.left()).map(|_| a.key()).collect::<Result<_, _>>()?;
    Ok((keys, timeout_ms(db, a.next()?)?))
}

/// Waits until one of the keys has something of this type.
pub(super) fn wait(kind: Type, keys: &[Key<'_>], timeout_ms: i64, on_timeout: OnTimeout) -> Effect {
    Effect::block(Block {
        keys: keys.iter().map(|key| key.bytes.into()).collect(),
        kind,
        timeout_ms,
        on_timeout,
        argv: None,
        on_gone: false,
        told: Vec::new(),
    })
}
