//! LCS: the longest common subsequence of two strings.

use super::{DataCommand, Effect, command};
use crate::base::Error;
use crate::keyspace::Data;
use crate::resp::Reply;
use crate::spec::prelude::*;

pub const LCS: Row = Row {
    name: "lcs",
    arity: -3,
    syntax: "key1:key key2:key [len:LEN] [idx:IDX] [min-match-len:integer=MINMATCHLEN] [withmatchlen:WITHMATCHLEN]",
    flags: READONLY,
    cats: STRING,
    keys: &[KeySpec::at(1, RO.or(ACCESS)).through(1)],
    since: "7.0.0",
    group: Group::String,
    complexity: "O(N*M), N and M being the lengths of the two strings",
    summary: "Finds the longest sequence of bytes that two strings have in common, in order though not without gaps.",
    ..Row::EMPTY
};

pub const COMMANDS: &[DataCommand] = &[command(&LCS, lcs)];

/// No table may be larger than the longest string a server may hold.
const TABLE_BYTES_MAX: usize = 512 << 20;

fn lcs(db: &mut Data<'_>, a: &mut Args<'_>, out: &mut Reply) -> Result<Effect, Error> {
    let (first, second) = (a.key()?, a.key()?);
    let mut read = |key| -> Result<Vec<u8>, Error> {
        let not_string = Error::text("ERR The specified keys must contain string values");
        let value = db.get_str(key).map_err(|_| not_string)?;
        Ok(value.map(|v| v.as_str(&mut itoa::Buffer::new()).to_vec()).unwrap_or_default())
    };
    let (x, y) = (read(first)?, read(second)?);
    let (mut want_len, mut want_idx, mut with_len, mut min_len) = (false, false, false, 0);
    while !a.is_at_end() {
        if a.flag("LEN") {
            want_len = true;
        } else if a.flag("IDX") {
            want_idx = true;
        } else if a.flag("WITHMATCHLEN") {
            with_len = true;
        } else if a.option("MINMATCHLEN") {
            min_len = a.next_i64()?.max(0);
        } else {
            return Err(Error::Syntax);
        }
    }
    if want_len && want_idx {
        return Err(Error::text("ERR If you want both the length and indexes, please just use IDX."));
    }
    let table = LcsTable::new(&x, &y)?;
    if want_len {
        out.int(i64::from(table.at(x.len(), y.len())));
    } else if want_idx {
        let runs = table.runs(&x, &y);
        let shown: Vec<_> = runs.iter().filter(|r| r.len as i64 >= min_len.max(1)).collect();
        out.map(2);
        out.bulk(b"matches");
        out.array(shown.len());
        for run in shown {
            out.array(2 + usize::from(with_len));
            for start in [run.x, run.y] {
                out.array(2);
                out.int(start as i64);
                out.int((start + run.len - 1) as i64);
            }
            if with_len {
                out.int(run.len as i64);
            }
        }
        out.bulk(b"len");
        out.int(i64::from(table.at(x.len(), y.len())));
    } else {
        let mut text: Vec<u8> = Vec::new();
        for run in table.runs(&x, &y).iter().rev() {
            text.extend_from_slice(&x[run.x..run.x + run.len]);
        }
        out.bulk(&text);
    }
    Ok(Effect::None)
}

/// Lengths of the longest common subsequences of all prefixes.
struct LcsTable {
    cells: Vec<u32>,
    width: usize,
}

/// A run of bytes that both strings share, as part of the subsequence.
struct LcsRun {
    x: usize,
    y: usize,
    len: usize,
}

impl LcsTable {
    /// Past this many cells the table would be larger than the longest string a server may hold.
    const CELLS_MAX: usize = TABLE_BYTES_MAX / size_of::<u32>();

    fn new(x: &[u8], y: &[u8]) -> Result<Self, Error> {
        let width = y.len() + 1;
        let cells = (x.len() + 1).checked_mul(width).filter(|n| *n <= Self::CELLS_MAX);
        let cells =
            cells.ok_or(Error::text("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"))?;
        let mut me = Self { cells: vec![0; cells], width };
        for i in 1..=x.len() {
            for j in 1..=y.len() {
                let n =
                    if x[i - 1] == y[j - 1] { me.at(i - 1, j - 1) + 1 } else { me.at(i - 1, j).max(me.at(i, j - 1)) };
                me.cells[i * width + j] = n;
            }
        }
        Ok(me)
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }

    /// The runs of one longest subsequence, last first; the walk from the end prefers to step back in `y`, as stock
    /// does, so that the same of several subsequences is shown.
    fn runs(&self, x: &[u8], y: &[u8]) -> Vec<LcsRun> {
        let mut runs: Vec<LcsRun> = Vec::new();
        let (mut i, mut j) = (x.len(), y.len());
        let mut open = false;
        while i > 0 && j > 0 {
            if x[i - 1] == y[j - 1] {
                (i, j) = (i - 1, j - 1);
                match runs.last_mut() {
                    Some(run) if open && run.x == i + 1 && run.y == j + 1 => {
                        (run.x, run.y, run.len) = (i, j, run.len + 1);
                    }
                    _ => runs.push(LcsRun { x: i, y: j, len: 1 }),
                }
                open = true;
            } else {
                open = false;
                if self.at(i - 1, j) > self.at(i, j - 1) { i -= 1 } else { j -= 1 }
            }
        }
        runs
    }
}
