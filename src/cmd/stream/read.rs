//! Reading on: XREAD from an id, XREADGROUP for a group. Both may wait for entries to come.

use smallvec::SmallVec;

use super::super::{Block, DataCommand, Effect, OnTimeout, command};
use super::range::reply_entries;
use super::{ids, many, no_group, reply_entry, reply_id, tell_claim, tell_consumer, tell_group, told};
use crate::base::{Error, number};
use crate::ds::stream::{ConsumerId, Stream, StreamId};
use crate::keyspace::{Data, Key, Type};
use crate::resp::{Argv, Deferred, OwnedArgv, Reply};
use crate::spec::prelude::*;

pub const XREAD: Row = Row {
    name: "xread",
    arity: -4,
    syntax: "[count:integer=COUNT] [milliseconds:integer=BLOCK] streams:{key:key... id...}=STREAMS",
    flags: READONLY.or(BLOCKING),
    cats: STREAM,
    keys: &[KeySpec::after("STREAMS", 1, RO.or(ACCESS)).through(-1).first_part(2)],
    find_keys: Some(finders::xread),
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(log(N)+M) for each stream, M being the number of entries that are told",
    summary: "Tells the entries of streams after given ids, and waits for some if there are none.",
    ..Row::EMPTY
};

pub const XREADGROUP: Row = Row {
    name: "xreadgroup",
    arity: -7,
    syntax: "group-block:{group consumer}=GROUP [count:integer=COUNT] [milliseconds:integer=BLOCK] [noack:NOACK] \
        streams:{key:key... id...}=STREAMS",
    flags: WRITE.or(BLOCKING),
    cats: STREAM,
    keys: &[KeySpec::after("STREAMS", 4, RO.or(ACCESS)).through(-1).first_part(2)],
    find_keys: Some(finders::xread),
    since: "5.0.0",
    group: Group::Stream,
    complexity: "O(log(N)+M) for each stream, M being the number of entries that are told",
    summary: "Gives a consumer of a group the entries that the group has not read yet, or again what the consumer has not \
        acknowledged.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[command(&XREAD, xread), command(&XREADGROUP, xreadgroup)];

/// What both are asked.
struct Wanted<'a> {
    /// Without a limit: all there are.
    count: usize,
    block_ms: Option<i64>,
    group: Option<(&'a [u8], &'a [u8])>,
    noack: bool,
    /// The word of the first key.
    first: usize,
    streams: usize,
}

