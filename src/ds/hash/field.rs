//! A field of a large hash: its name, its value and, if it has one, its expiry, in one allocation behind one thin pointer.
//!
//! ```text
//!  0       1      2       4                      4 or 20        ...
//! +-------+------+-------+----------------------+--------------+------+-------+
//! | flags | name | value | name, value: lengths | expire ms    | name | value |
//! | u8    | u8   | u16   | u64, u64, if LONG    | i64 if TIMED |      |       |
//! +-------+------+-------+----------------------+--------------+------+-------+
//! ```
//! Numbers are in native order and unaligned. Knows nothing of the table the fields are in, nor of the clock.

use std::ptr::NonNull;

use crate::base::slab;
use crate::ds::dict::{Keyed, Thin, ThinOwned};

const HEAD: usize = 4;
/// A length does not fit the head: both stand behind it.
const LONG: u8 = 1;
const TIMED: u8 = 2;

/// Owner of one field.
#[repr(transparent)]
pub(super) struct Field(Thin);

// SAFETY: transparent over `Thin`, reaches its memory through `Thin::as_ptr` alone, and keeps its name.
unsafe impl ThinOwned for Field {}
// SAFETY: a field owns its allocation alone, which holds nothing but bytes.
unsafe impl Send for Field {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Field {}

#[inline]
fn expire_offset(flags: u8) -> usize {
    HEAD + if flags & LONG != 0 { 16 } else { 0 }
}

#[inline]
fn name_offset(flags: u8) -> usize {
    expire_offset(flags) + if flags & TIMED != 0 { 8 } else { 0 }
}

impl Field {
    pub(super) fn new(name: &[u8], value: &[u8], expire_ms: Option<i64>) -> Self {
        let mut flags = if expire_ms.is_some() { TIMED } else { 0 };
        let short = (u8::try_from(name.len()), u16::try_from(value.len()));
        if !matches!(short, (Ok(_), Ok(_))) {
            flags |= LONG;
        }
        let at = name_offset(flags);
        let p: NonNull<u8> = slab::alloc(at + name.len() + value.len());
        // SAFETY: every write stays inside the allocation: head, lengths and expiry end at `at`, the rest adds up.
        unsafe {
            let b = p.as_ptr();
            b.write(flags);
            b.add(1).write(short.0.unwrap_or(0));
            b.add(2).cast::<u16>().write_unaligned(short.1.unwrap_or(0));
            if flags & LONG != 0 {
                b.add(HEAD).cast::<[u64; 2]>().write_unaligned([name.len() as u64, value.len() as u64]);
            }
            if let Some(ms) = expire_ms {
                b.add(expire_offset(flags)).cast::<i64>().write_unaligned(ms);
            }
            b.add(at).copy_from_nonoverlapping(name.as_ptr(), name.len());
            b.add(at + name.len()).copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
        Self(Thin::new(p))
    }

    #[inline]
    fn flags(&self) -> u8 {
        // SAFETY: every field has HEAD initialised bytes.
        unsafe { self.0.as_ptr().read() }
    }

    /// The lengths of name and value.
    #[inline]
    fn lens(&self) -> (usize, usize) {
        let p = self.0.as_ptr();
        // SAFETY: the head is initialised, and LONG says that two numbers follow it.
        unsafe {
            if self.flags() & LONG == 0 {
                return (usize::from(p.add(1).read()), usize::from(p.add(2).cast::<u16>().read_unaligned()));
            }
            let [name, value] = p.add(HEAD).cast::<[u64; 2]>().read_unaligned();
            (name as usize, value as usize)
        }
    }

    #[inline]
    pub(super) fn name(&self) -> &[u8] {
        let (len, _) = self.lens();
        // SAFETY: the name lies at `name_offset` with `len` initialised bytes, and lives as long as the field.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(name_offset(self.flags())), len) }
    }

    #[inline]
    pub(super) fn value(&self) -> &[u8] {
        let (name, len) = self.lens();
        // SAFETY: the value follows the name with `len` initialised bytes.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(name_offset(self.flags()) + name), len) }
    }

    #[inline]
    pub(super) fn expire_ms(&self) -> Option<i64> {
        let flags = self.flags();
        if flags & TIMED == 0 {
            return None;
        }
        // SAFETY: TIMED says that the expiry stands there.
        Some(unsafe { self.0.as_ptr().add(expire_offset(flags)).cast::<i64>().read_unaligned() })
    }

    /// Puts another value and expiry in the place of the old; where they lie if the sizes allow.
    pub(super) fn set(&mut self, value: &[u8], expire_ms: Option<i64>) {
        let (name, len) = self.lens();
        if len != value.len() || self.flags() & TIMED != 0 || expire_ms.is_some() {
            *self = Self::new(self.name(), value, expire_ms);
            return;
        }
        // SAFETY: the value has exactly this many bytes, and `&mut self` makes the access unique.
        unsafe {
            let at = self.0.as_ptr().add(name_offset(self.flags()) + name);
            at.copy_from_nonoverlapping(value.as_ptr(), len);
        }
    }

    pub(super) fn set_expire_ms(&mut self, expire_ms: Option<i64>) {
        match (self.flags() & TIMED != 0, expire_ms) {
            (false, None) => {}
            (true, Some(ms)) => {
                // SAFETY: TIMED says that the expiry stands there, and `&mut self` makes the access unique.
                unsafe { self.0.as_ptr().add(expire_offset(self.flags())).cast::<i64>().write_unaligned(ms) }
            }
            (true, None) | (false, Some(_)) => *self = Self::new(self.name(), self.value(), expire_ms),
        }
    }

    /// The size of the allocation, as `new` asked for it.
    #[inline]
    pub(super) fn size(&self) -> usize {
        let (name, value) = self.lens();
        name_offset(self.flags()) + name + value
    }
}

impl Keyed for Field {
    #[inline]
    fn key(&self) -> &[u8] {
        self.name()
    }
}

impl Clone for Field {
    fn clone(&self) -> Self {
        Self::new(self.name(), self.value(), self.expire_ms())
    }
}

impl Drop for Field {
    #[inline]
    fn drop(&mut self) {
        let size = self.size();
        // SAFETY: the field owns its allocation, whose size this is; it is given up once.
        unsafe { slab::free(NonNull::new_unchecked(self.0.as_ptr()), size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_field_keeps_what_it_was_given(
            name in proptest::collection::vec(any::<u8>(), 0..300),
            first in proptest::collection::vec(any::<u8>(), 0..300),
            second in proptest::collection::vec(any::<u8>(), 0..300),
            at in proptest::option::of(any::<i64>()), later in proptest::option::of(any::<i64>()),
        ) {
            let mut field = Field::new(&name, &first, at);
            prop_assert_eq!((field.name(), field.value(), field.expire_ms()), (&name[..], &first[..], at));
            field.set_expire_ms(later);
            prop_assert_eq!((field.name(), field.value(), field.expire_ms()), (&name[..], &first[..], later));
            field.set(&second, at);
            let copy = field.clone();
            field.set(&second.iter().rev().copied().collect::<Vec<_>>(), None);
            prop_assert!(field.value().iter().eq(second.iter().rev()) && field.expire_ms().is_none());
            prop_assert_eq!((copy.name(), copy.value(), copy.expire_ms()), (&name[..], &second[..], at));
        }
    }

    #[test]
    fn long_names_and_values_are_kept() {
        for (name, value) in [(255, 65_535), (256, 1), (1, 65_536), (300, 70_000)] {
            let (name, value) = (vec![b'n'; name], vec![b'v'; value]);
            for at in [None, Some(7)] {
                let field = Field::new(&name, &value, at);
                assert_eq!((field.name(), field.value(), field.expire_ms()), (&name[..], &value[..], at));
            }
        }
        assert_eq!(Field::new(&[1; 16], &[2; 16], None).size(), 36);
    }
}
