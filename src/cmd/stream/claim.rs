//! Passing pending entries from one consumer to another: XCLAIM by id, XAUTOCLAIM whatever has been idle for long.

use std::ops::Bound;

use super::super::{DataCommand, Effect, command};
use super::delete::Ids;
use super::{has_group, ids, many, no_group, reply_entry, reply_id, tell_claim, tell_group, told};
use crate::base::{Error, number};
use crate::ds::stream::{ConsumerId, Group as StreamGroup, Pending, Stream, StreamId};
use crate::keyspace::{Data, Key};
use crate::resp::{OwnedArgv, Reply};
use crate::spec::prelude::*;

pub const XAUTOCLAIM: Row = Row {
    name: "xautoclaim",
    arity: -6,
    syntax: "key:key group consumer min-idle-time start [count:integer=COUNT] [justid:JUSTID]",
    flags: WRITE.or(FAST),
    cats: STREAM,
    keys: &[KEY1_RW_DELETE],
    tips: &["nondeterministic_output"],
    since: "6.2.0",
    group: Group::Stream,
    complexity: "O(1), if the count is small",
    summary: "Gives a consumer what has been pending for others for some time, and forgets entries that were deleted.",
    ..Row::EMPTY
};

pub const XCLAIM: Row = Row {
    name: "xclaim",
    arity: -6,
    syntax: "key:key group consumer min-idle-time id... [ms:integer=IDLE] [unix-time-milliseconds:unix-time=TIME] \
        [count:integer=RETRYCOUNT] [force:FORCE] [justid:JUSTID] [lastid=LASTID]",
    flags: WRITE.or(FAST),
    cats: STREAM,
    keys: &[KEY1_RW_UPDATE],
    tips: &["nondeterministic_output"],
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(log(N)) for each id, N being the number of pending entries",
    summary: "Gives a consumer entries that were pending for others.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[command(&XAUTOCLAIM, xautoclaim), command(&XCLAIM, xclaim)];

/// XAUTOCLAIM passes over at most so many entries for each one asked for.
const ATTEMPTS: i64 = 10;

/// What came of a claim.
#[derive(Default)]
struct Claimed {
    created: bool,
    ids: Vec<StreamId>,
    deleted: Vec<StreamId>,
    /// XAUTOCLAIM: where to go on.
    next: StreamId,
    dirty: u64,
    effects: Vec<OwnedArgv>,
}

/// Who claims, in which group.
struct Claimer<'a> {
    key: Key<'a>,
    group: &'a [u8],
    consumer: &'a [u8],
    min_idle_ms: i64,
    justid: bool,
    now_ms: i64,
}

impl Claimer<'_> {
    /// The consumer, who is seen now; true if there was none of the name.
    fn consumer(&self, group: &mut StreamGroup) -> Option<(ConsumerId, bool)> {
        let found = group.find(self.consumer);
        let id = found.or_else(|| group.create(self.consumer, self.now_ms))?;
        group.consumer_mut(id).seen_ms = self.now_ms;
        Some((id, found.is_none()))
    }

    fn is_idle(&self, pending: &Pending) -> bool {
        self.min_idle_ms == 0 || self.now_ms.wrapping_sub(pending.delivered_ms) >= self.min_idle_ms
    }

    fn tell(&self, done: &mut Claimed, group: &StreamGroup, id: &[u8], pending: Pending) {
        let owner = &group.consumer(pending.consumer).name;
        done.effects.push(tell_claim(self.key.bytes, self.group, owner, id, pending, group.last_id));
        done.dirty += 1;
    }

    /// Forgets an entry that was deleted from the stream.
    fn forget(&self, done: &mut Claimed, group: &mut StreamGroup, id: StreamId, text: &[u8], pending: Pending) {
        self.tell(done, group, text, pending);
        group.ack(id);
    }

    fn assign(&self, done: &mut Claimed, group: &mut StreamGroup, id: StreamId, text: &[u8], pending: Pending) {
        group.assign(id, pending.consumer, pending.delivered_ms, pending.count);
        group.consumer_mut(pending.consumer).active_ms = self.now_ms;
        self.tell(done, group, text, pending);
        done.ids.push(id);
    }

    /// Does it, and tells of the consumer if it is new.
    fn run(&self, db: &mut Data<'_>, claim: impl FnOnce(&mut Stream) -> Option<Claimed>) -> Result<Claimed, Error> {
        let Some(done) = db.edit(self.key, claim)?.flatten() else {
            return Err(no_group(self.key.bytes, self.group, ""));
        };
        if done.created {
            told(db, self.key, "xgroup-createconsumer");
        }
        db.unit.dirty += done.dirty;
        Ok(done)
    }

    fn reply(&self, db: &mut Data<'_>, claimed: &[StreamId], out: &mut Reply) -> Result<(), Error> {
        out.array(claimed.len());
        if self.justid {
            claimed.iter().for_each(|id| reply_id(out, *id));
        } else if let Some(stream) = db.view::<Stream>(self.key)? {
            claimed.iter().filter_map(|id| stream.get(*id)).for_each(|entry| reply_entry(out, &entry));
        }
        Ok(())
    }
}