impl<'a> Wanted<'a> {
    fn key(&self, argv: &Argv<'a>, i: usize) -> Key<'a> {
        Key::new(argv.word(self.first + i))
    }

    fn id(&self, argv: &Argv<'a>, i: usize) -> &'a [u8] {
        argv.word(self.first + self.streams + i)
    }

    fn parse(a: &mut Args<'a>, for_group: bool, now_ms: i64) -> Result<Self, Error> {
        let mut w = Wanted { count: usize::MAX, block_ms: None, group: None, noack: false, first: 0, streams: 0 };
        while !a.is_at_end() {
            if a.option("BLOCK") {
                w.block_ms = Some(timeout(a.next()?, now_ms)?);
            } else if a.option("COUNT") {
                let count = a.next_i64()?;
                w.count = usize::try_from(count).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
            } else if a.option("STREAMS") {
                (w.first, w.streams) = (a.position(), a.left() / 2);
                if !a.left().is_multiple_of(2) {
                    let symbol = if for_group { '>' } else { '$' };
                    let text = format!(
                        "ERR Unbalanced '{}' list of streams: for each stream key an ID or '{symbol}' must be specified.",
                        a.name()
                    );
                    return Err(Error::Text(text.into()));
                }
                break;
            } else if a.left() > 2 && a.flag("GROUP") {
                if !for_group {
                    return Err(const {
                        Error::text("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
                    });
                }
                w.group = Some((a.next()?, a.next()?));
            } else if a.flag("NOACK") {
                if !for_group {
                    return Err(const {
                        Error::text("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
                    });
                }
                w.noack = true;
            } else {
                return Err(Error::Syntax);
            }
        }
        if w.first == 0 {
            return Err(Error::Syntax);
        }
        if for_group && w.group.is_none() {
            return Err(const { Error::text("ERR Missing GROUP option for XREADGROUP") });
        }
        Ok(w)
    }

    /// The effect of having found nothing; `argv` is what to ask next time, if not the same; `told` what was done all the same.
    fn nothing(&self, own: &Argv<'a>, argv: Option<OwnedArgv>, told: Vec<OwnedArgv>, out: &mut Reply) -> Effect {
        let Some(timeout_ms) = self.block_ms else {
            out.null_array();
            return many(told);
        };
        Effect::block(Block {
            keys: (0..self.streams).map(|i| self.key(own, i).bytes.into()).collect(),
            kind: Type::Stream,
            timeout_ms,
            on_timeout: OnTimeout::NullArray,
            argv,
            on_gone: self.group.is_some(),
            told,
        })
    }
}

fn timeout(word: &[u8], now_ms: i64) -> Result<i64, Error> {
    let ms = number::parse_i64(word).ok_or(Error::Timeout)?;
    if ms < 0 {
        return Err(Error::TimeoutNegative);
    }
    ms.checked_add(now_ms).map(|_| ms).ok_or(const { Error::text("ERR timeout is out of range") })
}

/// The reply, which is there only if there is something in it: a map of arrays, or an array of pairs.
struct Answer {
    head: Option<Deferred>,
    streams: usize,
}

impl Answer {
    fn stream(&mut self, out: &mut Reply, key: Key<'_>) {
        let old = out.proto() < 3;
        if self.head.is_none() {
            self.head = Some(if old { out.deferred_array() } else { out.deferred_map() });
        }
        if old {
            out.array(2);
        }
        out.bulk(key.bytes);
        self.streams += 1;
    }

    /// Whether there was something.
    fn end(self, out: &mut Reply) -> bool {
        match self.head {
            Some(head) => out.set_len(head, self.streams),
            None => return false,
        }
        true
    }
}

fn xread(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let argv = a.argv();
    let w = Wanted::parse(a, false, db.unit.now_ms)?;
    let mut after: SmallVec<[StreamId; 4]> = SmallVec::new();
    for i in 0..w.streams {
        let stream = db.read::<Stream>(w.key(&argv, i))?;
        after.push(match w.id(&argv, i) {
            b"$" => stream.map_or(StreamId::MIN, |s| s.last_id),
            // All after the last but one: the last.
            b"+" => stream.and_then(Stream::last_entry_id).and_then(StreamId::prev).unwrap_or_default(),
            b">" => {
                return Err(const {
                    Error::text(
                        "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> \
                         option.",
                    )
                });
            }
            id => ids::strict(id, 0)?,
        });
    }
    let mut answer = Answer { head: None, streams: 0 };
    for (i, after) in after.iter().enumerate() {
        let key = w.key(&argv, i);
        let Some(stream) = db.read::<Stream>(key)? else { continue };
        let newer = stream.last_entry_id().is_some_and(|last| last > *after);
        if let Some(from) = after.next().filter(|_| newer) {
            answer.stream(out, key);
            reply_entries(out, stream.range(from, StreamId::MAX).take(w.count));
        }
    }
    if answer.end(out) {
        return Ok(Effect::None);
    }
    let last_now = (0..w.streams).any(|i| w.id(&argv, i) == b"$");
    let concrete = (w.block_ms.is_some() && last_now).then(|| {
        let mut words = OwnedArgv::from_words(argv.iter().take(w.first + w.streams));
        for (i, after) in after.iter().enumerate() {
            match w.id(&argv, i) {
                b"$" => words.push(&after.text()),
                id => words.push(id),
            }
        }
        words
    });
    Ok(w.nothing(&argv, concrete, Vec::new(), out))
}

/// Which entries of a stream a consumer asks for.
#[derive(Clone, Copy)]
enum Part {
    /// `>`: those the group has not read.
    New,
    /// Its own, after an id.
    Own(StreamId),
}

fn xreadgroup(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let argv = a.argv();
    let w = Wanted::parse(a, true, db.unit.now_ms)?;
    let Some((group, consumer)) = w.group else { return Err(Error::Syntax) };
    let mut parts: SmallVec<[Part; 4]> = SmallVec::new();
    for i in 0..w.streams {
        let key = w.key(&argv, i);
        if !super::has_group(db, key, group)? {
            return Err(no_group(key.bytes, group, " in XREADGROUP with GROUP option"));
        }
        parts.push(match w.id(&argv, i) {
            b"$" => {
                return Err(const {
                    Error::text(
                        "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                         consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just \
                         return an empty result set.",
                    )
                });
            }
            b"+" => {
                return Err(const {
                    Error::text(
                        "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                         consumer by specifying a proper ID, or use the > ID to get new messages. The + ID would just \
                         return an empty result set.",
                    )
                });
            }
            b">" => Part::New,
            id => match ids::strict(id, 0)? {
                StreamId::MAX => Part::New,
                id => Part::Own(id),
            },
        });
    }
    let mut answer = Answer { head: None, streams: 0 };
    let mut effects = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let key = w.key(&argv, i);
        let read = Reading { key: key.bytes, group, consumer, part: *part, count: w.count, noack: w.noack };
        let now_ms = db.unit.now_ms;
        let Some(done) = db.edit(key, |stream: &mut Stream| {
            read.run(stream, now_ms, |out| answer.stream(out, key), out, &mut effects)
        })?
        else {
            continue;
        };
        if done.created {
            told(db, key, "xgroup-createconsumer");
        }
        db.unit.dirty += u64::from(done.served);
    }
    if answer.end(out) {
        return Ok(many(effects));
    }
    Ok(w.nothing(&argv, None, effects, out))
}

/// One stream's part of a call.
struct Reading<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
    part: Part,
    count: usize,
    noack: bool,
}

struct Done {
    /// The consumer had not been there.
    created: bool,
    served: bool,
}

impl Reading<'_> {
    fn run(
        &self,
        stream: &mut Stream,
        now_ms: i64,
        begin: impl FnOnce(&mut Reply),
        out: &mut Reply,
        effects: &mut Vec<OwnedArgv>,
    ) -> Done {
        let last = stream.last_entry_id();
        let Some(group) = stream.group_mut(self.group) else { return Done { created: false, served: false } };
        let new_for_group = last.is_some_and(|last| last > group.last_id);
        let found = group.find(self.consumer);
        let created = found.is_none();
        let Some(consumer) = found.or_else(|| group.create(self.consumer, now_ms)) else {
            return Done { created: false, served: false };
        };
        if created && self.noack {
            // With entries to acknowledge, replicas hear of the consumer through them.
            effects.push(tell_consumer(self.key, self.group, self.consumer));
        }
        group.consumer_mut(consumer).seen_ms = now_ms;
        let served = match self.part {
            Part::Own(after) => {
                begin(out);
                self.history(stream, consumer, after, now_ms, out);
                true
            }
            Part::New if new_for_group => {
                begin(out);
                self.new_entries(stream, consumer, now_ms, out, effects);
                true
            }
            Part::New => false,
        };
        Done { created, served }
    }

    fn history(&self, stream: &mut Stream, consumer: ConsumerId, after: StreamId, now_ms: i64, out: &mut Reply) {
        let head = out.deferred_array();
        let from = after.next().unwrap_or(StreamId::MAX);
        let n = stream.deliver_again(self.group, consumer, from, self.count, now_ms, |id, entry| match entry {
            Some(entry) => reply_entry(out, entry),
            None => {
                out.array(2);
                reply_id(out, id);
                out.null_array();
            }
        });
        out.set_len(head, n);
    }

    fn new_entries(
        &self,
        stream: &mut Stream,
        consumer: ConsumerId,
        now_ms: i64,
        out: &mut Reply,
        effects: &mut Vec<OwnedArgv>,
    ) {
        let head = out.deferred_array();
        let pending_for = (!self.noack).then_some(consumer);
        let n = stream.deliver(self.group, pending_for, self.count, now_ms, |entry, group| {
            reply_entry(out, entry);
            if let Some(pending) = group.pending().get(&entry.id).filter(|_| !self.noack) {
                let id = entry.id.text();
                effects.push(tell_claim(self.key, self.group, self.consumer, &id, *pending, group.last_id));
            }
        });
        out.set_len(head, n);
        if let Some(group) = stream.group(self.group) {
            effects.push(tell_group(self.key, self.group, group.last_id, group.entries_read));
        }
    }
}
