//! The arena: one anonymous memory map, cut into segments that are written front to back.
//!
//! ```text
//!  segment 0            segment 1            segment 2
//!  │item│item│item│░░░░ │item│░░░░░░░░░░░░░░ │item│item│item│
//!                 ▲written
//! ```
//!
//! An item is named by its *offset*, a `u32` in units of `1 << unit_log2` bytes. Every read is bounded
//! by the write position of the offset's segment, so a wrong offset reads nothing outside what was
//! written. Which items are live, and which segments may be written, is decided elsewhere.

use std::ops::Range;

use memmap2::{Advice, MmapMut};

use super::StoreError;
use super::item::{Bases, HEADER_BYTES_MAX, Header, count_use};
use super::prefetch::prefetch;

/// The bookkeeping of a segment.
#[derive(Clone, Copy, Default)]
pub(super) struct Segment {
    /// Bytes written from the front; items lie only below this.
    pub written_bytes: u32,
    /// Bytes of its items that the index still names.
    pub live_bytes: u32,
    pub bases: Bases,
    /// No item here lives longer than this.
    pub expires_last_ms: u64,
    /// Whether it belongs to the main queue, not the small one.
    pub main: bool,
    /// Whether it is full, and waits in its queue.
    pub sealed: bool,
    /// Whether it has become sparse (policy.rs).
    pub is_sparse: bool,
}

/// An item in the arena.
pub(super) struct View<'a> {
    /// Its offset in the arena.
    at: usize,
    pub header: Header,
    pub header_bytes: usize,
    pub key: &'a [u8],
    pub value: &'a [u8],
}

impl View<'_> {
    /// The offset of the value in the arena.
    #[inline]
    pub(super) fn value_range(&self) -> Range<usize> {
        let start = self.at + self.header_bytes + self.header.key_bytes;
        start..start + self.header.value_bytes
    }
}

/// See the file's head.
pub(super) struct Arena {
    map: MmapMut,
    pub segments: Vec<Segment>,
    segment_bytes_log2: u32,
    unit_log2: u32,
}

/// Maps memory that is allocated when it is written.
pub(super) fn map(bytes: usize) -> Result<MmapMut, StoreError> {
    MmapMut::map_anon(bytes).map_err(|source| StoreError::Map { bytes, source })
}

impl Arena {
    /// Maps `segments` segments of `1 << segment_bytes_log2` bytes.
    pub(super) fn new(
        segments: usize,
        segment_bytes_log2: u32,
        huge_pages: bool,
    ) -> Result<Self, StoreError> {
        let bytes = segments << segment_bytes_log2;
        let unit_log2 = unit_log2(bytes);
        let map = map(bytes)?;
        if huge_pages {
            // The kernel may refuse. The arena works without huge pages, but more slowly.
            let _ = map.advise(Advice::HugePage);
        }
        let segments = vec![Segment::default(); segments];
        Ok(Self { map, segments, segment_bytes_log2, unit_log2 })
    }

    pub(super) fn segment_bytes(&self) -> usize {
        1 << self.segment_bytes_log2
    }

    /// The segment in which an offset lies.
    pub(super) fn segment_of(&self, offset: u32) -> usize {
        ((offset as usize) << self.unit_log2) >> self.segment_bytes_log2
    }

