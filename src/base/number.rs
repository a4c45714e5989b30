//! Numbers as text, with the strictness and the wording of stock servers.
//!
//! A stored integer is text in its one canonical form; anything else is a string. So parsing is strict: no space, no
//! plus sign, no leading zero. Knows nothing of keys or replies.

use super::long_double::LongDouble;
use super::shortest::shortest_digits;

/// Room for the text of any integer, without allocation: `IntText::new().format(-5)`.
pub use itoa::Buffer as IntText;

/// The longest text that may be a floating-point number.
const MAX_FLOAT_CHARS: usize = 5 * 1024;

/// The canonical text of an `i64`, nothing else: `-0`, `+1`, `01`, ` 1` and the empty text are refused.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value = 0u64;
    for &c in digits {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits fit u64.
        value = value * 10 + u64::from(digit);
    }
    if negative {
        if value <= 1 << 63 { Some((value as i64).wrapping_neg()) } else { None }
    } else {
        i64::try_from(value).ok()
    }
}

/// The same for values that are to be stored, most of which are no numbers: a look at the end tells them apart.
#[inline]
pub fn canonical_int(value: &[u8]) -> Option<i64> {
    if value.last().is_some_and(u8::is_ascii_digit) { parse_i64(value) } else { None }
}

/// Digits only, all of the range of `u64`. Leading zeros are let through, as stock servers do for cursors.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &c| {
        let digit = c.is_ascii_digit().then(|| u64::from(c - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Appends the text of `value`.
#[inline]
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(IntText::new().format(value).as_bytes());
}

/// Appends the text of `value`.
#[inline]
pub fn push_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(IntText::new().format(value).as_bytes());
}

/// How many bytes the text of `value` has.
#[inline]
pub fn decimal_len(value: u64) -> usize {
    value.checked_ilog10().map_or(1, |n| n as usize + 1)
}

/// A double as C's `strtod` reads it, all of the text: decimal, hexadecimal, `inf`, `infinity`, a sign before any of
/// them. Refused: spaces, NaN, and numbers too large or too small to be told from infinity or zero.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if text.is_empty() || text.len() >= MAX_FLOAT_CHARS {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.len() > 1 && unsigned.as_bytes()[..2].eq_ignore_ascii_case(b"0x") {
        return LongDouble::parse(text.as_bytes())?.to_f64();
    }
    // Rust's grammar beyond that is strtod's.
    let value: f64 = text.parse().ok()?;
    let infinite_on_purpose = unsigned.starts_with(['i', 'I']);
    let zero_on_purpose = || !mantissa_digits(unsigned).any(|c| c != b'0');
    let lost = (value.is_infinite() && !infinite_on_purpose) || (value == 0.0 && !zero_on_purpose());
    (!value.is_nan() && !lost).then_some(value)
}

fn mantissa_digits(unsigned: &str) -> impl Iterator<Item = u8> + '_ {
    unsigned.bytes().take_while(|c| !matches!(c, b'e' | b'E')).filter(u8::is_ascii_digit)
}

/// The text of a double in replies and in small aggregates: integral values as integers, others with (nearly
/// always) the fewest digits that read back as the same double, in exponent form only where that is shorter.
pub fn format_f64(value: f64) -> String {
    let mut out = Vec::with_capacity(24);
    push_f64(&mut out, value);
    // Only ASCII was pushed.
    String::from_utf8(out).unwrap_or_default()
}

/// Appends what [`format_f64`] gives.
pub fn push_f64(out: &mut Vec<u8>, value: f64) {
    // Beyond half the range of i64 stock servers do not trust the conversion.
    const INTEGRAL: f64 = (i64::MAX / 2) as f64;
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if value.abs() <= INTEGRAL && value.trunc() == value {
        push_i64(out, value as i64);
    } else {
        push_shortest(out, value);
    }
}

