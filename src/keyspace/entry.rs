//! An entry of the keyspace: key, value and expiry in one allocation behind one thin pointer.
//!
//! ```text
//!  0        1       2           5      6        8
//! +--------+-------+-----------+------+--------+---------------+---------------+-----+---------+
//! | kind   | flags | access    | klen | vlen   | expire (opt.) | klen32 (opt.) | key | payload |
//! | u8     | u8    | 24 bits   | u8   | u16    | i64 ms        | u32           |     |         |
//! +--------+-------+-----------+------+--------+---------------+---------------+-----+---------+
//! ```
//! `payload` is the string itself (`vlen` bytes), an `i64`, or the pointer of a boxed [`Object`]. Numbers are in
//! native order and unaligned. Knows nothing of commands, databases or the clock.

use std::ptr::NonNull;

use bytes::Bytes;

use super::value::{Object, ValueRef};
use crate::base::number::canonical_int;
use crate::base::slab;
use crate::ds::dict::{Keyed, Thin, ThinOwned};

const HEADER: usize = 8;
const KIND_INT: u8 = 0;
const KIND_INLINE: u8 = 1;
const KIND_OBJECT: u8 = 2;

const HAS_EXPIRE: u8 = 1;
const LONG_KEY: u8 = 2;
/// Set once a string was edited in place: OBJECT ENCODING then says `raw` whatever its length.
const EDITED: u8 = 4;

/// Longer strings live in a buffer of their own, which replies can send without a copy.
pub const INLINE_MAX: usize = 8192;

/// Owner of one entry.
#[repr(transparent)]
pub struct Entry(Thin);

// SAFETY: transparent over `Thin`, reaches its memory through `Thin::as_ptr` alone, and keeps its key.
unsafe impl ThinOwned for Entry {}
// SAFETY: an entry owns its allocation alone, and every value it can hold is itself Send + Sync.
unsafe impl Send for Entry {}
// SAFETY: as above; shared access only reads, but for the access field, which is an atomic byte-wise hint.
unsafe impl Sync for Entry {}

/// What goes behind the key of a new entry.
enum Payload<'a> {
    Int(i64),
    Inline(&'a [u8]),
    Object(Box<Object>),
}

impl Entry {
    /// A string entry: an integer, inline bytes or a shared buffer, whichever holds `value` best.
    pub fn string(key: &[u8], value: &[u8], expire_ms: Option<i64>) -> Self {
        if let Some(n) = canonical_int(value) {
            return Self::build(key, Payload::Int(n), expire_ms, 0);
        }
        Self::raw_string(key, value, expire_ms, 0)
    }

    /// As [`Entry::string`], but keeps `value`'s own buffer if it is long.
    pub fn string_bytes(key: &[u8], value: &Bytes, expire_ms: Option<i64>) -> Self {
        if value.len() > INLINE_MAX {
            return Self::build(key, Payload::Object(Box::new(Object::Large(value.clone()))), expire_ms, 0);
        }
        Self::string(key, value, expire_ms)
    }

    /// A string that counts as edited in place: `raw`, whatever its length and even if it is a number.
    pub fn raw(key: &[u8], value: Vec<u8>) -> Self {
        if value.len() > INLINE_MAX {
            return Self::build(key, Payload::Object(Box::new(Object::Large(value.into()))), None, EDITED);
        }
        Self::build(key, Payload::Inline(&value), None, EDITED)
    }

    pub fn int(key: &[u8], value: i64, expire_ms: Option<i64>) -> Self {
        Self::build(key, Payload::Int(value), expire_ms, 0)
    }

    /// An entry of any other type.
    pub fn object(key: &[u8], object: Object, expire_ms: Option<i64>) -> Self {
        Self::build(key, Payload::Object(Box::new(object)), expire_ms, 0)
    }

    /// A string entry that is not made an integer, whatever it says.
    pub fn text(key: &[u8], value: &[u8], expire_ms: Option<i64>) -> Self {
        Self::raw_string(key, value, expire_ms, 0)
    }

