//! The 80-bit extended format (64-bit mantissa), in software: what C calls `long double` where stock servers run.
//!
//! INCRBYFLOAT and HINCRBYFLOAT add in this format and print 17 decimals; to answer the same digits we do the same.
//! Reading and adding round once, to nearest, ties to even; printing is exact. No NaN: what would be one is `None`.

/// Exponent of the last mantissa bit of the smallest number above zero, and of the largest finite one.
const MIN_EXP: i32 = -16445;
const MAX_EXP: i32 = 16383 - 63;
/// Decimal exponents beyond these are infinity or zero whatever the digits (of which there are a few thousand).
const DECIMAL_REACH: i64 = 12_000;

/// `mantissa * 2^exp`, negated if `negative`; a mantissa of 0 is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    infinite: bool,
    mantissa: u64,
    exp: i32,
}

impl LongDouble {
    const ZERO: Self = Self { negative: false, infinite: false, mantissa: 0, exp: 0 };

    /// All of `text` as `strtold` reads it, but no spaces and no NaN, and nothing that over- or underflows.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (negative, body) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let value = if body.eq_ignore_ascii_case(b"inf") || body.eq_ignore_ascii_case(b"infinity") {
            Self { infinite: true, ..Self::ZERO }
        } else {
            let hex = body.strip_prefix(b"0x").or_else(|| body.strip_prefix(b"0X"));
            match hex {
                Some(digits) => Number::read(digits, 16)?.hexadecimal()?,
                None => Number::read(body, 10)?.decimal()?,
            }
        };
        Some(Self { negative, ..value })
    }

    /// The number nearest to ten to that power. The power is one of a few hundred: within the range of the format.
    pub fn power_of_ten(power: i32) -> Self {
        let number = Number { digits: Big::from(1), scale: 0, exponent: i64::from(power) };
        number.decimal().unwrap_or(Self::ZERO)
    }

    /// Mantissa and exponent of a finite number.
    pub fn parts(self) -> (u64, i32) {
        (self.mantissa, self.exp)
    }

    /// A finite double, exactly.
    pub fn from_f64(value: f64) -> Self {
        let bits = value.to_bits();
        let (fraction, power) = (bits & ((1 << 52) - 1), (bits >> 52 & 0x7ff) as i32);
        let (mantissa, exp) = if power == 0 { (fraction, -1074) } else { (fraction | 1 << 52, power - 1075) };
        Self { negative: value.is_sign_negative(), infinite: false, mantissa, exp }
    }

    /// The nearest double; `None` where that would be infinite or zero while this is neither.
    pub fn to_f64(self) -> Option<f64> {
        let sign = if self.negative { -1.0 } else { 1.0 };
        if self.infinite {
            return Some(sign * f64::INFINITY);
        }
        if self.mantissa == 0 {
            return Some(sign * 0.0);
        }
        let top = self.exp + 63 - self.mantissa.leading_zeros() as i32;
        let lowest = (top - 52).max(-1074);
        let kept = round_shift(u128::from(self.mantissa), lowest - self.exp, false);
        // Two steps, so that neither power leaves the range of a double; both products are exact.
        let half = lowest / 2;
        let value = kept as f64 * 2f64.powi(half) * 2f64.powi(lowest - half);
        (value.is_finite() && value != 0.0).then_some(sign * value)
    }

    /// The sum, rounded once. `None` if it is not finite.
    pub fn add(self, other: Self) -> Option<Self> {
        if self.infinite || other.infinite {
            return None;
        }
        let (a, b) = (self.normalized(), other.normalized());
        if a.mantissa == 0 || b.mantissa == 0 {
            return Some(if a.mantissa == 0 { b } else { a });
        }
        let (large, small) = if (a.exp, a.mantissa) >= (b.exp, b.mantissa) { (a, b) } else { (b, a) };
        // 62 bits of room below the mantissa, one above. What falls out at the bottom is remembered in the last bit.
        let distance = (large.exp - small.exp) as u32;
        let (x, y) = (u128::from(large.mantissa) << 62, u128::from(small.mantissa) << 62);
        let y = if distance < 128 { y >> distance | u128::from(y & ((1 << distance) - 1) != 0) } else { 1 };
        let sum = if large.negative == small.negative { x + y } else { x - y };
        let rounded = Self::round(sum, large.exp - 62, false)?;
        Some(Self { negative: large.negative && sum != 0, ..rounded })
    }

    /// Decimal, without exponent, 17 decimals at most, no idle zeros, and no `-0`.
    pub fn to_human(self) -> String {
        if self.infinite {
            return if self.negative { "-inf".into() } else { "inf".into() };
        }
        let mut out = String::new();
        if self.negative {
            out.push('-');
        }
        if self.exp >= 0 {
            let mut whole = Big::from(self.mantissa);
            whole.shift_left(self.exp as u32);
            out.push_str(&whole.into_decimal());
        } else {
            const UNIT: u128 = 100_000_000_000_000_000;
            let scaled = round_shift(u128::from(self.mantissa) * UNIT, -self.exp, false);
            out.push_str(&(scaled / UNIT).to_string());
            let fraction = format!(".{:017}", scaled % UNIT);
            out.push_str(fraction.trim_end_matches('0').trim_end_matches('.'));
        }
        if out == "-0" { "0".into() } else { out }
    }

    fn normalized(self) -> Self {
        if self.mantissa == 0 {
            return Self { exp: 0, ..self };
        }
        let room = self.mantissa.leading_zeros();
        Self { mantissa: self.mantissa << room, exp: self.exp - room as i32, ..self }
    }

    /// The value nearest to `bits * 2^exp`, plus a bit more if `sticky`. `None` on overflow, and where all is lost.
    fn round(bits: u128, exp: i32, sticky: bool) -> Option<Self> {
        if bits == 0 {
            return if sticky { None } else { Some(Self::ZERO) };
        }
        let width = 128 - bits.leading_zeros() as i32;
        let lowest = (exp + width - 64).max(MIN_EXP);
        let shift = lowest - exp;
        if shift <= 0 {
            // Exact: fewer than 64 bits, or just so many.
            return if exp + width - 1 > 16383 { None } else { Self::finite(bits as u64, exp) };
        }
        let mut kept = round_shift(bits, shift, sticky);
        let mut exp = lowest;
        if kept >> 64 != 0 {
            kept >>= 1;
            exp += 1;
        }
        if kept == 0 { None } else { Self::finite(kept as u64, exp) }
    }

    fn finite(mantissa: u64, exp: i32) -> Option<Self> {
        let top = exp - mantissa.leading_zeros() as i32;
        (top <= MAX_EXP).then_some(Self { mantissa, exp, ..Self::ZERO })
    }
}

