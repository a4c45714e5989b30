//! A listpack: a sequence of small strings and integers in one run of bytes, in the format of stock servers, so that a
//! snapshot copies it as it is.
//!
//! ```text
//! +-----------------+-----------+---------+-----+---------+------+
//! | total bytes u32 | count u16 | element | ... | element | 0xff |
//! +-----------------+-----------+---------+-----+---------+------+
//! element: encoding and data, then their length once more in 1 to 5 bytes, to be read from behind
//! ```
//! A count of 65535 stands for "so many or more"; the true one is kept beside the bytes. Knows nothing of what the elements mean.

mod element;

use element::Element;
pub use element::Item;

use crate::base::number::canonical_int;

/// Total bytes and count.
const HEAD: usize = 6;
const END: u8 = 0xff;
/// In the count's place when it does not fit.
const UNCOUNTED: u16 = u16::MAX;

/// Where an element begins. Good until the listpack is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos(u32);

/// The bytes are not a listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

pub struct Listpack {
    /// A gap, then the whole, header and end included; the header is kept true.
    buf: Vec<u8>,
    count: u32,
    /// The room in front of the whole: what comes and goes there moves nothing else.
    gap: u32,
}

impl Clone for Listpack {
    fn clone(&self) -> Self {
        Self { buf: self.as_bytes().to_vec(), count: self.count, gap: 0 }
    }
}

impl PartialEq for Listpack {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Listpack {}

impl Default for Listpack {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Listpack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Listpack {
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// Empty, with room for elements of `bytes` bytes, their encoding included.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buf = Vec::with_capacity(HEAD + 1 + bytes);
        buf.extend_from_slice(&[HEAD as u8 + 1, 0, 0, 0, 0, 0, END]);
        Self { buf, count: 0, gap: 0 }
    }

    /// Takes bytes from outside; every element is looked at.
    pub fn from_bytes(buf: Vec<u8>) -> Result<Self, Corrupt> {
        let (Some(total), Some(said), Some(&END)) = (buf.first_chunk::<4>(), buf.get(4..HEAD), buf.last()) else {
            return Err(Corrupt);
        };
        if buf.len() < HEAD + 1 || u32::from_le_bytes(*total) as usize != buf.len() {
            return Err(Corrupt);
        }
        let said = u16::from_le_bytes([said[0], said[1]]);
        let end = buf.len() - 1;
        let (mut at, mut count) = (HEAD, 0u32);
        while at < end {
            at += Element::checked_size(&buf[at..end]).ok_or(Corrupt)?;
            count += 1;
        }
        if said != UNCOUNTED && u32::from(said) != count {
            return Err(Corrupt);
        }
        let mut this = Self { buf, count, gap: 0 };
        this.write_head();
        Ok(this)
    }

    /// The whole in stock's format.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.buf[self.gap as usize..]
    }

