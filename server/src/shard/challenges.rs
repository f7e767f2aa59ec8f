//! Challenges for callers, if the cluster has a secret. Pure: they follow from a secret that is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use standin_protocol::auth::{ClusterKey, Purpose};
use standin_protocol::hello::NONCE_BYTES;

/// Nonces that nobody can predict, and that never repeat.
#[derive(Debug, Clone)]
pub struct Challenges {
    secret: ClusterKey,
    count: Arc<AtomicU64>,
}

impl Challenges {
    /// Creates the challenges of a secret, which is drawn anew at each start.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret: ClusterKey::new(secret), count: Arc::default() }
    }

    pub(super) fn next(&self) -> [u8; NONCE_BYTES] {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.secret.mac(Purpose::Hello, &[&number.to_le_bytes()])
    }
}
