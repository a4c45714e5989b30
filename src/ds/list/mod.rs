//! Elements in order: one listpack while they are few, a row of them when they are more. Knows neither keys nor commands.
//!
//! When a list changes from one form to the other is what stock servers do: see [`List::expect`], which whoever adds
//! elements calls before, and [`List::settle`], which whoever takes some out calls behind.

mod node;
mod quick;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub use node::NodeRef;

use super::Limits;
use super::listpack::{Item, Listpack};
use node::Node;
use quick::Quicklist;

/// From this size on, an element has a node to itself, which is no listpack.
const GIANT_BYTES: usize = 1 << 30;

/// The size in force: tests of stock servers lower it (DEBUG QUICKLIST-PACKED-THRESHOLD).
static GIANT_FROM: AtomicUsize = AtomicUsize::new(GIANT_BYTES);

/// Sets the size from which on an element has a node to itself; 0 sets it back.
pub fn set_giant_bytes(bytes: usize) {
    GIANT_FROM.store(if bytes == 0 { GIANT_BYTES } else { bytes }, Relaxed);
}

#[inline]
fn is_giant(bytes: usize) -> bool {
    bytes >= GIANT_FROM.load(Relaxed)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Head,
    Tail,
}

/// How much one listpack may hold, which `list-max-listpack-size` says: bytes or elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Bytes(usize),
    /// At most [`Room::SAFE_BYTES`] as well.
    Elements(usize),
}

impl Room {
    const SAFE_BYTES: usize = 8192;

    fn of(size: i64) -> Self {
        match size {
            ..0 => Self::Bytes(4096 << (size.max(-5) + 1).unsigned_abs()),
            0.. => Self::Elements((size as usize).max(1)),
        }
    }

    /// Nodes count their elements in fewer bits than a list that is one listpack.
    fn of_nodes(limits: &Limits) -> Self {
        Self::of(limits.list_size.min(i64::from(i16::MAX)))
    }

    #[inline]
    fn holds(self, bytes: usize, elements: usize) -> bool {
        match self {
            Self::Bytes(max) => bytes <= max,
            Self::Elements(max) => bytes <= Self::SAFE_BYTES && elements <= max,
        }
    }

    /// Whether a node has become small enough for the whole list to be a listpack again; half the room is asked for if
    /// it shrank, so that it does not go back and forth.
    fn suits(self, node: &Listpack, shrinking: bool) -> bool {
        let part = if shrinking { 2 } else { 1 };
        match self {
            Self::Bytes(max) => node.byte_len() <= max / part,
            Self::Elements(max) => node.len() <= max / part,
        }
    }
}

#[derive(Clone, Debug)]
pub struct List(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Pack(Listpack),
    Quick(Box<Quicklist>),
}

/// What DEBUG OBJECT tells of a large list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub nodes: usize,
    /// As `list-max-listpack-size` was.
    pub size: i64,
    /// Whether inner nodes are compressed.
    pub compressed: bool,
    /// The bytes of all nodes, as if none were.
    pub bytes: usize,
}

impl Default for List {
    fn default() -> Self {
        Self(Repr::Pack(Listpack::new()))
    }
}