/// `bits / 2^shift` to the nearest integer, ties to even; `sticky` says that a bit more was lost before.
/// A negative shift multiplies.
fn round_shift(bits: u128, shift: i32, sticky: bool) -> u128 {
    if shift <= 0 {
        return bits << -shift;
    }
    if shift > 128 {
        return 0;
    }
    let (kept, lost) = if shift == 128 { (0, bits) } else { (bits >> shift, bits & ((1 << shift) - 1)) };
    let half = 1u128 << (shift - 1);
    let up = lost > half || (lost == half && (sticky || kept & 1 == 1));
    kept + u128::from(up)
}

/// The parts of a number's text: `digits * base^scale`, and in hexadecimal times `2^exponent`.
struct Number {
    digits: Big,
    /// Digits after the point, negated.
    scale: i64,
    exponent: i64,
}

impl Number {
    fn read(text: &[u8], base: u32) -> Option<Self> {
        let mut out = Self { digits: Big::from(0), scale: 0, exponent: 0 };
        let (mut seen_digit, mut seen_point) = (false, false);
        let mut rest = text;
        while let [c, tail @ ..] = rest {
            if let Some(digit) = (*c as char).to_digit(base) {
                out.digits.multiply_add(base, digit);
                out.scale -= i64::from(seen_point);
                seen_digit = true;
            } else if *c == b'.' && !seen_point {
                seen_point = true;
            } else {
                break;
            }
            rest = tail;
        }
        if !seen_digit {
            return None;
        }
        let marker = if base == 16 { b'p' } else { b'e' };
        match rest {
            [] => {}
            [c, exponent @ ..] if c.to_ascii_lowercase() == marker => out.exponent = read_exponent(exponent)?,
            _ => return None,
        }
        Some(out)
    }

