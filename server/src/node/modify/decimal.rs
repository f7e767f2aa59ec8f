//! Numbers with a fraction as Redis computes with them: C's `long double` on x86-64, a mantissa of 64 bits.
//! Numbers are read, added and written exactly; each result is rounded once, to the nearest, ties to even.
//!
//! ```text
//! "0.1" ─► digits × 10^n ─┐
//!                         ├─► mantissa × 2^exponent ─► sum ─► at most 17 digits behind the point
//! "0.2" ─► digits × 10^n ─┘
//! ```

use num_bigint::BigUint;

/// The longest text of a number, in bytes.
const TEXT_BYTES_MAX: usize = 5 * 1_024;
/// The bits of a mantissa.
const BITS: u64 = 64;
/// The power of two above all numbers.
const TOP: i64 = 16_384;
/// Powers of ten from which on a number is too large, and too small to be told from zero.
const TENS_MAX: i64 = 4_933;
const TENS_MIN: i64 = -4_951;
/// The digits behind the point that are written.
const DIGITS: u32 = 17;

/// A number that is no NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decimal {
    /// Above or below all others.
    Infinite,
    /// Any other.
    Finite(Finite),
}

/// A mantissa times a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finite {
    is_negative: bool,
    mantissa: u64,
    exponent: i64,
}

/// Reads a number in decimal digits: `-12.5e3`. `None` if it is anything else, or out of range.
pub(crate) fn parse(text: &[u8]) -> Option<Decimal> {
    if text.len() >= TEXT_BYTES_MAX {
        return None;
    }
    let (is_negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
        return Some(Decimal::Infinite);
    }
    let (digits, power) = match text.iter().position(|byte| byte.eq_ignore_ascii_case(&b'e')) {
        Some(at) => (&text[..at], power(&text[at + 1..])?),
        None => (text, 0),
    };
    let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &[][..]),
    };
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let first = digits.iter().position(|digit| *digit != b'0');
    let Some(first) = first else {
        return Some(Decimal::Finite(Finite { is_negative, mantissa: 0, exponent: 0 }));
    };
    let power = power.saturating_sub(fraction.len() as i64);
    let top = power.saturating_add((digits.len() - first) as i64);
    if !(TENS_MIN..=TENS_MAX).contains(&top) {
        return None;
    }
    let number = BigUint::parse_bytes(&digits[first..], 10)?;
    let ten = |power: i64| BigUint::from(10_u8).pow(power.unsigned_abs() as u32);
    let (above, below) = match power {
        0.. => (number * ten(power), BigUint::from(1_u8)),
        _ => (number, ten(power)),
    };
    // So many more bits than a mantissa has that the rest only breaks ties.
    let shift = (BITS + 2) as i64 + below.bits() as i64 - above.bits() as i64;
    let (above, below) = match shift {
        0.. => (above << shift, below),
        _ => (above, below << -shift),
    };
    let (quotient, is_exact) = (&above / &below, (&above % &below).bits() == 0);
    rounded(is_negative, quotient, is_exact, -shift).map(Decimal::Finite)
}

/// The power of ten behind an `e`.
fn power(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_i64, |number, digit| {
        number.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
    });
    Some(if is_negative { -number } else { number })
}