/// XCLAIM's options.
#[derive(Default)]
struct Options {
    force: bool,
    justid: bool,
    delivered_ms: Option<i64>,
    retry_count: Option<u64>,
    last_id: StreamId,
}

impl Options {
    fn parse(a: &mut Args<'_>, now_ms: i64) -> Result<Self, Error> {
        let mut o = Self::default();
        while !a.is_at_end() {
            let number =
                |a: &mut Args<'_>, wrong: &'static str| number::parse_i64(a.next()?).ok_or(Error::Text(wrong.into()));
            if a.flag("FORCE") {
                o.force = true;
            } else if a.flag("JUSTID") {
                o.justid = true;
            } else if a.option("IDLE") {
                let idle = number(a, "ERR Invalid IDLE option argument for XCLAIM")?;
                o.delivered_ms = Some(now_ms.wrapping_sub(idle));
            } else if a.option("TIME") {
                o.delivered_ms = Some(number(a, "ERR Invalid TIME option argument for XCLAIM")?);
            } else if a.option("RETRYCOUNT") {
                let count = number(a, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                o.retry_count = u64::try_from(count).ok();
            } else if a.option("LASTID") {
                o.last_id = ids::strict(a.next()?, 0)?;
            } else {
                let word = String::from_utf8_lossy(a.next()?);
                return Err(Error::Text(format!("ERR Unrecognized XCLAIM option '{word}'").into()));
            }
        }
        Ok(o)
    }
}

fn xclaim(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, group, consumer) = (a.key()?, a.next()?, a.next()?);
    if !has_group(db, key, group)? {
        return Err(no_group(key.bytes, group, ""));
    }
    let wrong = const { Error::text("ERR Invalid min-idle-time argument for XCLAIM") };
    let min_idle_ms = number::parse_i64(a.next()?).ok_or(wrong)?.max(0);
    let argv = a.argv();
    let first = a.position();
    let mut wanted = Ids::new();
    while let Some(Ok(id)) = a.peek().map(|word| ids::strict(word, 0)) {
        wanted.push(id);
        a.skip(1);
    }
    let now_ms = db.unit.now_ms;
    let o = Options::parse(a, now_ms)?;
    let delivered_ms = o.delivered_ms.filter(|ms| *ms != -1 && (0..=now_ms).contains(ms)).unwrap_or(now_ms);
    let me = Claimer { key, group, consumer, min_idle_ms, justid: o.justid, now_ms };
    let done = me.run(db, |stream| {
        let there: Vec<bool> = wanted.iter().map(|id| stream.get(*id).is_some()).collect();
        let group = stream.group_mut(me.group)?;
        let mut moved_on = o.last_id > group.last_id;
        group.last_id = group.last_id.max(o.last_id);
        let (consumer, created) = me.consumer(group)?;
        let mut done = Claimed { created, ..Claimed::default() };
        for (i, &id) in wanted.iter().enumerate() {
            let text = argv.word(first + i);
            let old = group.pending().get(&id).copied();
            if !there[i] {
                if let Some(old) = old {
                    me.forget(&mut done, group, id, text, old);
                    moved_on = false;
                }
                continue;
            }
            let count = match &old {
                Some(old) if !me.is_idle(old) => continue,
                Some(old) => old.count,
                None if o.force => 1,
                None => continue,
            };
            let count = o.retry_count.unwrap_or(count.wrapping_add(u64::from(!o.justid)));
            me.assign(&mut done, group, id, text, Pending { consumer, delivered_ms, count });
            moved_on = false;
        }
        if moved_on {
            done.effects.push(tell_group(me.key.bytes, me.group, group.last_id, group.entries_read));
            done.dirty += 1;
        }
        Some(done)
    })?;
    me.reply(db, &done.ids, out)?;
    Ok(many(done.effects))
}