    fn hexadecimal(self) -> Option<LongDouble> {
        let exp = self.exponent.saturating_add(self.scale * 4).clamp(-200_000, 200_000);
        let (bits, dropped, sticky) = self.digits.top_bits();
        LongDouble::round(bits, dropped as i32 + exp as i32, sticky)
    }

    fn decimal(mut self) -> Option<LongDouble> {
        let power = self.scale.saturating_add(self.exponent);
        if self.digits.is_zero() {
            return Some(LongDouble::ZERO);
        }
        if power.abs() > DECIMAL_REACH {
            return None;
        }
        let mut exp = 0i32;
        let mut lost = false;
        if power >= 0 {
            self.digits.multiply_by_ten_to(power as u32);
        } else {
            // Shifted up so far that the quotient still has 128 bits.
            let shift = (power.unsigned_abs() as u32) * 10 / 3 + 192;
            self.digits.shift_left(shift);
            exp = -(shift as i32);
            lost = self.digits.divide_by_ten_to(power.unsigned_abs() as u32);
        }
        let (bits, dropped, sticky) = self.digits.top_bits();
        LongDouble::round(bits, exp + dropped as i32, sticky || lost)
    }
}

/// Digits with an optional sign; saturates far outside any format's range.
fn read_exponent(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => (1, text),
    };
    if digits.is_empty() {
        return None;
    }
    digits
        .iter()
        .try_fold(0i64, |value, c| {
            let digit = (*c as char).to_digit(10)?;
            Some((value * 10 + i64::from(digit)).min(1_000_000))
        })
        .map(|value| sign * value)
}

/// A natural number of any size: 32-bit limbs, least significant first, no zero limb on top.
struct Big(Vec<u32>);

impl From<u64> for Big {
    fn from(value: u64) -> Self {
        let mut big = Self(vec![value as u32, (value >> 32) as u32]);
        big.trim();
        big
    }
}

impl Big {
    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.0 {
            let product = u64::from(*limb) * u64::from(factor) + carry;
            *limb = product as u32;
            carry = product >> 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
    }

    fn multiply_by_ten_to(&mut self, mut power: u32) {
        while power > 0 {
            let step = power.min(9);
            self.multiply_add(10u32.pow(step), 0);
            power -= step;
        }
    }

    fn shift_left(&mut self, by: u32) {
        if self.is_zero() {
            return;
        }
        let bits = by % 32;
        if bits != 0 {
            self.multiply_add(1 << bits, 0);
        }
        self.0.splice(0..0, std::iter::repeat_n(0, by as usize / 32));
    }

    /// The remainder.
    fn divide(&mut self, divisor: u32) -> u32 {
        let mut remainder = 0u64;
        for limb in self.0.iter_mut().rev() {
            let value = remainder << 32 | u64::from(*limb);
            *limb = (value / u64::from(divisor)) as u32;
            remainder = value % u64::from(divisor);
        }
        self.trim();
        remainder as u32
    }

    /// Whether anything was left over.
    fn divide_by_ten_to(&mut self, mut power: u32) -> bool {
        let mut lost = false;
        while power > 0 {
            let step = power.min(9);
            lost |= self.divide(10u32.pow(step)) != 0;
            power -= step;
        }
        lost
    }

    /// The upper 97 to 128 bits, how many were left out below, and whether any of those is set.
    fn top_bits(&self) -> (u128, usize, bool) {
        let skipped = self.0.len().saturating_sub(4);
        let (low, high) = self.0.split_at(skipped);
        let bits = high.iter().rev().fold(0u128, |bits, &limb| bits << 32 | u128::from(limb));
        (bits, skipped * 32, low.iter().any(|&limb| limb != 0))
    }

    fn into_decimal(mut self) -> String {
        let mut groups = Vec::new();
        while !self.is_zero() {
            groups.push(self.divide(1_000_000_000));
        }
        let mut out = groups.pop().unwrap_or(0).to_string();
        for group in groups.iter().rev() {
            out.push_str(&format!("{group:09}"));
        }
        out
    }
}
