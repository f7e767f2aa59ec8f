//! Certificates for a cluster on this machine.

use standin_config::{ClusterConfig, TlsConfig, TlsPort};
use standin_testkit::{Authority, Issued, Scratch};

/// Gives the ports of these kinds TLS, with a certificate for 127.0.0.1. Returns its authority, and the folder of
/// the files, which must live as long as the cluster.
pub fn switch_on(config: &mut ClusterConfig, ports: &[TlsPort]) -> (Authority, Scratch) {
    let scratch = Scratch::new(&format!("{}-tls", config.name));
    let authority = Authority::new(scratch.path(), "root");
    let Issued { certificate, key } = authority.issue("server", "IP:127.0.0.1");
    config.tls = Some(TlsConfig {
        ports: ports.to_vec(),
        cert_file: certificate,
        key_file: key,
        client_ca_file: None,
    });
    (authority, scratch)
}
