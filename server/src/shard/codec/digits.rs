//! Numbers in decimal digits.

/// Appends a number.
#[inline]
pub(in crate::shard) fn write(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_digits() {
        for number in [0, 9, 10, 1_234_567, u64::MAX] {
            let mut out = Vec::new();
            write(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
