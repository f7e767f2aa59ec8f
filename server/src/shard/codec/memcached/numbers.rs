//! Numbers and times as memcached writes and understands them.

use crate::node::modify::Ttl;
pub(super) use crate::shard::codec::digits::write;

/// The version of a value that was stored at the beginning of 2024.
const FIRST_VERSION: u64 = 1_704_067_200_000_000 << 13;

/// The longest lifetime that is written as a number of seconds from now: 30 days. A larger number is
/// a time, in seconds since 1970.
const RELATIVE_S_MAX: i64 = 60 * 60 * 24 * 30;

/// Returns the unique number (*cas*) by which clients know a version. Clients in Java and PHP keep it in 64
/// bits with a sign, in which a version does not fit. 0 is no version.
#[inline]
pub(super) fn unique(version: u64) -> u64 {
    if version == 0 { 0 } else { version.wrapping_sub(FIRST_VERSION) }
}

/// Returns the version that a client knows by this unique number.
pub(super) fn version(unique: u64) -> u64 {
    if unique == 0 { 0 } else { unique.wrapping_add(FIRST_VERSION) }
}

/// Parses a decimal number without a sign.
pub(super) fn unsigned(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Parses a decimal number that fits into 32 bits, without a sign.
pub(super) fn unsigned_32(text: &[u8]) -> Option<u32> {
    u32::try_from(unsigned(text)?).ok()
}

/// Parses an expiration time. One that does not fit into 32 bits is as large, or as long ago, as it can be.
pub(super) fn exptime(text: &[u8]) -> Option<i32> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let exptime: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(i32::try_from(exptime).unwrap_or(if exptime < 0 { -1 } else { i32::MAX }))
}

/// The lifetime that an expiration time stands for at this time.
pub(super) fn ttl(exptime: i32, wall_ms: u64) -> Ttl {
    let exptime = i64::from(exptime);
    match exptime {
        0 => Ttl::Keyspace,
        ..0 => Ttl::For(0),
        1..=RELATIVE_S_MAX => Ttl::For(exptime.unsigned_abs() * 1_000),
        _ => Ttl::For((exptime.unsigned_abs() * 1_000).saturating_sub(wall_ms)),
    }
}

/// The lifetime of a PUT, CAS or TOUCH in milliseconds, in which 0 is that of the keyspace; `None` if
/// it has passed.
pub(super) fn ttl_ms(exptime: i32, wall_ms: u64) -> Option<u64> {
    match ttl(exptime, wall_ms) {
        Ttl::For(0) => None,
        Ttl::For(ms) | Ttl::Longer(ms) => Some(ms),
        Ttl::Keyspace | Ttl::Keep | Ttl::Never => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_numbers_have_no_sign_and_stand_for_one_version_each() {
        const SALT_BITS: u32 = 13;
        // 2024 to 2040, with the largest salt.
        for wall_us in [1_704_067_200_000_001_u64, 1_800_000_000_000_000, 2_240_000_000_000_000] {
            let made = (wall_us << SALT_BITS) | 8_191;
            assert!(i64::try_from(unique(made)).is_ok_and(|number| number > 0), "{wall_us}");
            assert_eq!(version(unique(made)), made);
        }
        assert!(unique(1_800_000_000_000_001 << 13) > unique(1_800_000_000_000_000 << 13));
        assert_eq!((unique(0), version(0)), (0, 0));
    }

    #[test]
    fn an_expiration_time_is_a_lifetime_up_to_30_days_and_a_date_beyond() {
        let now_ms = 1_700_000_000_500;
        for (exptime, wanted) in [
            (0, Ttl::Keyspace),
            (-1, Ttl::For(0)),
            (i32::MIN, Ttl::For(0)),
            (1, Ttl::For(1_000)),
            (2_592_000, Ttl::For(2_592_000_000)),
            (2_592_001, Ttl::For(0)),
            (1_700_000_000, Ttl::For(0)),
            (1_700_000_002, Ttl::For(1_500)),
        ] {
            assert_eq!(ttl(exptime, now_ms), wanted, "{exptime}");
        }
        assert_eq!(ttl_ms(0, now_ms), Some(0));
        assert_eq!(ttl_ms(-5, now_ms), None);
        assert_eq!(ttl_ms(1_699_999_999, now_ms), None);
    }

    #[test]
    fn only_digits_are_numbers() {
        assert_eq!(unsigned(b"18446744073709551615"), Some(u64::MAX));
        for wrong in [&b"18446744073709551616"[..], b"", b"-1", b"+1", b"1x", b" 1", b"\xff"] {
            assert_eq!(unsigned(wrong), None);
        }
        assert_eq!(
            (unsigned_32(b"4294967295"), unsigned_32(b"4294967296")),
            (Some(u32::MAX), None)
        );
        assert_eq!((exptime(b"-3"), exptime(b"0"), exptime(b"12")), (Some(-3), Some(0), Some(12)));
        assert_eq!(exptime(b"9999999999"), Some(i32::MAX));
        assert_eq!(exptime(b"-9999999999"), Some(-1));
        for wrong in [
            &b""[..],
            b"-",
            b"--1",
            b"1.5",
            b"blah",
            b"9223372036854775808",
            b"-9223372036854775809",
        ] {
            assert_eq!(exptime(wrong), None);
        }
    }
}
