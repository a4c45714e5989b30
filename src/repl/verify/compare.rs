//! The master's half: the cut that is taken everywhere at one offset, and what the answers mean.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::peer::Peer;
use super::report::{Told, Value};
use super::{TURN_PATIENCE, Target};
use crate::base::{clock, log};
use crate::exec::Engine;
use crate::persist::census::{self, Census, Listed};
use crate::repl::state::Repl;

/// Parts that are looked at key by key, one after the other, until a key is found that still differs.
const LOOKS: usize = 4;

/// What is to be said of one replica.
pub(super) struct Row {
    pub replica: String,
    pub verdict: Verdict,
    /// Why nothing is said of its own replicas.
    pub below_unverified: Option<String>,
}

pub(super) enum Verdict {
    Identical {
        offset: i64,
        keys: u64,
    },
    Differs {
        offset: i64,
        keys: u64,
        replica_keys: u64,
        parts: usize,
        first: Result<Difference, String>,
    },
    Unverified {
        reason: String,
    },
    /// What its master, who is below us, told of it.
    Below {
        master: String,
        told: Told,
    },
}

/// A key that differs.
pub(super) struct Difference {
    pub db: u32,
    pub key: Vec<u8>,
    pub what: &'static str,
    /// When that was seen.
    pub offset: i64,
}

/// Somebody still wants to know.
type Wanted<'a> = &'a (dyn Fn() -> bool + Sync);

/// Compares with each of these replicas, and has them do the same with theirs. Takes its time; for a thread of its own.
pub(super) fn run(engine: &Engine, repl: &Repl, targets: &[Target], wanted: Wanted<'_>) -> Vec<Row> {
    let (online, others): (Vec<Target>, Vec<Target>) = targets.iter().cloned().partition(|t| t.online);
    if online.is_empty() && others.is_empty() {
        return Vec::new();
    }
    let verdicts: Vec<Verdict> = match round(engine, repl, &online, None, wanted) {
        Ok((ours, theirs)) => {
            let verdicts = online.iter().zip(theirs);
            verdicts.map(|(target, theirs)| judge(engine, repl, target, &ours, theirs, wanted)).collect()
        }
        Err(Trouble::All(reasons)) => reasons.into_iter().map(|reason| Verdict::Unverified { reason }).collect(),
        Err(Trouble::Ours(reason)) => online.iter().map(|_| Verdict::Unverified { reason: reason.clone() }).collect(),
    };
    let settings = engine.settings();
    let below = all(online.iter().zip(&verdicts), |(target, verdict)| match verdict {
        // Who could not be asked for itself cannot be asked for others.
        Verdict::Unverified { .. } => Ok(Vec::new()),
        Verdict::Identical { .. } | Verdict::Differs { .. } | Verdict::Below { .. } => {
            Peer::connect(target, &settings, wanted)?.verify_below(VERIFY_PATIENCE, wanted)
        }
    });
    let mut rows = Vec::new();
    for ((target, verdict), below) in online.into_iter().zip(verdicts).zip(below) {
        let (below, below_unverified) = match below {
            Ok(below) => (below, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let master = target.name.clone();
        rows.push(Row { replica: target.name, verdict, below_unverified });
        rows.extend(below.into_iter().map(|told| Row::below(&master, told)));
    }
    rows.extend(others.into_iter().map(|target| Row {
        replica: target.name,
        verdict: Verdict::Unverified { reason: "it does not get the stream yet".to_owned() },
        below_unverified: None,
    }));
    rows.iter().for_each(tell);
    rows
}

impl Row {
    fn below(master: &str, told: Told) -> Self {
        let replica = told.iter().find_map(|(name, value)| match value {
            Value::Text(text) if name == "replica" => Some(String::from_utf8_lossy(text).into_owned()),
            Value::Text(_) | Value::Number(_) => None,
        });
        let verdict = Verdict::Below { master: master.to_owned(), told };
        Self { replica: replica.unwrap_or_default(), verdict, below_unverified: None }
    }
}

fn tell(row: &Row) {
    let name = &row.replica;
    match &row.verdict {
        Verdict::Identical { offset, keys } => {
            log::notice!("Replica {name} holds the same {keys} keys at offset {offset}");
        }
        Verdict::Differs { offset, parts, .. } => {
            log::warning!("Replica {name} differs at offset {offset}, in {parts} of {} parts", census::PARTS);
        }
        Verdict::Unverified { reason } => log::notice!("Replica {name} could not be verified: {reason}"),
        // Its master has said so in its own log.
        Verdict::Below { .. } => {}
    }
    if let Some(reason) = &row.below_unverified {
        log::notice!("The replicas of replica {name} could not be verified: {reason}");
    }
}

fn judge(
    engine: &Engine,
    repl: &Repl,
    target: &Target,
    ours: &Census,
    theirs: Result<Census, String>,
    wanted: Wanted<'_>,
) -> Verdict {
    let theirs = match theirs {
        Ok(theirs) => theirs,
        Err(reason) => return Verdict::Unverified { reason },
    };
    let differing: Vec<usize> =
        (0..census::PARTS).filter(|part| ours.parts.get(*part) != theirs.parts.get(*part)).collect();
    if differing.is_empty() && ours.keys == theirs.keys {
        return Verdict::Identical { offset: ours.offset, keys: ours.keys };
    }
    let first = first_difference(engine, repl, target, &differing, wanted);
    Verdict::Differs { offset: ours.offset, keys: ours.keys, replica_keys: theirs.keys, parts: differing.len(), first }
}

/// Looks at differing parts once more, key by key, each at an offset of its own.
fn first_difference(
    engine: &Engine,
    repl: &Repl,
    target: &Target,
    differing: &[usize],
    wanted: Wanted<'_>,
) -> Result<Difference, String> {
    for part in differing.iter().take(LOOKS) {
        let (ours, theirs) = match round(engine, repl, std::slice::from_ref(target), Some(*part), wanted) {
            Ok((ours, mut theirs)) => (ours, theirs.pop().unwrap_or(Err(String::new()))?),
            Err(Trouble::All(reasons)) => return Err(reasons.join("; ")),
            Err(Trouble::Ours(reason)) => return Err(reason),
        };
        let (Some(ours_listed), Some(theirs_listed)) = (&ours.list, &theirs.list) else {
            return Err("the part that differs has too many keys to be listed".to_owned());
        };
        if let Some((key, what)) = first_of(ours_listed, theirs_listed) {
            return Ok(Difference { db: key.db, key: key.key.clone(), what, offset: ours.offset });
        }
    }
    Err("what differed was the same when it was looked at again".to_owned())
}

/// The first difference of two lists in order.
fn first_of<'a>(ours: &'a [Listed], theirs: &'a [Listed]) -> Option<(&'a Listed, &'static str)> {
    let name = |listed: &'a Listed| (listed.db, &listed.key[..]);
    let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    match (ours.get(at), theirs.get(at)) {
        (None, None) => None,
        (Some(a), Some(b)) if name(a) == name(b) => Some((a, "the values differ")),
        (Some(a), Some(b)) if name(a) < name(b) => Some((a, "the replica has no such key")),
        (Some(a), None) => Some((a, "the replica has no such key")),
        (_, Some(b)) => Some((b, "only the replica has such a key")),
    }
}

enum Trouble {
    /// Of each replica.
    All(Vec<String>),
    Ours(String),
}

/// One cut at one offset, here and at each of the replicas.
fn round(
    engine: &Engine,
    repl: &Repl,
    targets: &[Target],
    part: Option<usize>,
    wanted: Wanted<'_>,
) -> Result<(Census, Vec<Result<Census, String>>), Trouble> {
    let (settings, replid) = (engine.settings(), repl.replid());
    let ready = all(targets, |target| {
        let mut peer = Peer::connect(target, &settings, wanted)?;
        peer.prepare(replid.as_str(), part, wanted).map(|()| peer)
    });
    if ready.iter().all(Result::is_err) {
        return Err(Trouble::All(ready.into_iter().filter_map(Result::err).collect()));
    }
    let Some(turn) = engine.turns.wait_last(TURN_PATIENCE) else {
        return Err(Trouble::Ours("a snapshot is being made here".to_owned()));
    };
    let wanted: Wanted<'_> = &|| wanted() && !turn.is_wanted();
    // From here on streams stand still, until the cut.
    let held = all(ready, |peer| {
        let mut peer = peer?;
        peer.hold(wanted).map(|()| peer)
    });
    let started_ms = clock::mono_ms();
    thread::scope(|scope| {
        let (offsets, waiting): (Vec<_>, Vec<_>) = held.iter().map(|_| channel::<i64>()).unzip();
        let asked: Vec<_> = held
            .into_iter()
            .zip(waiting)
            .map(|(peer, offset)| {
                scope.spawn(move || {
                    let mut peer = peer?;
                    let offset = offset.recv().map_err(|_| "the cut was given up".to_owned())?;
                    peer.at(offset, CENSUS_PATIENCE, wanted)
                })
            })
            .collect();
        let ours = census::take(engine, &turn, part, wanted, || {
            let offset = engine.log.end_offset();
            if repl.replid() != replid {
                return None;
            }
            for tell in &offsets {
                // Who has left does not hear it.
                let _ = tell.send(offset);
            }
            Some(offset)
        });
        drop(offsets);
        let theirs: Vec<_> =
            asked.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("comparing failed".to_owned()))).collect();
        match ours {
            Some(ours) => {
                let took_ms = clock::mono_ms() - started_ms;
                log::verbose!("Took a census of {} keys at offset {} in {took_ms} ms", ours.keys, ours.offset);
                Ok((ours, theirs))
            }
            None if turn.is_wanted() => Err(Trouble::Ours("a snapshot was begun here meanwhile".to_owned())),
            None => Err(Trouble::Ours("the cut was given up".to_owned())),
        }
    })
}

