//! The pending entries list: XACK takes off it, XPENDING tells it.

use std::ops::Bound;

use super::super::{DataCommand, Effect, command};
use super::delete::all_ids;
use super::{has_group, ids, no_group, reply_id};
use crate::base::Error;
use crate::ds::stream::{Group as StreamGroup, Stream, StreamId};
use crate::keyspace::Data;
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const XACK: Row = Row {
    name: "xack",
    arity: -4,
    syntax: "key:key group id...",
    flags: WRITE.or(FAST),
    cats: STREAM,
    keys: &[KEY1_RW_UPDATE],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(1) for each id",
    summary: "Takes entries off a group's pending list and tells how many there were.",
    ..Row::EMPTY
};

pub const XPENDING: Row = Row {
    name: "xpending",
    arity: -3,
    syntax: "key:key group [filters:{[min-idle-time:integer=IDLE@6.2.0] start end count:integer [consumer]}]",
    flags: READONLY,
    cats: STREAM,
    keys: &[KEY1_RO_ACCESS],
    tips: &["nondeterministic_output"],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(log(N)+M), M being the number of entries that are told",
    summary: "Tells what is on a group's pending list: a summary, or the entries of a range.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[command(&XACK, xack), command(&XPENDING, xpending)];

fn xack(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, group) = (a.key()?, a.next()?);
    if !has_group(db, key, group)? {
        out.int(0);
        return Ok(Effect::None);
    }
    let ids = all_ids(a)?;
    let acked = db.edit(key, |stream: &mut Stream| {
        let group = stream.group_mut(group);
        group.map_or(0, |group| ids.iter().filter(|id| group.ack(**id).is_some()).count())
    })?;
    let acked = acked.unwrap_or(0);
    out.int(acked as i64);
    db.unit.dirty += acked as u64;
    Ok(Effect::verbatim_if(acked > 0))
}

/// The part of the list that is asked for.
struct Filter<'a> {
    min_idle_ms: i64,
    from: StreamId,
    to: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Filter<'a> {
    /// `None`: a summary of all of it.
    fn parse(a: &mut Args<'a>) -> Result<Option<Self>, Error> {
        let words = a.len();
        if words == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&words) {
            return Err(Error::Syntax);
        }
        let mut min_idle_ms = 0;
        if a.flag("IDLE") {
            min_idle_ms = a.next_i64()?;
            if words < 8 {
                return Err(Error::Syntax);
            }
        }
        let (from, to, count) = (a.next()?, a.next()?, a.next_i64()?);
        Ok(Some(Filter {
            min_idle_ms,
            from: ids::start(from)?,
            to: ids::end(to)?,
            count: count.max(0) as usize,
            consumer: a.next().ok(),
        }))
    }
}

fn xpending(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, name) = (a.key()?, a.next()?);
    let filter = Filter::parse(a)?;
    let now_ms = db.unit.now_ms;
    let Some(group) = db.read::<Stream>(key)?.and_then(|stream| stream.group(name)) else {
        return Err(no_group(key.bytes, name, ""));
    };
    match filter {
        None => summary(group, out),
        Some(filter) => entries(group, &filter, now_ms, out),
    }
    Ok(Effect::None)
}

fn summary(group: &StreamGroup, out: &mut Reply) {
    let pending = group.pending();
    out.array(4);
    out.int(pending.len() as i64);
    let (Some((first, _)), Some((last, _))) = (pending.first_key_value(), pending.last_key_value()) else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    reply_id(out, *first);
    reply_id(out, *last);
    let busy = || group.consumers().filter(|c| !c.pending().is_empty());
    out.array(busy().count());
    for consumer in busy() {
        out.array(2);
        out.bulk(&consumer.name);
        out.bulk_int(consumer.pending().len() as i64);
    }
}

fn entries(group: &StreamGroup, filter: &Filter<'_>, now_ms: i64, out: &mut Reply) {
    let mut of_consumer = None;
    if let Some(name) = filter.consumer {
        let Some(id) = group.find(name) else {
            out.array(0);
            return;
        };
        of_consumer = Some(group.consumer(id).pending());
    }
    let head = out.deferred_array();
    let mut n = 0;
    if filter.from <= filter.to && filter.count > 0 {
        let range = (Bound::Included(filter.from), Bound::Included(filter.to));
        let mut tell = |id: StreamId| {
            let Some(pending) = group.pending().get(&id) else { return true };
            let idle_ms = now_ms.wrapping_sub(pending.delivered_ms);
            if filter.min_idle_ms == 0 || idle_ms >= filter.min_idle_ms {
                out.array(4);
                reply_id(out, id);
                out.bulk(&group.consumer(pending.consumer).name);
                out.int(idle_ms.max(0));
                out.int(pending.count as i64);
                n += 1;
            }
            n < filter.count
        };
        match of_consumer {
            Some(ids) => ids.range(range).all(|id| tell(*id)),
            None => group.pending().range(range).all(|(id, _)| tell(*id)),
        };
    }
    out.set_len(head, n);
}
