//! When certificates expire.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// The time at which the first certificate of a chain expires, in seconds since 1970. One that can't be read,
/// which rustls would not have taken, counts for none.
pub(crate) fn first_expiry_s(chain: &[CertificateDer<'_>]) -> Option<u64> {
    let read = chain.iter().filter_map(|one| Certificate::from_der(one).ok());
    read.map(|one| one.tbs_certificate.validity.not_after.to_unix_duration().as_secs()).min()
}
