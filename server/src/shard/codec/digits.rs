//! Numbers in decimal digits.

/// Appends a number.
#[inline]
pub(in crate::shard) fn write(number: u64, out: &mut Vec<u8>) {
    let digit = |number: u64| b'0' + (number % 10) as u8;
    match number {
        0..10 => out.push(digit(number)),
        10..100 => out.extend_from_slice(&[digit(number / 10), digit(number)]),
        100..1_000 => {
            let digits = [digit(number / 100), digit(number / 10), digit(number)];
            out.extend_from_slice(&digits);
        }
        _ => write_long(number, out),
    }
}

/// Appends any number.
fn write_long(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    while rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_digits() {
        for number in [0, 9, 10, 99, 100, 123, 999, 1_000, 1_234_567, u64::MAX] {
            let mut out = Vec::new();
            write(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
