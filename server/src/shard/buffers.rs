//! Receive buffers that belong to the ring, not to connections. The kernel takes the next free one
//! when bytes arrive, and gets it back after the wake-up.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use memmap2::MmapMut;

use super::core::Buffers;

/// The buffer group of the only ring of buffers.
pub(super) const GROUP: u16 = 0;
/// The number of buffers, a power of two.
const COUNT: u16 = 1_024;
/// The size of a buffer: room for one connection's small requests of a wake-up.
const BUFFER_BYTES: usize = 4_096;

/// The buffers and the ring through which the kernel gets them.
pub(super) struct BufferRing {
    /// `COUNT` entries, shared with the kernel; the tail lies in the first one.
    entries: MmapMut,
    memory: MmapMut,
    received_bytes: Vec<u32>,
    tail: u16,
}

impl BufferRing {
    /// Maps the buffers and registers them. The ring must outlive the registration:
    /// the caller drops the io_uring instance first.
    pub(super) fn new(submitter: &Submitter<'_>) -> io::Result<Self> {
        let entries = MmapMut::map_anon(usize::from(COUNT) * size_of::<BufRingEntry>())?;
        let memory = MmapMut::map_anon(usize::from(COUNT) * BUFFER_BYTES)?;
        let received_bytes = vec![0; usize::from(COUNT)];
        let mut ring = Self { entries, memory, received_bytes, tail: 0 };
        // SAFETY: `entries` is page-aligned memory for COUNT entries, and is unmapped only
        // after the io_uring instance is closed (see the caller's field order).
        unsafe {
            let address = ring.entries.as_ptr() as u64;
            submitter.register_buf_ring_with_flags(address, COUNT, GROUP, 0)?;
        }
        for buffer in 0..COUNT {
            ring.put(buffer);
        }
        ring.publish();
        Ok(ring)
    }

    /// Notes how many bytes the kernel has put into a buffer.
    pub(super) fn filled(&mut self, buffer: u16, bytes: u32) {
        self.received_bytes[usize::from(buffer)] = bytes.min(BUFFER_BYTES as u32);
    }

    /// Returns a buffer to the ring; the kernel sees it after [`Self::publish`].
    pub(super) fn put(&mut self, buffer: u16) {
        let memory = &mut self.memory[usize::from(buffer) * BUFFER_BYTES..][..BUFFER_BYTES];
        let slot = usize::from(self.tail % COUNT);
        // SAFETY: `slot < COUNT`, so the entry lies within the mapping, which is aligned for
        // it; the kernel does not read entries at or beyond the published tail.
        let entry = unsafe { &mut *self.entries.as_mut_ptr().cast::<BufRingEntry>().add(slot) };
        entry.set_addr(memory.as_mut_ptr() as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel all buffers given back so far.
    pub(super) fn publish(&mut self) {
        // SAFETY: the tail lies within the first entry of the mapping; it is aligned, and
        // the kernel only reads it.
        let tail = unsafe {
            let base = self.entries.as_mut_ptr().cast::<BufRingEntry>();
            AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut())
        };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Buffers for BufferRing {
    fn bytes(&self, buffer: u16) -> &[u8] {
        let received = self.received_bytes[usize::from(buffer)] as usize;
        &self.memory[usize::from(buffer) * BUFFER_BYTES..][..received]
    }
}
