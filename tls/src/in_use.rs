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
    /// What certificates are for, whether they are this process' `own` or of its `authorities`, and the time at which
    /// they expire, in seconds since 1970: the first of a chain, the last of several authorities.
    pub fn expiries(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let ports = self.ports.iter().map(|(port, acceptor)| (*port, acceptor.expiry()));
        let calls = self.calls.iter().map(|calls| ("calls", calls.expiry()));
        ports
            .chain(calls)
            .flat_map(|(what, expiry)| expiry.times().map(move |(whose, s)| (what, whose, s)))
    }
}

#[cfg(test)]
mod tests {
    use standin_config::{KernelUse, TlsConfig, TlsPort};
    use standin_testkit::{Authority, Scratch, expire};

    use super::*;

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
            kernel: KernelUse::default(),
            is_certificate_enough: false,
            ca_file: root,
            name: None,
        };
        let acceptor = Arc::new(Acceptor::new(&files).expect("the files are right"));
        let calls = files.calls().map(|calls| Connector::new(&calls).expect("they are right"));
        let calls = calls.map(Arc::new);
        let in_use = InUse { ports: vec![("ports", Arc::clone(&acceptor))], calls };
        let read = || in_use.expiries().collect::<Vec<_>>();
        let [
            ("ports", "own", first),
            ("ports", "authorities", root),
            ("calls", "own", second),
            ("calls", "authorities", same_root),
        ] = read()[..]
        else {
            panic!("{:?}", read())
        };
        assert!(first == second && first > LONG_AGO_S, "{first} {second}");
        assert!(root == same_root && root > LONG_AGO_S, "{root} {same_root}");

        expire(&authority, &issued);
        let own = || read().into_iter().filter(|(_, whose, _)| *whose == "own");
        let own = || own().map(|(what, _, expires_s)| (what, expires_s)).collect::<Vec<_>>();
        assert_eq!(own(), [("ports", first), ("calls", first)], "it was not read yet");
        acceptor.reload().expect("the files are right");
        assert_eq!(own(), [("ports", LONG_AGO_S), ("calls", first)]);
    }

    #[test]
    fn a_process_without_certificates_has_no_times() {
        assert_eq!(InUse::default().expiries().count(), 0);
    }
}
