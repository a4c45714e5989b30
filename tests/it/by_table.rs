//! Random calls of every data command, made from the command table's own syntax, to Pando and to the machine's stock
//! server: the same replies, encodings, expiries and contents.
//!
//! A failure prints its seed; `PANDO_SEED=N` runs that one again, `PANDO_ROUNDS=N` runs more commands.

use std::collections::BTreeSet;

use pando::spec::syntax::{self, Arg, ArgKind};
use pando::spec::{Group, Row, flag};

use crate::harness::{Client, Kind, Reply, Server, line_of};
use crate::pair::Command;
use crate::random::Rng;

/// What tells of the moment it is asked at, or of one server alone, or stops the run. SORT leaves equal weights of a set in
/// the order of its table, and 7.0 turns sorted sets into skiplists for it; `types_sort` compares the rest.
const NOT_COMPARABLE: &[&str] = &[
    "dump",
    "expiretime",
    "memory|usage",
    "migrate",
    "object|freq",
    "object|idletime",
    "object|refcount",
    "pexpiretime",
    "pfdebug",
    "pfselftest",
    "pttl",
    "restore",
    "scan",
    "sort",
    "sort_ro",
    "ttl",
    "wait",
    "waitaof",
    // XREADGROUP creates its consumer even if it finds nothing, since 7.2.
    "xinfo|groups",
    // 7.2 refuses more of them.
    "xsetid",
    // By member is an order only where all scores are equal, which random calls do not see to.
    "zlexcount",
    "zrangebylex",
    "zremrangebylex",
    "zrevrangebylex",
];

/// Versions newer than the machine's server (7.0).
const NEWER: &[&str] = &["7.2", "7.4", "8."];

/// Words that came with them, although the rows, like stock's, do not say so; and BYLEX, for the reason above, and FULL, which tells the time.
const LEFT_OUT: &[&str] = &["WITHSCORE", "BYLEX", "FULL"];

struct Table {
    rows: Vec<(&'static Row, Vec<Arg<'static>>)>,
}

impl Table {
    /// The data commands that the other server has as well.
    fn shared_with(client: &mut Client) -> Table {
        let theirs: BTreeSet<String> = client.run("command list").items().iter().map(Reply::text).collect();
        let known = |row: &Row| theirs.contains(row.split_name().0.unwrap_or(row.name)) && !is_newer(Some(row.since));
        let chance = |row: &Row| row.tips.contains(&"nondeterministic_output");
        Self::of(|row| known(row) && !NOT_COMPARABLE.contains(&row.name) && !chance(row))
    }

    /// The data commands with keys that are `wanted`.
    fn of(wanted: impl Fn(&Row) -> bool) -> Table {
        let data = |row: &Row| {
            matches!(
                row.group,
                Group::Generic
                    | Group::String
                    | Group::List
                    | Group::Set
                    | Group::SortedSet
                    | Group::Hash
                    | Group::HyperLogLog
                    | Group::Geo
                    | Group::Stream
                    | Group::Bitmap
            )
        };
        let rows = pando::server::commands::table()
            .rows()
            .filter(|row| data(row) && row.has_keys() && wanted(row))
            .map(|row| (row, syntax::parse(row.syntax).expect("a row's syntax")))
            .collect();
        Table { rows }
    }
}

fn is_newer(since: Option<&str>) -> bool {
    since.is_some_and(|since| NEWER.iter().any(|newer| since.starts_with(newer)))
}

/// Calls of every command that writes, those with an outcome by chance among them.
pub struct Writes {
    table: Table,
    caller: Caller,
}

impl Writes {
    pub fn new(seed: u64) -> Writes {
        let table = Table::of(|row| row.flags.has(flag::WRITE) && !row.flags.has(flag::BLOCKING));
        Writes { table, caller: Caller { rng: Rng::new(seed), group: Group::Generic } }
    }

    pub fn next(&mut self) -> Command {
        loop {
            let at = self.caller.rng.below(self.table.rows.len() as u64) as usize;
            let (row, args) = &self.table.rows[at];
            if !wipes(row) || self.caller.one_in(8) {
                return self.caller.call(row, args);
            }
        }
    }
}

