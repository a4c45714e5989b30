//! TIME and LOLWUT: what the server knows without looking at anything.

use crate::base::{Error, clock, number, version};
use crate::exec::call::{Call, Flow, SessionCommand};
use crate::spec::prelude::*;

pub const TIME: Row = Row {
    name: "time",
    arity: 1,
    flags: LOADING.or(STALE).or(FAST).or(SESSION),
    tips: &["nondeterministic_output"],
    since: "2.6.0",
    complexity: "O(1)",
    summary: "Tells the time of the server in seconds and microseconds.",
    ..Row::EMPTY
};

pub const LOLWUT: Row = Row {
    name: "lolwut",
    arity: -1,
    syntax: "[version:integer=VERSION]",
    flags: READONLY.or(FAST).or(SESSION),
    since: "5.0.0",
    summary: "Shows a picture and the version.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] =
    &[SessionCommand { row: &TIME, run: time }, SessionCommand { row: &LOLWUT, run: lolwut }];

fn time(call: &mut Call<'_>) -> Result<Flow, Error> {
    let us = clock::now_us();
    let mut text = itoa::Buffer::new();
    call.out.array(2);
    call.out.bulk(text.format(us / 1_000_000).as_bytes());
    call.out.bulk(text.format(us % 1_000_000).as_bytes());
    Ok(Flow::Done)
}

/// Aspens over their common root.
const GROVE: &[&str] = &[
    r"   _@_     _@@_     _@_    _@@@_    _@_     _@@_",
    r"  @@@@@   @@@@@@   @@@@@  @@@@@@@  @@@@@   @@@@@@",
    r"   @@@     @@@@     @@@    @@@@@    @@@     @@@@",
    r"    |       ||       |       ||      |       ||",
    r" ~~~+~~~~~~~++~~~~~~~+~~~~~~~++~~~~~~+~~~~~~~++~~~",
    r"     \______ \______ | ______/ _____/ ______/",
    r"             \______\|/______/______/",
];

fn lolwut(call: &mut Call<'_>) -> Result<Flow, Error> {
    let mut a = call.args();
    if a.option("VERSION") {
        number::parse_i64(a.next()?).ok_or(Error::NotInteger)?;
    }
    let text = format!("{}\n\nRedis ver. {}\nPando ver. {}\n", GROVE.join("\n"), version::REDIS, version::PANDO);
    call.out.verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}