/// The number nearest to `bits` × 2^`exponent`, or, if that is not exact, a little above; `None` if it is
/// too large.
fn rounded(is_negative: bool, bits: BigUint, is_exact: bool, exponent: i64) -> Option<Finite> {
    let extra = bits.bits().saturating_sub(BITS);
    let mut mantissa = &bits >> extra;
    let mut exponent = exponent + extra as i64;
    if extra > 0 && bits.bit(extra - 1) {
        let is_tie = is_exact && bits.trailing_zeros() == Some(extra - 1);
        if !is_tie || mantissa.bit(0) {
            mantissa += 1_u8;
        }
        if mantissa.bits() > BITS {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let is_finite = mantissa.bits() as i64 + exponent <= TOP;
    let mantissa = u64::try_from(mantissa).expect("it has been cut to 64 bits");
    is_finite.then_some(Finite { is_negative, mantissa, exponent })
}

/// The sum of two numbers; `None` if it is too large.
pub(super) fn add(one: Finite, other: Finite) -> Option<Finite> {
    let exponent = one.exponent.min(other.exponent);
    let shifted = |number: Finite| BigUint::from(number.mantissa) << (number.exponent - exponent);
    let (large, small, is_negative) = match (shifted(one), shifted(other)) {
        (a, b) if a >= b => (a, b, one.is_negative),
        (a, b) => (b, a, other.is_negative),
    };
    let sum = match one.is_negative == other.is_negative {
        true => large + small,
        false => large - small,
    };
    rounded(is_negative && sum.bits() > 0, sum, true, exponent)
}

impl std::fmt::Display for Finite {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scaled = BigUint::from(self.mantissa) * BigUint::from(10_u8).pow(DIGITS);
        let digits = match self.exponent {
            0.. => scaled << self.exponent,
            _ => {
                let shift = self.exponent.unsigned_abs();
                let mut digits = &scaled >> shift;
                let is_tie = scaled.trailing_zeros() == Some(shift - 1);
                if scaled.bit(shift - 1) && (!is_tie || digits.bit(0)) {
                    digits += 1_u8;
                }
                digits
            }
        };
        let text = format!("{:0>width$}", digits.to_string(), width = DIGITS as usize + 1);
        let (whole, fraction) = text.split_at(text.len() - DIGITS as usize);
        let fraction = fraction.trim_end_matches('0');
        let sign = if self.is_negative && digits.bits() > 0 { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        write!(out, "{sign}{whole}{point}{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(one: &str, other: &str) -> Option<String> {
        let [one, other] = [one, other].map(|text| match parse(text.as_bytes()) {
            Some(Decimal::Finite(number)) => number,
            other => panic!("{text}: {other:?}"),
        });
        add(one, other).map(|sum| sum.to_string())
    }

    /// What a C program with `long double` prints as `%.17Lf`, without the zeros at the end.
    #[test]
    fn sums_are_those_of_a_long_double() {
        for (one, other, wanted) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "1", "4"),
            ("1.25", "-1.25", "0"),
            ("-0", "0", "0"),
            (".5", "+5.", "5.5"),
            ("1e19", "1", "10000000000000000001"),
            ("9007199254740993", "0.5", "9007199254740993.5"),
            ("-1e-30", "0", "0"),
            ("123456789.123456789", "0", "123456789.12345678899873747"),
            ("5000.1", "0.2", "5000.30000000000000027"),
            ("-3.3", "1.1", "-2.2"),
            ("99999.99999", "0.00001", "100000"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("18446744073709551615", "2", "18446744073709551616"),
            ("36893488147419103231", "1", "36893488147419103232"),
            ("36893488147419103233", "0", "36893488147419103232"),
            ("1e25", "3.7", "10000000000000000000000000"),
            ("0.00000000000000001", "0.00000000000000001", "0.00000000000000002"),
            ("4.9e-18", "0", "0"),
            ("5.1e-18", "0", "0.00000000000000001"),
            ("1e60", "1", "999999999999999999999373423426722168652130621984886772203520"),
            ("2.5e-5", "-7e12", "-6999999999999.99997520446777344"),
        ] {
            assert_eq!(sum(one, other).as_deref(), Some(wanted), "{one} + {other}");
        }
        assert_eq!(sum("1e4932", "-1e4932").as_deref(), Some("0"));
        assert_eq!(sum("1.1e4932", "1.1e4932"), None, "too large");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            " 1",
            "1 ",
            "x",
            "1x",
            "nan",
            "-nan",
            "1e",
            "e1",
            ".",
            "+",
            "-",
            "--1",
            "1e+",
            "1.2.3",
            "1,5",
            "1e4933",
            "1e99999999999999999999",
            "1e-5000",
            "0x10",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse(&[b'1'; TEXT_BYTES_MAX]), None);
        for text in ["inf", "-INF", "Infinity", "+inf"] {
            assert_eq!(parse(text.as_bytes()), Some(Decimal::Infinite), "{text:?}");
        }
        assert!(parse(b"0e99999999999999999999").is_some());
    }
}
