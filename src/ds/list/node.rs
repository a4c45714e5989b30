//! One node of a large list: a listpack of elements, a single element too large for one, or either of them compressed.

use std::borrow::Cow;

use crate::base::lzf;
use crate::ds::listpack::Listpack;

/// Less is not worth the attempt.
const MIN_FOLDED_BYTES: usize = 48;
/// Nor is gaining less than this.
const MIN_GAIN_BYTES: usize = 8;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Pack(Listpack),
    Plain(Box<[u8]>),
    Folded(Folded),
}

/// LZF of a listpack's bytes, or of a plain node's.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    lzf: Box<[u8]>,
    /// Of the whole, unfolded.
    bytes: u32,
    /// 0: a plain node.
    count: u32,
}

/// A node to be read; a folded one is unfolded for it.
pub(super) enum Open<'a> {
    Pack(Cow<'a, Listpack>),
    Plain(Cow<'a, [u8]>),
}

/// A node to be written to a file, as it is kept.
#[derive(Clone, Copy, Debug)]
pub enum NodeRef<'a> {
    Pack(&'a [u8]),
    Plain(&'a [u8]),
    /// LZF of so many bytes of a listpack, or of a plain node.
    Folded {
        lzf: &'a [u8],
        bytes: usize,
        plain: bool,
    },
}

impl Node {
    /// A listpack of an element, with room for so many bytes.
    pub fn of(value: &[u8], room: usize) -> Self {
        let mut pack = Listpack::with_capacity(room);
        pack.push_back(value);
        Self::Pack(pack)
    }

    pub fn plain(value: &[u8]) -> Self {
        Self::Plain(value.into())
    }

    #[inline]
    pub fn count(&self) -> usize {
        match self {
            Self::Pack(pack) => pack.len(),
            Self::Plain(_) => 1,
            Self::Folded(folded) => (folded.count as usize).max(1),
        }
    }

    /// The size as limits see it: unfolded, with the listpack's header and end.
    #[inline]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Pack(pack) => pack.byte_len(),
            Self::Plain(value) => value.len(),
            Self::Folded(folded) => folded.bytes as usize,
        }
    }

    pub fn is_plain(&self) -> bool {
        match self {
            Self::Pack(_) => false,
            Self::Plain(_) => true,
            Self::Folded(folded) => folded.count == 0,
        }
    }

    /// Bytes allocated.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Pack(pack) => pack.memory_bytes(),
            Self::Plain(value) => value.len(),
            Self::Folded(folded) => folded.lzf.len(),
        }
    }

    pub fn open(&self) -> Open<'_> {
        match self {
            Self::Pack(pack) => Open::Pack(Cow::Borrowed(pack)),
            Self::Plain(value) => Open::Plain(Cow::Borrowed(value)),
            Self::Folded(folded) => match folded.unfolded() {
                Self::Pack(pack) => Open::Pack(Cow::Owned(pack)),
                Self::Plain(value) => Open::Plain(Cow::Owned(value.into_vec())),
                Self::Folded(_) => unreachable!("nothing is folded twice"),
            },
        }
    }

    pub fn as_ref(&self) -> NodeRef<'_> {
        match self {
            Self::Pack(pack) => NodeRef::Pack(pack.as_bytes()),
            Self::Plain(value) => NodeRef::Plain(value),
            Self::Folded(folded) => {
                NodeRef::Folded { lzf: &folded.lzf, bytes: folded.bytes as usize, plain: folded.count == 0 }
            }
        }
    }

    /// Compresses it, if that gains enough.
    pub fn fold(&mut self) {
        let (bytes, count) = match self {
            Self::Pack(pack) => (pack.as_bytes(), pack.len() as u32),
            Self::Plain(value) => (&**value, 0),
            Self::Folded(_) => return,
        };
        let Ok(len) = u32::try_from(bytes.len()) else { return };
        if bytes.len() < MIN_FOLDED_BYTES {
            return;
        }
        if let Some(lzf) = lzf::compress(bytes).filter(|lzf| lzf.len() + MIN_GAIN_BYTES < bytes.len()) {
            *self = Self::Folded(Folded { lzf: lzf.into(), bytes: len, count });
        }
    }

    pub fn unfold(&mut self) {
        if let Self::Folded(folded) = self {
            *self = folded.unfolded();
        }
    }

    /// Gives back what room a listpack does not need.
    pub fn shrink_to_fit(&mut self) {
        if let Self::Pack(pack) = self {
            pack.shrink_to_fit();
        }
    }

    /// The listpack, unfolded if need be; `None` for a plain node.
    pub fn pack_mut(&mut self) -> Option<&mut Listpack> {
        self.unfold();
        match self {
            Self::Pack(pack) => Some(pack),
            Self::Plain(_) | Self::Folded(_) => None,
        }
    }
}

impl Folded {
    fn unfolded(&self) -> Node {
        let bytes = lzf::decompress(&self.lzf, self.bytes as usize).expect("we compressed it");
        if self.count == 0 {
            return Node::Plain(bytes.into());
        }
        Node::Pack(Listpack::from_bytes(bytes).expect("it was a listpack when we compressed it"))
    }
}
