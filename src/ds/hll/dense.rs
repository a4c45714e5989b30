//! The dense form: all registers, six bits each, the lowest bits first.
//!
//! ```text
//! byte       0         1         2
//! register | 11000000 | 22221111 | 33333322 | ...
//! ```

use super::REGISTERS;

/// Bytes of all registers.
pub const LEN: usize = REGISTERS * 6 / 8;

/// Four registers in three bytes.
fn unpack(bytes: [u8; 3]) -> [u8; 4] {
    let all = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    [0, 6, 12, 18].map(|shift| (all >> shift) as u8 & 63)
}

fn packed(ranks: [u8; 4]) -> [u8; 3] {
    let all = ranks.iter().rev().fold(0u32, |all, rank| all << 6 | u32::from(rank & 63));
    let [a, b, c, _] = all.to_le_bytes();
    [a, b, c]
}

pub fn get(bytes: &[u8], register: usize) -> u8 {
    let groups = bytes.as_chunks::<3>().0;
    groups.get(register / 4).map_or(0, |group| unpack(*group)[register % 4])
}

pub fn set(bytes: &mut [u8], register: usize, rank: u8) {
    if let Some(group) = bytes.as_chunks_mut::<3>().0.get_mut(register / 4) {
        let mut ranks = unpack(*group);
        ranks[register % 4] = rank;
        *group = packed(ranks);
    }
}

pub fn each(bytes: &[u8], mut f: impl FnMut(usize, u8)) {
    for (i, group) in bytes.as_chunks::<3>().0.iter().enumerate() {
        unpack(*group).into_iter().enumerate().for_each(|(j, rank)| f(i * 4 + j, rank));
    }
}

/// Raises `ranks`, one byte a register, to what is in `bytes`.
pub fn raise(bytes: &[u8], ranks: &mut [u8; REGISTERS]) {
    for (mine, group) in ranks.as_chunks_mut::<4>().0.iter_mut().zip(bytes.as_chunks::<3>().0) {
        for (mine, rank) in mine.iter_mut().zip(unpack(*group)) {
            *mine = (*mine).max(rank);
        }
    }
}

/// Writes all registers.
pub fn pack(ranks: &[u8; REGISTERS], bytes: &mut [u8]) {
    bytes
        .as_chunks_mut::<3>()
        .0
        .iter_mut()
        .zip(ranks.as_chunks::<4>().0)
        .for_each(|(out, group)| *out = packed(*group));
}