/// How long a replica may walk its data.
const CENSUS_PATIENCE: Duration = Duration::from_secs(3600);
/// How long it may take to verify all that is below it.
const VERIFY_PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Does the same with all of them at once.
fn all<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    f: impl Fn(T) -> Result<R, String> + Sync,
) -> Vec<Result<R, String>> {
    let f = &f;
    thread::scope(|scope| {
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || f(item))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("asking failed".to_owned()))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_that_differs_is_named() {
        let listed = |db, key: &str, sum| Listed { db, key: key.as_bytes().to_vec(), sum };
        let base = [listed(0, "a", 1), listed(0, "c", 2), listed(1, "a", 3)];
        let check = |theirs: &[Listed], expect: Option<(u32, &str, &str)>| {
            let found = first_of(&base, theirs).map(|(l, what)| (l.db, std::str::from_utf8(&l.key).unwrap(), what));
            assert_eq!(found, expect);
        };
        check(&base, None);
        check(&base[..2], Some((1, "a", "the replica has no such key")));
        check(&base[1..], Some((0, "a", "the replica has no such key")));
        check(&[], Some((0, "a", "the replica has no such key")));
        check(
            &[listed(0, "a", 1), listed(0, "b", 9), listed(0, "c", 2)],
            Some((0, "b", "only the replica has such a key")),
        );
        check(&[listed(0, "a", 1), listed(0, "c", 9), listed(1, "a", 3)], Some((0, "c", "the values differ")));
        let more = [&base[..], &[listed(2, "z", 1)]].concat();
        check(&more, Some((2, "z", "only the replica has such a key")));
    }
}