/// What goes through everything would leave little to compare.
fn wipes(row: &Row) -> bool {
    matches!(row.name, "del" | "unlink" | "flushdb" | "flushall" | "move" | "rename")
}

/// Makes calls from the syntax of rows.
struct Caller {
    rng: Rng,
    group: Group,
}

impl Caller {
    fn one_in(&mut self, n: u64) -> bool {
        self.rng.below(n) == 0
    }

    fn call(&mut self, row: &'static Row, args: &[Arg<'static>]) -> Command {
        self.group = row.group;
        let mut words: Command = Vec::new();
        let (container, name) = row.split_name();
        words.extend(container.map(|c| c.as_bytes().to_vec()));
        words.push(name.as_bytes().to_vec());
        self.sequence(args, &mut words);
        // Something a client got wrong.
        if self.one_in(25) {
            match self.rng.below(3) {
                0 if words.len() > 1 => {
                    words.pop();
                }
                1 => words.push(b"extra".to_vec()),
                _ => {
                    let at = 1 + self.rng.below(words.len().max(2) as u64 - 1) as usize;
                    if at < words.len() {
                        words[at] = b"wrong".to_vec();
                    }
                }
            }
        }
        words
    }

    fn sequence(&mut self, args: &[Arg<'static>], words: &mut Command) {
        let mut i = 0;
        while i < args.len() {
            let arg = &args[i];
            i += 1;
            if is_left_out(arg) || arg.optional && !self.one_in(3) {
                continue;
            }
            // A count says how many words of the next argument follow.
            if matches!(arg.name, "numkeys") && i < args.len() {
                let n = 1 + self.rng.below(3);
                let said = if self.one_in(20) { self.rng.below(5) } else { n };
                words.push(said.to_string().into_bytes());
                for _ in 0..n {
                    self.once(&args[i], words);
                }
                i += 1;
                continue;
            }
            let times = if arg.multiple { 1 + self.rng.below(3) } else { 1 };
            // As many ids as streams.
            if arg.multiple && arg.kind == ArgKind::Key && args.get(i).is_some_and(|next| next.name == "id") {
                words.extend((0..times).map(|_| self.key().into_bytes()));
                words.extend((0..times).map(|_| self.string("id").into_bytes()));
                i += 1;
                continue;
            }
            for time in 0..times {
                if let Some(token) = arg.token.filter(|_| time == 0 || arg.multiple_token) {
                    words.push(token.as_bytes().to_vec());
                }
                self.once(arg, words);
            }
        }
    }

    /// One occurrence, without its token.
    fn once(&mut self, arg: &Arg<'static>, words: &mut Command) {
        let word = match &arg.kind {
            ArgKind::PureToken => return,
            ArgKind::Block(args) => return self.sequence(args, words),
            ArgKind::OneOf(args) => {
                let choices: Vec<&Arg<'static>> = args.iter().filter(|a| !is_left_out(a) && !is_chance(a)).collect();
                if let Some(choice) = choices.get(self.rng.below(choices.len().max(1) as u64) as usize) {
                    self.sequence(&[Arg { optional: false, ..(*choice).clone() }], words);
                }
                return;
            }
            ArgKind::Key => self.key(),
            ArgKind::Pattern => self.rng.pick(&["*", "k*", "[a-f]*", "?", "x:*", "*1*", "w_*->f"]).to_owned(),
            ArgKind::UnixTime => self.rng.pick(&["33000000000", "33000000001", "33000000000000", "1"]).to_owned(),
            ArgKind::Integer => self.integer(arg.name),
            ArgKind::Double => self.double(arg.name),
            ArgKind::String => self.string(arg.name),
        };
        words.push(word.into_bytes());
    }

    /// Mostly a key of the group's own type, now and then any.
    fn key(&mut self) -> String {
        let group = if self.one_in(15) {
            self.rng.pick(&[Group::String, Group::List, Group::Set, Group::SortedSet, Group::Hash, Group::Stream])
        } else {
            match self.group {
                Group::Generic => {
                    self.rng.pick(&[Group::String, Group::List, Group::Set, Group::SortedSet, Group::Hash])
                }
                Group::Geo => Group::SortedSet,
                group => group,
            }
        };
        format!("{}:{}", group.as_str(), self.rng.below(if group == Group::Hash { 4 } else { 6 }))
    }

    fn integer(&mut self, name: &str) -> String {
        let n = match name {
            // Long after any test, and far enough apart that a moment between two servers decides nothing.
            "seconds" | "milliseconds" | "ttl" => 9_000_000_000 + self.rng.below(100_000) as i64 * 100_000,
            "cursor" | "timeout" => 0,
            "offset" if self.group == Group::Bitmap => self.rng.below(300) as i64,
            "offset" => self.rng.below(60) as i64,
            "db" | "destination-db" => self.rng.below(2) as i64,
            "min-idle-time" => 0,
            _ => match self.rng.below(30) {
                0 => i64::MAX,
                // Counts and ranks of the lowest number are refused since 7.2.
                1 if matches!(name, "count" | "rank") => -i64::MAX,
                1 => i64::MIN,
                2 => 0,
                3..=9 => -(self.rng.below(10) as i64),
                _ => self.rng.below(12) as i64,
            },
        };
        n.to_string()
    }

    fn double(&mut self, name: &str) -> String {
        match name {
            "timeout" => "0".to_owned(),
            "longitude" => format!("{}.{}", self.rng.below(20), self.rng.below(1000)),
            "latitude" => format!("{}.{}", 30 + self.rng.below(10), self.rng.below(1000)),
            "radius" | "width" | "height" => (1 + self.rng.below(900)).to_string(),
            _ => self
                .rng
                .pick(&["0", "1", "2", "-3", "1.5", "2.25", "-0.1", "1e3", "inf", "-inf", "17179869184", "0.1", "nan"])
                .to_owned(),
        }
    }

    fn string(&mut self, name: &str) -> String {
        match name {
            "min" | "max" | "start" | "stop" | "end" if self.group == Group::SortedSet => {
                let edges = ["0", "-1", "2", "(1", "(2", "[a", "(c", "[x", "-", "+", "-inf", "+inf", "1.5", "(-inf"];
                self.rng.pick(&edges).to_owned()
            }
            "encoding" => self.rng.pick(&["u4", "i8", "u16", "i5", "u63", "i64", "u1", "i33"]).to_owned(),
            "start" | "end" | "min" | "max" | "id" | "lastid" | "last-id" | "threshold" | "start-id"
            | "max-deleted-id"
                if self.group == Group::Stream =>
            {
                // XREAD's `+` is newer.
                let edges: &[&str] =
                    if name == "id" { &["$", "0", ">", "5", "0-0"] } else { &["-", "+", "0", "(3-1", "5", "0-0"] };
                let n = self.rng.below(200);
                if self.one_in(4) { self.rng.pick(edges).to_owned() } else { format!("{n}-{}", n % 3) }
            }
            "threshold" => self.rng.below(20).to_string(),
            "group" => self.rng.pick(&["g1", "g2"]).to_owned(),
            "consumer" | "consumername" => self.rng.pick(&["alice", "bob"]).to_owned(),
            "operation" => "and".to_owned(),
            _ => match self.rng.below(12) {
                0 => (self.rng.next() as i64).to_string(),
                1 => String::new(),
                2 => "v".repeat(self.rng.pick(&[1, 7, 44, 45, 63, 64, 65, 100, 1000])),
                3..=5 => self.rng.below(30).to_string(),
                6 => format!("{}.{}", self.rng.below(9), self.rng.below(100)),
                _ => char::from(b'a' + self.rng.below(26) as u8).to_string(),
            },
        }
    }
}

