//! Trimming: old entries go, until few enough are left or none is older than an id.
//!
//! Whole nodes go first. What is left to be done inside of a node is done only if exactness was asked for.

use std::ops::Bound as From;

use super::node::Choice;
use super::{Refs, Stream, StreamId, forget, is_referenced};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// So many entries are kept.
    MaxLen(u64),
    /// Entries from this id on are kept.
    MinId(StreamId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    pub bound: Bound,
    /// Only whole nodes go.
    pub approx: bool,
    /// No node goes that would make it more than so many entries; 0: no limit.
    pub limit: u64,
    pub refs: Refs,
}

/// What a trim did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    pub entries: u64,
    /// All entries before this id were looked at.
    pub up_to: StreamId,
}

impl Stream {
    pub fn trim(&mut self, trim: &Trim) -> Trimmed {
        // Without groups there is nobody to ask.
        let refs = if self.groups.is_empty() { Refs::Keep } else { trim.refs };
        let mut deleted = 0u64;
        let mut after = From::Unbounded;
        let mut up_to = StreamId::MAX;
        while let Some((&master, node)) = self.nodes.range_mut((after, From::Unbounded)).next() {
            let live = node.live().max(0) as u64;
            let enough = match trim.bound {
                Bound::MaxLen(max) => self.length <= max,
                Bound::MinId(min) => master >= min,
            };
            let too_much = trim.limit != 0 && deleted.saturating_add(live) > trim.limit;
            let whole = match trim.bound {
                Bound::MaxLen(max) => self.length.saturating_sub(live) >= max,
                Bound::MinId(min) => node.last_id(master).unwrap_or_default() < min,
            };
            if enough || too_much || (trim.approx && !whole) {
                up_to = master;
                break;
            }
            if whole && refs == Refs::Keep {
                self.remove_node(master);
                self.length = self.length.saturating_sub(live);
                deleted += live;
                continue;
            }
            let mut left = self.length;
            let groups = &mut self.groups;
            let here = node.delete_where(master, |id, live| {
                let stop = match trim.bound {
                    Bound::MaxLen(max) => left <= max,
                    Bound::MinId(min) => id >= min,
                };
                if stop {
                    return Choice::Stop;
                }
                if !live || (refs == Refs::Acked && is_referenced(groups, id)) {
                    return Choice::Leave;
                }
                if refs == Refs::Drop {
                    forget(groups, id);
                }
                left = left.saturating_sub(1);
                Choice::Delete
            });
            self.length = self.length.saturating_sub(here);
            deleted += here;
            if whole && here >= live {
                self.remove_node(master);
            }
            if !whole && refs != Refs::Acked {
                break;
            }
            after = From::Excluded(master);
        }
        if deleted > 0 || self.length == 0 {
            self.find_first();
        }
        Trimmed { entries: deleted, up_to }
    }
}
