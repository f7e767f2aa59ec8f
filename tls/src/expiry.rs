//! When certificates expire.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// The time at which the first certificate of a chain expires, in seconds since 1970. One that can't be read,
/// which rustls would not have taken, counts for none.
fn first_expiry_s(chain: &[CertificateDer<'_>]) -> Option<u64> {
    all_s(chain).min()
}

/// The time at which the last of some authorities expires, and with it the last certificate that can be
/// verified. One that has been replaced may stay among them until it expires.
fn last_expiry_s(authorities: &[CertificateDer<'_>]) -> Option<u64> {
    all_s(authorities).max()
}

fn all_s(certificates: &[CertificateDer<'_>]) -> impl Iterator<Item = u64> {
    let read = certificates.iter().filter_map(|one| Certificate::from_der(one).ok());
    read.map(|one| one.tbs_certificate.validity.not_after.to_unix_duration().as_secs())
}

/// The times at which the certificates of one side of connections expire, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Expiry {
    own_s: Option<u64>,
    authorities_s: Option<u64>,
}

impl Expiry {
    /// Of the chain that this side shows, and of the authorities by which it verifies the other's. Either may be
    /// empty.
    pub(crate) fn new(own: &[CertificateDer<'_>], authorities: &[CertificateDer<'_>]) -> Self {
        Self { own_s: first_expiry_s(own), authorities_s: last_expiry_s(authorities) }
    }

    /// What expires, and when.
    pub(crate) fn times(self) -> impl Iterator<Item = (&'static str, u64)> {
        let own = self.own_s.map(|expires_s| ("own", expires_s));
        let authorities = self.authorities_s.map(|expires_s| ("authorities", expires_s));
        own.into_iter().chain(authorities)
    }
}

#[cfg(test)]
mod tests {
    use standin_testkit::{Authority, Scratch, expire};

    use super::*;

    #[test]
    fn a_chain_expires_with_its_first_certificate_and_authorities_with_their_last() {
        let scratch = Scratch::new("tls-expiry");
        let authority = Authority::new(scratch.path(), "root");
        let issued = authority.issue("own", "DNS:here");
        expire(&authority, &issued);
        let read = |path| crate::pem::certificates("cert_file", path).expect("one");
        let (expired, root) = (read(&issued.certificate), read(&authority.root.certificate));
        let both = [root, expired.clone()].concat();
        // The end of a certificate that `expire` makes.
        let long_ago = Some(1_577_923_200);
        assert_eq!(first_expiry_s(&both), long_ago);
        assert!(last_expiry_s(&both) > long_ago);
        assert_eq!(last_expiry_s(&expired), long_ago);
        assert_eq!(first_expiry_s(&[CertificateDer::from(vec![1, 2, 3])]), None);
        assert_eq!(Expiry::new(&[], &[]).times().count(), 0);
    }
}
