//! One item's bytes: a header of 9 to 26 bytes, then the key, then the value.
//!
//! ```text
//!  tag u32 LE │ wide u32? │ version 5 or 8 │ extras 6? │ expiry u32? │ key │ value
//!
//!  tag:    0..10 value length, low   10..17 key length, low   17 extras   18..26 keyspace
//!          26..28 frequency   28 negative   29 wide   30 long version   31 expires
//!  wide:   0..23 value length, high  23..32 key length, high
//!  extras: flags u32   marks u8   expiry, high u8
//! ```
//!
//! Most items have no extras: only those with flags, with marks, or with more than 49 days to live.
//!
//! Versions and expiry times are stored relative to the segment's [`Bases`]. This file knows nothing
//! else about segments, and does not know which items are live.

/// `expires_at_ms` of an item that never expires.
pub(crate) const NEVER_MS: u64 = u64::MAX;
/// The length of the longest header.
pub(super) const HEADER_BYTES_MAX: usize = 4 + 4 + 8 + EXTRAS_BYTES + 4;
/// The longest key that a header can describe.
pub(super) const KEY_BYTES_MAX: usize = u16::MAX as usize;
/// The value at which the frequency counter saturates.
pub(super) const FREQUENCY_MAX: u8 = 3;

/// The number of low bits of a version that identify its writer (a salt). The bits above count
/// microseconds. Two versions of one writer differ by a multiple of `1 << VERSION_SALT_BITS`, which
/// fits into five bytes for ±6 days. Otherwise the long form is used, which only costs memory.
const VERSION_SALT_BITS: u32 = 13;
const VERSION_DELTA_BITS: u32 = 40;

/// The length of the extras.
const EXTRAS_BYTES: usize = 4 + 1 + 1;
/// The number of bits of an expiry time that the extras extend.
const EXPIRY_BITS: u32 = 32;
/// The longest time to live that fits with extras: 34 years.
const EXPIRY_MS_MAX: u64 = (1 << (EXPIRY_BITS + 8)) - 1;

const EXTRAS: u32 = 1 << 17;
const FREQUENCY_SHIFT: u32 = 26;
const NEGATIVE: u32 = 1 << 28;
const WIDE: u32 = 1 << 29;
const LONG_VERSION: u32 = 1 << 30;
const EXPIRES: u32 = 1 << 31;

/// The values to which the items of a segment are relative: the first item's version, and the time
/// at which the segment was opened.
#[derive(Clone, Copy, Default)]
pub(super) struct Bases {
    pub version: u64,
    pub time_ms: u64,
}

/// A header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub keyspace: u8,
    pub negative: bool,
    pub frequency: u8,
    pub key_bytes: usize,
    pub value_bytes: usize,
    pub version: u64,
    pub expires_at_ms: u64,
    pub flags: u32,
    pub marks: u8,
}

