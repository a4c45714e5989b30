//! What a reader that keeps only the data has to know of the bytes, which the appender knew and nobody should have to find
//! out again: which of them are no data, and when what follows was done.
//!
//! Kept only while such a reader is there. Must not know what it keeps them for.

use std::collections::VecDeque;
use std::sync::Arc;

/// One remark. Remarks lie in the order of their offsets, and those of one offset in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// From the first to the last of these offsets there is no data: a sign of life, a message to subscribers.
    Aside { first: i64, last: i64 },
    /// What begins at this offset was done in this second of Unix time.
    Moment { first: i64, unix_s: i64 },
    /// Before this offset stand requests that are data but not in the log: what clients write on a replica.
    Local { first: i64, requests: Arc<[u8]> },
    /// From this offset on the history goes by other names, or by none.
    Names { first: i64, names: Option<Arc<[u8]>> },
}

impl Mark {
    /// Where what it is about begins. All but asides lie before that byte and have no length.
    pub fn first(&self) -> i64 {
        match self {
            Self::Aside { first, .. }
            | Self::Moment { first, .. }
            | Self::Local { first, .. }
            | Self::Names { first, .. } => *first,
        }
    }

    pub fn is_aside(&self) -> bool {
        matches!(self, Self::Aside { .. })
    }
}

#[derive(Default)]
pub(super) struct Marks {
    list: VecDeque<Mark>,
    last_s: i64,
    /// Of all that were ever made.
    made: u64,
}

impl Marks {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Forgets those behind the first `n`.
    pub fn truncate(&mut self, n: usize) {
        self.made -= self.list.len().saturating_sub(n) as u64;
        self.list.truncate(n);
    }

    /// How many were made so far.
    pub fn made(&self) -> u64 {
        self.made
    }

    fn push(&mut self, mark: Mark) {
        self.made += 1;
        self.list.push_back(mark);
    }

    pub fn aside(&mut self, first: i64, last: i64) {
        if last >= first {
            self.push(Mark::Aside { first, last });
        }
    }

    pub fn local(&mut self, first: i64, requests: &[u8]) {
        self.push(Mark::Local { first, requests: requests.into() });
    }

    pub fn names(&mut self, first: i64, names: Option<Arc<[u8]>>) {
        self.push(Mark::Names { first, names });
    }

    /// Once for each second.
    pub fn moment(&mut self, first: i64, unix_s: i64) {
        if unix_s > self.last_s {
            self.last_s = unix_s;
            self.push(Mark::Moment { first, unix_s });
        }
    }

    /// Takes out those that begin at this offset or before.
    pub fn take(&mut self, upto: i64, into: &mut VecDeque<Mark>) {
        while let Some(mark) = self.list.pop_front_if(|mark| mark.first() <= upto) {
            into.push_back(mark);
        }
    }
}
