//! A large list: nodes in a row, each with some of the elements.
//!
//! ```text
//!  raw          folded, if a depth is set           raw
//! [node] [node] [node] ... [node] ... [node] [node] [node]
//!  <- depth ->                               <- depth ->
//! ```
//! Where nodes begin and end, when they are split and merged, is what stock servers do, so that a list is written as they
//! would write it. The nodes at both ends are never folded. No node is empty.

use std::collections::VecDeque;

use super::node::{Node, Open};
use super::{End, Room, is_giant};
use crate::ds::Limits;
use crate::ds::listpack::{Item, Listpack, Pos};

/// What an element is reckoned to need besides its bytes.
const ELEMENT_OVERHEAD: usize = 8;
/// Header and end of a listpack, of which a merge saves one.
const PACK_OVERHEAD: usize = 7;
/// No listpack grows beyond it, whatever an element in it is replaced by.
const PACK_MAX_BYTES: usize = 1 << 30;
/// Above so many matches in a node, those that stay are copied rather than each match cut out.
const CUT_OUT_MAX: usize = 4;
/// So many nodes are looked at to estimate the memory of all.
const SAMPLED_NODES: usize = 512;

#[derive(Clone, Debug)]
pub(super) struct Quicklist {
    pub nodes: VecDeque<Node>,
    /// Elements of all nodes.
    pub len: usize,
    /// The limit of a node, as it was when the list became large.
    room: Room,
    /// Nodes that stay raw at either end; 0: all.
    depth: usize,
}

impl Quicklist {
    pub fn new(limits: &Limits) -> Self {
        Self { nodes: VecDeque::new(), len: 0, room: Room::of_nodes(limits), depth: limits.list_compress.min(0xffff) }
    }

