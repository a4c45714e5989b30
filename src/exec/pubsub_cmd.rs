//! PUBLISH, SUBSCRIBE and their kin.

use super::call::{Call, Flow, SessionCommand, SessionFn};
use super::help::help;
use super::pubsub::Kind;
use crate::base::Error;
use crate::cmd::Effect;
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const PSUBSCRIBE: Row = Row {
    name: "psubscribe",
    arity: -2,
    syntax: "pattern:pattern...",
    flags: PUBSUB.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION).or(WHILE_SUBSCRIBED),
    channels: Channels::PSUBSCRIBE,
    since: "2.0.0",
    group: Group::PubSub,
    complexity: "O(N), N being the number of patterns given",
    summary: "Subscribes to all channels whose names match these patterns.",
    ..Row::EMPTY
};

pub const PUBLISH: Row = Row {
    name: "publish",
    arity: 3,
    syntax: "channel message",
    flags: PUBSUB.or(LOADING).or(STALE).or(FAST).or(MAY_REPLICATE).or(SENTINEL).or(SESSION),
    channels: Channels::PUBLISH,
    since: "2.0.0",
    group: Group::PubSub,
    complexity: "O(N+M), N being the subscribers of the channel and M all subscribed patterns",
    summary: "Sends a message to all subscribers of a channel.",
    ..Row::EMPTY
};

pub const PUBSUB_CONTAINER: Row = Row {
    name: "pubsub",
    arity: -2,
    since: "2.8.0",
    group: Group::PubSub,
    complexity: "That of the subcommand",
    summary: "Tells about channels and their subscribers.",
    ..Row::EMPTY
};

pub const PUBSUB_CHANNELS: Row = Row {
    name: "pubsub|channels",
    arity: -2,
    syntax: "[pattern:pattern]",
    flags: PUBSUB.or(LOADING).or(STALE).or(SESSION),
    since: "2.8.0",
    group: Group::PubSub,
    complexity: "O(N), N being the number of channels",
    summary: "Lists the channels that have subscribers.",
    ..Row::EMPTY
};

pub const PUBSUB_HELP: Row = Row {
    name: "pubsub|help",
    arity: 2,
    flags: LOADING.or(STALE).or(SESSION),
    since: "6.2.0",
    group: Group::PubSub,
    complexity: "O(1)",
    summary: "Lists the subcommands of PUBSUB.",
    ..Row::EMPTY
};

pub const PUBSUB_NUMPAT: Row = Row {
    name: "pubsub|numpat",
    arity: 2,
    flags: PUBSUB.or(LOADING).or(STALE).or(SESSION),
    since: "2.8.0",
    group: Group::PubSub,
    complexity: "O(1)",
    summary: "Counts the patterns that clients are subscribed to.",
    ..Row::EMPTY
};

pub const PUBSUB_NUMSUB: Row = Row {
    name: "pubsub|numsub",
    arity: -2,
    syntax: "[channel...]",
    flags: PUBSUB.or(LOADING).or(STALE).or(SESSION),
    since: "2.8.0",
    group: Group::PubSub,
    complexity: "O(N), N being the number of channels given",
    summary: "Counts the subscribers of the given channels.",
    ..Row::EMPTY
};

pub const PUBSUB_SHARDCHANNELS: Row = Row {
    name: "pubsub|shardchannels",
    arity: -2,
    syntax: "[pattern:pattern]",
    flags: PUBSUB.or(LOADING).or(STALE).or(SESSION),
    since: "7.0.0",
    group: Group::PubSub,
    complexity: "O(N), N being the number of shard channels",
    summary: "Lists the shard channels that have subscribers.",
    ..Row::EMPTY
};

pub const PUBSUB_SHARDNUMSUB: Row = Row {
    name: "pubsub|shardnumsub",
    arity: -2,
    syntax: "[shardchannel...]",
    flags: PUBSUB.or(LOADING).or(STALE).or(SESSION),
    since: "7.0.0",
    group: Group::PubSub,
    complexity: "O(N), N being the number of channels given",
    summary: "Counts the subscribers of the given shard channels.",
    ..Row::EMPTY
};

pub const PUNSUBSCRIBE: Row = Row {
    name: "punsubscribe",
    arity: -1,
    syntax: "[pattern:pattern...]",
    flags: PUBSUB.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION).or(WHILE_SUBSCRIBED),
    channels: Channels::PUNSUBSCRIBE,
    since: "2.0.0",
    group: Group::PubSub,
    complexity: "O(N), N being the number of patterns given",
    summary: "Ends the subscriptions to these patterns, or to all patterns.",
    ..Row::EMPTY
};

pub const SPUBLISH: Row = Row {
    name: "spublish",
    arity: 3,
    syntax: "shardchannel message",
    flags: PUBSUB.or(LOADING).or(STALE).or(FAST).or(MAY_REPLICATE).or(SESSION),
    keys: &[KeySpec::at(1, NOT_KEY)],
    channels: Channels::PUBLISH,
    since: "7.0.0",
    group: Group::PubSub,
    complexity: "O(N), N being the number of subscribers",
    summary: "Sends a message to all subscribers of a shard channel.",
    ..Row::EMPTY
};

