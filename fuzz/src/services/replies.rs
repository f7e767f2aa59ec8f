//! The grammar of replies.

/// Whether bytes are whole replies of Redis' protocol, RESP2 or RESP3. The last array lacks values if the
/// client has sent only a part of the keys of an MGET.
pub(super) fn redis(mut bytes: &[u8], sent: &[u8]) -> bool {
    // The number of values that are still to come.
    let mut left = 0_u64;
    while !bytes.is_empty() {
        let Some((line, rest)) = line(bytes) else { return false };
        bytes = rest;
        let Some((kind, text)) = line.split_first() else { return false };
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
        left = left.saturating_sub(1);
        match (kind, number) {
            (b'+' | b'-', _) => {}
            (b':', Some(_)) => {}
            (b'_', None) if text.is_empty() => {}
            (b'$' | b'*', Some(-1)) => {}
            (b'$' | b'=', Some(length @ 0..)) => {
                let Some((_, rest)) = bytes.split_at_checked(length as usize) else { return false };
                let Some(rest) = rest.strip_prefix(b"\r\n") else { return false };
                bytes = rest;
            }
            (b'*' | b'~', Some(length @ 0..)) => left += length.cast_unsigned(),
            (b'%', Some(pairs @ 0..)) => left += 2 * pairs.cast_unsigned(),
            _ => return false,
        }
    }
    left == 0 || sent.windows(4).any(|word| word.eq_ignore_ascii_case(b"mget"))
}

/// Whether bytes are whole replies of memcached's protocol.
pub(super) fn memcached(mut bytes: &[u8], _sent: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Some((line, rest)) = line(bytes) else { return false };
        bytes = rest;
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let length = match words[..] {
            [b"VALUE", _, _, length, ..] | [b"VA", length, ..] => Some(length),
            _ => None,
        };
        let Some(length) = length else { continue };
        let length = std::str::from_utf8(length).ok().and_then(|text| text.parse::<usize>().ok());
        let Some((_, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else {
            return false;
        };
        let Some(rest) = rest.strip_prefix(b"\r\n") else { return false };
        bytes = rest;
    }
    true
}

/// The line at the head of bytes, and what is behind it. Keys of memcached may have carriage returns.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes[..end].strip_suffix(b"\r")?, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_from_what_is_none() {
        for good in
            ["", "+OK\r\n", "*2\r\n$1\r\na\r\n*0\r\n:-1\r\n", "%1\r\n+a\r\n_\r\n", "$-1\r\n"]
        {
            assert!(redis(good.as_bytes(), b""), "{good}");
        }
        assert!(redis(b"*2\r\n:1\r\n", b"MGET a"));
        for bad in ["+OK\n", "$2\r\na\r\n", "*2\r\n:1\r\n", ":x\r\n", "OK\r\n", "\r\n"] {
            assert!(!redis(bad.as_bytes(), b""), "{bad}");
        }
        for good in ["", "STORED\r\n", "VALUE k 0 2\r\na\n\r\nEND\r\n", "VA 1 f0\r\n\r\r\nMN\r\n"] {
            assert!(memcached(good.as_bytes(), b""), "{good}");
        }
        for bad in
            ["STORED\n", "VALUE k 0 3\r\na\r\n", "VALUE k 0 x\r\nEND\r\n", "VA 2 \r\na\r\n", "EN"]
        {
            assert!(!memcached(bad.as_bytes(), b""), "{bad}");
        }
    }
}