    fn raw_string(key: &[u8], value: &[u8], expire_ms: Option<i64>, flags: u8) -> Self {
        if value.len() > INLINE_MAX {
            let large = Object::Large(Bytes::copy_from_slice(value));
            return Self::build(key, Payload::Object(Box::new(large)), expire_ms, flags);
        }
        Self::build(key, Payload::Inline(value), expire_ms, flags)
    }

    fn build(key: &[u8], payload: Payload<'_>, expire_ms: Option<i64>, flags: u8) -> Self {
        let long = key.len() > usize::from(u8::MAX);
        let mut flags = flags & EDITED;
        if expire_ms.is_some() {
            flags |= HAS_EXPIRE;
        }
        if long {
            flags |= LONG_KEY;
        }
        let (kind, payload_len) = match &payload {
            Payload::Int(_) => (KIND_INT, 8),
            Payload::Inline(v) => (KIND_INLINE, v.len()),
            Payload::Object(_) => (KIND_OBJECT, 8),
        };
        let vlen = if kind == KIND_INLINE { payload_len as u16 } else { 0 };
        let key_at = key_offset(flags);
        let size = key_at + key.len() + payload_len;
        let p: NonNull<u8> = slab::alloc(size);
        // SAFETY: every write below stays inside `size`, as `key_at`, the key and the payload add up to it.
        unsafe {
            let b = p.as_ptr();
            b.write(kind);
            b.add(1).write(flags);
            b.add(2).write_bytes(0, 3);
            b.add(5).write(if long { 0 } else { key.len() as u8 });
            b.add(6).cast::<u16>().write(vlen);
            if let Some(at) = expire_ms {
                b.add(HEADER).cast::<i64>().write(at);
            }
            if long {
                b.add(key_at - 4).cast::<u32>().write_unaligned(key.len() as u32);
            }
            b.add(key_at).copy_from_nonoverlapping(key.as_ptr(), key.len());
            let at = b.add(key_at + key.len());
            match payload {
                Payload::Int(n) => at.cast::<i64>().write_unaligned(n),
                Payload::Inline(v) => at.copy_from_nonoverlapping(v.as_ptr(), v.len()),
                Payload::Object(o) => at.cast::<*mut Object>().write_unaligned(Box::into_raw(o)),
            }
            Self(Thin::new(p))
        }
    }

    #[inline]
    fn byte(&self, at: usize) -> u8 {
        debug_assert!(at < HEADER);
        // SAFETY: every entry has HEADER initialised bytes.
        unsafe { self.0.as_ptr().add(at).read() }
    }

    #[inline]
    fn flags(&self) -> u8 {
        self.byte(1)
    }

    #[inline]
    fn key_len(&self) -> usize {
        if self.flags() & LONG_KEY == 0 {
            return usize::from(self.byte(5));
        }
        // SAFETY: LONG_KEY says that the four bytes before the key hold its length.
        unsafe { self.0.as_ptr().add(key_offset(self.flags()) - 4).cast::<u32>().read_unaligned() as usize }
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        // SAFETY: the key lies at `key_offset` with `key_len` initialised bytes, and lives as long as the entry.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(key_offset(self.flags())), self.key_len()) }
    }

    #[inline]
    fn payload(&self) -> *mut u8 {
        // SAFETY: within the allocation (or one past its end for an empty inline string).
        unsafe { self.0.as_ptr().add(key_offset(self.flags()) + self.key_len()) }
    }

    #[inline]
    fn inline_len(&self) -> usize {
        // SAFETY: header bytes 6 and 7 are initialised and 2-aligned.
        usize::from(unsafe { self.0.as_ptr().add(6).cast::<u16>().read() })
    }

