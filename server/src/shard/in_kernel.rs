//! What a shard knows of a connection whose TLS the kernel has: when its key is worn out.

use standin_tls::kernel::{RECORD_BYTES, SENT_BYTES_MAX};

/// The contents of the largest record.
const RECORD_BYTES_MAX: u64 = 16 << 10;

/// What a shard knows of a connection in the kernel.
#[derive(Debug)]
pub struct InKernel {
    /// The number of bytes that may be sent before the key is worn out.
    bytes_left: u64,
}

impl InKernel {
    pub(super) fn new() -> Self {
        Self { bytes_left: SENT_BYTES_MAX }
    }

    /// Notes that this many bytes are sent; returns whether these are the last.
    pub(super) fn sends(&mut self, bytes: usize) -> bool {
        let records = bytes as u64 / RECORD_BYTES_MAX + 1;
        self.bytes_left = self.bytes_left.saturating_sub(bytes as u64 + records * RECORD_BYTES);
        self.bytes_left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_worn_out_by_records_of_any_size() {
        let large = 1 << 30;
        let mut worn = InKernel::new();
        let sends = (1..).find(|_| worn.sends(large)).expect("some time");
        assert!((250..=256).contains(&sends), "{sends} GiB");
        // A record of one byte counts as its blocks do.
        let mut worn = InKernel { bytes_left: 1_000 * (RECORD_BYTES + 1) };
        assert_eq!((1..).find(|_| worn.sends(1)), Some(1_000));
        assert!(worn.sends(1), "no more are allowed");
    }
}