/// Lays out the shortest digits of a finite double that is not zero, where stock servers put point and exponent.
fn push_shortest(out: &mut Vec<u8>, value: f64) {
    // value = digits * 10^scale; the first digit stands for 10^magnitude, or its inverse.
    let (digits, scale) = shortest_digits(value.abs());
    let count = digits.len() as i32;
    let magnitude = (scale + count - 1).abs();
    if value < 0.0 {
        out.push(b'-');
    }
    if scale >= 0 && magnitude < count + 7 {
        out.extend_from_slice(&digits);
        out.resize(out.len() + scale as usize, b'0');
    } else if scale < 0 && (scale > -7 || magnitude < 4) {
        let point = count + scale;
        if point <= 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + point.unsigned_abs() as usize, b'0');
            out.extend_from_slice(&digits);
        } else {
            let (whole, fraction) = digits.split_at(point as usize);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    } else {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if scale + count - 1 < 0 { b"e-" } else { b"e+" });
        push_i64(out, i64::from(magnitude));
    }
}

/// Appends what C's `%.17g` gives: 17 significant digits, zeros at the end cut. Digests of data sets are made of it.
pub fn push_f64_17(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() || value.is_infinite() || value == 0.0 {
        return push_f64(out, value);
    }
    let text = format!("{value:.16e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (sign, digits) = mantissa.strip_prefix('-').map_or(("", mantissa), |digits| ("-", digits));
    let digits = digits.replace('.', "");
    let digits = digits.trim_end_matches('0').as_bytes();
    let digits = if digits.is_empty() { &b"0"[..] } else { digits };
    out.extend_from_slice(sign.as_bytes());
    if !(-4..17).contains(&exponent) {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        push_i64(out, i64::from(exponent.abs()));
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-1 - exponent) as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        let whole = exponent as usize + 1;
        out.extend_from_slice(&digits[..whole.min(digits.len())]);
        out.resize(out.len() + whole.saturating_sub(digits.len()), b'0');
        if digits.len() > whole {
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

/// A number with up to 17 decimals, zeros at the end cut: as INCRBYFLOAT and GEOPOS print.
pub fn format_human(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf".into() } else { "inf".into() };
    }
    LongDouble::from_f64(value).to_human()
}

/// Why an INCRBYFLOAT cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatError {
    /// One of the two is not a number.
    NotFloat,
    /// The sum is.
    NanOrInfinity,
}

impl From<FloatError> for super::Error {
    fn from(e: FloatError) -> Self {
        match e {
            FloatError::NotFloat => Self::NotFloat,
            FloatError::NanOrInfinity => Self::NanOrInfinity,
        }
    }
}

/// The sum of two numbers given as text, as INCRBYFLOAT stores and answers it: computed in the 80-bit format that
/// stock servers use on the usual machines, so that the digits agree with theirs.
pub fn incr_by_float(old: &[u8], by: &[u8]) -> Result<Vec<u8>, FloatError> {
    let parse = |text: &[u8]| {
        let fits = text.len() < MAX_FLOAT_CHARS;
        fits.then(|| LongDouble::parse(text)).flatten().ok_or(FloatError::NotFloat)
    };
    let (old, by) = (parse(old)?, parse(by)?);
    let sum = old.add(by).ok_or(FloatError::NanOrInfinity)?;
    Ok(sum.to_human().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_are_canonical_or_refused() {
        for text in ["0", "1", "-1", "9223372036854775807", "-9223372036854775808", "1000"] {
            assert_eq!(parse_i64(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in ["", "-", "-0", "+1", "01", " 1", "1 ", "1a", "9223372036854775808", "-9223372036854775809"] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
            assert_eq!(canonical_int(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_i64(b"99999999999999999999999"), None);
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"-1"), None);
        assert_eq!(parse_u64(b"007"), Some(7));
        assert_eq!((decimal_len(0), decimal_len(9), decimal_len(10), decimal_len(u64::MAX)), (1, 1, 2, 20));
    }

    #[test]
    fn doubles_are_read_as_strtod_does() {
        for (text, value) in [
            ("1", 1.0),
            ("-1.5", -1.5),
            ("+.5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("0x10", 16.0),
            ("-0x1.8p1", -3.0),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("0e-999", 0.0),
            ("4.9e-324", 5e-324),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", " 1", "1 ", "nan", "-nan", "1e", "e1", ".", "1e999", "1e-999", "0x", "abc", "1\0", "1_0"] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn doubles_are_written_as_stock_servers_do() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1e15, "1000000000000000"),
            (1e20, "1e+20"),
            (1.2345e25, "1.2345e+25"),
            (123456789012345680000.0, "123456789012345680000"),
            (0.000001, "0.000001"),
            (0.0000001, "1e-7"),
            (1.5e-9, "1.5e-9"),
            (1e-300, "1e-300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (3.0000000000000004, "3.0000000000000004"),
            (5e-324, "5e-324"),
            // Not the shortest, but what stock servers print.
            (0.09094, "0.09093999999999999"),
            (7.073025522705183e292, "7.0730255227051826e+292"),
            (-5.9792262349104e18, "-5979226234910401000"),
            (4111.400000000001, "4111.4000000000005"),
        ] {
            assert_eq!(format_f64(value), text);
        }
    }

    #[test]
    fn human_numbers_have_no_exponent_and_no_idle_zeros() {
        assert_eq!(format_human(1.5), "1.5");
        assert_eq!(format_human(-0.0), "0");
        assert_eq!(format_human(1e22), "10000000000000000000000");
        assert_eq!(format_human(13.361389338970184), "13.36138933897018433");
        assert_eq!(format_human(f64::NEG_INFINITY), "-inf");
    }

    fn check_incr(old: &str, by: &str, sum: &str) {
        let got = incr_by_float(old.as_bytes(), by.as_bytes()).map(|v| String::from_utf8(v).expect("ascii"));
        assert_eq!(got.as_deref(), Ok(sum), "{old} + {by}");
    }

    #[test]
    fn float_increments_print_as_stock_servers_do() {
        check_incr("10.50", "0.1", "10.6");
        check_incr("5.0e3", "2.0e2", "5200");
        check_incr("3.0e3", "200", "3200");
        check_incr("0", "-0", "0");
        check_incr("1", "-1", "0");
        check_incr("17179869184", "1.5", "17179869185.5");
        check_incr("3", "1.1", "4.1");
        check_incr("1e18", "0.25", "1000000000000000000.25");
        // Beyond 64 bits of mantissa digits are lost, the same ones everywhere.
        check_incr("1000000.1", "0.1", "1000000.20000000000004547");
        check_incr("0x10", "1", "17");
    }

    #[test]
    fn float_increments_refuse_what_is_no_number() {
        for (old, by) in
            [("", "1"), ("1", ""), ("a", "1"), ("1", " 1"), ("nan", "1"), ("1", "1e5000"), ("1e-5000", "1")]
        {
            assert_eq!(incr_by_float(old.as_bytes(), by.as_bytes()), Err(FloatError::NotFloat), "{old} + {by}");
        }
        for (old, by) in [("1", "inf"), ("-inf", "inf"), ("1.1e4932", "1.1e4932")] {
            assert_eq!(incr_by_float(old.as_bytes(), by.as_bytes()), Err(FloatError::NanOrInfinity), "{old} + {by}");
        }
    }

    #[test]
    fn seventeen_digits_as_c_prints_them() {
        let check = |value: f64, expect: &str| {
            let mut out = Vec::new();
            push_f64_17(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        };
        check(0.1, "0.10000000000000001");
        check(-1.5, "-1.5");
        check(100.0, "100");
        check(123456789012345678.0, "1.2345678901234568e+17");
        check(12345678901234568.0, "12345678901234568");
        check(1e-4, "0.0001");
        check(1.5e-5, "1.5e-05");
        check(-1e300, "-1.0000000000000001e+300");
        check(-0.0, "-0");
        check(f64::NEG_INFINITY, "-inf");
    }

    proptest! {
        #[test]
        fn integers_round_trip(value: i64) {
            let mut text = Vec::new();
            push_i64(&mut text, value);
            prop_assert_eq!(parse_i64(&text), Some(value));
        }

        #[test]
        fn doubles_round_trip(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(parse_f64(format_f64(value).as_bytes()), Some(value));
        }

        #[test]
        fn any_text_is_survived(old in "[-+0-9a-fA-FxXpPeE.]{0,12}", by in "[-+0-9eE.]{0,9}") {
            let _ = parse_f64(old.as_bytes());
            let _ = incr_by_float(old.as_bytes(), by.as_bytes());
        }
    }
}