    #[inline]
    pub fn value(&self) -> ValueRef<'_> {
        // SAFETY: `kind` says what the payload is, and the payload lives as long as the entry.
        unsafe {
            match self.byte(0) {
                KIND_INT => ValueRef::Int(self.payload().cast::<i64>().read_unaligned()),
                KIND_INLINE => ValueRef::Str(std::slice::from_raw_parts(self.payload(), self.inline_len())),
                _ => ValueRef::from(&*self.object_ptr()),
            }
        }
    }

    /// The boxed object, for values that are not plain inline strings.
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        if self.byte(0) != KIND_OBJECT {
            return None;
        }
        // SAFETY: an object entry owns its box; `&mut self` makes the access unique.
        Some(unsafe { &mut *self.object_ptr() })
    }

    /// Takes the object out; the entry is an integer then, to be overwritten.
    pub fn take_object(&mut self) -> Option<Box<Object>> {
        if self.byte(0) != KIND_OBJECT {
            return None;
        }
        // SAFETY: the box moves to the caller; `forget_object` keeps the entry from freeing it.
        let object = unsafe { Box::from_raw(self.object_ptr()) };
        self.forget_object();
        Some(object)
    }

    /// Only for KIND_OBJECT.
    #[inline]
    fn object_ptr(&self) -> *mut Object {
        // SAFETY: the caller has checked that the payload is a box pointer.
        unsafe { self.payload().cast::<*mut Object>().read_unaligned() }
    }

    #[inline]
    pub fn expire_ms(&self) -> Option<i64> {
        if self.flags() & HAS_EXPIRE == 0 {
            return None;
        }
        // SAFETY: HAS_EXPIRE says that an aligned i64 follows the header.
        Some(unsafe { self.0.as_ptr().add(HEADER).cast::<i64>().read() })
    }

    /// Sets, moves or removes the expiry. Moves the entry if the field comes or goes.
    pub fn set_expire_ms(&mut self, at: Option<i64>) {
        match (self.flags() & HAS_EXPIRE != 0, at) {
            (false, None) => {}
            (true, Some(at)) => {
                // SAFETY: as in `expire_ms`.
                unsafe { self.0.as_ptr().add(HEADER).cast::<i64>().write(at) }
            }
            (true, None) | (false, Some(_)) => {
                let access = self.access();
                let flags = self.flags();
                let object = self.take_object();
                let payload = match (object, self.value()) {
                    (Some(object), _) => Payload::Object(object),
                    (None, ValueRef::Str(v)) => Payload::Inline(v),
                    (None, ValueRef::Int(n)) => Payload::Int(n),
                    (None, _) => unreachable!("every other value is an object"),
                };
                let new = Self::build(self.key(), payload, at, flags);
                *self = new;
                self.set_access(access);
            }
        }
    }

    /// Turns an object entry whose box was moved out into one that owns nothing.
    fn forget_object(&mut self) {
        // SAFETY: an int payload has the size of the pointer it replaces.
        unsafe {
            self.0.as_ptr().write(KIND_INT);
            self.payload().cast::<i64>().write_unaligned(0);
        }
    }

    /// Replaces the value by a string, as SET does; the expiry becomes `expire_ms`.
    pub fn set_string(&mut self, value: &[u8], expire_ms: Option<i64>) {
        // Same shape and size: overwrite in place, the commonest case.
        if self.byte(0) == KIND_INLINE
            && self.inline_len() == value.len()
            && expire_ms.is_some() == (self.flags() & HAS_EXPIRE != 0)
            && canonical_int(value).is_none()
        {
            // SAFETY: the payload has exactly this many bytes, and `&mut self` makes the access unique.
            unsafe {
                self.payload().copy_from_nonoverlapping(value.as_ptr(), value.len());
                self.0.as_ptr().add(1).write(self.flags() & !EDITED);
            }
            if expire_ms.is_some() {
                self.set_expire_ms(expire_ms);
            }
            return;
        }
        let access = self.access();
        *self = Self::string(self.key(), value, expire_ms);
        self.set_access(access);
    }

    /// As [`Entry::set_string`], keeping a long value's own buffer.
    pub fn set_string_bytes(&mut self, value: &Bytes, expire_ms: Option<i64>) {
        if value.len() <= INLINE_MAX {
            return self.set_string(value, expire_ms);
        }
        let access = self.access();
        *self = Self::string_bytes(self.key(), value, expire_ms);
        self.set_access(access);
    }

    /// Replaces the value by a string that is not made an integer, keeping the expiry.
    pub fn set_text(&mut self, value: &[u8]) {
        let (access, expire) = (self.access(), self.expire_ms());
        *self = Self::text(self.key(), value, expire);
        self.set_access(access);
    }

    /// Replaces the value by an integer, keeping the expiry.
    pub fn set_int(&mut self, value: i64) {
        if self.byte(0) == KIND_INT {
            // SAFETY: an int payload is eight bytes.
            unsafe { self.payload().cast::<i64>().write_unaligned(value) }
            return;
        }
        let (access, expire) = (self.access(), self.expire_ms());
        *self = Self::int(self.key(), value, expire);
        self.set_access(access);
    }

    /// Edits the string's bytes (APPEND, SETRANGE): `edit` may change and extend them. Keeps the expiry; the value
    /// is `raw` from then on. A long string that nobody is sending is edited where it is.
    pub fn edit_string(&mut self, edit: impl FnOnce(&mut bytes::BytesMut)) {
        let (access, expire) = (self.access(), self.expire_ms());
        let mut buf = match self.byte(0) {
            KIND_OBJECT => match self.object_mut() {
                Some(Object::Large(b)) => {
                    std::mem::take(b).try_into_mut().unwrap_or_else(|shared| bytes::BytesMut::from(&shared[..]))
                }
                // The caller has seen that it is a string.
                _ => bytes::BytesMut::new(),
            },
            _ => {
                let mut text = itoa::Buffer::new();
                bytes::BytesMut::from(self.value().as_str(&mut text))
            }
        };
        edit(&mut buf);
        if let Some(Object::Large(slot)) = self.object_mut()
            && buf.len() > INLINE_MAX
        {
            *slot = buf.freeze();
            return;
        }
        *self = if buf.len() > INLINE_MAX {
            Self::build(self.key(), Payload::Object(Box::new(Object::Large(buf.freeze()))), expire, EDITED)
        } else {
            Self::build(self.key(), Payload::Inline(&buf), expire, EDITED)
        };
        self.set_access(access);
    }

    /// Replaces the value by a string that counts as edited in place; the expiry stays.
    pub fn set_raw(&mut self, value: Vec<u8>) {
        let (access, expire) = (self.access(), self.expire_ms());
        let mut new = Self::raw(self.key(), value);
        new.set_expire_ms(expire);
        new.set_access(access);
        *self = new;
    }

    /// Edits the string's bytes without changing how many there are, where they lie if that can be. The value is `raw`
    /// from then on.
    pub fn edit_bytes<R>(&mut self, edit: impl FnOnce(&mut [u8]) -> R) -> R {
        if self.byte(0) != KIND_INLINE {
            return self.edit_grown(0, edit);
        }
        // SAFETY: an inline payload has this many initialised bytes behind the header, and `&mut self` makes the access
        // unique.
        let bytes = unsafe {
            self.0.as_ptr().add(1).write(self.flags() | EDITED);
            std::slice::from_raw_parts_mut(self.payload(), self.inline_len())
        };
        edit(bytes)
    }

    /// As [`Entry::edit_bytes`], after filling the string up with zeros to `len`.
    pub fn edit_grown<R>(&mut self, len: usize, edit: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut result = None;
        self.edit_string(|b| {
            if b.len() < len {
                b.resize(len, 0);
            }
            result = Some(edit(b));
        });
        match result {
            Some(result) => result,
            None => unreachable!("a string is edited once"),
        }
    }

    /// The same value and expiry under another key (RENAME, COPY). Objects are moved, not copied.
    pub fn renamed(mut self, key: &[u8]) -> Self {
        let (access, expire, flags) = (self.access(), self.expire_ms(), self.flags());
        let new = match self.take_object() {
            Some(object) => Self::build(key, Payload::Object(object), expire, flags),
            None => self.copied(key),
        };
        new.set_access(access);
        new
    }

    /// A copy under another key.
    pub fn copied(&self, key: &[u8]) -> Self {
        let (expire, flags) = (self.expire_ms(), self.flags());
        match self.value() {
            ValueRef::Int(n) => Self::build(key, Payload::Int(n), expire, flags),
            ValueRef::Str(v) => Self::build(key, Payload::Inline(v), expire, flags),
            _ => {
                // SAFETY: every other value is an object, which lives as long as the entry.
                let object = unsafe { (*self.object_ptr()).clone() };
                Self::build(key, Payload::Object(Box::new(object)), expire, flags)
            }
        }
    }

    /// Whether the string was edited in place (then its encoding is `raw`).
    pub fn is_edited(&self) -> bool {
        self.flags() & EDITED != 0
    }

    /// The 24 bits of access history: LRU clock, or LFU minutes and counter.
    #[inline]
    pub fn access(&self) -> u32 {
        u32::from(self.byte(2)) | u32::from(self.byte(3)) << 8 | u32::from(self.byte(4)) << 16
    }

    /// Records an access. A hint: reads under a shared lock may do it too.
    #[inline]
    pub fn set_access(&self, bits: u32) {
        // SAFETY: header bytes; the shard's mutex makes the access unique.
        unsafe {
            let b = self.0.as_ptr();
            b.add(2).write(bits as u8);
            b.add(3).write((bits >> 8) as u8);
            b.add(4).write((bits >> 16) as u8);
        }
    }

    /// The size of the allocation, as `build` asked for it.
    fn size(&self) -> usize {
        let payload = if self.byte(0) == KIND_INLINE { self.inline_len() } else { 8 };
        key_offset(self.flags()) + self.key_len() + payload
    }

    /// Bytes allocated for this entry, its value included.
    pub fn memory_bytes(&self) -> usize {
        self.size() + self.value().memory_bytes()
    }
}

