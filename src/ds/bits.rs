//! Strings as arrays of bits: single bits, integers of any width, counting, searching and combining.
//!
//! Bit 0 is the highest of the first byte. What lies behind the end of a string is zero. Knows no command.

/// The bit at `offset`.
pub fn get(bytes: &[u8], offset: u64) -> bool {
    bytes.get((offset >> 3) as usize).is_some_and(|byte| byte >> (7 - (offset & 7)) & 1 == 1)
}

/// Sets the bit at `offset`, which the string must reach; gives what it was.
pub fn set(bytes: &mut [u8], offset: u64, on: bool) -> bool {
    let (byte, mask) = (&mut bytes[(offset >> 3) as usize], 0x80 >> (offset & 7));
    let was = *byte & mask != 0;
    if on {
        *byte |= mask
    } else {
        *byte &= !mask
    }
    was
}

// ---- counting ----

/// How many bits are set.
pub fn count(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= 64 && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
        // SAFETY: the processor was just asked whether it has both.
        return unsafe { count_avx2(bytes) };
    }
    count_words(bytes)
}

/// The same loop, for which the compiler may use what newer processors have.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn count_avx2(bytes: &[u8]) -> u64 {
    count_words(bytes)
}

#[inline(always)]
fn count_words(bytes: &[u8]) -> u64 {
    let mut blocks = bytes.chunks_exact(32);
    let mut sums = [0u64; 4];
    for block in &mut blocks {
        for (sum, word) in sums.iter_mut().zip(block.chunks_exact(8)) {
            *sum += u64::from(word_of(word).count_ones());
        }
    }
    sums.iter().sum::<u64>() + blocks.remainder().iter().map(|b| u64::from(b.count_ones())).sum::<u64>()
}

#[inline(always)]
fn word_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// How many bits are set from bit `first` to bit `last`, both included; `last` lies in the string.
pub fn count_between(bytes: &[u8], first: u64, last: u64) -> u64 {
    if first > last {
        return 0;
    }
    let (from, to) = ((first >> 3) as usize, (last >> 3) as usize);
    let (head, tail) = edges(first, last);
    if from == to {
        return u64::from((bytes[from] & head & tail).count_ones());
    }
    u64::from((bytes[from] & head).count_ones())
        + count(&bytes[from + 1..to])
        + u64::from((bytes[to] & tail).count_ones())
}

/// What of the first and of the last byte belongs to a range of bits.
fn edges(first: u64, last: u64) -> (u8, u8) {
    (0xff >> (first & 7), !(0x7f >> (last & 7)))
}

// ---- searching ----

/// The first bit from `first` to `last` that is `bit`; `last` lies in the string.
pub fn find_between(bytes: &[u8], bit: bool, first: u64, last: u64) -> Option<u64> {
    if first > last {
        return None;
    }
    let (from, to) = ((first >> 3) as usize, (last >> 3) as usize);
    let (head, tail) = edges(first, last);
    // Sought is a set bit in `byte ^ flip`.
    let flip = if bit { 0 } else { 0xff };
    let in_byte = |at: usize, mask: u8| {
        let found = (bytes[at] ^ flip) & mask;
        (found != 0).then(|| at as u64 * 8 + u64::from(found.leading_zeros()))
    };
    if from == to {
        return in_byte(from, head & tail);
    }
    let middle = || find(&bytes[from + 1..to], bit).map(|at| at + (from as u64 + 1) * 8);
    in_byte(from, head).or_else(middle).or_else(|| in_byte(to, tail))
}

/// The first bit that is `bit`.
fn find(bytes: &[u8], bit: bool) -> Option<u64> {
    let flip = if bit { 0 } else { u64::MAX };
    let mut words = bytes.chunks_exact(8);
    let mut at = 0;
    for word in &mut words {
        let found = word_of(word) ^ flip;
        if found != 0 {
            return Some(at + u64::from(found.leading_zeros()));
        }
        at += 64;
    }
    for byte in words.remainder() {
        let found = byte ^ flip as u8;
        if found != 0 {
            return Some(at + u64::from(found.leading_zeros()));
        }
        at += 8;
    }
    None
}

