//! Members by chance: each as likely as any other.
//!
//! Knows the forms of a set, not why somebody asks.

use std::collections::HashSet;

use super::{Form, Set, Taken};
use crate::base::rand;
use crate::ds::listpack::{Item, Listpack};
use crate::ds::{Limits, intset::IntSet};

/// From this share on, all members are gone through rather than drawn one by one: 1 of so many.
const DENSE: usize = 3;
/// Where so many times fewer stay than go, those that stay are drawn.
const FEW_STAY: usize = 5;

/// Goes through `all` things and picks `wanted` of them, each choice as likely as any other (Knuth's algorithm S).
struct Selection {
    all: usize,
    wanted: usize,
}

impl Selection {
    #[inline]
    fn picks_next(&mut self) -> bool {
        let picked = (rand::below(self.all as u64) as usize) < self.wanted;
        self.all -= 1;
        self.wanted -= usize::from(picked);
        picked
    }
}

impl Set {
    /// One member; `None` if there is none.
    #[inline]
    pub fn random(&self) -> Option<Item<'_>> {
        if self.is_empty() {
            return None;
        }
        match &self.0 {
            Form::Ints(ints) => Some(Item::Int(ints.get(rand::below(ints.len() as u64) as usize))),
            Form::Pack(pack) => {
                let pos = pack.seek(rand::below(pack.len() as u64) as i64)?;
                Some(pack.get(pos))
            }
            Form::Table(table) => table.random(rand::u64()).map(|m| Item::Str(m.bytes())),
        }
    }

    /// Takes one member out.
    #[inline]
    pub fn pop(&mut self) -> Option<Taken> {
        if self.is_empty() {
            return None;
        }
        match &mut self.0 {
            Form::Ints(ints) => {
                let n = ints.remove_at(rand::below(ints.len() as u64) as usize);
                Some(Taken::from_slice(itoa::Buffer::new().format(n).as_bytes()))
            }
            Form::Pack(pack) => {
                let pos = pack.seek(rand::below(pack.len() as u64) as i64)?;
                let taken = Taken::from_slice(pack.get(pos).bytes(&mut itoa::Buffer::new()));
                pack.remove(pos);
                Some(taken)
            }
            Form::Table(table) => {
                let member = table.take_random(rand::u64())?;
                Some(Taken::from_slice(member.bytes()))
            }
        }
    }

    /// Takes `count` members out, which are fewer than there are. What stays may change its form where stock changes it.
    pub fn pop_many(&mut self, count: usize, limits: &Limits) -> Vec<Taken> {
        let stays = self.len().saturating_sub(count);
        if let Form::Pack(pack) = &mut self.0 {
            return take_from_pack(pack, count);
        }
        if stays.saturating_mul(FEW_STAY) > count {
            return (0..count).map_while(|_| self.pop()).collect();
        }
        let mut rest = match &self.0 {
            Form::Ints(_) => Set(Form::Ints(IntSet::new())),
            Form::Pack(_) | Form::Table(_) => Set::packed(),
        };
        for _ in 0..stays {
            if let Some(member) = self.pop() {
                rest.add(&member, limits);
            }
        }
        let gone = std::mem::replace(self, rest);
        gone.iter().map(|m| Taken::from_slice(m.bytes(&mut itoa::Buffer::new()))).collect()
    }

    /// `count` different members, or all if there are no more; in no order to be relied on.
    pub fn sample(&self, count: usize) -> Vec<Item<'_>> {
        let all = self.len();
        if count >= all {
            return self.iter().collect();
        }
        match &self.0 {
            Form::Table(table) if count.saturating_mul(DENSE) <= all => {
                let mut seen = HashSet::with_capacity(count);
                let mut out = Vec::with_capacity(count);
                while out.len() < count {
                    let Some(member) = table.random(rand::u64()) else { break };
                    // No two members lie in one place.
                    if seen.insert(member.bytes().as_ptr().addr()) {
                        out.push(Item::Str(member.bytes()));
                    }
                }
                out
            }
            Form::Ints(_) | Form::Pack(_) | Form::Table(_) => {
                let mut selection = Selection { all, wanted: count };
                self.iter().filter(|_| selection.picks_next()).collect()
            }
        }
    }

    /// Calls `f` with `count` members, each drawn from all there are; not at all if there are none.
    pub fn draw(&self, count: u64, mut f: impl FnMut(Item<'_>)) {
        // A listpack is walked once, not once for each.
        let places: Vec<Item<'_>> = match &self.0 {
            Form::Pack(pack) if count > 1 => pack.iter().collect(),
            Form::Ints(_) | Form::Pack(_) | Form::Table(_) => Vec::new(),
        };
        for _ in 0..count {
            match places.len() {
                0 => match self.random() {
                    Some(member) => f(member),
                    None => return,
                },
                n => f(places[rand::below(n as u64) as usize]),
            }
        }
    }
}

fn take_from_pack(pack: &mut Listpack, count: usize) -> Vec<Taken> {
    let mut selection = Selection { all: pack.len(), wanted: count };
    let mut taken = Vec::with_capacity(count);
    let mut rest = Listpack::with_capacity(pack.byte_len());
    let mut text = itoa::Buffer::new();
    for item in pack.iter() {
        if selection.picks_next() {
            taken.push(Taken::from_slice(item.bytes(&mut text)));
            continue;
        }
        match item {
            Item::Int(n) => rest.push_back_int(n),
            Item::Str(member) => rest.push_back(member),
        }
    }
    rest.shrink_to_fit();
    *pack = rest;
    taken
}