fn is_left_out(arg: &Arg<'_>) -> bool {
    is_newer(arg.since) || arg.token.is_some_and(|token| LEFT_OUT.contains(&token))
}

/// An id made from the clock.
fn is_chance(arg: &Arg<'_>) -> bool {
    arg.token == Some("*") || arg.token == Some("$")
}

/// A reply in a form to be compared: 7.0 writes doubles with 17 digits, 7.2 with as few as tell them apart; and where
/// there is no order, one is made.
fn normal(reply: &Reply, ordered: bool) -> Reply {
    let in_order = |items: &[Reply]| {
        let mut items: Vec<Reply> = items.iter().map(|item| normal(item, ordered)).collect();
        if !ordered {
            items.sort_by_key(Reply::to_string);
        }
        items
    };
    let double = |text: &str| text.parse::<f64>().map_or_else(|_| text.to_owned(), |n| format!("{n:?}"));
    match reply {
        Reply::Array(items) => Reply::Array(in_order(items)),
        Reply::Set(items) => Reply::Set(in_order(items)),
        Reply::Push(items) => Reply::Push(in_order(items)),
        Reply::Map(pairs) => {
            let mut pairs: Vec<_> = pairs.iter().map(|(k, v)| (normal(k, ordered), normal(v, ordered))).collect();
            if !ordered {
                pairs.sort_by_key(|(k, _)| k.to_string());
            }
            Reply::Map(pairs)
        }
        Reply::Double(text) => Reply::Double(double(text)),
        Reply::Bulk(bytes) if bytes.len() > 16 => match std::str::from_utf8(bytes) {
            Ok(text) => Reply::Bulk(double(text).into_bytes()),
            Err(_) => reply.clone(),
        },
        Reply::Bulk(bytes) if bytes.contains(&b'.') => {
            Reply::Bulk(double(&String::from_utf8_lossy(bytes)).into_bytes())
        }
        other => other.clone(),
    }
}