// ---- combining ----

/// How BITOP makes one string of several. Of the last four, `X` is the first source and `Y` any of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    And,
    Or,
    Xor,
    /// Of the only source.
    Not,
    /// In X, in no Y.
    Diff,
    /// In some Y, not in X.
    Diff1,
    /// In X and in some Y.
    AndOr,
    /// In exactly one source.
    One,
}

/// So much of the result is made at a time, from all sources: it stays in the nearest cache meanwhile.
const BLOCK: usize = 8 << 10;

/// The combination of the sources, as long as the longest.
pub fn combine(op: Op, sources: &[&[u8]]) -> Vec<u8> {
    let len = sources.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut result = vec![0; len];
    let mut twice = [0u8; BLOCK];
    for (i, out) in result.chunks_mut(BLOCK).enumerate() {
        let at = i * BLOCK;
        let end = at + out.len();
        let parts = sources.iter().map(|s| &s[at.min(s.len())..end.min(s.len())]);
        combine_block(op, out, &mut twice, parts);
    }
    result
}

/// `out` is zero at first. A source that is shorter than it counts as filled up with zeros.
fn combine_block<'a>(
    op: Op,
    out: &mut [u8],
    twice: &mut [u8; BLOCK],
    mut sources: impl Iterator<Item = &'a [u8]> + Clone,
) {
    match op {
        Op::And => {
            if let Some(first) = sources.next() {
                out[..first.len()].copy_from_slice(first);
            }
            sources.for_each(|s| and(out, s));
        }
        Op::Or => sources.for_each(|s| each(out, s, |o, s| *o |= s)),
        Op::Xor => sources.for_each(|s| each(out, s, |o, s| *o ^= s)),
        Op::Not => {
            if let Some(only) = sources.next() {
                each(out, only, |o, s| *o = !s);
            }
        }
        Op::Diff => {
            if let Some(x) = sources.next() {
                out[..x.len()].copy_from_slice(x);
            }
            sources.for_each(|y| each(out, y, |o, y| *o &= !y));
        }
        Op::Diff1 | Op::AndOr => {
            let x = sources.next().unwrap_or_default();
            sources.for_each(|y| each(out, y, |o, y| *o |= y));
            if op == Op::AndOr { and(out, x) } else { each(out, x, |o, x| *o &= !x) }
        }
        Op::One => {
            let twice = &mut twice[..out.len()];
            twice.fill(0);
            for s in sources {
                for ((o, t), s) in out.iter_mut().zip(twice.iter_mut()).zip(s) {
                    *t |= *o & s;
                    *o |= s;
                }
            }
            each(out, twice, |o, t| *o &= !t);
        }
    }
}

#[inline(always)]
fn each(out: &mut [u8], source: &[u8], f: impl Fn(&mut u8, u8)) {
    out.iter_mut().zip(source).for_each(|(o, s)| f(o, *s));
}

fn and(out: &mut [u8], source: &[u8]) {
    each(out, source, |o, s| *o &= s);
    out[source.len()..].fill(0);
}

// ---- integers ----

/// The type of an integer inside a string: `i1` to `i64`, `u1` to `u63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub signed: bool,
    pub bits: u32,
}

