//! LZF, the compression of strings in RDB files and DUMP payloads.
//!
//! ```text
//! 000LLLLL <L+1 bytes>                  a run of 1..=32 literal bytes
//! LLLooooo oooooooo                     L in 1..=6: copy L+2 bytes from 13-bit offset o, plus 1, back
//! 111ooooo LLLLLLLL oooooooo            copy L+9 bytes
//! ```
//! What is decompressed may come from anyone: it is bounded, and wrong input gives `None`.

use std::cell::RefCell;

const MAX_LITERAL: usize = 32;
const MAX_OFFSET: usize = 1 << 13;
const MAX_MATCH: usize = 264;
/// The most that one input byte can become: a copy of 264 takes 3 bytes.
const MAX_EXPANSION: usize = MAX_MATCH / 3;

/// Slots of the largest table.
const MAX_BITS: u32 = 14;

/// Where three bytes were seen last. One table serves text after text and is never cleared between them: what was entered
/// for former ones lies below `base`.
struct LastSeen {
    slots: Box<[u32]>,
    /// Stands for position 0 of the text at hand. 0 is never a position, so that a new table is empty.
    base: u32,
}

impl LastSeen {
    fn new() -> Self {
        Self { slots: vec![0; 1 << MAX_BITS].into(), base: 1 }
    }

    /// Makes room for the positions of a text.
    fn begin(&mut self, len: u32) -> u32 {
        if self.base.checked_add(len).is_none() {
            self.slots.fill(0);
            self.base = 1;
        }
        let base = self.base;
        // A text of nearly 4 GiB has the numbers to itself; the next one starts over.
        self.base = base.saturating_add(len);
        base
    }
}

thread_local! {
    static LAST_SEEN: RefCell<LastSeen> = RefCell::new(LastSeen::new());
}

/// The compressed form, if it is at least four bytes shorter: less is not worth the header.
pub fn compress(input: &[u8]) -> Option<Vec<u8>> {
    LAST_SEEN.with_borrow_mut(|last_seen| compress_with(last_seen, input))
}

