//! The requests parsed from one connection and not yet executed.
//!
//! A batch holds positions in the buffers of the [`Input`] that filled it, and must stay with that input until all its
//! requests are consumed; only an empty one may go to another connection.
#![deny(clippy::indexing_slicing)]

use bytes::Bytes;

use super::{Argv, Input, Span};

/// Above this many spans the memory is given back when the batch is empty.
const KEEP_SPANS: usize = 8 * 1024;

#[derive(Debug, Default)]
pub struct Batch {
    pub(super) spans: Vec<Span>,
    pub(super) own: Vec<Bytes>,
    pub(super) requests: Vec<Request>,
}

/// Where one request lies. Offsets are of the shared buffer, from the first byte that is not consumed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub first_span: u32,
    pub span_count: u32,
    /// The request's own spans count from here.
    pub first_own: u32,
    pub form: Form,
    /// Where the bytes begin that belong to no earlier request: ignored lines, then the request.
    pub start: usize,
    /// Where the request itself begins.
    pub frame: usize,
    pub end: usize,
    /// Bytes that arrived elsewhere than in the shared buffer, or have left it.
    pub detached_bytes: usize,
}

/// How a request was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As we would write it ourselves.
    Canonical,
    /// A counted request with line ends that are none.
    Sloppy,
    Inline,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of requests.
    #[inline]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The words of request `i`: never none of them, unless there is no such request.
    #[inline]
    pub fn argv<'a>(&'a self, input: &'a Input, i: usize) -> Argv<'a> {
        let Some(r) = self.requests.get(i) else { return Argv::new(&[], &[], &[]) };
        let spans = self.spans.get(r.first_span as usize..(r.first_span + r.span_count) as usize).unwrap_or_default();
        Argv::new(input.unconsumed(), spans, self.own.get(r.first_own as usize..).unwrap_or_default())
    }

    /// The bytes of request `i`, if they lie together and are just what [`encode_command`](super::encode_command)
    /// would write: then they may go into the log as they are.
    #[inline]
    pub fn raw<'a>(&self, input: &'a Input, i: usize) -> Option<&'a [u8]> {
        let r = self.requests.get(i)?;
        let whole = r.detached_bytes == 0 && r.form == Form::Canonical;
        if whole { input.unconsumed().get(r.frame..r.end) } else { None }
    }

    /// All bytes of the stream from the end of the request before `i` to the end of `i`, whatever their form, if they
    /// lie together: a replica passes them on as they came.
    pub fn wire<'a>(&self, input: &'a Input, i: usize) -> Option<&'a [u8]> {
        let r = self.requests.get(i)?;
        if r.detached_bytes == 0 { input.unconsumed().get(r.start..r.end) } else { None }
    }

    /// How many bytes of the stream request `i` took, with ignored lines before it (a master's keep-alive newlines):
    /// what a replica's offset grows by.
    pub fn wire_bytes(&self, i: usize) -> usize {
        self.requests.get(i).map_or(0, |r| r.end - r.start + r.detached_bytes)
    }

    /// Whether request `i` came as a plain line. A master never sends one.
    pub fn is_inline(&self, i: usize) -> bool {
        self.requests.get(i).is_some_and(|r| r.form == Form::Inline)
    }

    /// Takes the first `n` requests out; gives how many shared bytes they took.
    pub(super) fn remove_first(&mut self, n: usize) -> usize {
        let Some(last) = n.checked_sub(1).and_then(|last| self.requests.get(last.min(self.len().wrapping_sub(1))))
        else {
            return 0;
        };
        let bytes = last.end;
        if n >= self.requests.len() {
            self.requests.clear();
            self.spans.clear();
            self.own.clear();
            if self.spans.capacity() > KEEP_SPANS {
                self.spans = Vec::new();
                self.own = Vec::new();
            }
            return bytes;
        }
        self.requests.drain(..n);
        let (first_span, first_own) = self.requests.first().map_or((0, 0), |r| (r.first_span, r.first_own));
        self.spans.drain(..first_span as usize);
        self.own.drain(..first_own as usize);
        for r in &mut self.requests {
            r.first_span -= first_span;
            r.first_own -= first_own;
            r.start -= bytes;
            r.frame -= bytes;
            r.end -= bytes;
        }
        for span in &mut self.spans {
            *span = span.shifted_down(bytes);
        }
        bytes
    }
}
