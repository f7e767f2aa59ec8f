//! The keys of one direction of a connection in the form in which the kernel takes them: the structures of
//! `linux/tls.h`, which differ in the lengths of their fields. No system calls.

use rustls::{CipherSuite, ConnectionTrafficSecrets, ProtocolVersion};
use zeroize::Zeroizing;

/// `TLS_1_3_VERSION`.
const VERSION: u16 = 0x0304;
/// The bytes of an initialization vector that the kernel calls the salt; the rest follows in another field.
const GCM_SALT_BYTES: usize = 4;
const IV_BYTES: usize = 12;
const SEQUENCE_BYTES: usize = 8;
const HEAD_BYTES: usize = 4;
const KEY_BYTES_MAX: usize = 32;
const BYTES_MAX: usize = HEAD_BYTES + IV_BYTES + KEY_BYTES_MAX + SEQUENCE_BYTES;

/// A cipher that the kernel may know, in TLS 1.3.
///
/// TLS 1.2 stays with rustls: there the kernel counts the nonces of AES-GCM on from a start that rustls has used
/// for the handshake, and a nonce must never be used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
}

impl Cipher {
    pub(super) const ALL: [Self; 3] = [Self::Aes128Gcm, Self::Aes256Gcm, Self::Chacha20Poly1305];

    /// Returns the cipher of a connection; `None` if it is none that the kernel can get.
    pub(super) fn of(version: ProtocolVersion, suite: CipherSuite) -> Option<Self> {
        match (version, suite) {
            (ProtocolVersion::TLSv1_3, CipherSuite::TLS13_AES_128_GCM_SHA256) => {
                Some(Self::Aes128Gcm)
            }
            (ProtocolVersion::TLSv1_3, CipherSuite::TLS13_AES_256_GCM_SHA384) => {
                Some(Self::Aes256Gcm)
            }
            (ProtocolVersion::TLSv1_3, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256) => {
                Some(Self::Chacha20Poly1305)
            }
            _ => None,
        }
    }

    /// The name by which people know it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::Chacha20Poly1305 => "ChaCha20-Poly1305",
        }
    }

    /// The number of the cipher in the kernel's interface (`TLS_CIPHER_…`).
    fn number(self) -> u16 {
        match self {
            Self::Aes128Gcm => 51,
            Self::Aes256Gcm => 52,
            Self::Chacha20Poly1305 => 54,
        }
    }

    fn key_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::Chacha20Poly1305 => KEY_BYTES_MAX,
        }
    }

    fn salt_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => GCM_SALT_BYTES,
            Self::Chacha20Poly1305 => 0,
        }
    }
}

/// The argument of `setsockopt` for one direction. It is overwritten when it is dropped, and stays where it is
/// until then: a copy that a move leaves behind would not be overwritten.
pub(super) struct CryptoInfo(Zeroizing<Vec<u8>>);

impl CryptoInfo {
    /// Takes what rustls has used so far: the number of the next record, and the key. `None` if the kernel has
    /// no such cipher.
    pub(super) fn new((sequence, secrets): (u64, &ConnectionTrafficSecrets)) -> Option<Self> {
        use ConnectionTrafficSecrets as Secrets;
        let (cipher, key, iv) = match secrets {
            Secrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
            Secrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
            Secrets::Chacha20Poly1305 { key, iv } => (Cipher::Chacha20Poly1305, key, iv),
            _ => return None,
        };
        Self::of(cipher, key.as_ref(), iv.as_ref(), sequence)
    }

    /// Keys that nobody uses, for a connection that is only there to see what the kernel takes.
    pub(super) fn trial(cipher: Cipher) -> Self {
        let key = [0; KEY_BYTES_MAX];
        let info = Self::of(cipher, &key[..cipher.key_bytes()], &[0; IV_BYTES], 0);
        info.expect("the lengths are those of the cipher")
    }

    fn of(cipher: Cipher, key: &[u8], iv: &[u8], sequence: u64) -> Option<Self> {
        if key.len() != cipher.key_bytes() || iv.len() != IV_BYTES {
            return None;
        }
        let (salt, rest) = iv.split_at(cipher.salt_bytes());
        let parts = [
            &VERSION.to_ne_bytes()[..],
            &cipher.number().to_ne_bytes()[..],
            rest,
            key,
            salt,
            &sequence.to_be_bytes()[..],
        ];
        // It does not grow beyond its capacity, and so does not move.
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MAX));
        parts.into_iter().for_each(|part| bytes.extend_from_slice(part));
        Some(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_lie_where_the_kernel_looks_for_them() {
        let iv: Vec<u8> = (1..=12).collect();
        let sequence = 0x0102_0304_0506_0708;
        let head = |cipher: u16| [0x0304_u16.to_ne_bytes(), cipher.to_ne_bytes()].concat();
        for (cipher, number, key_bytes) in
            [(Cipher::Aes128Gcm, 51, 16), (Cipher::Aes256Gcm, 52, 32)]
        {
            let key = vec![0xAA; key_bytes];
            let info = CryptoInfo::of(cipher, &key, &iv, sequence).expect("lengths are right");
            let wanted = [&head(number)[..], &iv[4..], &key, &iv[..4], &[1, 2, 3, 4, 5, 6, 7, 8]];
            assert_eq!(info.bytes(), wanted.concat());
        }
        let key = [0xBB; 32];
        let info = CryptoInfo::of(Cipher::Chacha20Poly1305, &key, &iv, sequence).expect("right");
        assert_eq!(info.bytes(), [&head(54)[..], &iv, &key, &[1, 2, 3, 4, 5, 6, 7, 8]].concat());
    }

    #[test]
    fn the_lengths_are_those_of_the_kernels_structures() {
        let sizes = [
            size_of::<libc::tls12_crypto_info_aes_gcm_128>(),
            size_of::<libc::tls12_crypto_info_aes_gcm_256>(),
            size_of::<libc::tls12_crypto_info_chacha20_poly1305>(),
        ];
        assert_eq!(Cipher::ALL.map(|cipher| CryptoInfo::trial(cipher).bytes().len()), sizes);
    }

    #[test]
    fn a_key_is_not_copied_when_its_owner_moves() {
        for cipher in Cipher::ALL {
            let info = CryptoInfo::trial(cipher);
            let (at, capacity) = (info.bytes().as_ptr(), info.0.capacity());
            assert_eq!(capacity, BYTES_MAX, "it has not grown");
            let moved = Box::new((1, info));
            assert_eq!(moved.1.bytes().as_ptr(), at);
        }
    }

    #[test]
    fn a_key_of_another_length_is_not_given_to_the_kernel() {
        assert!(CryptoInfo::of(Cipher::Aes128Gcm, &[0; 32], &[0; 12], 0).is_none());
        assert!(CryptoInfo::of(Cipher::Aes256Gcm, &[0; 32], &[0; 8], 0).is_none());
    }

    #[test]
    fn only_suites_of_tls_1_3_are_for_the_kernel() {
        let suite = CipherSuite::TLS13_AES_256_GCM_SHA384;
        assert_eq!(Cipher::of(ProtocolVersion::TLSv1_3, suite), Some(Cipher::Aes256Gcm));
        let suite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
        assert_eq!(Cipher::of(ProtocolVersion::TLSv1_2, suite), None);
    }
}
