//! An io_uring instance with its own receive buffers: only what the driver and the echo need, and
//! nothing that only a real server needs.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use memmap2::MmapMut;

const GROUP: u16 = 0;
/// Receive buffers; a power of two.
const COUNT: u16 = 128;
/// Holds a whole batch of 64 replies, so that a batch is one completion.
const BUFFER_BYTES: usize = 16 << 10;
const SUBMISSIONS: u32 = 512;

/// An event.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// A connection was accepted: its descriptor, or a negated error number.
    Accepted(i32),
    /// Something was received, or nothing more will be.
    Received {
        /// The number given to [`Ring::receive`].
        index: usize,
        /// Zero at the end of the stream, or a negated error number.
        result: i32,
        /// Where the bytes lie; see [`Ring::bytes`].
        buffer: Option<u16>,
        /// Whether the kernel goes on receiving.
        more: bool,
    },
    /// A send ended.
    Sent {
        /// The number given to [`Ring::send`].
        index: usize,
        /// Bytes, or a negated error number.
        result: i32,
    },
}

/// See the head of the file.
pub struct Ring {
    // Dropped before the buffers that are registered with it.
    uring: IoUring,
    entries: MmapMut,
    memory: MmapMut,
    tail: u16,
    completions: Vec<cqueue::Entry>,
    used: Vec<u16>,
}

const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;

impl Ring {
    /// A ring with all its buffers free.
    ///
    /// # Errors
    /// The kernel has no io_uring with buffer rings (before 6.1), or forbids it.
    pub fn new() -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_cqsize(SUBMISSIONS * 4)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .build(SUBMISSIONS)?;
        let entries = MmapMut::map_anon(usize::from(COUNT) * size_of::<BufRingEntry>())?;
        let memory = MmapMut::map_anon(usize::from(COUNT) * BUFFER_BYTES)?;
        // SAFETY: page-aligned memory for COUNT entries, unmapped after the ring is closed.
        unsafe {
            let address = entries.as_ptr() as u64;
            uring.submitter().register_buf_ring_with_flags(address, COUNT, GROUP, 0)?;
        }
        let used = (0..COUNT).collect();
        Ok(Self { uring, entries, memory, tail: 0, completions: Vec::new(), used })
    }

    /// Gives the last turn's buffers back, submits, and waits for at least one event.
    /// False if there was none within `timeout`.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn turn(&mut self, timeout: Duration) -> io::Result<bool> {
        self.give_buffers_back();
        self.completions.clear();
        let timespec = Timespec::from(timeout);
        let args = SubmitArgs::new().timespec(&timespec);
        match self.uring.submitter().submit_with_args(1, &args) {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
                _ => return Err(error),
            },
        }
        self.completions.extend(self.uring.completion());
        Ok(!self.completions.is_empty())
    }

    /// The event with this number of the last turn.
    pub fn event(&mut self, number: usize) -> Option<Event> {
        let entry = self.completions.get(number)?;
        let (data, result, flags) = (entry.user_data(), entry.result(), entry.flags());
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is the index")]
        let index = data as u32 as usize;
        Some(match data & !0xffff_ffff {
            ACCEPT => Event::Accepted(result),
            RECEIVE => {
                let buffer = cqueue::buffer_select(flags);
                self.used.extend(buffer);
                Event::Received { index, result, buffer, more: cqueue::more(flags) }
            }
            _ => Event::Sent { index, result },
        })
    }

    /// The first `length` bytes of a buffer; good until the next turn.
    #[must_use]
    pub fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        &self.memory[usize::from(buffer) * BUFFER_BYTES..][..length.min(BUFFER_BYTES)]
    }

    /// Accepts until further notice.
    pub fn accept(&mut self, listener: &impl AsFd) {
        let fd = Fd(listener.as_fd().as_raw_fd());
        self.push(&opcode::AcceptMulti::new(fd).build().user_data(ACCEPT));
    }

    /// Receives until further notice; the descriptor must stay open meanwhile.
    pub fn receive(&mut self, socket: &impl AsFd, index: usize) {
        let fd = Fd(socket.as_fd().as_raw_fd());
        self.push(&opcode::RecvMulti::new(fd, GROUP).build().user_data(RECEIVE | index as u64));
    }

    /// Sends bytes.
    ///
    /// # Safety
    /// The bytes must stay in place, unchanged, until [`Event::Sent`] of this index.
    pub unsafe fn send(&mut self, socket: &impl AsFd, bytes: &[u8], index: usize) {
        let fd = Fd(socket.as_fd().as_raw_fd());
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(fd, bytes.as_ptr(), length)
            .flags(libc::MSG_NOSIGNAL)
            .build()
            .user_data(SEND | index as u64);
        self.push(&entry);
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: what the entry points to is kept by the callers of `accept`, `receive`
        // and `send`; the buffers live as long as the ring.
        while unsafe { self.uring.submission().push(entry) }.is_err() {
            // The queue is full: the kernel takes what is in it. Tried again if it is busy.
            let _ = self.uring.submit();
        }
    }

    fn give_buffers_back(&mut self) {
        for &buffer in &self.used {
            let memory = &mut self.memory[usize::from(buffer) * BUFFER_BYTES..][..BUFFER_BYTES];
            let slot = usize::from(self.tail % COUNT);
            // SAFETY: `slot < COUNT`: the entry lies within the mapping, and the kernel does
            // not read entries at or beyond the published tail.
            let entry = unsafe { &mut *self.entries.as_mut_ptr().cast::<BufRingEntry>().add(slot) };
            entry.set_addr(memory.as_mut_ptr() as u64);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
        }
        self.used.clear();
        // SAFETY: the tail lies within the first entry, aligned; the kernel only reads it.
        let tail = unsafe {
            let base = self.entries.as_mut_ptr().cast::<BufRingEntry>();
            AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut())
        };
        tail.store(self.tail, Ordering::Release);
    }
}