pub const SSUBSCRIBE: Row = Row {
    name: "ssubscribe",
    arity: -2,
    syntax: "shardchannel...",
    flags: PUBSUB.or(NOSCRIPT).or(LOADING).or(STALE).or(SESSION).or(WHILE_SUBSCRIBED),
    keys: &[KeySpec::at(1, NOT_KEY).through(-1)],
    channels: Channels::SUBSCRIBE,
    since: "7.0.0",
    group: Group::PubSub,
    complexity: "O(N), N being the number of channels given",
    summary: "Subscribes to shard channels.",
    ..Row::EMPTY
};

pub const SUBSCRIBE: Row = Row {
    name: "subscribe",
    arity: -2,
    syntax: "channel...",
    flags: PUBSUB.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION).or(WHILE_SUBSCRIBED),
    channels: Channels::SUBSCRIBE,
    since: "2.0.0",
    group: Group::PubSub,
    complexity: "O(N), N being the number of channels given",
    summary: "Subscribes to channels.",
    ..Row::EMPTY
};

pub const SUNSUBSCRIBE: Row = Row {
    name: "sunsubscribe",
    arity: -1,
    syntax: "[shardchannel...]",
    flags: PUBSUB.or(NOSCRIPT).or(LOADING).or(STALE).or(SESSION).or(WHILE_SUBSCRIBED),
    keys: &[KeySpec::at(1, NOT_KEY).through(-1)],
    channels: Channels::UNSUBSCRIBE,
    since: "7.0.0",
    group: Group::PubSub,
    complexity: "O(N), N being the number of channels given",
    summary: "Ends the subscriptions to these shard channels, or to all of them.",
    ..Row::EMPTY
};

pub const UNSUBSCRIBE: Row = Row {
    name: "unsubscribe",
    arity: -1,
    syntax: "[channel...]",
    flags: PUBSUB.or(NOSCRIPT).or(LOADING).or(STALE).or(SENTINEL).or(SESSION).or(WHILE_SUBSCRIBED),
    channels: Channels::UNSUBSCRIBE,
    since: "2.0.0",
    group: Group::PubSub,
    complexity: "O(N), N being the number of channels given",
    summary: "Ends the subscriptions to these channels, or to all of them.",
    ..Row::EMPTY
};

const fn command(row: &'static Row, run: SessionFn) -> SessionCommand {
    SessionCommand { row, run }
}

pub const COMMANDS: &[SessionCommand] = &[
    command(&PSUBSCRIBE, |call| subscribe(call, Kind::Pattern)),
    command(&PUBLISH, |call| publish(call, Kind::Channel)),
    command(&PUBSUB_CHANNELS, |call| channels(call, Kind::Channel)),
    command(&PUBSUB_HELP, help),
    command(&PUBSUB_NUMPAT, numpat),
    command(&PUBSUB_NUMSUB, |call| numsub(call, Kind::Channel)),
    command(&PUBSUB_SHARDCHANNELS, |call| channels(call, Kind::Shard)),
    command(&PUBSUB_SHARDNUMSUB, |call| numsub(call, Kind::Shard)),
    command(&PUNSUBSCRIBE, |call| unsubscribe(call, Kind::Pattern)),
    command(&SPUBLISH, |call| publish(call, Kind::Shard)),
    command(&SSUBSCRIBE, |call| subscribe(call, Kind::Shard)),
    command(&SUBSCRIBE, |call| subscribe(call, Kind::Channel)),
    command(&SUNSUBSCRIBE, |call| unsubscribe(call, Kind::Shard)),
    command(&UNSUBSCRIBE, |call| unsubscribe(call, Kind::Channel)),
];

fn subscribe(call: &mut Call<'_>, kind: Kind) -> Result<Flow, Error> {
    for name in call.argv.skip(1).iter() {
        call.engine.pubsub.subscribe(call.session, kind, name, call.out);
    }
    Ok(Flow::Done)
}

fn unsubscribe(call: &mut Call<'_>, kind: Kind) -> Result<Flow, Error> {
    call.engine.pubsub.unsubscribe(call.session, kind, call.argv.skip(1).iter(), call.out);
    Ok(Flow::Done)
}

fn publish(call: &mut Call<'_>, kind: Kind) -> Result<Flow, Error> {
    let (channel, message) = (call.argv.word(1), call.argv.word(2));
    // The client's own message comes behind its reply, and behind that of the EXEC it stands in.
    let mut own = Reply::new(call.out.proto());
    let myself = Some((call.session.handle.id, &mut own));
    let receivers = call.engine.pubsub.publish(call.engine, kind, channel, message, myself);
    if !own.is_empty() {
        call.session.own_pushes.extend_from_slice(&own.take());
    }
    call.out.int(receivers as i64);
    call.effect = Effect::Verbatim;
    Ok(Flow::Done)
}

fn channels(call: &mut Call<'_>, kind: Kind) -> Result<Flow, Error> {
    let names = call.engine.pubsub.channels(kind, call.argv.get(2));
    call.out.array(names.len());
    names.iter().for_each(|n| call.out.bulk(n));
    Ok(Flow::Done)
}

fn numsub(call: &mut Call<'_>, kind: Kind) -> Result<Flow, Error> {
    let names = call.argv.skip(2);
    call.out.map(names.len());
    for name in names.iter() {
        call.out.bulk(name);
        call.out.int(call.engine.pubsub.subscribers(kind, name) as i64);
    }
    Ok(Flow::Done)
}

fn numpat(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.out.int(call.engine.pubsub.names(Kind::Pattern) as i64);
    Ok(Flow::Done)
}