    /// Returns the item at `offset`, or `None` if no item can be there. This is most of the cost of
    /// a hit. It is inlined so that unused fields of the header are not decoded.
    #[inline(always)]
    pub(super) fn view(&self, offset: u32) -> Option<View<'_>> {
        let at = (offset as usize) << self.unit_log2;
        let index = at >> self.segment_bytes_log2;
        let segment = self.segments.get(index)?;
        let end = (index << self.segment_bytes_log2) + segment.written_bytes as usize;
        let bytes = self.map.get(at..end)?;
        let (header, header_bytes) = Header::decode(bytes, &segment.bases)?;
        // `decode` has seen that all of it lies in `bytes`.
        let (key, rest) = bytes[header_bytes..].split_at(header.key_bytes);
        Some(View { at, header, header_bytes, key, value: &rest[..header.value_bytes] })
    }

    /// Returns the bytes of a range that [`Self::view`] has given.
    #[inline]
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.map[range]
    }

    /// Whether the item at `offset` has this key.
    #[inline]
    pub(super) fn has_key(&self, offset: u32, keyspace: u8, key: &[u8]) -> bool {
        self.view(offset).is_some_and(|item| item.header.keyspace == keyspace && item.key == key)
    }

    /// Returns the size of an item, including the padding to the next unit.
    pub(super) fn footprint_bytes(&self, item: &View<'_>) -> usize {
        self.padded(item.header_bytes + item.key.len() + item.value.len())
    }

    fn padded(&self, bytes: usize) -> usize {
        bytes.next_multiple_of(1 << self.unit_log2)
    }

    /// Returns the offsets at which the items of a segment begin and end.
    pub(super) fn span(&self, segment: usize) -> (u32, u32) {
        let start = segment << self.segment_bytes_log2;
        let end = start + self.segments[segment].written_bytes as usize;
        ((start >> self.unit_log2) as u32, (end >> self.unit_log2) as u32)
    }

    /// The offset behind an item of `footprint_bytes` at `offset`.
    pub(super) fn behind(&self, offset: u32, footprint_bytes: usize) -> u32 {
        offset + (footprint_bytes >> self.unit_log2) as u32
    }

    /// Whether a key and value of `bytes` in total fit into the rest of the segment.
    pub(super) fn has_room(&self, segment: usize, bytes: usize) -> bool {
        let written = self.segments[segment].written_bytes as usize;
        written + self.padded(HEADER_BYTES_MAX + bytes) <= self.segment_bytes()
    }

    /// Empties a segment, and assigns it to one of the two queues.
    pub(super) fn reset(&mut self, segment: usize, main: bool, now_ms: u64) {
        let bases = Bases { version: 0, time_ms: now_ms };
        self.segments[segment] = Segment { bases, main, ..Segment::default() };
    }

    /// Writes an item behind the segment's last, and returns its offset. The caller has asked
    /// [`has_room`](Self::has_room).
    pub(super) fn append(
        &mut self,
        segment: usize,
        header: &Header,
        key: &[u8],
        value: &[u8],
    ) -> u32 {
        let (at, body) = self.append_header(segment, header);
        self.map[body..body + key.len()].copy_from_slice(key);
        let body = body + key.len();
        self.map[body..body + value.len()].copy_from_slice(value);
        (at >> self.unit_log2) as u32
    }

    /// Copies the item at `offset` behind the segment's last, under a new header. The old one stays.
    pub(super) fn append_copy(&mut self, segment: usize, header: &Header, offset: u32) -> u32 {
        let from = (offset as usize) << self.unit_log2;
        let old = self.view(offset).expect("the index names items that are in the arena");
        let from = from + old.header_bytes;
        let (at, body) = self.append_header(segment, header);
        self.map.copy_within(from..from + header.key_bytes + header.value_bytes, body);
        (at >> self.unit_log2) as u32
    }

    /// Takes the room for an item and writes its header; returns where the item and its key begin.
    fn append_header(&mut self, index: usize, header: &Header) -> (usize, usize) {
        let padded = {
            let segment = &mut self.segments[index];
            if segment.written_bytes == 0 {
                segment.bases.version = header.version;
            }
            let header_bytes = header.encoded_bytes(&segment.bases);
            self.padded(header_bytes + header.key_bytes + header.value_bytes)
        };
        let segment_bytes = self.segment_bytes();
        let segment = &mut self.segments[index];
        let written = segment.written_bytes as usize;
        assert!(written + padded <= segment_bytes, "the segment has no room for the item");
        let at = (index << self.segment_bytes_log2) + written;
        segment.written_bytes += padded as u32;
        segment.live_bytes += padded as u32;
        segment.expires_last_ms = segment.expires_last_ms.max(header.expires_at_ms);
        let header_bytes = header.encode(&segment.bases, &mut self.map[at..at + padded]);
        (at, at + header_bytes)
    }

    /// Overwrites the header and, if given, the value of the item at `offset`, if their lengths do not
    /// change.
    pub(super) fn overwrite(&mut self, offset: u32, header: &Header, value: Option<&[u8]>) -> bool {
        let index = self.segment_of(offset);
        let old = self.view(offset).expect("the index names items that are in the arena");
        let header_bytes = header.encoded_bytes(&self.segments[index].bases);
        let same = header_bytes == old.header_bytes
            && header.key_bytes == old.header.key_bytes
            && header.value_bytes == old.header.value_bytes;
        if !same {
            return false;
        }
        let segment = &mut self.segments[index];
        segment.expires_last_ms = segment.expires_last_ms.max(header.expires_at_ms);
        let at = (offset as usize) << self.unit_log2;
        header.encode(&segment.bases, &mut self.map[at..at + header_bytes]);
        if let Some(value) = value {
            let at = at + header_bytes + header.key_bytes;
            self.map[at..at + header.value_bytes].copy_from_slice(value);
        }
        true
    }

    /// Counts one more use of the item at `offset`.
    #[inline]
    pub(super) fn count_use(&mut self, offset: u32) {
        if let Some(header) = self.map.get_mut((offset as usize) << self.unit_log2..) {
            count_use(header);
        }
    }

    /// Starts loading the cache lines of an item of about `bytes`.
    #[inline]
    pub(super) fn prefetch(&self, offset: u32, bytes: usize) {
        let at = (offset as usize) << self.unit_log2;
        // The map is page-aligned, so lines of the map are lines of memory.
        let mut line = at & !63;
        while line < at + bytes {
            prefetch(self.map.as_ptr().wrapping_add(line));
            line += 64;
        }
    }
}

