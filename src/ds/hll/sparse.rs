//! The sparse form: runs of equal registers.
//!
//! ```text
//! 00nnnnnn            n + 1 registers that are zero
//! 01nnnnnn nnnnnnnn   the same, for up to 16384
//! 1vvvvvnn            n + 1 registers of rank v + 1
//! ```
//! Positions count from the value's beginning where it is edited, and from the first run where it is read.

use std::fmt::Write as _;

use smallvec::SmallVec;

use super::{Corrupt, HEADER, REGISTERS};

/// The highest rank that a run can say.
const RANK_MAX: u8 = 32;
const SHORT_ZEROS: usize = 64;
const VALUES_MAX: usize = 4;

#[derive(Clone, Copy)]
struct Run {
    registers: usize,
    /// Zero for runs of zeros.
    rank: u8,
    bytes: usize,
}

fn run_at(bytes: &[u8], at: usize) -> Result<Run, Corrupt> {
    let byte = *bytes.get(at).ok_or(Corrupt)?;
    Ok(match byte >> 6 {
        0 => Run { registers: usize::from(byte) + 1, rank: 0, bytes: 1 },
        1 => {
            let low = *bytes.get(at + 1).ok_or(Corrupt)?;
            Run { registers: (usize::from(byte & 0x3f) << 8 | usize::from(low)) + 1, rank: 0, bytes: 2 }
        }
        _ => Run { registers: usize::from(byte & 3) + 1, rank: (byte >> 2 & 0x1f) + 1, bytes: 1 },
    })
}

fn values(rank: u8, registers: usize) -> u8 {
    0x80 | (rank - 1) << 2 | (registers - 1) as u8
}

pub fn push_zeros(out: &mut impl Extend<u8>, registers: usize) {
    let n = registers - 1;
    if registers > SHORT_ZEROS { out.extend([0x40 | (n >> 8) as u8, n as u8]) } else { out.extend([n as u8]) }
}

/// Visits all runs: first register, how many, rank. They must be of all the registers and no more.
pub fn runs(bytes: &[u8], mut f: impl FnMut(usize, usize, u8)) -> Result<(), Corrupt> {
    let (mut at, mut first) = (0, 0);
    while at < bytes.len() {
        let run = run_at(bytes, at)?;
        f(first, run.registers, run.rank);
        first += run.registers;
        at += run.bytes;
    }
    if first == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

pub fn get(bytes: &[u8], register: usize) -> Result<u8, Corrupt> {
    let (mut at, mut end) = (0, 0);
    loop {
        let run = run_at(bytes, at)?;
        end += run.registers;
        if register < end {
            return Ok(run.rank);
        }
        at += run.bytes;
    }
}

pub fn decode(bytes: &[u8]) -> Result<String, Corrupt> {
    let mut text = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let run = run_at(bytes, at)?;
        let blank = if at > 0 { " " } else { "" };
        let _ = match run {
            Run { rank: 0, bytes: 1, registers } => write!(text, "{blank}z:{registers}"),
            Run { rank: 0, registers, .. } => write!(text, "{blank}Z:{registers}"),
            Run { rank, registers, .. } => write!(text, "{blank}v:{rank},{registers}"),
        };
        at += run.bytes;
    }
    Ok(text)
}

/// Where a run begins that lies before those which are looked for next.
#[derive(Clone, Copy)]
pub struct Near {
    at: usize,
    first: usize,
}

impl Default for Near {
    fn default() -> Self {
        Self { at: HEADER, first: 0 }
    }
}

/// What became of a register.
pub enum Set {
    Same,
    Raised,
    /// Nothing was changed: it would take too much room, or runs cannot say the rank.
    TooLong,
}

/// Raises a register of a whole value, header included, splitting and joining runs exactly as stock servers do, since
/// values that saw the same elements must be equal. Registers that come in rising order may share a `near`.
pub fn set(value: &mut Vec<u8>, near: &mut Near, register: usize, rank: u8, limit: usize) -> Result<Set, Corrupt> {
    if rank > RANK_MAX {
        return Ok(Set::TooLong);
    }
    let found = match find(value, *near, register)? {
        // The run before it is not known, and what is joined depends on it.
        Found { previous: None, at, .. } if at != HEADER => find(value, Near::default(), register)?,
        found => found,
    };
    let Found { run, at, first, previous } = found;
    *near = previous.unwrap_or_default();
    if run.rank >= rank {
        return Ok(Set::Same);
    }
    if run.registers == 1 && run.bytes == 1 {
        value[at] = values(rank, 1);
    } else {
        let mut split: SmallVec<[u8; 8]> = SmallVec::new();
        let mut push = |registers: usize, rank: u8| match (registers, rank) {
            (0, _) => {}
            (_, 0) => push_zeros(&mut split, registers),
            _ => split.push(values(rank, registers)),
        };
        push(register - first, run.rank);
        push(1, rank);
        push(first + run.registers - 1 - register, run.rank);
        if split.len() > run.bytes && value.len() + split.len() - run.bytes > limit {
            return Ok(Set::TooLong);
        }
        value.splice(at..at + run.bytes, split);
    }
    join(value, near.at);
    Ok(Set::Raised)
}

struct Found {
    run: Run,
    at: usize,
    first: usize,
    previous: Option<Near>,
}

fn find(value: &[u8], from: Near, register: usize) -> Result<Found, Corrupt> {
    let Near { mut at, mut first } = from;
    let mut previous = None;
    loop {
        let run = run_at(value, at)?;
        if register < first + run.registers {
            return Ok(Found { run, at, first, previous });
        }
        previous = Some(Near { at, first });
        at += run.bytes;
        first += run.registers;
    }
}

/// Joins equal runs of values that lie side by side, in the five steps from `at` on that stock servers take.
fn join(value: &mut Vec<u8>, mut at: usize) {
    for _ in 0..5 {
        let Ok(run) = run_at(value, at) else { return };
        if run.rank > 0
            && let Ok(next) = run_at(value, at + 1)
            && next.rank == run.rank
            && next.registers + run.registers <= VALUES_MAX
        {
            value[at + 1] = values(run.rank, run.registers + next.registers);
            value.remove(at);
        } else {
            at += run.bytes;
        }
    }
}