    /// How many elements there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The size of the whole.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.buf.len() - self.gap as usize
    }

    /// Bytes allocated.
    pub fn memory_bytes(&self) -> usize {
        self.buf.capacity()
    }

    pub fn shrink_to_fit(&mut self) {
        self.move_to(0);
        self.buf.shrink_to_fit();
    }

    /// What an element of these bytes would add to [`Listpack::byte_len`].
    pub fn size_of(value: &[u8]) -> usize {
        Element::new(value).size()
    }

    // ---- moving ----

    #[inline]
    fn end(&self) -> usize {
        self.byte_len() - 1
    }

    #[inline]
    pub fn first(&self) -> Option<Pos> {
        (self.count != 0).then_some(Pos(HEAD as u32))
    }

    #[inline]
    pub fn last(&self) -> Option<Pos> {
        self.before(self.end())
    }

    #[inline]
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        let at = pos.0 as usize;
        let at = at + element::size(&self.as_bytes()[at..]);
        (at < self.end()).then_some(Pos(at as u32))
    }

    #[inline]
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        self.before(pos.0 as usize)
    }

    /// The element that ends at `at`.
    #[inline]
    fn before(&self, at: usize) -> Option<Pos> {
        (at > HEAD).then(|| Pos((at - element::size_behind(&self.as_bytes()[..at])) as u32))
    }

    /// The element of an index; negative ones count from the end.
    pub fn seek(&self, index: i64) -> Option<Pos> {
        let len = i64::from(self.count);
        let index = if index < 0 { index + len } else { index };
        if !(0..len).contains(&index) {
            return None;
        }
        if index <= len / 2 {
            let mut pos = self.first()?;
            for _ in 0..index {
                pos = self.next(pos)?;
            }
            Some(pos)
        } else {
            let mut pos = self.last()?;
            for _ in 0..len - 1 - index {
                pos = self.prev(pos)?;
            }
            Some(pos)
        }
    }

    #[inline]
    pub fn get(&self, pos: Pos) -> Item<'_> {
        element::item(&self.as_bytes()[pos.0 as usize..])
    }

    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter { buf: self.as_bytes(), front: HEAD, back: self.end() }
    }

    /// From an element on, that one included.
    pub fn iter_from(&self, pos: Pos) -> Iter<'_> {
        Iter { buf: self.as_bytes(), front: pos.0 as usize, back: self.end() }
    }

    /// The first element equal to `needle` among `from` and those behind it; between two that are compared `skip` are passed over.
    pub fn find(&self, from: Pos, needle: &[u8], skip: usize) -> Option<Pos> {
        let wanted = canonical_int(needle);
        let (mut at, end) = (from.0 as usize, self.end());
        while at < end {
            let (item, size) = element::item_and_size(&self.as_bytes()[at..]);
            let same = match item {
                Item::Int(n) => wanted == Some(n),
                Item::Str(s) => s == needle,
            };
            if same {
                return Some(Pos(at as u32));
            }
            at += size;
            for _ in 0..skip {
                if at >= end {
                    return None;
                }
                at += element::size(&self.as_bytes()[at..]);
            }
        }
        None
    }

    // ---- changing ----

    pub fn push_back(&mut self, value: &[u8]) {
        self.splice(self.end(), 0, &Element::new(value), 1);
    }

    pub fn push_back_int(&mut self, value: i64) {
        self.splice(self.end(), 0, &Element::int(value), 1);
    }

    /// Adds elements at the end; strings that are integers are kept as such.
    pub fn extend<'v>(&mut self, items: impl Iterator<Item = Item<'v>>) {
        self.buf.pop();
        for item in items {
            let element = match item {
                Item::Int(n) => Element::int(n),
                Item::Str(value) => Element::new(value),
            };
            let (at, size) = (self.buf.len(), element.size());
            if self.buf.capacity() - at <= size {
                self.buf.reserve_exact(size + 1 + at / 8);
            }
            self.buf.resize(at + size, 0);
            element.write(&mut self.buf[at..]);
            self.count += 1;
        }
        self.buf.push(END);
        self.write_head();
    }

    pub fn push_front(&mut self, value: &[u8]) {
        self.splice(HEAD, 0, &Element::new(value), 1);
    }

    /// Puts an element before another, and gives its place.
    pub fn insert_before(&mut self, pos: Pos, value: &[u8]) -> Pos {
        self.splice(pos.0 as usize, 0, &Element::new(value), 1);
        pos
    }

    /// Puts an element behind another, and gives its place.
    pub fn insert_after(&mut self, pos: Pos, value: &[u8]) -> Pos {
        let at = pos.0 as usize;
        self.insert_before(Pos((at + element::size(&self.as_bytes()[at..])) as u32), value)
    }

    /// Puts another element in the place of one.
    pub fn replace(&mut self, pos: Pos, value: &[u8]) -> Pos {
        self.replace_element(pos, &Element::new(value))
    }

    pub fn replace_int(&mut self, pos: Pos, value: i64) -> Pos {
        self.replace_element(pos, &Element::int(value))
    }

    fn replace_element(&mut self, pos: Pos, element: &Element<'_>) -> Pos {
        let at = pos.0 as usize;
        self.splice(at, element::size(&self.as_bytes()[at..]), element, 0);
        pos
    }

    /// Takes an element out, and gives the place of the one that followed it.
    pub fn remove(&mut self, pos: Pos) -> Option<Pos> {
        let at = pos.0 as usize;
        self.cut(at, at + element::size(&self.as_bytes()[at..]), 1);
        (at < self.end()).then_some(pos)
    }

    /// Takes out up to `count` elements from `index` on; a negative index counts from the end. Gives how many went.
    pub fn remove_range(&mut self, index: i64, count: usize) -> usize {
        let Some(from) = self.seek(index) else { return 0 };
        self.remove_from(from, count)
    }

    /// Takes out up to `count` elements from `pos` on. Gives how many went.
    pub fn remove_from(&mut self, pos: Pos, count: usize) -> usize {
        let (from, end) = (pos.0 as usize, self.end());
        let (mut at, mut removed) = (from, 0);
        while removed < count && at < end {
            at += element::size(&self.as_bytes()[at..]);
            removed += 1;
        }
        self.cut(from, at, removed);
        removed
    }

    /// Puts another listpack's elements behind the own ones.
    pub fn append(&mut self, other: &Listpack) {
        self.buf.pop();
        self.buf.extend_from_slice(&other.as_bytes()[HEAD..]);
        self.count += other.count;
        self.write_head();
    }

    /// Takes the elements from `pos` on into a listpack of their own.
    pub fn split_off(&mut self, pos: Pos) -> Listpack {
        let at = pos.0 as usize;
        let mut tail = Listpack::with_capacity(self.end() - at);
        tail.buf.truncate(HEAD);
        tail.buf.extend_from_slice(&self.as_bytes()[at..]);
        tail.count = tail.iter().count() as u32;
        tail.write_head();
        let (end, gone) = (self.end(), tail.len());
        self.cut(at, end, gone);
        tail
    }

    /// Takes the bytes from `from` to `to` out. What is shorter moves: the bytes before or those behind.
    fn cut(&mut self, from: usize, to: usize, elements: usize) {
        let (gap, len) = (self.gap as usize, self.byte_len());
        if from - HEAD < len - 1 - to {
            self.buf.copy_within(gap + HEAD..gap + from, gap + HEAD + to - from);
            self.gap += (to - from) as u32;
        } else {
            self.buf.copy_within(gap + to.., gap + from);
            self.buf.truncate(self.buf.len() - (to - from));
        }
        self.count -= elements as u32;
        self.write_head();
        self.give_back();
    }

    /// When half of it is air, most of that is given back.
    #[inline]
    fn give_back(&mut self) {
        let (len, capacity) = (self.byte_len(), self.buf.capacity());
        if capacity > 256 && len * 2 < capacity {
            self.move_to(0);
            self.buf.shrink_to(len + len / 8);
        }
    }

    /// Puts an element in the place of the `old` bytes at `at`. What is shorter moves, as for a cut; but only what is added
    /// at the very front, where more may follow, makes a gap larger.
    fn splice(&mut self, at: usize, old: usize, element: &Element<'_>, added: u32) {
        let new = element.size();
        let in_front = at - HEAD < self.end() - (at + old)
            && (new <= old || self.gap as usize >= new - old || (at == HEAD && old == 0));
        if new > old {
            self.make_room(new - old, in_front);
        }
        let gap = self.gap as usize;
        if in_front {
            let before = gap + HEAD..gap + at;
            let moved = gap + old - new;
            self.buf.copy_within(before, moved + HEAD);
            self.gap = moved as u32;
        } else {
            let len = self.buf.len();
            if new > old {
                self.buf.resize(len + new - old, 0);
                self.buf.copy_within(gap + at + old..len, gap + at + new);
            } else if new < old {
                self.buf.copy_within(gap + at + old.., gap + at + new);
                self.buf.truncate(len - (old - new));
            }
        }
        let at = self.gap as usize + at;
        element.write(&mut self.buf[at..at + new]);
        self.count += added;
        self.write_head();
        if new < old {
            self.give_back();
        }
    }

    /// Makes room for `more` bytes in front of the whole or behind it.
    #[inline]
    fn make_room(&mut self, more: usize, in_front: bool) {
        let (gap, spare) = (self.gap as usize, self.buf.capacity() - self.buf.len());
        if if in_front { gap < more } else { spare < more } {
            self.find_room(more, in_front);
        }
    }

    #[cold]
    fn find_room(&mut self, more: usize, in_front: bool) {
        let (gap, len, spare) = (self.gap as usize, self.byte_len(), self.buf.capacity() - self.buf.len());
        // An eighth ahead: doubling would waste what a listpack saves.
        let ahead = more + len / 8;
        if in_front && spare >= 2 * ahead {
            self.move_to(gap + spare / 2);
        } else if !in_front && gap >= 2 * ahead {
            self.move_to(gap / 2);
        } else if in_front {
            // Some of the room behind stays, so that both ends may grow in turn.
            let mut buf = Vec::with_capacity(ahead + len + spare.min(len / 8));
            buf.resize(ahead, 0);
            buf.extend_from_slice(self.as_bytes());
            (self.buf, self.gap) = (buf, ahead as u32);
        } else {
            self.move_to(gap.min(len / 8));
            self.buf.reserve_exact(ahead);
        }
    }

    /// Moves the whole, so that so large a gap is before it; there must be room.
    fn move_to(&mut self, gap: usize) {
        let (from, len) = (self.gap as usize, self.byte_len());
        if gap == from {
            return;
        }
        if gap > from {
            self.buf.resize(gap + len, 0);
        }
        self.buf.copy_within(from..from + len, gap);
        self.buf.truncate(gap + len);
        self.gap = gap as u32;
    }

    #[inline]
    fn write_head(&mut self) {
        let total = self.byte_len() as u32;
        let count = u16::try_from(self.count).unwrap_or(UNCOUNTED);
        let head = &mut self.buf[self.gap as usize..][..HEAD];
        head[..4].copy_from_slice(&total.to_le_bytes());
        head[4..].copy_from_slice(&count.to_le_bytes());
    }
}

/// The elements in order, from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    buf: &'a [u8],
    front: usize,
    back: usize,
}

impl Iter<'_> {
    /// Goes past `n` elements without a look at them; `None` if there are not so many.
    #[inline]
    pub fn pass(&mut self, n: usize) -> Option<()> {
        for _ in 0..n {
            if self.front >= self.back {
                return None;
            }
            self.front += element::size(&self.buf[self.front..]);
        }
        Some(())
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (item, size) = element::item_and_size(&self.buf[self.front..]);
        self.front += size;
        Some(item)
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        self.back -= element::size_behind(&self.buf[..self.back]);
        Some(element::item(&self.buf[self.back..]))
    }
}

#[cfg(test)]
mod tests;
