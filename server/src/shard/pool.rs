//! The receive buffers of the loop on epoll: one for each event of a wake-up.

use super::core::Buffers;

/// Events of one wake-up; each has a receive buffer of its own.
pub(super) const EVENTS: usize = 256;
pub(super) const BUFFER_BYTES: usize = 16 * 1_024;

pub(super) struct Pool {
    memory: Vec<u8>,
    received_bytes: Vec<usize>,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self { memory: vec![0; EVENTS * BUFFER_BYTES], received_bytes: vec![0; EVENTS] }
    }

    /// Returns the buffer of an event.
    pub(super) fn buffer(&mut self, event: usize) -> &mut [u8] {
        &mut self.memory[event * BUFFER_BYTES..][..BUFFER_BYTES]
    }

    /// Notes that this many bytes were received into it, and returns its number.
    pub(super) fn filled(&mut self, event: usize, bytes: usize) -> u16 {
        self.received_bytes[event] = bytes;
        u16::try_from(event).unwrap_or(u16::MAX)
    }
}

impl Buffers for Pool {
    fn bytes(&self, buffer: u16) -> &[u8] {
        let at = usize::from(buffer);
        &self.memory[at * BUFFER_BYTES..][..self.received_bytes[at]]
    }
}
