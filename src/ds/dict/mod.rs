//! The dictionary of the keyspace and of large sets and hashes: extendible hashing over cache-line buckets.
//!
//! ```text
//!   hash, 64 bits        |skip: the shard's| position: from here on, left-aligned                 |
//!                                          | depth bits: segment | 9 bits: bucket | ...  low 8: fp |
//!
//!   directory            words  [ seg 0 | seg 0 | seg 2 | seg 3 ]           2^depth, 16 bytes each
//!                        notes  [ items, version, earliest deadline ] ...   as many, 16 bytes each
//!                                   |
//!   segment              [ bucket | bucket | ... ] [ bucket | ... ]   1 to 32 of 64 bytes, in one block or two,
//!                                                                     grown in small steps, then split in two
//!
//!   bucket, 64 bytes      0        8                                56                      63
//!                        +--------+--------+-------     ----------+----+----+--  --+----+-------+
//!                        | item 0 | item 1 |  ...  items 2 to 6   | fp | fp |  ... | fp | where |
//!                        +--------+--------+-------     ----------+----+----+--  --+----+-------+
//!   item, 64 bits        | tag: 16 bits of the position | address: 48 bits |
//!   where                items that belong here lie: 1 in the next bucket, 2 in the previous, 4 in the list
//! ```
//! - The bucket is `bits * buckets / 2^9` of the nine bits below the segment's prefix, so position order is segment
//!   order, then bucket order, whatever the sizes. A SCAN cursor is the upper 48 bits of a position.
//! - A segment's words carry its depth and size beside the addresses, so a lookup reads them, one bucket and the item.
//! - The tag holds the bits a split needs: growing moves items without touching their memory. One split in eight uses
//!   the tag up and hashes the keys again.
//! - A full bucket spills into its two neighbours. When these are full too, the segment grows to the next size and
//!   at 32 buckets splits. Items whose hashes are equal as far as tags tell cannot be parted by that; they go into one
//!   list, searched item by item, so that bad hashes cost time but never memory.
//! - Removals shrink a segment, merge it with its buddy and halve the directory, one segment's items at a time.
//!
//! # Snapshots
//! A segment has a version, 0 at first. A walker that wants each item as it was at one instant takes a new number `e`
//! at that instant, and then, always under the lock of whoever owns the dictionary:
//! 1. walks positions from 0: [`Dict::segments_from`] gives the segment at a position and where the next begins. Where
//!    the version is not `e`, it saves the items and calls [`Dict::set_version_at`] with `e`;
//! 2. has each writer look before a change: is [`Dict::segment_version`] of the key's hash not `e`, the writer saves
//!    the segment's items ([`Dict::segment_entries`]), sets `e` ([`Dict::set_segment_version`]), and only then changes it.
//!
//! Halves inherit the version, and two segments merge only if their versions are equal or one is empty; then the other's
//! holds. So a segment is either all saved or all not. Segments without items share one version, which both setters
//! set, and are born with it when their first item comes; so a new item is in a segment that counts as saved.
//!
//! Knows nothing of values, shards, databases or the clock. Hashes are given; the hash function is asked again only
//! where the tag does not suffice.

mod bucket;
mod directory;
mod grow;
mod segment;
mod slot;
mod table;
#[cfg(test)]
mod tests;
mod thin;
mod walk;

pub use slot::{FoundSlot, Slot, SlotMut, VacantSlot};
pub use table::{Dict, Fetch};
pub use thin::{Keyed, Thin, ThinOwned};
pub use walk::{Iter, SegmentEntries, SegmentRef};
