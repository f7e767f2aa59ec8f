//! Authentication codes that prove knowledge of the cluster's secret: keyed BLAKE3, cut to 16
//! bytes.

/// The length of a proof (in a TCP HELLO) or of a datagram's code (UDP).
pub const MAC_BYTES: usize = 16;

/// The secret that all parties of a cluster share.
#[derive(Clone)]
pub struct ClusterKey {
    secret: [u8; 32],
}

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKey(…)")
    }
}

/// The purpose of a code. The same bytes have a different code for a different purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// A control datagram.
    Datagram = 1,
    /// A client's or peer's answer to a hello challenge.
    Hello = 2,
}

impl ClusterKey {
    /// Derives the key from the cluster's secret.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// Returns the first 16 bytes of `BLAKE3-keyed(secret, purpose byte ‖ parts…)`.
    #[must_use]
    pub fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(&[purpose as u8]);
        for part in parts {
            hasher.update(part);
        }
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&hasher.finalize().as_bytes()[..MAC_BYTES]);
        mac
    }

    /// Whether `mac` is the code of `parts`, compared in constant time.
    #[must_use]
    pub fn verify(&self, purpose: Purpose, parts: &[&[u8]], mac: &[u8]) -> bool {
        let expected = self.mac(purpose, parts);
        if mac.len() != MAC_BYTES {
            return false;
        }
        let difference = expected.iter().zip(mac).fold(0, |bits, (a, b)| bits | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}