/// What becomes of a value that its field cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Field {
    fn bounds(self) -> (i128, i128) {
        if self.signed { (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) } else { (0, (1 << self.bits) - 1) }
    }

    /// The low bits of `value`, as this type reads them.
    fn wrap(self, value: i128) -> i64 {
        let up = 64 - self.bits;
        let high = (value as u64) << up;
        if self.signed { high as i64 >> up } else { (high >> up) as i64 }
    }

    /// What the field holds at `offset`.
    pub fn read(self, bytes: &[u8], offset: u64) -> i64 {
        let (from, shift) = ((offset >> 3) as usize, (offset & 7) as u32);
        // Nine bytes hold 64 bits wherever they begin.
        let mut window = [0; 16];
        let there = bytes.get(from..).unwrap_or_default();
        let n = there.len().min(9);
        window[..n].copy_from_slice(&there[..n]);
        self.wrap((u128::from_be_bytes(window) >> (128 - shift - self.bits)) as i128)
    }

    /// Writes the low bits of `value` at `offset`, which the string must reach with all of them.
    pub fn write(self, bytes: &mut [u8], offset: u64, value: i64) {
        let (from, shift) = ((offset >> 3) as usize, (offset & 7) as u32);
        let len = (shift + self.bits).div_ceil(8) as usize;
        let there = &mut bytes[from..from + len];
        let mut window = [0; 16];
        window[..len].copy_from_slice(there);
        let down = 128 - shift - self.bits;
        let mask = u128::from(u64::MAX >> (64 - self.bits)) << down;
        let new = u128::from_be_bytes(window) & !mask | u128::from(value as u64) << down & mask;
        there.copy_from_slice(&new.to_be_bytes()[..len]);
    }

    /// `value` made to fit; `None` if it does not and must not be made to.
    fn fit(self, value: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.bounds();
        if (min..=max).contains(&value) {
            return Some(value as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.wrap(value)),
            Overflow::Saturate => Some(if value > max { max } else { min } as i64),
            Overflow::Fail => None,
        }
    }

    /// A given value made to fit. A negative one is a very large one to an unsigned field.
    pub fn fit_value(self, value: i64, overflow: Overflow) -> Option<i64> {
        let (_, max) = self.bounds();
        if self.signed && self.bits < 64 && overflow == Overflow::Saturate && max - i128::from(value) > i64::MAX.into()
        {
            // Stock servers reckon in 64 bits how far the value is from the largest, and take one so far below for one
            // above. Replicas compute the same from the same command, so it must be the same here.
            return Some(max as i64);
        }
        self.fit(if self.signed { value.into() } else { (value as u64).into() }, overflow)
    }

    /// The sum of what the field holds and an increment, made to fit.
    pub fn fit_sum(self, held: i64, by: i64, overflow: Overflow) -> Option<i64> {
        self.fit(i128::from(held) + i128::from(by), overflow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn bits_of(bytes: &[u8]) -> Vec<bool> {
        (0..bytes.len() as u64 * 8).map(|i| get(bytes, i)).collect()
    }

    fn bitmap(max: usize) -> impl Strategy<Value = Vec<u8>> {
        // Long runs of equal bytes are what searching must pass over.
        let runs = vec((prop_oneof![Just(0u8), Just(0xffu8), any::<u8>()], 1..40usize), 0..12);
        runs.prop_map(move |runs| {
            let mut all: Vec<u8> = runs.into_iter().flat_map(|(byte, n)| std::iter::repeat_n(byte, n)).collect();
            all.truncate(max);
            all
        })
    }

    proptest! {
        #[test]
        fn ranges_are_counted_and_searched_bit_by_bit(bytes in bitmap(400), a in any::<u64>(), b in any::<u64>()) {
            prop_assert_eq!(count(&bytes), bits_of(&bytes).iter().filter(|b| **b).count() as u64);
            if !bytes.is_empty() {
                let n = bytes.len() as u64 * 8;
                let (a, b) = (a % n, b % n);
                let bits = bits_of(&bytes);
                let range = || (a..=b).filter(|i| bits[*i as usize]);
                prop_assert_eq!(count_between(&bytes, a, b), range().count() as u64);
                prop_assert_eq!(find_between(&bytes, true, a, b), range().next());
                prop_assert_eq!(find_between(&bytes, false, a, b), (a..=b).find(|i| !bits[*i as usize]));
            }
        }

        #[test]
        fn combining_is_done_for_each_bit_alone(sources in vec(bitmap(300), 1..5)) {
            let refs: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
            for op in [Op::And, Op::Or, Op::Xor, Op::Not, Op::Diff, Op::Diff1, Op::AndOr, Op::One] {
                let refs = if op == Op::Not { &refs[..1] } else { &refs[..] };
                let result = combine(op, refs);
                prop_assert_eq!(result.len(), refs.iter().map(|s| s.len()).max().unwrap());
                for i in 0..result.len() as u64 * 8 {
                    let (x, ys): (bool, Vec<bool>) = (get(refs[0], i), refs[1..].iter().map(|s| get(s, i)).collect());
                    let set = usize::from(x) + ys.iter().filter(|y| **y).count();
                    let expect = match op {
                        Op::And => set == refs.len(),
                        Op::Or => set > 0,
                        Op::Xor => set % 2 == 1,
                        // What is behind the end of the only source is not there at all.
                        Op::Not => !x,
                        Op::Diff => x && set == 1,
                        Op::Diff1 => !x && set > 0,
                        Op::AndOr => x && set > 1,
                        Op::One => set == 1,
                    };
                    prop_assert_eq!(get(&result, i), expect, "{:?} bit {}", op, i);
                }
            }
        }

        #[test]
        fn an_integer_is_read_as_it_was_written_and_nothing_else_changes(
            mut bytes in vec(any::<u8>(), 17..40), offset in 0u64..72, signed in any::<bool>(), bits in 1u32..=64, value in any::<i64>(),
        ) {
            let field = Field { signed, bits: if signed { bits } else { bits.min(63) } };
            let before = bits_of(&bytes);
            field.write(&mut bytes, offset, value);
            prop_assert_eq!(field.read(&bytes, offset), field.fit_value(value, Overflow::Wrap).unwrap());
            let inside = offset..offset + u64::from(field.bits);
            for (i, (a, b)) in before.iter().zip(bits_of(&bytes)).enumerate() {
                prop_assert!(inside.contains(&(i as u64)) || *a == b);
            }
            // The end of the string cuts nothing but zeros off.
            let whole = field.read(&bytes, offset);
            bytes.extend([0; 9]);
            prop_assert_eq!(field.read(&bytes, offset), whole);
        }
    }

    #[test]
    fn blocks_join_where_strings_end_inside_one() {
        let long = vec![0xa5; BLOCK * 2 + 100];
        let short = vec![0xff; BLOCK + 7];
        let and = combine(Op::And, &[&long, &short]);
        assert_eq!((&and[..BLOCK + 7], &and[BLOCK + 7..]), (&long[..BLOCK + 7], &vec![0; BLOCK + 93][..]));
        let xor = combine(Op::Xor, &[&long, &short]);
        assert_eq!((xor[BLOCK + 6], xor[BLOCK + 7], xor.len()), (0x5a, 0xa5, long.len()));
    }

    #[test]
    fn values_out_of_bounds_wrap_saturate_or_fail() {
        let (u8_, i8_, i64_) =
            (Field { signed: false, bits: 8 }, Field { signed: true, bits: 8 }, Field { signed: true, bits: 64 });
        for (field, held, by, wrapped, most) in [
            (u8_, 250, 10, 4, 255),
            (u8_, 1, -2, 255, 0),
            (i8_, 127, 1, -128, 127),
            (i8_, -128, -1, 127, -128),
            (i64_, i64::MAX, 1, i64::MIN, i64::MAX),
            (i64_, i64::MIN, -1, i64::MAX, i64::MIN),
        ] {
            assert_eq!(field.fit_sum(held, by, Overflow::Wrap), Some(wrapped));
            assert_eq!(field.fit_sum(held, by, Overflow::Saturate), Some(most));
            assert_eq!(field.fit_sum(held, by, Overflow::Fail), None);
        }
        assert_eq!(u8_.fit_value(-1, Overflow::Saturate), Some(255));
        assert_eq!(i8_.fit_value(-1, Overflow::Fail), Some(-1));
        assert_eq!(i8_.fit_value(-1000, Overflow::Saturate), Some(-128));
        assert_eq!(i8_.fit_value(i64::MIN, Overflow::Saturate), Some(127));
    }
}
