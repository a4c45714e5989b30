//! Two servers that are asked the same: their replies, their data and what they tell of keys are compared.
//!
//! Knows no command but those that look: what is asked is the tests' affair.

use crate::harness::{Client, Ear, Kind, Reply, Server, carry, line_of, words};

pub type Command = Vec<Vec<u8>>;

/// A reply without what a stock server promises nobody, as the order of a set.
pub type Promised = fn(&[Vec<u8>], &Reply) -> Reply;

pub struct Pair {
    pub ours: Server,
    pub theirs: Server,
    pub a: Client,
    pub b: Client,
    promised: Option<Promised>,
    /// What a failure is to say of where it happened.
    place: String,
    asked: usize,
    before: String,
    ears: Option<[Ear; 2]>,
}

impl Pair {
    #[track_caller]
    pub fn new(stock: Kind, lines: &[&str]) -> Pair {
        let (ours, theirs) = (Server::start(Kind::Pando, lines), Server::start(stock, lines));
        let (a, b) = (ours.client(), theirs.client());
        let (promised, place, before) = (None, String::new(), String::new());
        Pair { ours, theirs, a, b, promised, place, asked: 0, before, ears: None }
    }

    /// Replies that differ are the same if this makes equal ones of them.
    pub fn promised(mut self, promised: Promised) -> Pair {
        self.promised = Some(promised);
        self
    }

    /// Where the test is, for the report of a failure: a seed, say.
    pub fn at(&mut self, place: String) {
        self.place = place;
    }

    #[track_caller]
    pub fn resp3(&mut self) {
        for c in [&mut self.a, &mut self.b] {
            assert!(matches!(c.run("hello 3"), Reply::Map(_)));
        }
    }

    /// Asks both, and gives our reply, which is the same.
    #[track_caller]
    pub fn call<W: AsRef<[u8]>>(&mut self, command: &[W]) -> Reply {
        let command: Command = command.iter().map(|w| w.as_ref().to_vec()).collect();
        let (mine, stock) = (self.a.call(&command), self.b.call(&command));
        self.compare(&command, mine, &stock)
    }

    #[track_caller]
    pub fn run(&mut self, line: &str) -> Reply {
        self.call(&words(line))
    }

    /// A command a line.
    #[track_caller]
    pub fn same(&mut self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
            self.run(line);
        }
    }

    /// The commands in one pipeline.
    #[track_caller]
    pub fn batch(&mut self, commands: &[Command]) {
        for command in commands {
            self.a.send(command);
            self.b.send(command);
        }
        for command in commands {
            let (mine, stock) = (self.a.read(), self.b.read());
            self.compare(command, mine, &stock);
        }
    }

    #[track_caller]
    fn compare(&mut self, command: &Command, mine: Reply, stock: &Reply) -> Reply {
        self.asked += 1;
        let same = mine == *stock || self.promised.is_some_and(|of| of(command, &mine) == of(command, stock));
        let line = short(&line_of(command));
        assert!(
            same,
            "{}, command {}: {line}\n  behind: {}\n  pando: {}\n  stock: {}",
            self.place,
            self.asked,
            self.before,
            short(&mine.to_string()),
            short(&stock.to_string())
        );
        self.before = line;
        mine
    }

    #[track_caller]
    pub fn compare_data(&self) {
        let (place, asked) = (&self.place, self.asked);
        assert_eq!(self.ours.digest(), self.theirs.digest(), "{place}: the data differ after {asked} commands");
    }

    /// Each restores what the other dumps of a key, as `exchanged`. Gives the two payloads, ours first; `None` if there is
    /// no such key.
    #[track_caller]
    pub fn exchange(&mut self, key: &str) -> Option<[Vec<u8>; 2]> {
        let mine = carry(&mut self.a, &mut self.b, key, "exchanged")?;
        let theirs = carry(&mut self.b, &mut self.a, key, "exchanged").expect("both have it");
        Some([mine, theirs])
    }

    /// The same, where the copies must sum up to what the key does, on both servers.
    #[track_caller]
    pub fn exchange_exactly(&mut self, key: &str) {
        if self.exchange(key).is_none() {
            return;
        }
        let (place, expect) = (&self.place, self.a.run(&format!("debug digest-value {key}")));
        for c in [&mut self.a, &mut self.b] {
            assert_eq!(c.run("debug digest-value exchanged"), expect, "{place}: the copy of {key}");
            c.check("del exchanged", ":1");
        }
    }

    /// From now on both are listened to.
    #[track_caller]
    pub fn listen(&mut self) {
        self.ears = Some([Ear::of(&self.ours), Ear::of(&self.theirs)]);
    }

    /// Compares what both have told of keys since the last time, in order, and says how much it was.
    #[track_caller]
    pub fn compare_events(&mut self, asked: &[Command]) -> usize {
        let ears = self.ears.as_mut().expect("somebody listens");
        let (mine, theirs) = (ears[0].heard(&mut self.a), ears[1].heard(&mut self.b));
        let differs = mine.iter().zip(&theirs).position(|(a, b)| a != b).unwrap_or(mine.len().min(theirs.len()));
        let near = |all: &[String]| all[differs.saturating_sub(2)..(differs + 3).min(all.len())].join("\n    ");
        let lines = || asked.iter().map(|command| line_of(command)).collect::<Vec<_>>().join("\n");
        assert!(mine == theirs, "{}\n  pando: {}\n  stock: {}", lines(), near(&mine), near(&theirs));
        mine.len()
    }
}

/// A reply whose items may come in any order, `chunk` of them belonging together.
pub fn in_any_order(reply: &Reply, chunk: usize) -> Reply {
    let sorted = |items: &[Reply]| {
        let mut all: Vec<Reply> = items.chunks(chunk).map(|part| Reply::Array(part.to_vec())).collect();
        all.sort_by_cached_key(Reply::to_string);
        all
    };
    match reply {
        Reply::Array(items) => Reply::Array(sorted(items)),
        Reply::Set(items) => Reply::Set(sorted(items)),
        other => other.clone(),
    }
}

/// The same for a step of a walk: the cursor in front of what was found.
pub fn found_in_any_order(reply: &Reply, chunk: usize) -> Reply {
    match reply {
        Reply::Array(items) => match &items[..] {
            [cursor, found] => Reply::Array(vec![cursor.clone(), in_any_order(found, chunk)]),
            _ => reply.clone(),
        },
        other => other.clone(),
    }
}

fn short(text: &str) -> String {
    const LONGEST: usize = 400;
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