impl Header {
    /// Whether the item has expired.
    #[inline]
    pub(super) fn expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms <= now_ms
    }

    fn wide(&self) -> bool {
        self.key_bytes > 0x7f || self.value_bytes > 0x3ff
    }

    /// Returns the expiry time relative to the segment.
    fn expiry_ms(&self, bases: &Bases) -> u64 {
        self.expires_at_ms.saturating_sub(bases.time_ms).min(EXPIRY_MS_MAX)
    }

    fn has_extras(&self, bases: &Bases) -> bool {
        let is_far = self.expires_at_ms != NEVER_MS && self.expiry_ms(bases) > u64::from(u32::MAX);
        self.flags != 0 || self.marks != 0 || is_far
    }

    /// Returns the length that `encode` will write.
    pub(super) fn encoded_bytes(&self, bases: &Bases) -> usize {
        4 + if self.wide() { 4 } else { 0 }
            + if short_version(self.version, bases).is_some() { 5 } else { 8 }
            + if self.has_extras(bases) { EXTRAS_BYTES } else { 0 }
            + if self.expires_at_ms == NEVER_MS { 0 } else { 4 }
    }

    /// Writes the header to the front of `out`, and returns its length.
    ///
    /// An expiry more than 34 years after the segment was opened is cut to that: a cache may forget
    /// an item early, but never late.
    pub(super) fn encode(&self, bases: &Bases, out: &mut [u8]) -> usize {
        assert!(self.key_bytes <= KEY_BYTES_MAX && self.value_bytes < 1 << 33);
        let (key, value) = (self.key_bytes as u32, self.value_bytes as u64);
        let mut tag = (value as u32 & 0x3ff)
            | (key & 0x7f) << 10
            | u32::from(self.keyspace) << 18
            | u32::from(self.frequency.min(FREQUENCY_MAX)) << FREQUENCY_SHIFT;
        if self.negative {
            tag |= NEGATIVE;
        }
        let mut at = 4;
        let mut write = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        if self.wide() {
            tag |= WIDE;
            write(&((value >> 10) as u32 | (key >> 7) << 23).to_le_bytes());
        }
        if let Some(delta) = short_version(self.version, bases) {
            write(&delta.to_le_bytes()[..5]);
        } else {
            tag |= LONG_VERSION;
            write(&self.version.to_le_bytes());
        }
        let expiry_ms = self.expiry_ms(bases);
        if self.has_extras(bases) {
            tag |= EXTRAS;
            write(&self.flags.to_le_bytes());
            let expiry_high = (expiry_ms >> EXPIRY_BITS) as u8;
            write(&[self.marks, expiry_high]);
        }
        if self.expires_at_ms != NEVER_MS {
            tag |= EXPIRES;
            write(&(expiry_ms as u32).to_le_bytes());
        }
        out[..4].copy_from_slice(&tag.to_le_bytes());
        at
    }

    /// Reads a header and its length from the front of `bytes`. `None` if the header, or the item
    /// that it describes, does not fit into `bytes`.
    #[inline(always)]
    pub(super) fn decode(bytes: &[u8], bases: &Bases) -> Option<(Header, usize)> {
        let tag = u32::from_le_bytes(*bytes.first_chunk()?);
        // The path of nearly all items. The header has a fixed layout, so its length is checked
        // once, not for each part.
        if tag & (WIDE | LONG_VERSION | EXTRAS) == 0
            && let Some([_, _, _, _, version @ .., a, b, c, d]) = bytes.first_chunk::<13>()
        {
            let [v0, v1, v2, v3, v4] = *version;
            let delta = u64::from_le_bytes([v0, v1, v2, v3, v4, 0, 0, 0]);
            let (expires_at_ms, header_bytes) = match tag & EXPIRES {
                0 => (NEVER_MS, 9),
                _ => (bases.time_ms + u64::from(u32::from_le_bytes([*a, *b, *c, *d])), 13),
            };
            let (key_bytes, value_bytes) = ((tag >> 10 & 0x7f) as usize, (tag & 0x3ff) as usize);
            let version = long_version(delta, bases);
            let header = Self::of_tag(tag, key_bytes, value_bytes, version, expires_at_ms);
            let item_bytes = header_bytes + key_bytes + value_bytes;
            return (item_bytes <= bytes.len()).then_some((header, header_bytes));
        }
        let mut key_bytes = (tag >> 10 & 0x7f) as usize;
        let mut value_bytes = (tag & 0x3ff) as usize;
        let mut at = 4;
        if tag & WIDE != 0 {
            let wide = read_u32(bytes, at)?;
            value_bytes |= ((wide & 0x7f_ffff) as usize) << 10;
            key_bytes |= ((wide >> 23) as usize) << 7;
            at += 4;
        }
        let version = if tag & LONG_VERSION != 0 {
            let version = u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
            at += 8;
            version
        } else {
            let low = read_u32(bytes, at)?;
            let high = *bytes.get(at + 4)?;
            at += 5;
            long_version(u64::from(low) | u64::from(high) << 32, bases)
        };
        let (mut flags, mut marks, mut expiry_high) = (0, 0, 0);
        if tag & EXTRAS != 0 {
            flags = read_u32(bytes, at)?;
            [marks, expiry_high] = *bytes.get(at + 4..)?.first_chunk()?;
            at += EXTRAS_BYTES;
        }
        let expires_at_ms = if tag & EXPIRES != 0 {
            let expiry_ms = u64::from(read_u32(bytes, at)?) | u64::from(expiry_high) << EXPIRY_BITS;
            at += 4;
            bases.time_ms + expiry_ms
        } else {
            NEVER_MS
        };
        let header = Self::of_tag(tag, key_bytes, value_bytes, version, expires_at_ms);
        let header = Header { flags, marks, ..header };
        (at + key_bytes + value_bytes <= bytes.len()).then_some((header, at))
    }

    #[inline]
    fn of_tag(
        tag: u32,
        key_bytes: usize,
        value_bytes: usize,
        version: u64,
        expires_at_ms: u64,
    ) -> Self {
        Self {
            keyspace: (tag >> 18) as u8,
            negative: tag & NEGATIVE != 0,
            frequency: (tag >> FREQUENCY_SHIFT) as u8 & FREQUENCY_MAX,
            key_bytes,
            value_bytes,
            version,
            expires_at_ms,
            flags: 0,
            marks: 0,
        }
    }
}

