//! What a reader that keeps only the data has to know of the bytes, which the appender knew and nobody should have to find
//! out again: which of them are no data, and when what follows was done.
//!
//! Kept only while such a reader is there. Must not know what it keeps them for.

use std::collections::VecDeque;

/// One remark. Remarks lie in the order of their offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// From the first to the last of these offsets there is no data: a sign of life, a message to subscribers.
    Aside { first: i64, last: i64 },
    /// What begins at this offset was done in this second of Unix time.
    Moment { first: i64, unix_s: i64 },
}

impl Mark {
    /// Where what it is about begins.
    pub fn first(self) -> i64 {
        match self {
            Self::Aside { first, .. } | Self::Moment { first, .. } => first,
        }
    }

    /// The last byte that it concerns; a moment lies before its first.
    pub fn last(self) -> i64 {
        match self {
            Self::Aside { last, .. } => last,
            Self::Moment { first, .. } => first,
        }
    }
}

#[derive(Default)]
pub(super) struct Marks {
    list: VecDeque<Mark>,
    last_s: i64,
}

impl Marks {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Forgets those behind the first `n`.
    pub fn truncate(&mut self, n: usize) {
        self.list.truncate(n);
    }

    pub fn aside(&mut self, first: i64, last: i64) {
        if last >= first {
            self.list.push_back(Mark::Aside { first, last });
        }
    }

    /// Once for each second.
    pub fn moment(&mut self, first: i64, unix_s: i64) {
        if unix_s > self.last_s {
            self.last_s = unix_s;
            self.list.push_back(Mark::Moment { first, unix_s });
        }
    }

    /// Takes out those that begin at this offset or before.
    pub fn take(&mut self, upto: i64, into: &mut VecDeque<Mark>) {
        while let Some(mark) = self.list.pop_front_if(|mark| mark.first() <= upto) {
            into.push_back(mark);
        }
    }
}