/// Returns the size of a unit. Up to 4 GiB it is one byte, without padding. The last `u32` is
/// reserved for "none".
fn unit_log2(arena_bytes: usize) -> u32 {
    (0..).find(|unit| arena_bytes >> unit < u32::MAX as usize).unwrap_or(0)
}

#[cfg(test)]
impl Arena {
    /// Makes a small arena pad like a large one.
    pub(super) fn coarsen(&mut self, unit_log2: u32) {
        self.unit_log2 = unit_log2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        keyspace: 1,
        negative: false,
        frequency: 0,
        key_bytes: 3,
        value_bytes: 5,
        version: 9,
        expires_at_ms: u64::MAX,
        flags: 0,
        marks: 0,
    };

    #[test]
    fn units_grow_with_the_arena_and_the_last_offset_is_free() {
        const GIB: usize = 1 << 30;
        assert_eq!([1, 2, 3].map(|gib| unit_log2(gib * GIB)), [0; 3]);
        assert_eq!([u32::MAX as usize - 1, u32::MAX as usize].map(unit_log2), [0, 1]);
        assert_eq!([4, 5, 8, 16, 64].map(|gib| unit_log2(gib * GIB)), [1, 1, 2, 3, 5]);
    }

    #[test]
    fn no_offset_reads_beyond_what_was_written() {
        let mut arena = Arena::new(4, 12, false).unwrap();
        arena.reset(1, false, 0);
        let offset = arena.append(1, &HEADER, b"key", b"value");
        let item = arena.view(offset).unwrap();
        assert_eq!((item.header, item.key, item.value), (HEADER, &b"key"[..], &b"value"[..]));
        // Other segments are empty, nothing is written behind the item, and the rest lies outside
        // the arena.
        for wrong in [0, 8 << 10, (4 << 10) + 17, 16 << 10, u32::MAX] {
            assert!(arena.view(wrong).is_none());
        }
        // Inside the item, whatever the bytes say, a view ends where the segment does.
        for inside in 1..17 {
            if let Some(item) = arena.view(offset + inside) {
                assert!(item.header_bytes + item.key.len() + item.value.len() < 17);
            }
        }
        arena.reset(1, false, 0);
        assert!(arena.view(offset).is_none());
    }
}