fn xautoclaim(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (key, group, consumer) = (a.key()?, a.next()?, a.next()?);
    // A wrong type is told after wrong words, but a key is looked up before.
    let there = has_group(db, key, group);
    let wrong = const { Error::text("ERR Invalid min-idle-time argument for XAUTOCLAIM") };
    let min_idle_ms = number::parse_i64(a.next()?).ok_or(wrong)?.max(0);
    let start = ids::start(a.next()?)?;
    let (mut count, mut justid) = (100, false);
    while !a.is_at_end() {
        if a.option("COUNT") {
            let given = number::parse_i64(a.next()?).filter(|n| (1..=i64::MAX / 16).contains(n));
            count = given.ok_or(const { Error::text("ERR COUNT must be > 0") })?;
        } else if a.flag("JUSTID") {
            justid = true;
        } else {
            return Err(Error::Syntax);
        }
    }
    if !there? {
        return Err(no_group(key.bytes, group, ""));
    }
    let me = Claimer { key, group, consumer, min_idle_ms, justid, now_ms: db.unit.now_ms };
    let done = me.run(db, |stream| me.sweep(stream, start, count))?;
    out.array(3);
    reply_id(out, done.next);
    me.reply(db, &done.ids, out)?;
    out.array(done.deleted.len());
    done.deleted.iter().for_each(|id| reply_id(out, *id));
    Ok(many(done.effects))
}

impl Claimer<'_> {
    /// Claims up to `count` entries from `start` on.
    fn sweep(&self, stream: &mut Stream, start: StreamId, mut count: i64) -> Option<Claimed> {
        let (consumer, created) = self.consumer(stream.group_mut(self.group)?)?;
        let mut done = Claimed { created, ..Claimed::default() };
        let mut at = Bound::Included(start);
        let mut attempts = count * ATTEMPTS;
        let next = |stream: &Stream, at| {
            let pending = stream.group(self.group)?.pending();
            pending.range((at, Bound::Unbounded)).next().map(|(id, pending)| (*id, *pending))
        };
        while attempts > 0 && count > 0 {
            attempts -= 1;
            let Some((id, old)) = next(stream, at) else { break };
            at = Bound::Excluded(id);
            let there = stream.get(id).is_some();
            let group = stream.group_mut(self.group)?;
            if !there {
                self.forget(&mut done, group, id, &id.text(), old);
                done.deleted.push(id);
            } else if self.is_idle(&old) {
                let delivered = old.count.wrapping_add(u64::from(!self.justid));
                let new = Pending { consumer, delivered_ms: self.now_ms, count: delivered };
                self.assign(&mut done, group, id, &id.text(), new);
            } else {
                continue;
            }
            count -= 1;
        }
        done.next = next(stream, at).map_or(StreamId::MIN, |(id, _)| id);
        Some(done)
    }
}
