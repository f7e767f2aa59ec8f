//! The certificates that a process shows at the moment, and when they expire: for whoever has to renew them in
//! time.

use std::sync::Arc;

use crate::{Acceptor, Connector};

/// The certificates of one process. Each is read again on request by its owner.
#[derive(Debug, Clone, Default)]
pub struct InUse {
    /// Those that callers are shown, by the name of what they call.
    pub ports: Vec<(&'static str, Arc<Acceptor>)>,
    /// The one that is shown to those who are called and ask for one.
    pub calls: Option<Arc<Connector>>,
}

impl InUse {
    /// What each certificate is for, and the time at which it expires, in seconds since 1970: for a chain, the
    /// earliest.
    pub fn expiries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let ports = self.ports.iter().map(|(port, acceptor)| (*port, acceptor.expires_s()));
        let calls = self.calls.iter().map(|calls| ("calls", calls.expires_s()));
        ports.chain(calls).filter_map(|(what, expires)| Some((what, expires?)))
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use standin_config::{TlsConfig, TlsPort};
    use standin_testkit::{Authority, Scratch, expire};

    use super::*;
    use crate::expiry::first_expiry_s;

    /// The end of a certificate that `expire` makes.
    const LONG_AGO_S: u64 = 1_577_923_200;

    #[test]
    fn each_certificate_in_use_has_its_time_until_another_is_read() {
        let scratch = Scratch::new("tls-in-use");
        let authority = Authority::new(scratch.path(), "root");
        let issued = authority.issue("own", "DNS:here");
        let root = Some(authority.root.certificate.clone());
        let files = TlsConfig {
            ports: vec![TlsPort::Standin],
            cert_file: issued.certificate.clone(),
            key_file: issued.key.clone(),
            client_ca_file: root.clone(),
            is_certificate_enough: false,
            ca_file: root,
            name: None,
        };
        let acceptor = Arc::new(Acceptor::new(&files).expect("the files are right"));
        let calls = files.calls().map(|calls| Connector::new(&calls).expect("they are right"));
        let calls = calls.map(Arc::new);
        let in_use = InUse { ports: vec![("ports", Arc::clone(&acceptor))], calls };
        let read = || in_use.expiries().collect::<Vec<_>>();
        let [("ports", first), ("calls", second)] = read()[..] else { panic!("{:?}", read()) };
        assert!(first == second && first > LONG_AGO_S, "{first} {second}");

        expire(&authority, &issued);
        assert_eq!(read(), [("ports", first), ("calls", first)], "it was not read yet");
        acceptor.reload().expect("the files are right");
        assert_eq!(read(), [("ports", LONG_AGO_S), ("calls", first)]);
        let chain = crate::pem::certificates("cert_file", &authority.root.certificate);
        let other = crate::pem::certificates("cert_file", &issued.certificate);
        let chain = [chain.expect("one"), other.expect("one")].concat();
        assert_eq!(first_expiry_s(&chain), Some(LONG_AGO_S), "of a chain, the first");
    }

    #[test]
    fn a_process_without_certificates_has_no_times() {
        assert_eq!(InUse::default().expiries().count(), 0);
        assert_eq!(first_expiry_s(&[CertificateDer::from(vec![1, 2, 3])]), None);
    }
}