    pub fn room(&self) -> Room {
        self.room
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    pub fn memory_bytes(&self) -> usize {
        let heap = |count| self.nodes.iter().take(count).map(Node::memory_bytes).sum::<usize>();
        let own = size_of::<Self>() + self.nodes.capacity() * size_of::<Node>();
        own + match self.nodes.len() {
            all @ 0..=SAMPLED_NODES => heap(all),
            all => (heap(SAMPLED_NODES) as f64 / SAMPLED_NODES as f64 * all as f64) as usize,
        }
    }

    // ---- nodes ----

    /// Whether an element may be added to a node, if there is one there.
    fn takes(&self, node: Option<&Node>, bytes: usize) -> bool {
        node.is_some_and(|node| {
            !node.is_plain()
                && !is_giant(bytes)
                && self.room.holds(node.bytes() + bytes + ELEMENT_OVERHEAD, node.count() + 1)
        })
    }

    fn node_of(value: &[u8], room: usize) -> Node {
        if is_giant(value.len()) { Node::plain(value) } else { Node::of(value, room) }
    }

    /// A node for an element at an end, where more will most likely follow; the one that was there is full.
    fn push_node(&mut self, end: End, value: &[u8]) {
        let full = match end {
            End::Head => self.nodes.front_mut(),
            End::Tail => self.nodes.back_mut(),
        };
        full.into_iter().for_each(Node::shrink_to_fit);
        let room = match self.room {
            Room::Bytes(max) => max / 2,
            Room::Elements(max) => {
                (value.len() + ELEMENT_OVERHEAD).saturating_mul(max.min(16)).min(Room::SAFE_BYTES / 2)
            }
        };
        let at = match end {
            End::Head => 0,
            End::Tail => self.nodes.len(),
        };
        self.put_node(at, Self::node_of(value, room));
    }

    /// Puts a node in before the one at `at`; its elements are counted by whoever has them from outside.
    fn put_node(&mut self, at: usize, node: Node) {
        self.nodes.insert(at, node);
        self.tidy(at.saturating_sub(1), at + 1);
    }

    fn drop_node(&mut self, at: usize) {
        self.nodes.remove(at);
        self.nodes_went();
    }

    /// After nodes were taken out: their room is given back when most of it is empty.
    fn nodes_went(&mut self) {
        if self.nodes.capacity() > 32 && self.nodes.len() * 4 < self.nodes.capacity() {
            self.nodes.shrink_to(self.nodes.len() * 2);
        }
        self.tidy(0, 0);
    }

    pub fn append(&mut self, node: Node) {
        self.len += node.count();
        self.put_node(self.nodes.len(), node);
    }

    /// Unfolds what has come within the depth of an end, and folds what has left it, and the nodes from `first` to `last`
    /// if they are not within.
    fn tidy(&mut self, first: usize, last: usize) {
        let (depth, len) = (self.depth, self.nodes.len());
        if depth == 0 {
            return;
        }
        for i in 0..depth.min(len) {
            self.nodes[i].unfold();
            self.nodes[len - 1 - i].unfold();
        }
        if len <= 2 * depth {
            return;
        }
        let inner = depth..len - depth;
        for i in [inner.start, inner.end - 1].into_iter().chain(first..=last) {
            if inner.contains(&i) {
                self.nodes[i].fold();
            }
        }
    }

    /// Merges a node with those beside it, and those with the next, where one node has room for both.
    fn merge_around(&mut self, mut center: usize) {
        if center >= 2 && self.merge(center - 2) {
            center -= 1;
        }
        self.merge(center + 1);
        if center >= 1 && self.merge(center - 1) {
            center -= 1;
        }
        self.merge(center);
        self.tidy(center.saturating_sub(1), center + 1);
    }

    /// Merges a node with the next one, if there is room.
    fn merge(&mut self, at: usize) -> bool {
        let (Some(one), Some(two)) = (self.nodes.get(at), self.nodes.get(at + 1)) else { return false };
        let bytes = one.bytes() + two.bytes() - PACK_OVERHEAD.min(two.bytes());
        if one.is_plain() || two.is_plain() || !self.room.holds(bytes, one.count() + two.count()) {
            return false;
        }
        let Some(mut second) = self.nodes.remove(at + 1) else { return false };
        if let (Some(into), Some(from)) = (self.nodes[at].pack_mut(), second.pack_mut()) {
            into.append(from);
        }
        true
    }

    /// Where the element of an index is: the node, and the index in it. Walks over the nodes from the nearer end.
    fn locate(&self, index: usize) -> (usize, usize) {
        debug_assert!(index < self.len);
        if index < self.len / 2 {
            let mut left = index;
            for (at, node) in self.nodes.iter().enumerate() {
                let count = node.count();
                if left < count {
                    return (at, left);
                }
                left -= count;
            }
        } else {
            let mut behind = self.len;
            for (at, node) in self.nodes.iter().enumerate().rev() {
                behind -= node.count();
                if index >= behind {
                    return (at, index - behind);
                }
            }
        }
        unreachable!("the nodes have as many elements as the list")
    }

    // ---- ends ----

    #[inline]
    pub fn push(&mut self, end: End, value: &[u8]) {
        let node = match end {
            End::Head => self.nodes.front(),
            End::Tail => self.nodes.back(),
        };
        let fits = self.takes(node, value.len());
        self.len += 1;
        if !fits {
            return self.push_node(end, value);
        }
        match end {
            End::Head => {
                if let Some(pack) = self.nodes.front_mut().and_then(Node::pack_mut) {
                    pack.push_front(value);
                }
            }
            End::Tail => {
                if let Some(pack) = self.nodes.back_mut().and_then(Node::pack_mut) {
                    pack.push_back(value);
                }
            }
        }
    }

    /// Hands the element at an end to `f`, and takes it out.
    #[inline]
    pub fn pop<R>(&mut self, end: End, f: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let node = match end {
            End::Head => self.nodes.front_mut(),
            End::Tail => self.nodes.back_mut(),
        }?;
        let (result, emptied) = match node.pack_mut() {
            Some(pack) => {
                let pos = match end {
                    End::Head => pack.first(),
                    End::Tail => pack.last(),
                }?;
                let result = f(pack.get(pos));
                pack.remove(pos);
                (result, pack.is_empty())
            }
            None => match node {
                Node::Plain(value) => (f(Item::Str(value)), true),
                Node::Pack(_) | Node::Folded(_) => return None,
            },
        };
        self.len -= 1;
        if emptied {
            match end {
                End::Head => self.nodes.pop_front(),
                End::Tail => self.nodes.pop_back(),
            };
            self.nodes_went();
        }
        Some(result)
    }

    // ---- reading ----

    /// Calls `f` with elements from an index on, towards an end, until it wants no more.
    pub fn walk(&self, from: usize, towards: End, mut f: impl FnMut(Item<'_>) -> bool) {
        if from >= self.len {
            return;
        }
        let (mut at, mut index) = self.locate(from);
        loop {
            let go_on = match self.nodes[at].open() {
                Open::Plain(value) => f(Item::Str(&value)),
                Open::Pack(pack) => super::walk_pack(&pack, index as i64, towards, &mut f),
            };
            if !go_on {
                return;
            }
            match towards {
                End::Tail => {
                    (at, index) = (at + 1, 0);
                    if at == self.nodes.len() {
                        return;
                    }
                }
                End::Head => {
                    let Some(before) = at.checked_sub(1) else { return };
                    (at, index) = (before, self.nodes[before].count() - 1);
                }
            }
        }
    }

    // ---- in the middle ----

    /// Puts an element beside the first one that equals `pivot`. False if there is none.
    pub fn insert(&mut self, pivot: &[u8], value: &[u8], behind: bool) -> bool {
        let found = self.nodes.iter().enumerate().find_map(|(at, node)| match node.open() {
            Open::Plain(plain) => (*plain == *pivot).then_some((at, None)),
            Open::Pack(pack) => pack.find(pack.first()?, pivot, 0).map(|pos| (at, Some(pos))),
        });
        let Some((at, pos)) = found else { return false };
        self.insert_beside(at, pos, value, behind);
        true
    }

    /// Puts an element beside the one at `pos` of a node, or beside a plain node.
    fn insert_beside(&mut self, at: usize, pos: Option<Pos>, value: &[u8], behind: bool) {
        self.len += 1;
        let neighbour = if behind { Some(at + 1) } else { at.checked_sub(1) };
        let full = !self.takes(self.nodes.get(at), value.len());
        let pack = self.nodes[at].pack_mut();
        let (Some(pack), Some(pos)) = (pack, pos) else {
            return self.insert_between(at, neighbour, value, behind);
        };
        if !full {
            if behind {
                pack.insert_after(pos, value);
            } else {
                pack.insert_before(pos, value);
            }
            return self.tidy(at, at);
        }
        // Where the node would have to be parted.
        let part = if behind { pack.next(pos) } else { pack.prev(pos).map(|_| pos) };
        let Some(part) = part else {
            return self.insert_between(at, neighbour, value, behind);
        };
        let mut tail = pack.split_off(part);
        if is_giant(value.len()) {
            self.put_node(at + 1, Node::plain(value));
            return self.put_node(at + 2, Node::Pack(tail));
        }
        if behind {
            tail.push_front(value);
        } else {
            pack.push_back(value);
        }
        self.put_node(at + 1, Node::Pack(tail));
        self.merge_around(if behind { at } else { at + 1 });
    }

    /// Puts an element between a full node and its neighbour: into that one if it has room.
    fn insert_between(&mut self, at: usize, neighbour: Option<usize>, value: &[u8], behind: bool) {
        let other = neighbour.filter(|n| self.takes(self.nodes.get(*n), value.len()));
        match other.and_then(|n| self.nodes[n].pack_mut()) {
            Some(pack) if behind => pack.push_front(value),
            Some(pack) => pack.push_back(value),
            None => self.put_node(at + usize::from(behind), Self::node_of(value, 0)),
        }
        self.tidy(at.saturating_sub(1), at + 1);
    }

    /// Puts another element in the place of one. False if there is none of this index.
    pub fn set(&mut self, index: usize, value: &[u8]) -> bool {
        if index >= self.len {
            return false;
        }
        let (at, in_node) = self.locate(index);
        let giant = is_giant(value.len());
        let Some(pack) = self.nodes[at].pack_mut() else {
            if giant {
                self.nodes[at] = Node::plain(value);
                self.tidy(at, at);
            } else {
                self.insert_between(at, Some(at + 1), value, true);
                self.drop_node(at);
            }
            return true;
        };
        let Some(pos) = pack.seek(in_node as i64) else { return false };
        if !giant && pack.byte_len() + value.len() < PACK_MAX_BYTES {
            pack.replace(pos, value);
            self.tidy(at, at);
            return true;
        }
        let tail = pack.next(pos).map(|next| pack.split_off(next));
        pack.remove(pos);
        let emptied = pack.is_empty();
        self.nodes.insert(at + 1, Self::node_of(value, 0));
        if let Some(tail) = tail {
            self.nodes.insert(at + 2, Node::Pack(tail));
        }
        if emptied {
            self.nodes.remove(at);
            self.tidy(at, at + 1);
        } else {
            self.merge_around(at + 1);
            self.tidy(at, at + 2);
        }
        true
    }

    /// Takes out up to `count` elements that equal `value`, those nearest to an end first. Gives how many went.
    pub fn remove_value(&mut self, value: &[u8], count: usize, from: End) -> usize {
        let mut left = count;
        let mut emptied = false;
        let nodes = self.nodes.len();
        for i in 0..nodes {
            if left == 0 {
                break;
            }
            let at = match from {
                End::Head => i,
                End::Tail => nodes - 1 - i,
            };
            let matches = match self.nodes[at].open() {
                Open::Plain(plain) => usize::from(*plain == *value),
                Open::Pack(pack) => matches_in(&pack, value),
            };
            if matches == 0 {
                continue;
            }
            let gone = matches.min(left);
            let skipped = if from == End::Tail { matches - gone } else { 0 };
            left -= gone;
            if gone == self.nodes[at].count() {
                // The node goes below, together with others of its kind: its place is held by an empty one.
                self.nodes[at] = Node::Pack(Listpack::new());
                emptied = true;
            } else if let Some(pack) = self.nodes[at].pack_mut() {
                remove_matches(pack, value, skipped, gone);
                if self.depth != 0 && (self.depth..nodes.saturating_sub(self.depth)).contains(&at) {
                    self.nodes[at].fold();
                }
            }
        }
        if emptied {
            self.nodes.retain(|node| node.count() != 0);
            self.nodes_went();
        }
        self.len -= count - left;
        count - left
    }

    /// Takes out up to `count` elements from an index on.
    pub fn remove_range(&mut self, from: usize, count: usize) {
        let count = count.min(self.len.saturating_sub(from));
        if count == 0 {
            return;
        }
        let (mut at, in_node) = self.locate(from);
        let mut left = count;
        let first = self.nodes[at].count();
        if in_node > 0 || left < first {
            let here = left.min(first - in_node);
            if let Some(pack) = self.nodes[at].pack_mut() {
                pack.remove_range(in_node as i64, here);
            }
            left -= here;
            at += 1;
        }
        let mut end = at;
        while end < self.nodes.len() && left >= self.nodes[end].count() {
            left -= self.nodes[end].count();
            end += 1;
        }
        self.nodes.drain(at..end);
        if left > 0
            && let Some(pack) = self.nodes[at].pack_mut()
        {
            pack.remove_range(0, left);
        }
        self.len -= count;
        self.nodes_went();
        self.tidy(at.saturating_sub(1), at);
    }
}

fn matches_in(pack: &Listpack, value: &[u8]) -> usize {
    let mut matches = 0;
    let mut from = pack.first();
    while let Some(found) = from.and_then(|from| pack.find(from, value, 0)) {
        matches += 1;
        from = pack.next(found);
    }
    matches
}

/// Takes `count` elements that equal `value` out of a listpack, the first `skipped` of them passed over.
pub(super) fn remove_matches(pack: &mut Listpack, value: &[u8], skipped: usize, count: usize) {
    if count <= CUT_OUT_MAX {
        let (mut from, mut seen, mut gone) = (pack.first(), 0, 0);
        while let Some(found) = from.and_then(|from| pack.find(from, value, 0)) {
            if seen < skipped {
                seen += 1;
                from = pack.next(found);
                continue;
            }
            from = pack.remove(found);
            gone += 1;
            if gone == count {
                return;
            }
        }
        return;
    }
    let mut kept = Listpack::with_capacity(pack.byte_len());
    let mut seen = 0;
    for item in pack.iter() {
        if item.eq_bytes(value) {
            seen += 1;
            if (skipped + 1..=skipped + count).contains(&seen) {
                continue;
            }
        }
        match item {
            Item::Int(n) => kept.push_back_int(n),
            Item::Str(text) => kept.push_back(text),
        }
    }
    kept.shrink_to_fit();
    *pack = kept;
}

/// The same for a listpack that is a whole list. Gives how many went.
pub(super) fn remove_value(pack: &mut Listpack, value: &[u8], count: usize, from: End) -> usize {
    let matches = matches_in(pack, value);
    let gone = matches.min(count);
    if gone > 0 {
        remove_matches(pack, value, if from == End::Tail { matches - gone } else { 0 }, gone);
    }
    gone
}