/// Refusals that 7.2 words in another way, ours first: among them a word too many where it has come to take one.
const REWORDED: &[(&str, &str)] = &[
    ("-ERR syntax error", "-ERR wrong number of arguments for 'z"),
    ("-ERR Unbalanced 'xread", "-ERR Unbalanced XREAD list of streams"),
];

fn reworded(mine: &Reply, stock: &Reply) -> bool {
    match (mine, stock) {
        // What a transaction answered.
        (Reply::Array(mine), Reply::Array(stock)) => {
            mine.len() == stock.len() && mine.iter().zip(stock).all(|(a, b)| a == b || reworded(a, b))
        }
        _ => {
            let (mine, stock) = (mine.to_string(), stock.to_string());
            REWORDED.iter().any(|(ours, theirs)| mine.starts_with(ours) && stock.starts_with(theirs))
        }
    }
}

/// The names of 7.2 in those of 7.0, which knows no listpack for lists and sets.
fn encoding_of_70(kind: &str, encoding: &str) -> String {
    match (kind, encoding) {
        ("list", "listpack") => "quicklist".to_owned(),
        ("set", "listpack") => "hashtable".to_owned(),
        _ => encoding.to_owned(),
    }
}

struct Run {
    ours: Server,
    theirs: Server,
    a: Client,
    b: Client,
    seed: u64,
    done: usize,
    /// The last commands that named each key, for the report.
    history: Vec<Command>,
}

impl Run {
    fn fail(&self, what: &str) -> ! {
        panic!("PANDO_SEED={} after {} commands: {what}", self.seed, self.done)
    }

    fn batch(&mut self, commands: &[(Command, bool)]) {
        for (command, _) in commands {
            self.a.send(command);
            self.b.send(command);
        }
        for (command, ordered) in commands {
            let (mine, stock) = (self.a.read(), self.b.read());
            self.done += 1;
            let same = mine == stock || normal(&mine, *ordered) == normal(&stock, *ordered);
            if !same && !reworded(&mine, &stock) {
                self.fail(&format!("{}\n  pando: {mine}\n  stock: {stock}", line_of(command)));
            }
        }
        self.history.extend(commands.iter().map(|(command, _)| command.clone()));
    }

