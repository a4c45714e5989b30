//! How many nodes stock's radix tree would have for a stream's node ids: XINFO STREAM tells it.
//!
//! Nothing here is kept as such a tree. Its shape follows from the keys alone: a leaf for each key, a node where keys part, and
//! one node for each run of bytes between two of these that is not empty.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use super::id::StreamId;

const KEY_BYTES: usize = 16;

/// Nodes of the tree with these keys, which come in ascending order.
pub(super) fn tree_nodes(keys: impl Iterator<Item = StreamId>) -> usize {
    let mut nodes = 0;
    // Depths at which the path to the last key parts from others, outermost first.
    let mut path: Vec<usize> = Vec::with_capacity(KEY_BYTES);
    let mut last: Option<StreamId> = None;
    // A leaf or a parting at `depth` is finished: itself, and the run of bytes that leads to it.
    let run = |above: Option<&usize>, depth: usize| usize::from(depth > above.map_or(0, |above| above + 1));
    let finish = |path: &mut Vec<usize>, depth: usize, down_to: Option<usize>| {
        let mut done = 1;
        let mut below = depth;
        while let Some(&parting) = path.last()
            && down_to.is_none_or(|d| parting > d)
        {
            done += 1 + run(Some(&parting), below);
            below = parting;
            path.pop();
        }
        // Where the new key parts inside of a run, a new parting comes in between.
        if let Some(d) = down_to
            && path.last() != Some(&d)
        {
            path.push(d);
        }
        done + run(path.last(), below)
    };
    for key in keys {
        if let Some(last) = last {
            nodes += finish(&mut path, KEY_BYTES, Some(shared(last, key)));
        }
        last = Some(key);
    }
    if last.is_none() {
        return 1;
    }
    nodes + finish(&mut path, KEY_BYTES, None)
}

/// How many nodes more the tree has with `key` than with the others alone. It is a matter of the key's surroundings: the cost
/// does not grow with the tree.
pub(super) fn gained<V>(others: &BTreeMap<StreamId, V>, key: StreamId) -> usize {
    let [before, after] = around(others, key, key).map(|other| other.map(|id| shared(id, key)));
    // The key leaves the path of those it shares most with.
    let Some(depth) = before.max(after) else { return 1 };
    let leaf = 1 + usize::from(depth + 1 < KEY_BYTES);
    let (first, last) = family(key, depth);
    let mut alike = others.range(first..=last).map(|(id, _)| *id);
    let Some(low) = alike.next() else { return leaf };
    let high = alike.next_back().unwrap_or(low);
    let below = shared(low, high);
    if below == depth {
        return leaf;
    }
    // It leaves inside of a run, which becomes two with a new parting between them; either may be empty.
    let above = around(others, first, last).into_iter().flatten().map(|id| shared(id, key)).max();
    leaf + usize::from(depth > above.map_or(0, |above| above + 1)) + usize::from(below > depth + 1)
}

/// The keys next to a range of them.
fn around<V>(keys: &BTreeMap<StreamId, V>, first: StreamId, last: StreamId) -> [Option<StreamId>; 2] {
    let before = keys.range(..first).next_back();
    let after = keys.range((Excluded(last), Unbounded)).next();
    [before, after].map(|found| found.map(|(id, _)| *id))
}

/// The bytes that both begin with; all of them if they are equal.
fn shared(a: StreamId, b: StreamId) -> usize {
    a.to_bytes().iter().zip(b.to_bytes()).take_while(|(a, b)| **a == *b).count()
}

/// The smallest and the largest key with the same first `depth` bytes, which are not all.
fn family(key: StreamId, depth: usize) -> (StreamId, StreamId) {
    let (mut first, mut last) = (key.to_bytes(), key.to_bytes());
    first[depth..].fill(0);
    last[depth..].fill(u8::MAX);
    (StreamId::from_bytes(first), StreamId::from_bytes(last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(keys: &[(u64, u64)], nodes: usize) {
        assert_eq!(tree_nodes(keys.iter().map(|&(ms, seq)| StreamId::new(ms, seq))), nodes, "{keys:?}");
    }

    /// Ids that share more or less with each other.
    fn id() -> impl Strategy<Value = StreamId> {
        let number =
            prop_oneof![0..4u64, (0..4u64).prop_map(|n| n << 8), (0..64u32).prop_map(|n| 1 << n), any::<u64>()];
        (number.clone(), number).prop_map(|(ms, seq)| StreamId::new(ms, seq))
    }

    proptest! {
        #[test]
        fn a_count_kept_up_is_the_count_of_the_whole(ids in prop::collection::vec(id(), 1..60)) {
            let mut keys = BTreeMap::new();
            let mut nodes = 1;
            for id in &ids {
                // What comes a second time goes.
                if keys.remove(id).is_some() {
                    nodes -= gained(&keys, *id);
                } else {
                    nodes += gained(&keys, *id);
                    keys.insert(*id, ());
                }
                prop_assert_eq!(nodes, tree_nodes(keys.keys().copied()));
            }
        }
    }

    /// Counted in stock servers.
    #[test]
    fn a_tree_is_counted_without_being_built() {
        check(&[], 1);
        check(&[(1, 1)], 2);
        // A run of 7 bytes, the parting, a run of 8 and a leaf for each.
        check(&[(1, 1), (2, 1)], 6);
        // They part at the last byte.
        check(&[(1, 1), (1, 2)], 4);
        check(&[(1, 1), (1, 2), (1, 3)], 5);
        check(&[(0, 1), (1 << 56, 1)], 5);
        check(&[(1, 1), (1, 2), (2, 1), (2, 1 << 40)], 12);
    }
}
