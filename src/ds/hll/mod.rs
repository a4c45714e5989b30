//! HyperLogLogs, byte for byte in the format of stock servers, which keep them as strings.
//!
//! ```text
//!  0      4          5        8                          16
//! +------+----------+--------+--------------------------+-----------+
//! | HYLL | encoding | unused | cached count, u64 little | registers |
//! +------+----------+--------+--------------------------+-----------+
//! encoding  0: dense (see `dense`), 1: sparse (see `sparse`)
//! count     valid unless its highest bit is set
//! ```
//! The bytes may come from anybody: whatever they are, they are answered with [`Corrupt`] at worst. Knows no command.

mod dense;
mod estimate;
mod murmur;
mod selftest;
mod sparse;
#[cfg(test)]
mod tests;

pub use selftest::{Failure, selftest};

/// Bits of an element's hash that choose its register.
const INDEX_BITS: u32 = 14;
const REGISTERS: usize = 1 << INDEX_BITS;
/// The highest rank: all the other bits are zero.
const RANK_MAX: u32 = 64 - INDEX_BITS + 1;
const HEADER: usize = 16;
const ENCODING: usize = 4;
const CACHE: std::ops::Range<usize> = 8..HEADER;
/// In the last byte of the cache: it is not valid.
const STALE: u8 = 0x80;

/// The bytes are no HyperLogLog inside, although they begin as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Dense,
    Sparse,
}

/// What the bytes claim to be; `None`: no HyperLogLog.
pub fn form(bytes: &[u8]) -> Option<Form> {
    if bytes.len() < HEADER || !bytes.starts_with(b"HYLL") {
        return None;
    }
    match bytes[ENCODING] {
        0 if bytes.len() == HEADER + dense::LEN => Some(Form::Dense),
        1 => Some(Form::Sparse),
        _ => None,
    }
}

/// One that has seen no element.
pub fn empty() -> Vec<u8> {
    let mut value = Vec::with_capacity(64);
    value.extend_from_slice(b"HYLL\x01");
    value.resize(HEADER, 0);
    sparse::push_zeros(&mut value, REGISTERS);
    value
}

/// Where an element belongs: its register, and the rank that this must have at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    register: usize,
    rank: u8,
}

/// The seed of stock servers.
const SEED: u64 = 0xadc8_3b19;

pub fn place(element: &[u8]) -> Place {
    let hash = murmur::murmur64a(element, SEED);
    // The bit above the hash's own bits ends the run of zeros.
    let rest = hash >> INDEX_BITS | 1 << (64 - INDEX_BITS);
    Place { register: hash as usize % REGISTERS, rank: rest.trailing_zeros() as u8 + 1 }
}

/// The cached count, if it holds.
pub fn cached(bytes: &[u8]) -> Option<u64> {
    let count = u64::from_le_bytes(bytes.get(CACHE)?.try_into().ok()?);
    (count >> 63 == 0).then_some(count)
}

pub fn set_cached(bytes: &mut [u8], count: u64) {
    if let Some(cache) = bytes.get_mut(CACHE) {
        cache.copy_from_slice(&count.to_le_bytes());
    }
}

pub fn invalidate(bytes: &mut [u8]) {
    if let Some(last) = bytes.get_mut(CACHE.end - 1) {
        *last |= STALE;
    }
}

fn body(bytes: &[u8]) -> &[u8] {
    bytes.get(HEADER..).unwrap_or_default()
}

/// Whether the place's register would rise.
pub fn improves(bytes: &[u8], place: Place) -> Result<bool, Corrupt> {
    let rank = match form(bytes) {
        Some(Form::Dense) => dense::get(body(bytes), place.register),
        Some(Form::Sparse) => sparse::get(body(bytes), place.register)?,
        None => return Err(Corrupt),
    };
    Ok(place.rank > rank)
}

/// Raises the place's register in a dense one; false if it was as high.
pub fn add_dense(bytes: &mut [u8], place: Place) -> bool {
    debug_assert_eq!(form(bytes), Some(Form::Dense));
    let registers = bytes.get_mut(HEADER..).unwrap_or_default();
    let rises = place.rank > dense::get(registers, place.register);
    if rises {
        dense::set(registers, place.register, place.rank);
    }
    rises
}

