//! Requests on their way to a load thread.

use super::lines::ROW_BYTES_MAX;
use crate::request::Access;

/// The requests of a batch, at most.
pub(super) const REQUESTS_MAX: usize = 512;
/// The bytes of the names of a batch at which it is full.
pub(super) const NAME_BYTES: usize = 32 << 10;
/// The batches that wait for a load thread, at most: some 32,000 requests, in 3 to 8 MiB.
pub(super) const BATCHES_MAX: usize = 64;
/// The bytes that are read ahead for a load thread, at most: also the batch that is being made, and the one whose requests
/// are being sent.
pub const READ_AHEAD_BYTES_MAX: usize = {
    let requests = REQUESTS_MAX * size_of::<Entry>();
    (BATCHES_MAX + 2) * (requests + NAME_BYTES + ROW_BYTES_MAX)
};

/// Requests, with their keys in one piece.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) requests: Vec<Entry>,
    pub(super) names: Vec<u8>,
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Since the first request of the trace; 0 if times are not kept.
    pub(super) due_us: u64,
    /// The end of its key in the names.
    pub(super) name_end: usize,
    pub(super) key: u32,
    pub(super) value_bytes: u32,
    pub(super) access: Access,
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= REQUESTS_MAX || self.names.len() >= NAME_BYTES
    }

    /// Adds a request, whose `name_end` is set.
    pub(super) fn add(&mut self, name: &[u8], entry: Entry) {
        self.names.extend_from_slice(name);
        self.requests.push(Entry { name_end: self.names.len(), ..entry });
    }
}
