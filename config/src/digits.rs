//! Secrets and keys as hexadecimal digits.

/// The number of digits of a secret or key.
pub(crate) const HEX_DIGITS: usize = 64;

/// The digits of a secret or key, as in the files.
pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of as many hexadecimal digits as a secret or a key has.
pub(crate) fn key_of(digits: &str) -> Option<[u8; 32]> {
    let digits = digits.as_bytes();
    if digits.len() != HEX_DIGITS {
        return None;
    }
    let mut secret = [0; 32];
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        let value =
            |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(secret)
}