    fn compare(&mut self) {
        for db in 0..16 {
            for c in [&mut self.a, &mut self.b] {
                c.check(&format!("select {db}"), "+OK");
            }
            let keys: BTreeSet<String> = self.a.run("keys *").items().iter().map(Reply::text).collect();
            let theirs: BTreeSet<String> = self.b.run("keys *").items().iter().map(Reply::text).collect();
            if keys != theirs {
                self.fail(&format!("keys differ: {keys:?} and {theirs:?}"));
            }
            for key in &keys {
                self.compare_key(key);
            }
        }
        for c in [&mut self.a, &mut self.b] {
            c.check("select 0", "+OK");
        }
        if self.ours.digest() != self.theirs.digest() {
            self.fail("the data differ");
        }
    }

    fn compare_key(&mut self, key: &str) {
        let mut both = |line: &str| {
            let words: Command = line.split(' ').map(|w| w.replace("KEY", key).into_bytes()).collect();
            (self.a.call(&words).to_string(), self.b.call(&words).to_string())
        };
        let (kind, other_kind) = both("type KEY");
        let (encoding, other_encoding) = both("object encoding KEY");
        let (digest, other_digest) = both("debug digest-value KEY");
        let (expiry, other_expiry) = both("pexpiretime KEY");
        let same_encoding = format!("${}", encoding_of_70(&kind[1..], &encoding[1..])) == other_encoding;
        // Relative times were counted from two different moments.
        let far = |text: &str| text[1..].parse::<i64>().map_or(0, |ms| ms / 10_000);
        if kind != other_kind
            || digest != other_digest
            || !same_encoding
            || (far(&expiry) - far(&other_expiry)).abs() > 1
        {
            let about: Vec<String> =
                self.history.iter().filter(|c| c.iter().any(|w| w == key.as_bytes())).map(|c| line_of(c)).collect();
            let last = about[about.len().saturating_sub(12)..].join("\n    ");
            self.fail(&format!(
                "{key}: {kind} {encoding} {digest} {expiry}, but stock: {other_kind} {other_encoding} {other_digest} \
                 {other_expiry}; it was named by\n    {last}"
            ));
        }
    }
}

fn run(seed: u64, resp3: bool) {
    let (ours, theirs) = (Server::start(Kind::Pando, &[]), Server::start(Kind::Stock70, &[]));
    let (a, b) = (ours.client(), theirs.client());
    let mut run = Run { ours, theirs, a, b, seed, done: 0, history: Vec::new() };
    let table = Table::shared_with(&mut run.b);
    assert!(table.rows.len() > 50, "{} commands", table.rows.len());
    if resp3 {
        for c in [&mut run.a, &mut run.b] {
            assert!(matches!(c.run("hello 3"), Reply::Map(_)));
        }
    }
    // What was written with a moment long past goes when it is touched, on both sides.
    for c in [&mut run.a, &mut run.b] {
        c.check("debug set-active-expire 0", "+OK");
    }
    let mut caller = Caller { rng: Rng::new(seed), group: Group::Generic };
    let rounds = std::env::var("PANDO_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(600);
    for round in 0..rounds {
        let mut batch = Vec::new();
        for _ in 0..100 {
            let at = caller.rng.below(table.rows.len() as u64) as usize;
            let (row, args) = &table.rows[at];
            if wipes(row) && !caller.one_in(8) {
                continue;
            }
            let call = caller.call(row, args);
            let ordered = !row.tips.contains(&"nondeterministic_output_order");
            if row.flags.has(flag::BLOCKING) {
                // Nobody waits inside a transaction.
                batch.push((vec![b"MULTI".to_vec()], true));
                batch.push((call, true));
                batch.push((vec![b"EXEC".to_vec()], ordered));
            } else {
                batch.push((call, ordered));
            }
        }
        run.batch(&batch);
        if round % 5 == 4 {
            run.compare();
        }
    }
}

fn seed_or(default: u64) -> u64 {
    std::env::var("PANDO_SEED").ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn every_command_answers_as_stock_does() {
    run(seed_or(1), false);
}

#[test]
fn every_command_answers_as_stock_does_with_another_seed() {
    run(seed_or(2), false);
}

#[test]
fn every_command_answers_as_stock_does_in_resp3() {
    run(seed_or(3), true);
}

#[test]
fn every_command_answers_as_stock_does_in_resp3_with_another_seed() {
    run(seed_or(4), true);
}
