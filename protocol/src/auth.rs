//! Authentication codes that prove knowledge of the cluster's secret: keyed BLAKE3, cut to 16
//! bytes.

/// The length of a proof (in a TCP HELLO) or of a datagram's code (UDP).
pub const MAC_BYTES: usize = 16;

/// The length of a secret, and of the key that is made from it for clients.
pub const KEY_BYTES: usize = 32;

/// The secret that the members of a cluster share, or the key that is made from it for clients.
///
/// Those who hold the clients' key can be clients, but no members: they can't make a datagram of a
/// server or of the master, and a connection of theirs is one of a client or an observer.
#[derive(Clone)]
pub struct ClusterKey {
    secret: [u8; KEY_BYTES],
    is_of_clients: bool,
}

impl PartialEq for ClusterKey {
    /// Compares in constant time.
    fn eq(&self, other: &Self) -> bool {
        let is_equal = blake3::Hash::from(self.secret) == blake3::Hash::from(other.secret);
        is_equal && self.is_of_clients == other.is_of_clients
    }
}

impl Eq for ClusterKey {}

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
    /// The key for clients.
    Clients = 3,
}

impl ClusterKey {
    /// Derives the key from the cluster's secret.
    #[must_use]
    pub fn new(secret: [u8; KEY_BYTES]) -> Self {
        Self { secret, is_of_clients: false }
    }

    /// The clients' key, as [`Self::for_clients`] has made it.
    #[must_use]
    pub fn of_clients(key: [u8; KEY_BYTES]) -> Self {
        Self { secret: key, is_of_clients: true }
    }

    /// Returns the clients' key: all 32 bytes of `BLAKE3-keyed(secret, 0x03)`.
    #[must_use]
    pub fn for_clients(&self) -> Self {
        if self.is_of_clients {
            return self.clone();
        }
        let hash = blake3::keyed_hash(&self.secret, &[Purpose::Clients as u8]);
        Self::of_clients(*hash.as_bytes())
    }

    /// The bytes of the key, for a file that nobody else may read.
    #[must_use]
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.secret
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_key_is_no_way_back_to_the_secret() {
        let secret = ClusterKey::new([5; KEY_BYTES]);
        let clients = secret.for_clients();
        assert_ne!(clients.bytes(), secret.bytes());
        assert_eq!(clients.for_clients().bytes(), clients.bytes(), "made once");
        assert_eq!(ClusterKey::of_clients(*clients.bytes()).for_clients().bytes(), clients.bytes());
        let code = clients.mac(Purpose::Datagram, &[b"x"]);
        assert!(!secret.verify(Purpose::Datagram, &[b"x"], &code));
        assert_eq!(format!("{clients:?}"), "ClusterKey(…)");
    }
}
