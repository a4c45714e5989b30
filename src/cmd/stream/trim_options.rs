//! The options that XADD and XTRIM share.

use super::ids::{self, Seq};
use crate::base::{Error, number};
use crate::ds::Limits;
use crate::ds::stream::{Bound, NewId, Refs, Stream, StreamId, Trim, Trimmed};
use crate::resp::{Argv, OwnedArgv};

const BOTH_BOUNDS: Error =
    Error::text("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");

/// What stands between the key and the fields.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) create: bool,
    /// XADD: the id, and which word it is.
    pub(super) id: NewId,
    pub(super) id_at: usize,
    pub(super) trim: Option<Trim>,
    /// Which word the threshold is.
    threshold_at: usize,
}

/// How options are read.
#[derive(Clone, Copy)]
pub(super) struct Reading<'l> {
    /// For XADD: an id follows them.
    pub(super) add: bool,
    /// The words come from the master, who may say things that clients may not.
    pub(super) obey: bool,
    pub(super) limits: &'l Limits,
}

impl Options {
    /// Reads from the word after the key on.
    pub(super) fn parse(argv: &Argv<'_>, how: Reading<'_>) -> Result<Self, Error> {
        let mut o = Options { create: true, id: NewId::Auto, id_at: argv.len(), trim: None, threshold_at: 0 };
        let (mut bound, mut approx, mut limit, mut refs) = (None, false, None, None);
        let mut at = 2;
        while let Some(word) = argv.get(at) {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            let more = argv.len() - 1 - at;
            if how.add && word == b"*" {
                o.id_at = at;
                break;
            } else if (is("maxlen") || is("minid")) && more > 0 {
                if bound.is_some() {
                    return Err(BOTH_BOUNDS);
                }
                let sign = if more >= 2 { argv.word(at + 1) } else { b"" };
                approx = sign == b"~";
                at += 1 + usize::from(approx || sign == b"=");
                bound = Some(if is("maxlen") {
                    let max = number::parse_i64(argv.word(at)).ok_or(Error::NotInteger)?;
                    let max = u64::try_from(max);
                    Bound::MaxLen(max.map_err(|_| const { Error::text("ERR The MAXLEN argument must be >= 0.") })?)
                } else {
                    Bound::MinId(ids::strict(argv.word(at), 0)?)
                });
                o.threshold_at = at;
            } else if is("limit") && more > 0 {
                at += 1;
                let given = number::parse_i64(argv.word(at)).ok_or(Error::NotInteger)?;
                let given = u64::try_from(given);
                limit = Some(given.map_err(|_| const { Error::text("ERR The LIMIT argument must be >= 0.") })?);
            } else if how.add && is("nomkstream") {
                o.create = false;
            } else if let Some(how_deleted) = refs_of(word) {
                if refs.replace(how_deleted).is_some() {
                    return Err(Error::Syntax);
                }
            } else if how.add {
                o.id_at = at;
                o.id = match ids::with_next(word)? {
                    (id, Seq::Next) => NewId::Ms(id.ms),
                    (id, Seq::Given) => NewId::Exact(id),
                };
                break;
            } else {
                return Err(Error::Syntax);
            }
            at += 1;
        }
        if bound.is_none() && limit.is_some_and(|n| n > 0) {
            return Err(const {
                Error::text("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
            });
        }
        if bound.is_none() && !how.add {
            return Err(const { Error::text("ERR syntax error, XTRIM must be called with a trimming strategy") });
        }
        let limit = match limit {
            _ if how.obey => 0,
            Some(_) if !approx => {
                return Err(
                    const { Error::text("ERR syntax error, LIMIT cannot be used without the special ~ option") },
                );
            }
            Some(limit) => limit,
            None if approx => usual_limit(how.limits),
            None => 0,
        };
        o.trim = bound.map(|bound| Trim { bound, approx, limit, refs: refs.unwrap_or_default() });
        Ok(o)
    }

    /// The words that trim as much on replicas, whatever their nodes look like; `id` in the place of an id that was left to us.
    /// `None`: the request does as it is.
    pub(super) fn exact(
        &self,
        argv: &Argv<'_>,
        stream: &Stream,
        trimmed: Trimmed,
        id: Option<StreamId>,
    ) -> Option<OwnedArgv> {
        let approx = self.trim.filter(|trim| trim.approx);
        if approx.is_none() && id.is_none() {
            return None;
        }
        // Long words are shared, the short ones copied.
        let mut out = OwnedArgv::with_capacity(argv.len(), argv.payload_bytes().min(4096) + 64);
        for (at, word) in argv.iter().enumerate() {
            match (approx, id) {
                (Some(_), _) if at + 1 == self.threshold_at => out.push(b"="),
                (Some(trim), _) if at == self.threshold_at => match trim.bound {
                    Bound::MaxLen(_) => out.push(itoa::Buffer::new().format(stream.len()).as_bytes()),
                    // Entries that somebody refers to stay on either side of the place up to which they were looked at.
                    Bound::MinId(min) if trim.refs == Refs::Acked => out.push(&min.min(trimmed.up_to).text()),
                    Bound::MinId(_) => out.push(&stream.oldest_id().unwrap_or(StreamId::MAX).text()),
                },
                (_, Some(id)) if at == self.id_at => out.push(&id.text()),
                _ => match argv.own_bytes(at) {
                    Some(own) => out.push_bytes(own.clone()),
                    None => out.push(word),
                },
            }
        }
        Some(out)
    }
}

/// Where approximate trimming stops by itself.
fn usual_limit(limits: &Limits) -> u64 {
    match (limits.stream_node_entries as u64).saturating_mul(100) {
        0 => 10_000,
        limit => limit.min(1_000_000),
    }
}

pub(super) fn refs_of(word: &[u8]) -> Option<Refs> {
    let named = [("keepref", Refs::Keep), ("delref", Refs::Drop), ("acked", Refs::Acked)];
    named.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, refs)| *refs)
}