fn compress_with(last_seen: &mut LastSeen, input: &[u8]) -> Option<Vec<u8>> {
    let limit = input.len().checked_sub(4).filter(|&n| n > 0 && n < u32::MAX as usize - 4)?;
    // A small text uses a small part of the table, which stays in the nearest cache.
    let bits = (usize::BITS - input.len().leading_zeros()).clamp(6, MAX_BITS);
    let base = last_seen.begin(input.len() as u32);
    let last_seen = &mut last_seen.slots[..1 << bits];
    let slot = |at: usize| {
        let three = u32::from(input[at]) << 16 | u32::from(input[at + 1]) << 8 | u32::from(input[at + 2]);
        (three.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize
    };

    let mut out = Vec::with_capacity(limit);
    let (mut at, mut literals_from) = (0, 0);
    while at + 2 < input.len() {
        let slot_here = slot(at);
        // Below the base: never seen in this text.
        let candidate = std::mem::replace(&mut last_seen[slot_here], base + at as u32).checked_sub(base);
        let reach = candidate.map(|c| c as usize);
        let reach = reach.filter(|&c| at - c <= MAX_OFFSET && input[c..c + 3] == input[at..at + 3]);
        let Some(from) = reach else {
            at += 1;
            // Literals not yet written count too, so that hopeless input is given up early.
            if out.len() + (at - literals_from) > limit {
                return None;
            }
            continue;
        };
        let most = (input.len() - at).min(MAX_MATCH);
        let len = 3 + (3..most).take_while(|&i| input[from + i] == input[at + i]).count();
        push_literals(&mut out, &input[literals_from..at]);
        push_copy(&mut out, at - from - 1, len - 2);
        if out.len() > limit {
            return None;
        }
        // Only the end of a match is entered: enough to find runs, and quick.
        for skipped in at + len - 2..at + len {
            if skipped + 2 < input.len() {
                last_seen[slot(skipped)] = base + skipped as u32;
            }
        }
        at += len;
        literals_from = at;
    }
    push_literals(&mut out, &input[literals_from..]);
    (out.len() <= limit).then_some(out)
}

fn push_literals(out: &mut Vec<u8>, bytes: &[u8]) {
    for run in bytes.chunks(MAX_LITERAL) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn push_copy(out: &mut Vec<u8>, offset: usize, len: usize) {
    let high = (offset >> 8) as u8;
    if len < 7 {
        out.push((len as u8) << 5 | high);
    } else {
        out.extend_from_slice(&[7 << 5 | high, (len - 7) as u8]);
    }
    out.push(offset as u8);
}

/// The text of `expected_len` bytes that `input` stands for; `None` if it stands for no such text.
pub fn decompress(input: &[u8], expected_len: usize) -> Option<Vec<u8>> {
    // A length that cannot be reached must not make us allocate.
    if expected_len > input.len().saturating_mul(MAX_EXPANSION) {
        return None;
    }
    let mut out: Vec<u8> = Vec::with_capacity(expected_len);
    let mut rest = input;
    while let [control, tail @ ..] = rest {
        rest = tail;
        let control = usize::from(*control);
        if control < MAX_LITERAL {
            let (run, tail) = rest.split_at_checked(control + 1)?;
            out.extend_from_slice(run);
            rest = tail;
        } else {
            let mut len = (control >> 5) + 2;
            if len == 9 {
                let (more, tail) = rest.split_first()?;
                len += usize::from(*more);
                rest = tail;
            }
            let (low, tail) = rest.split_first()?;
            rest = tail;
            let from = out.len().checked_sub(((control & 31) << 8 | usize::from(*low)) + 1)?;
            if out.len() + len > expected_len {
                return None;
            }
            if from + len <= out.len() {
                out.extend_from_within(from..from + len);
            } else {
                // Overlapping: a copy may read what it has just written.
                for i in from..from + len {
                    let byte = *out.get(i)?;
                    out.push(byte);
                }
            }
        }
        if out.len() > expected_len {
            return None;
        }
    }
    (out.len() == expected_len).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repetition_shrinks_and_comes_back() {
        for text in [vec![b'a'; 10_000], b"abcabcabcabcabcabcabc".to_vec(), b"hello world, ".repeat(700)] {
            let small = compress(&text).expect("compressible");
            assert!(small.len() < text.len() / 2 + 4);
            assert_eq!(decompress(&small, text.len()), Some(text));
        }
    }

    #[test]
    fn a_table_in_use_finds_what_a_new_one_finds() {
        let texts =
            [b"hello world, ".repeat(7), b"hello world, ".repeat(9), vec![b'x'; 40], b"abcabcabcabcabcabc".to_vec()];
        let mut used = LastSeen::new();
        for round in 0..3 {
            for text in &texts {
                let fresh = compress_with(&mut LastSeen::new(), text);
                assert_eq!(compress_with(&mut used, text), fresh, "round {round}");
            }
            // Close to the end of all numbers it starts over.
            used.base = u32::MAX - 50;
        }
    }

    #[test]
    fn what_gains_nothing_is_left_alone() {
        assert_eq!(compress(b""), None);
        assert_eq!(compress(b"abcd"), None);
        assert_eq!(compress(b"abcdefghijklmnopqrstuvwxyz"), None);
    }

    #[test]
    fn wrong_input_is_refused() {
        assert_eq!(decompress(b"\x05ab", 6), None);
        assert_eq!(decompress(b"\x20\x00", 3), None);
        assert_eq!(decompress(b"\x00a", 2), None);
        assert_eq!(decompress(b"\x00a\xe0", 300), None);
        assert_eq!(decompress(b"\x00a", usize::MAX), None);
    }

    proptest! {
        #[test]
        fn round_trip(text in prop::collection::vec(0u8..4, 0..3000)) {
            if let Some(small) = compress(&text) {
                prop_assert!(small.len() + 4 <= text.len());
                prop_assert_eq!(decompress(&small, text.len()), Some(text));
            }
        }

        #[test]
        fn any_bytes_are_survived(input in prop::collection::vec(any::<u8>(), 0..300), len in 0usize..5000) {
            let _ = decompress(&input, len);
        }
    }
}