impl Keyed for Entry {
    fn key(&self) -> &[u8] {
        Entry::key(self)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let size = self.size();
        // SAFETY: the entry owns its box and its allocation, whose size this is; both are given up once.
        unsafe {
            if self.byte(0) == KIND_OBJECT {
                drop(Box::from_raw(self.object_ptr()));
            }
            slab::free(NonNull::new_unchecked(self.0.as_ptr()), size);
        }
    }
}

#[inline]
fn key_offset(flags: u8) -> usize {
    HEADER + if flags & HAS_EXPIRE != 0 { 8 } else { 0 } + if flags & LONG_KEY != 0 { 4 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(e: &Entry) -> Vec<u8> {
        e.value().as_str(&mut itoa::Buffer::new()).to_vec()
    }

    proptest! {
        #[test]
        fn an_entry_keeps_what_it_was_given(
            key in proptest::collection::vec(any::<u8>(), 0..600),
            first in proptest::collection::vec(any::<u8>(), 0..9000),
            second in proptest::collection::vec(any::<u8>(), 0..9000),
            expire in proptest::option::of(any::<i64>()), later in proptest::option::of(any::<i64>()),
            n in any::<i64>(),
        ) {
            let mut e = Entry::string(&key, &first, expire);
            e.set_access(0x00ab_cdef);
            prop_assert_eq!(e.key(), &key[..]);
            prop_assert_eq!(text(&e), first.clone());
            prop_assert_eq!(e.expire_ms(), expire);
            e.set_expire_ms(later);
            prop_assert_eq!(e.expire_ms(), later);
            prop_assert_eq!(text(&e), first.clone());
            e.edit_string(|b| b.extend_from_slice(&second));
            prop_assert_eq!(text(&e), [&first[..], &second[..]].concat());
            let last = e.edit_bytes(|b| b.last_mut().map(|b| std::mem::replace(b, 7)));
            prop_assert_eq!(last.is_some(), text(&e).last() == Some(&7));
            e.edit_grown(20_000, |b| b[19_999] = 1);
            prop_assert_eq!((text(&e).len(), e.expire_ms()), (20_000, later));
            e.set_string(&second, expire);
            prop_assert_eq!(text(&e), second.clone());
            prop_assert_eq!(e.expire_ms(), expire);
            let copy = e.copied(b"copy");
            let mut e = e.renamed(b"other");
            prop_assert_eq!(e.key(), b"other");
            prop_assert_eq!(text(&e), second.clone());
            prop_assert_eq!(text(&copy), second);
            e.set_int(n);
            prop_assert_eq!(text(&e), n.to_string().into_bytes());
            prop_assert_eq!(e.access(), 0x00ab_cdef);
            prop_assert_eq!(e.key(), b"other");
        }
    }
}