/// Counts one more use in an encoded header. Writes nothing once the counter is full, so that a hot
/// item's cache line stays clean.
#[inline]
pub(super) fn count_use(header: &mut [u8]) {
    if let Some(tag) = header.get_mut(3) {
        let shift = FREQUENCY_SHIFT - 24;
        if (*tag >> shift) & FREQUENCY_MAX < FREQUENCY_MAX {
            *tag += 1 << shift;
        }
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Returns the version as a signed number of microseconds from the base, if it fits.
fn short_version(version: u64, bases: &Bases) -> Option<u64> {
    let difference = version.wrapping_sub(bases.version) as i64;
    let delta = difference >> VERSION_SALT_BITS;
    let fits = delta << VERSION_SALT_BITS == difference
        && delta >> (VERSION_DELTA_BITS - 1) == delta >> 63;
    fits.then_some(delta as u64 & ((1 << VERSION_DELTA_BITS) - 1))
}

#[inline]
fn long_version(delta: u64, bases: &Bases) -> u64 {
    let unused = 64 - VERSION_DELTA_BITS;
    let delta = ((delta << unused) as i64) >> unused;
    bases.version.wrapping_add((delta << VERSION_SALT_BITS) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(header: Header, bases: &Bases) -> usize {
        let mut bytes = vec![0; HEADER_BYTES_MAX + header.key_bytes + header.value_bytes];
        let length = header.encode(bases, &mut bytes);
        assert_eq!(length, header.encoded_bytes(bases));
        assert_eq!(Header::decode(&bytes, bases), Some((header, length)));
        let item_bytes = length + header.key_bytes + header.value_bytes;
        for short in 0..item_bytes.min(64) {
            assert_eq!(Header::decode(&bytes[..short], bases), None);
        }
        assert_eq!(Header::decode(&bytes[..item_bytes - 1], bases), None);
        length
    }

    #[test]
    fn headers_round_trip_in_every_form() {
        let base = (1_800_000_000_000_000_u64 << 13) | 77;
        let bases = Bases { version: base, time_ms: 5_000 };
        let plain = Header {
            keyspace: 255,
            negative: false,
            frequency: 2,
            key_bytes: 16,
            value_bytes: 100,
            version: base + (1_000_000 << 13),
            expires_at_ms: NEVER_MS,
            flags: 0,
            marks: 0,
        };
        assert_eq!(round_trip(plain, &bases), 9);
        assert_eq!(round_trip(Header { version: base - (1 << 13), ..plain }, &bases), 9);
        assert_eq!(round_trip(Header { version: base + 1, ..plain }, &bases), 12);
        assert_eq!(round_trip(Header { version: u64::MAX, ..plain }, &bases), 12);
        assert_eq!(round_trip(Header { version: 0, ..plain }, &bases), 12);
        let edge = ((1_u64 << 39) - 1) << 13;
        assert_eq!(round_trip(Header { version: base + edge, ..plain }, &bases), 9);
        assert_eq!(round_trip(Header { version: base + edge + (1 << 13), ..plain }, &bases), 12);
        assert_eq!(round_trip(Header { expires_at_ms: 5_001, ..plain }, &bases), 13);
        assert_eq!(round_trip(Header { key_bytes: 0, value_bytes: 0, ..plain }, &bases), 9);
        assert_eq!(round_trip(Header { key_bytes: 127, value_bytes: 1023, ..plain }, &bases), 9);
        assert_eq!(round_trip(Header { key_bytes: 128, ..plain }, &bases), 13);
        assert_eq!(round_trip(Header { key_bytes: 65_535, ..plain }, &bases), 13);
        assert_eq!(round_trip(Header { value_bytes: 1024, negative: true, ..plain }, &bases), 13);
        assert_eq!(round_trip(Header { value_bytes: 3_000_001, ..plain }, &bases), 13);
        let flagged = Header { flags: u32::MAX, ..plain };
        assert_eq!(round_trip(flagged, &bases), 15);
        assert_eq!(round_trip(Header { marks: 0xff, ..plain }, &bases), 15);
        assert_eq!(round_trip(Header { expires_at_ms: 5_001, ..flagged }, &bases), 19);
        let far = Header { expires_at_ms: 5_000 + EXPIRY_MS_MAX, ..plain };
        assert_eq!(round_trip(far, &bases), 19);
        let widest = Header { key_bytes: 65_535, version: 0, marks: 3, ..far };
        assert_eq!(round_trip(widest, &bases), HEADER_BYTES_MAX);
    }

    #[test]
    fn a_far_expiry_is_cut_short_never_extended() {
        let bases = Bases { version: 0, time_ms: 1_000 };
        let header = Header {
            keyspace: 0,
            negative: false,
            frequency: 0,
            key_bytes: 0,
            value_bytes: 0,
            version: 0,
            expires_at_ms: NEVER_MS - 1,
            flags: 0,
            marks: 0,
        };
        let mut bytes = [0; HEADER_BYTES_MAX];
        header.encode(&bases, &mut bytes);
        let (read, _) = Header::decode(&bytes, &bases).unwrap();
        assert_eq!(read.expires_at_ms, 1_000 + EXPIRY_MS_MAX);
    }

    #[test]
    fn uses_are_counted_to_the_limit_and_no_further() {
        let bases = Bases::default();
        let header = Header {
            keyspace: 255,
            negative: true,
            frequency: 0,
            key_bytes: 0,
            value_bytes: 0,
            version: 9,
            expires_at_ms: 9,
            flags: 0,
            marks: 0,
        };
        let mut bytes = [0; HEADER_BYTES_MAX];
        header.encode(&bases, &mut bytes);
        for uses in 1..6 {
            count_use(&mut bytes);
            let (read, _) = Header::decode(&bytes, &bases).unwrap();
            assert_eq!(read, Header { frequency: uses.min(FREQUENCY_MAX), ..header });
        }
    }
}
