//! Walks over the entries of a stream between two ids, in either direction.

use std::collections::{BTreeMap, btree_map};

use super::id::StreamId;
use super::node::{Backward, Entry, Forward, Node};

pub(super) type Nodes = BTreeMap<StreamId, Node>;

/// From the smallest id on.
pub struct Range<'a> {
    nodes: btree_map::Range<'a, StreamId, Node>,
    node: Option<Forward<'a>>,
    to: StreamId,
}

impl<'a> Range<'a> {
    pub(super) fn new(nodes: &'a Nodes, from: StreamId, to: StreamId) -> Self {
        // The node that `from` would be in, if there is one.
        let first = nodes.range(..=from).next_back().map_or(from, |(id, _)| *id);
        let mut nodes = if first <= to { nodes.range(first..=to) } else { btree_map::Range::default() };
        let mut node = nodes.next().map(|(id, node)| node.forward(*id));
        node.iter_mut().for_each(|node| node.seek(from));
        Self { nodes, node, to }
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let node = match &mut self.node {
                Some(node) => node,
                None => {
                    let (id, node) = self.nodes.next()?;
                    self.node.insert(node.forward(*id))
                }
            };
            match node.find(|entry| !entry.deleted) {
                Some(entry) if entry.id <= self.to => return Some(entry),
                Some(_) => {
                    (self.nodes, self.node) = (btree_map::Range::default(), None);
                    return None;
                }
                None => self.node = None,
            }
        }
    }
}

/// From the largest id on.
pub struct RangeBack<'a> {
    nodes: btree_map::Range<'a, StreamId, Node>,
    node: Option<Backward<'a>>,
    from: StreamId,
    to: StreamId,
}

impl<'a> RangeBack<'a> {
    pub(super) fn new(nodes: &'a Nodes, from: StreamId, to: StreamId) -> Self {
        Self { nodes: nodes.range(..=to), node: None, from, to }
    }
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let node = match &mut self.node {
                Some(node) => node,
                None => {
                    let (id, node) = self.nodes.next_back()?;
                    self.node.insert(node.backward(*id))
                }
            };
            match node.find(|entry| !entry.deleted && entry.id <= self.to) {
                Some(entry) if entry.id >= self.from => return Some(entry),
                Some(_) => {
                    (self.nodes, self.node) = (btree_map::Range::default(), None);
                    return None;
                }
                None => self.node = None,
            }
        }
    }
}