/// Raises the place's register; false if it was as high. A sparse one that would grow beyond `limit` bytes becomes
/// dense.
pub fn add(value: &mut Vec<u8>, place: Place, limit: usize) -> Result<bool, Corrupt> {
    add_near(value, &mut sparse::Near::default(), place, limit)
}

fn add_near(value: &mut Vec<u8>, near: &mut sparse::Near, place: Place, limit: usize) -> Result<bool, Corrupt> {
    match form(value) {
        Some(Form::Dense) => Ok(add_dense(value, place)),
        None => Err(Corrupt),
        Some(Form::Sparse) => match sparse::set(value, near, place.register, place.rank, limit)? {
            sparse::Set::Same => Ok(false),
            sparse::Set::Raised => {
                invalidate(value);
                Ok(true)
            }
            sparse::Set::TooLong => {
                to_dense(value)?;
                Ok(add_dense(value, place))
            }
        },
    }
}

/// Makes a sparse one dense.
pub fn to_dense(value: &mut Vec<u8>) -> Result<(), Corrupt> {
    if form(value) == Some(Form::Dense) {
        return Ok(());
    }
    let mut registers = Registers::default();
    registers.raise_to(value)?;
    value.truncate(HEADER);
    value.resize(HEADER + dense::LEN, 0);
    value[ENCODING] = 0;
    dense::pack(&registers.0, &mut value[HEADER..]);
    Ok(())
}

/// The estimate of how many different elements it has seen.
pub fn count(bytes: &[u8]) -> Result<u64, Corrupt> {
    let mut histogram = [0u32; 64];
    match form(bytes) {
        Some(Form::Dense) => dense::each(body(bytes), |_, rank| histogram[usize::from(rank)] += 1),
        Some(Form::Sparse) => sparse::runs(body(bytes), |_, run, rank| histogram[usize::from(rank)] += run as u32)?,
        None => return Err(Corrupt),
    }
    Ok(estimate::count(&histogram))
}

/// What a sparse one consists of, in words: `Z:16384`, `z:3 v:2,1`.
pub fn decode(bytes: &[u8]) -> Result<String, Corrupt> {
    sparse::decode(body(bytes))
}

/// One byte a register: to unite several.
pub struct Registers(Box<[u8; REGISTERS]>);

impl Default for Registers {
    fn default() -> Self {
        Self(Box::new([0; REGISTERS]))
    }
}

impl Registers {
    /// Raises each register to that of `bytes`.
    pub fn raise_to(&mut self, bytes: &[u8]) -> Result<(), Corrupt> {
        let mine = &mut self.0;
        match form(bytes) {
            Some(Form::Dense) => dense::raise(body(bytes), mine),
            Some(Form::Sparse) => sparse::runs(body(bytes), |first, run, rank| {
                // Runs beyond the last register are refused below, when all are counted.
                mine.iter_mut().skip(first).take(run).for_each(|r| *r = (*r).max(rank));
            })?,
            None => return Err(Corrupt),
        }
        Ok(())
    }

    pub fn count(&self) -> u64 {
        let mut histogram = [0u32; 64];
        self.0.iter().for_each(|rank| histogram[usize::from(rank & 63)] += 1);
        estimate::count(&histogram)
    }

    /// All registers, in one byte each, for those who look inside.
    pub fn ranks(&self) -> &[u8] {
        &self.0[..]
    }

    /// Raises the registers of `value` to these, which are nowhere lower. It becomes dense if it must.
    pub fn store(&self, value: &mut Vec<u8>, limit: usize) -> Result<(), Corrupt> {
        let mut near = sparse::Near::default();
        for (register, rank) in self.0.iter().copied().enumerate().filter(|(_, rank)| *rank > 0) {
            if form(value) == Some(Form::Dense) {
                self.store_dense(value);
                return Ok(());
            }
            add_near(value, &mut near, Place { register, rank }, limit)?;
        }
        invalidate(value);
        Ok(())
    }

    /// The same for a dense one.
    pub fn store_dense(&self, bytes: &mut [u8]) {
        debug_assert_eq!(form(bytes), Some(Form::Dense));
        dense::pack(&self.0, bytes.get_mut(HEADER..).unwrap_or_default());
        invalidate(bytes);
    }
}
