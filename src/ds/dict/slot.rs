//! What one search of a dictionary finds: an item to change, replace or remove, or the place for a new one.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use super::table::{Dict, Spot};
use super::thin::{Thin, ThinOwned};

/// The result of [`Dict::find_slot`].
///
/// Neither variant does anything when dropped, so that within a `match` the dictionary is free again as soon as the
/// variant was used.
pub enum Slot<'a, T: ThinOwned> {
    Found(FoundSlot<'a, T>),
    Vacant(VacantSlot<'a, T>),
}

/// An item in its dictionary, so far to be looked at.
pub struct FoundSlot<'a, T: ThinOwned> {
    pub(super) dict: &'a mut Dict<T>,
    pub(super) position: u64,
    pub(super) spot: Spot,
    pub(super) item: *mut T,
    pub(super) tag: u16,
}

impl<'a, T: ThinOwned> FoundSlot<'a, T> {
    /// Opens the item for changes.
    #[inline]
    pub fn edit(self) -> SlotMut<'a, T> {
        SlotMut { item: self.item, tag: self.tag, dict: PhantomData }
    }

    /// Takes the item out.
    pub fn remove(self) -> T {
        self.dict.take(self.position, self.spot)
    }

    /// Puts an item with the same key in this one's place, which it gives back.
    pub fn replace(self, item: T) -> T {
        debug_assert_eq!(item.key(), self.key());
        std::mem::replace(&mut self.edit(), item)
    }
}

impl<T: ThinOwned> Deref for FoundSlot<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the pointer leads to an item of `self.dict`, which is borrowed mutably.
        unsafe { &*self.item }
    }
}

/// An item open for changes: its pointer may change too, its key not.
pub struct SlotMut<'a, T: ThinOwned> {
    item: *mut T,
    /// What the item's upper bits must be. A change may write a pointer without them; they come back when the guard
    /// goes. If it is leaked, the item can no longer be found, but nothing worse happens.
    tag: u16,
    dict: PhantomData<&'a mut Dict<T>>,
}

impl<T: ThinOwned> Deref for SlotMut<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the pointer leads to an item of a dictionary that is borrowed mutably.
        unsafe { &*self.item }
    }
}

impl<T: ThinOwned> DerefMut for SlotMut<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the pointer leads to an item of a dictionary that is borrowed mutably.
        unsafe { &mut *self.item }
    }
}

impl<T: ThinOwned> Drop for SlotMut<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let item = self.item.cast::<Thin>();
        // SAFETY: as above; `T` is transparent over `Thin`.
        unsafe { item.write(item.read().tagged(self.tag)) };
    }
}

/// The place for an item that is not there yet.
pub struct VacantSlot<'a, T: ThinOwned> {
    pub(super) dict: &'a mut Dict<T>,
    pub(super) hash: u64,
}

impl<T: ThinOwned> VacantSlot<'_, T> {
    /// Adds the item, which must have the key that was searched for.
    #[inline]
    pub fn insert(self, item: T) {
        self.dict.insert(self.hash, item);
    }
}