/// Calls `f` with elements from an index on, towards an end, until it wants no more; tells whether it would want more.
#[inline]
fn walk_pack(pack: &Listpack, from: i64, towards: End, f: &mut impl FnMut(Item<'_>) -> bool) -> bool {
    let Some(mut pos) = pack.seek(from) else { return true };
    match towards {
        End::Tail => pack.iter_from(pos).all(f),
        End::Head => loop {
            if !f(pack.get(pos)) {
                return false;
            }
            match pack.prev(pos) {
                Some(before) => pos = before,
                None => return true,
            }
        },
    }
}

impl List {
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Pack(pack) => pack.len(),
            Repr::Quick(quick) => quick.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The stock name of how it is kept.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Pack(_) => "listpack",
            Repr::Quick(_) => "quicklist",
        }
    }

    /// The listpack, if the list is one.
    pub fn as_pack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::Pack(pack) => Some(pack),
            Repr::Quick(_) => None,
        }
    }

    /// Bytes allocated; an estimate if there are many nodes.
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Repr::Pack(pack) => pack.memory_bytes(),
            Repr::Quick(quick) => quick.memory_bytes(),
        }
    }

    /// How many allocations there are to be freed.
    pub fn free_effort(&self) -> usize {
        match &self.0 {
            Repr::Pack(_) => 1,
            Repr::Quick(quick) => quick.nodes.len(),
        }
    }

    /// Of a large list.
    pub fn shape(&self) -> Option<Shape> {
        let Repr::Quick(quick) = &self.0 else { return None };
        let size = match quick.room() {
            Room::Bytes(max) => -i64::from((max / 4096).ilog2()) - 1,
            Room::Elements(max) => max as i64,
        };
        let bytes = quick.nodes.iter().map(Node::bytes).sum();
        Some(Shape { nodes: quick.nodes.len(), size, compressed: quick.depth() != 0, bytes })
    }

    // ---- forms ----

    /// A large list without an element: for those who add whole nodes.
    pub fn large(limits: &Limits) -> Self {
        Self(Repr::Quick(Box::new(Quicklist::new(limits))))
    }

    /// Adds a listpack as a node of its own at the end of a large list.
    pub fn append_pack(&mut self, pack: Listpack) {
        self.append(Node::Pack(pack));
    }

    /// Adds an element as a node of its own at the end of a large list.
    pub fn append_plain(&mut self, value: Vec<u8>) {
        self.append(Node::Plain(value.into()));
    }

    fn append(&mut self, node: Node) {
        debug_assert!(matches!(self.0, Repr::Quick(_)));
        if let Repr::Quick(quick) = &mut self.0 {
            quick.append(node);
        }
    }

    /// Makes the list large if `count` more elements of `bytes` bytes together will not fit its listpack.
    #[inline]
    pub fn expect(&mut self, bytes: usize, count: usize, limits: &Limits) {
        if let Repr::Pack(pack) = &mut self.0
            && !Room::of(limits.list_size).holds(pack.byte_len() + bytes, pack.len() + count)
        {
            let mut quick = Quicklist::new(limits);
            if !pack.is_empty() {
                quick.append(Node::Pack(std::mem::take(pack)));
            }
            self.0 = Repr::Quick(Box::new(quick));
        }
    }

    /// Makes the list small again if it has shrunk to a node of half the room.
    #[inline]
    pub fn settle(&mut self, limits: &Limits) {
        self.make_small(limits, true);
    }

    /// Gives a list that was put together the form that suits it.
    pub fn settle_new(&mut self, limits: &Limits) {
        self.expect(0, 0, limits);
        self.make_small(limits, false);
    }

    #[inline]
    fn make_small(&mut self, limits: &Limits, shrinking: bool) {
        let Repr::Quick(quick) = &mut self.0 else { return };
        if quick.nodes.len() != 1 {
            return;
        }
        if let Some(Node::Pack(pack)) = quick.nodes.front_mut()
            && Room::of(limits.list_size).suits(pack, shrinking)
        {
            self.0 = Repr::Pack(std::mem::take(pack));
        }
    }

    // ---- ends ----

    /// Adds an element at an end. See [`List::expect`].
    #[inline]
    pub fn push(&mut self, end: End, value: &[u8]) {
        match (&mut self.0, end) {
            (Repr::Pack(pack), End::Head) => pack.push_front(value),
            (Repr::Pack(pack), End::Tail) => pack.push_back(value),
            (Repr::Quick(quick), end) => quick.push(end, value),
        }
    }

    /// Hands the element at an end to `f`, and takes it out.
    #[inline]
    pub fn pop<R>(&mut self, end: End, f: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        match &mut self.0 {
            Repr::Pack(pack) => {
                let pos = match end {
                    End::Head => pack.first(),
                    End::Tail => pack.last(),
                }?;
                let result = f(pack.get(pos));
                pack.remove(pos);
                Some(result)
            }
            Repr::Quick(quick) => quick.pop(end, f),
        }
    }

    // ---- reading ----

    /// The index that a client means, negative ones counted from the end; `None` if there is no such element.
    fn index(&self, index: i64) -> Option<usize> {
        let len = self.len() as i64;
        let index = if index < 0 { index + len } else { index };
        (0..len).contains(&index).then_some(index as usize)
    }

    /// Calls `f` with elements from an index on, towards an end, until it wants no more.
    #[inline]
    pub fn walk(&self, from: usize, towards: End, mut f: impl FnMut(Item<'_>) -> bool) {
        match &self.0 {
            Repr::Pack(pack) => {
                walk_pack(pack, from as i64, towards, &mut f);
            }
            Repr::Quick(quick) => quick.walk(from, towards, f),
        }
    }

    /// Calls `f` with `count` elements from an index on, towards an end.
    #[inline]
    pub fn range(&self, from: usize, count: usize, towards: End, mut f: impl FnMut(Item<'_>)) {
        let mut left = count;
        if left == 0 {
            return;
        }
        self.walk(from, towards, |item| {
            f(item);
            left -= 1;
            left != 0
        });
    }

    /// Calls `f` with every element.
    pub fn for_each(&self, mut f: impl FnMut(Item<'_>)) {
        self.walk(0, End::Tail, |item| {
            f(item);
            true
        });
    }

    /// Hands the element of an index to `f`; negative ones count from the end.
    pub fn get<R>(&self, index: i64, f: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let index = self.index(index)?;
        let (mut f, mut result) = (Some(f), None);
        self.walk(index, End::Tail, |item| {
            result = f.take().map(|f| f(item));
            false
        });
        result
    }

    /// How it is kept, to be written to a file.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeRef<'_>> {
        let count = match &self.0 {
            Repr::Pack(_) => 1,
            Repr::Quick(quick) => quick.nodes.len(),
        };
        (0..count).map(|at| match &self.0 {
            Repr::Pack(pack) => NodeRef::Pack(pack.as_bytes()),
            Repr::Quick(quick) => quick.nodes[at].as_ref(),
        })
    }

    // ---- in the middle ----

    /// Puts an element beside the first one that equals `pivot`. False if there is none.
    pub fn insert(&mut self, pivot: &[u8], value: &[u8], behind: bool) -> bool {
        match &mut self.0 {
            Repr::Pack(pack) => {
                let Some(pos) = pack.first().and_then(|first| pack.find(first, pivot, 0)) else { return false };
                if behind {
                    pack.insert_after(pos, value);
                } else {
                    pack.insert_before(pos, value);
                }
                true
            }
            Repr::Quick(quick) => quick.insert(pivot, value, behind),
        }
    }

    /// Puts another element in the place of one; a negative index counts from the end. False if there is none.
    pub fn set(&mut self, index: i64, value: &[u8]) -> bool {
        let Some(index) = self.index(index) else { return false };
        match &mut self.0 {
            Repr::Pack(pack) => pack.seek(index as i64).map(|pos| pack.replace(pos, value)).is_some(),
            Repr::Quick(quick) => quick.set(index, value),
        }
    }

    /// Takes out up to `count` elements that equal `value`, those nearest to an end first. Gives how many went.
    pub fn remove_value(&mut self, value: &[u8], count: usize, from: End) -> usize {
        match &mut self.0 {
            Repr::Pack(pack) => quick::remove_value(pack, value, count, from),
            Repr::Quick(quick) => quick.remove_value(value, count, from),
        }
    }

    /// Takes out up to `count` elements from an index on.
    pub fn remove_range(&mut self, from: usize, count: usize) {
        match &mut self.0 {
            Repr::Pack(pack) => {
                pack.remove_range(from as i64, count);
            }
            Repr::Quick(quick) => quick.remove_range(from, count),
        }
    }
}
