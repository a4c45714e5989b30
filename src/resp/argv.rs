//! The words of one request, as slices of wherever they were received.
//!
//! Knows nothing of how a request was framed, nor of what its words mean.

use bytes::Bytes;

/// Where one argument lies: in the read buffer, or (a large one) in a buffer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset in the buffer; with [`Span::OWN`] set, an index into the list of own buffers.
    pos: u32,
    len: u32,
}

impl Span {
    const OWN: u32 = 1 << 31;

    /// An argument of `len` bytes at `pos` of the shared buffer. `pos` stays below 2 GiB.
    pub fn shared(pos: usize, len: usize) -> Self {
        debug_assert!(pos < Self::OWN as usize);
        Self { pos: pos as u32, len: len as u32 }
    }

    /// The argument that is the whole of own buffer number `index`.
    pub fn own(index: usize, len: usize) -> Self {
        Self { pos: index as u32 | Self::OWN, len: len as u32 }
    }

    /// The same argument after `by` bytes were cut from the front of the shared buffer.
    pub fn shifted_down(self, by: usize) -> Self {
        if self.pos & Self::OWN != 0 { self } else { Self { pos: self.pos - by as u32, ..self } }
    }

    pub fn is_own(self) -> bool {
        self.pos & Self::OWN != 0
    }

    /// Where in the shared buffer it lies; `None` if it has a buffer of its own.
    pub fn shared_range(self) -> Option<std::ops::Range<usize>> {
        (!self.is_own()).then(|| self.pos as usize..self.pos as usize + self.len as usize)
    }
}

/// One request's words: the command name first. Cheap to copy; borrows the buffers.
#[derive(Clone, Copy, Debug)]
pub struct Argv<'a> {
    buf: &'a [u8],
    spans: &'a [Span],
    own: &'a [Bytes],
}

impl<'a> Argv<'a> {
    pub fn new(buf: &'a [u8], spans: &'a [Span], own: &'a [Bytes]) -> Self {
        Self { buf, spans, own }
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Word `i`, or `None` past the end.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&'a [u8]> {
        let span = *self.spans.get(i)?;
        if span.is_own() {
            self.own.get((span.pos & !Span::OWN) as usize).map(|b| &b[..])
        } else {
            self.buf.get(span.pos as usize..span.pos as usize + span.len as usize)
        }
    }

    /// Word `i`; empty past the end. For words whose presence the arity check has established.
    #[inline]
    pub fn word(&self, i: usize) -> &'a [u8] {
        self.get(i).unwrap_or_default()
    }

    /// The buffer that word `i` owns, if it was large enough to get one: a value may keep it without a copy.
    pub fn own_bytes(&self, i: usize) -> Option<&'a Bytes> {
        let span = self.spans.get(i)?;
        if span.is_own() { self.own.get((span.pos & !Span::OWN) as usize) } else { None }
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + Clone + 'a {
        let me = *self;
        (0..me.len()).map(move |i| me.word(i))
    }

    /// The same request without its first `n` words.
    pub fn skip(&self, n: usize) -> Argv<'a> {
        Argv { spans: self.spans.get(n..).unwrap_or_default(), ..*self }
    }

    /// Bytes of all words together.
    pub fn payload_bytes(&self) -> usize {
        self.spans.iter().map(|s| s.len as usize).sum()
    }

    pub fn to_owned(&self) -> OwnedArgv {
        let mut out = OwnedArgv::default();
        for (i, word) in self.iter().enumerate() {
            match self.own_bytes(i) {
                Some(own) => out.push_bytes(own.clone()),
                None => out.push(word),
            }
        }
        out
    }
}

/// A request that outlives the read buffer: queued by MULTI, blocked, or made by us.
#[derive(Clone, Debug, Default)]
pub struct OwnedArgv {
    buf: Vec<u8>,
    spans: Vec<Span>,
    own: Vec<Bytes>,
}

impl OwnedArgv {
    pub fn from_words<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> Self {
        let mut out = Self::default();
        for w in words {
            out.push(w.as_ref());
        }
        out
    }

    /// Empty, with room for so many words of so many bytes together.
    pub fn with_capacity(words: usize, bytes: usize) -> Self {
        Self { buf: Vec::with_capacity(bytes), spans: Vec::with_capacity(words), own: Vec::new() }
    }

    pub fn push(&mut self, word: &[u8]) {
        self.spans.push(Span::shared(self.buf.len(), word.len()));
        self.buf.extend_from_slice(word);
    }

    pub fn push_bytes(&mut self, word: Bytes) {
        self.spans.push(Span::own(self.own.len(), word.len()));
        self.own.push(word);
    }

    pub fn as_argv(&self) -> Argv<'_> {
        Argv { buf: &self.buf, spans: &self.spans, own: &self.own }
    }

    /// Bytes this request keeps allocated, about.
    pub fn memory_bytes(&self) -> usize {
        self.buf.capacity() + self.spans.capacity() * size_of::<Span>() + self.own.iter().map(Bytes::len).sum::<usize>()
    }
}
