//! How far a group is behind its stream, as far as that can be said: ids do not tell how many entries lie between them.
//!
//! The counters of stream and group give the answer, unless an entry in between was deleted by itself.

use super::group::{Group, UNKNOWN};
use super::id::StreamId;

/// What a stream counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counters {
    pub(super) length: u64,
    pub(super) first_id: StreamId,
    pub(super) last_id: StreamId,
    pub(super) max_deleted_id: StreamId,
    pub(super) entries_added: u64,
}

impl Counters {
    /// Entries that the group has still to read; `None` if that is not known.
    pub(super) fn lag(&self, group: &Group) -> Option<i64> {
        if self.entries_added == 0 || self.length == 0 {
            return Some(0);
        }
        if group.last_id < self.first_id && self.max_deleted_id < self.first_id {
            return Some(self.length as i64);
        }
        let read = if group.entries_read != UNKNOWN && !self.has_gaps_from(group.last_id) {
            group.entries_read
        } else {
            self.position_of(group.last_id)?
        };
        Some((self.entries_added as i64).wrapping_sub(read))
    }

    /// Whether entries from `from` on may have been deleted by themselves.
    fn has_gaps_from(&self, from: StreamId) -> bool {
        self.length != 0 && !self.max_deleted_id.is_zero() && from <= self.max_deleted_id
    }

    /// How many entries were added up to this id, that one included, if it can be said.
    pub(super) fn position_of(&self, id: StreamId) -> Option<i64> {
        let (added, length) = (self.entries_added as i64, self.length as i64);
        if added == 0 {
            return Some(0);
        }
        if length == 0 && id <= self.last_id {
            return Some(added);
        }
        if !id.is_zero() && id < self.max_deleted_id {
            return None;
        }
        if id >= self.last_id {
            return (id == self.last_id).then_some(added);
        }
        if self.max_deleted_id.is_zero() || self.max_deleted_id < self.first_id {
            if id < self.first_id {
                return Some(added.wrapping_sub(length));
            }
            if id == self.first_id {
                return Some(added.wrapping_sub(length).wrapping_add(1));
            }
        }
        None
    }

    /// What the group's count of read entries becomes when it is given the next one.
    pub(super) fn entries_read_after(&self, group: &Group, id: StreamId) -> i64 {
        // What was trimmed away unread counts as read from here on.
        let skipped = group.last_id < self.first_id;
        if group.entries_read != UNKNOWN && !skipped && !self.has_gaps_from(group.last_id) {
            group.entries_read.wrapping_add(1)
        } else if self.entries_added != 0 {
            self.position_of(id).unwrap_or(UNKNOWN)
        } else {
            group.entries_read
        }
    }
}
