//! What one search of a dictionary finds: an item to change, replace or remove, or the place for a new one.

use std::ops::{Deref, DerefMut};

use super::table::{Dict, Spot};
use super::thin::{Thin, ThinOwned};

/// The result of [`Dict::find_slot`].
pub enum Slot<'a, T: ThinOwned> {
    Found(SlotMut<'a, T>),
    Vacant(VacantSlot<'a, T>),
}

/// An item in its dictionary. Through it the item may be changed or another one, with the same key, put in its place.
pub struct SlotMut<'a, T: ThinOwned> {
    pub(super) dict: &'a mut Dict<T>,
    pub(super) position: u64,
    pub(super) spot: Spot,
    pub(super) item: *mut T,
    /// What the item's upper bits must be. A change may write a pointer without them; they come back when the guard
    /// goes. If it is leaked, the item can no longer be found, but nothing worse happens.
    pub(super) tag: u16,
}

impl<T: ThinOwned> SlotMut<'_, T> {
    /// Takes the item out.
    pub fn remove(self) -> T {
        self.retag();
        let mut this = std::mem::ManuallyDrop::new(self);
        let (position, spot) = (this.position, this.spot);
        this.dict.take(position, spot)
    }

    /// Puts an item with the same key in this one's place, which it gives back.
    pub fn replace(mut self, item: T) -> T {
        debug_assert_eq!(item.key(), self.key());
        std::mem::replace(&mut self, item)
    }

    #[inline]
    fn retag(&self) {
        let item = self.item.cast::<Thin>();
        // SAFETY: the pointer leads to an item of `self.dict`, which is borrowed mutably; `T` is transparent over `Thin`.
        unsafe { item.write(item.read().tagged(self.tag)) };
    }
}

impl<T: ThinOwned> Deref for SlotMut<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: as in `retag`.
        unsafe { &*self.item }
    }
}

impl<T: ThinOwned> DerefMut for SlotMut<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `retag`.
        unsafe { &mut *self.item }
    }
}

impl<T: ThinOwned> Drop for SlotMut<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.retag();
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
