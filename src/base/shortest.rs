//! The digits of a double: few enough to be short, enough to read back as the same double.
//!
//! This is Grisu2 (Loitsch, "Printing floating-point numbers quickly and accurately with integers", 2010). Once in
//! about a thousand numbers its result is not the very shortest or closest. Stock servers print by it, and scores
//! travel as text, so we keep its flaws: see [`shortest_digits`].

use std::sync::LazyLock;

use smallvec::SmallVec;

use super::long_double::LongDouble;

pub(super) type Digits = SmallVec<[u8; 24]>;

const HIDDEN_BIT: u64 = 1 << 52;

/// Powers of ten from `FIRST_POWER` on, so dense that one brings any exponent into the range that digits are cut from.
const FIRST_POWER: i32 = -348;
const POWER_STEP: i32 = 8;
const POWERS: usize = 87;
/// That range: the whole part then has at most 32 bits.
const LOWEST_EXP: i32 = -60;
const HIGHEST_EXP: i32 = -32;

/// `fraction * 2^exp`.
#[derive(Clone, Copy)]
struct Float {
    fraction: u64,
    exp: i32,
}

impl Float {
    fn normalized(self) -> Self {
        let shift = self.fraction.leading_zeros();
        Self { fraction: self.fraction << shift, exp: self.exp - shift as i32 }
    }

    /// The upper half of the product, rounded.
    fn times(self, other: Self) -> Self {
        let product = u128::from(self.fraction) * u128::from(other.fraction) + (1 << 63);
        Self { fraction: (product >> 64) as u64, exp: self.exp + other.exp + 64 }
    }
}

static POWERS_OF_TEN: LazyLock<[Float; POWERS]> = LazyLock::new(|| {
    std::array::from_fn(|i| {
        let power = FIRST_POWER + i as i32 * POWER_STEP;
        let (fraction, exp) = LongDouble::power_of_ten(power).parts();
        Float { fraction, exp }.normalized()
    })
});

/// A power of ten that brings `exp` into range, and which.
fn power_for(exp: i32) -> (Float, i32) {
    // Two may fit; which is taken shows in the last digit, so the search begins where stock servers begin theirs.
    let guess = (f64::from(-(exp + POWERS as i32)) * std::f64::consts::LOG10_2) as i32;
    let mut index = (guess - FIRST_POWER) / POWER_STEP;
    loop {
        let power = POWERS_OF_TEN[index as usize];
        let reached = exp + power.exp + 64;
        if reached < LOWEST_EXP {
            index += 1;
        } else if reached > HIGHEST_EXP {
            index -= 1;
        } else {
            return (power, FIRST_POWER + index * POWER_STEP);
        }
    }
}

/// The significant digits of a finite `value` above zero, as text, and the power of ten that the last one stands for.
pub(super) fn shortest_digits(value: f64) -> (Digits, i32) {
    let bits = value.to_bits();
    let (fraction, power) = (bits & (HIDDEN_BIT - 1), (bits >> 52) as i32 & 0x7ff);
    let exact = match power {
        0 => Float { fraction, exp: -1074 },
        _ => Float { fraction: fraction | HIDDEN_BIT, exp: power - 1075 },
    };
    // Half-way to the neighbours: below a power of two the lower one is nearer.
    let upper = Float { fraction: (exact.fraction << 1) + 1, exp: exact.exp - 1 }.normalized();
    let nearer = if exact.fraction == HIDDEN_BIT { 2 } else { 1 };
    let lower_exp = exact.exp - nearer;
    let lower = Float { fraction: ((exact.fraction << nearer) - 1) << (lower_exp - upper.exp), exp: upper.exp };

    let (power, exponent) = power_for(upper.exp);
    let exact = exact.normalized().times(power);
    let upper = upper.times(power);
    let lower = lower.times(power);
    // One unit inward: the products are that inexact.
    let upper = Float { fraction: upper.fraction - 1, ..upper };
    cut_digits(exact.fraction, upper, lower.fraction + 1, -exponent)
}

/// Cuts digits off `upper` until what is left of it is less than the distance to `lower`: all three have the exponent
/// of `upper`. `exponent` is the power of ten they are too large by, negated.
fn cut_digits(exact: u64, upper: Float, lower: u64, mut exponent: i32) -> (Digits, i32) {
    let point = -upper.exp as u32;
    let to_exact = upper.fraction - exact;
    let mut width = upper.fraction - lower;
    let mut whole = upper.fraction >> point;
    let mut rest = upper.fraction & ((1 << point) - 1);
    let mut digits = Digits::new();

    let mut place = 1_000_000_000u64;
    for left in (0..10).rev() {
        push_digit(&mut digits, whole / place);
        whole %= place;
        let remainder = (whole << point) + rest;
        if remainder <= width {
            exponent += left;
            nudge(&mut digits, width, remainder, place << point, to_exact);
            return (digits, exponent);
        }
        place /= 10;
    }
    let mut scale = 1u64;
    loop {
        rest = rest.wrapping_mul(10);
        width = width.wrapping_mul(10);
        scale = scale.wrapping_mul(10);
        exponent -= 1;
        push_digit(&mut digits, rest >> point);
        rest &= (1 << point) - 1;
        if rest < width {
            nudge(&mut digits, width, rest, 1 << point, to_exact.wrapping_mul(scale));
            return (digits, exponent);
        }
    }
}

fn push_digit(digits: &mut Digits, digit: u64) {
    if digit != 0 || !digits.is_empty() {
        digits.push(b'0' + digit as u8);
    }
}

/// Lowers the last digit while that brings the result nearer to the exact value and keeps it between the bounds.
fn nudge(digits: &mut Digits, width: u64, mut remainder: u64, unit: u64, to_exact: u64) {
    let Some(last) = digits.last_mut() else { return };
    while remainder < to_exact
        && width - remainder >= unit
        && (remainder + unit < to_exact || to_exact - remainder > remainder + unit - to_exact)
    {
        *last -= 1;
        remainder += unit;
    }
}
