//! How many nodes stock's radix tree would have for a stream's node ids: XINFO STREAM tells it.
//!
//! Nothing here is kept as such a tree. Its shape follows from the keys alone: a leaf for each key, a node where keys part, and
//! one node for each run of bytes between two of these that is not empty.

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
            let shared = (last.to_bytes().iter().zip(key.to_bytes())).take_while(|(a, b)| **a == *b).count();
            nodes += finish(&mut path, KEY_BYTES, Some(shared));
        }
        last = Some(key);
    }
    if last.is_none() {
        return 1;
    }
    nodes + finish(&mut path, KEY_BYTES, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &[(u64, u64)], nodes: usize) {
        assert_eq!(tree_nodes(keys.iter().map(|&(ms, seq)| StreamId::new(ms, seq))), nodes, "{keys:?}");
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
