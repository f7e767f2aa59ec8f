//! TLS to PostgreSQL: each `sslmode` takes the servers that libpq takes under it, and refuses the others
//! with a message that says what to do.

use std::path::PathBuf;

use standin_config::{ClientCertificate, OriginConfig, OriginKind, RootCertificates, SslMode};
use standin_testkit::certificates::self_signed;
use standin_testkit::{Authority, Issued, Postgres, Scratch};

use super::postgres_access::{fails, works};
use super::session::Session;
use super::*;

/// How one side is set up.
#[derive(Clone, Copy)]
struct Own<'a> {
    host: &'a str,
    mode: SslMode,
    roots: Option<&'a PathBuf>,
    certificate: Option<&'a Issued>,
}

impl Own<'_> {
    fn config(&self, port: u16) -> OriginConfig {
        let url = format!("postgres://standin@{}:{port}/postgres", self.host);
        let mut config = postgres_config(&url, "");
        if let OriginKind::Postgres { access, .. } = &mut config.kind {
            access.sslmode = Some(self.mode);
            access.sslrootcert = self.roots.cloned().map(RootCertificates::File);
            access.client_certificate = self.certificate.map(|own| ClientCertificate {
                certificate: own.certificate.clone(),
                key: own.key.clone(),
            });
        }
        config
    }

    #[track_caller]
    fn works(&self, postgres: &Postgres) {
        works(&self.config(postgres.port()));
    }

    #[track_caller]
    fn fails(&self, postgres: &Postgres, parts: &[&str]) {
        fails(&self.config(postgres.port()), parts);
    }
}

#[test]
fn each_sslmode_takes_the_servers_that_it_should_and_no_others() {
    let Some(mut postgres) = Postgres::start_or_skip("each_sslmode") else { return };
    let scratch = Scratch::new("tls");
    let authority = Authority::new(scratch.path(), "authority");
    let other = Authority::new(scratch.path(), "other").root.certificate;
    let (root, client_root) = (&authority.root.certificate, &authority.root.certificate);
    let plain = Own { host: "127.0.0.1", mode: SslMode::Disable, roots: None, certificate: None };
    let full = Own { mode: SslMode::VerifyFull, roots: Some(root), ..plain };
    let ca = Own { mode: SslMode::VerifyCa, ..full };
    let require = Own { mode: SslMode::Require, ..plain };
    let prefer = Own { mode: SslMode::Prefer, ..plain };
    Session::open(&postgres).run(POSTGRES_KV);

    // A server without TLS.
    plain.works(&postgres);
    prefer.works(&postgres);
    for own in [require, ca, full] {
        own.fails(&postgres, &["127.0.0.1 does not have it", "ssl = on"]);
    }

    // A server with TLS alone, whose certificate is for a name.
    let named = authority.issue("named", "DNS:localhost");
    postgres.set_tls(&named, client_root);
    postgres.admit(&["hostssl all all 127.0.0.1/32 trust"]);
    plain.fails(&postgres, &["pg_hba.conf"]);
    for own in [prefer, require, ca, Own { host: "localhost", ..full }] {
        own.works(&postgres);
    }
    full.fails(&postgres, &["for other hosts", "localhost", "verify-ca"]);
    for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        let own = Own { host: "localhost", mode, roots: Some(&other), certificate: None };
        own.fails(&postgres, &["no authority in sslrootcert", "write the file"]);
    }

    // A server that wants certificates of its clients.
    let own = authority.issue("standin", "DNS:client");
    let stranger = Authority::new(scratch.path(), "strangers").issue("stranger", "DNS:client");
    postgres.admit(&["hostssl all all 127.0.0.1/32 trust clientcert=verify-ca"]);
    Own { certificate: Some(&own), ..ca }.works(&postgres);
    ca.fails(&postgres, &["valid client certificate"]);
    Own { certificate: Some(&stranger), ..ca }
        .fails(&postgres, &["certificate of this side", "ssl_ca_file"]);

    // A certificate that is its own authority, as in PostgreSQL's manual.
    let alone = self_signed(scratch.path(), "alone", "IP:127.0.0.1");
    postgres.set_tls(&alone, client_root);
    postgres.admit(&["hostssl all all 127.0.0.1/32 trust"]);
    Own { roots: Some(&alone.certificate), ..full }.works(&postgres);
    full.fails(&postgres, &["no authority in sslrootcert"]);

    // No TLS over a socket, whatever is required.
    let mut config = full.config(postgres.port());
    if let OriginKind::Postgres { url, .. } = &mut config.kind {
        *url = postgres.socket_url();
    }
    works(&config);
}

#[test]
fn certificates_that_can_not_be_used_are_refused_at_start() {
    let scratch = Scratch::new("tls-files");
    let authority = Authority::new(scratch.path(), "authority");
    let (one, two) = (authority.issue("one", "DNS:one"), authority.issue("two", "DNS:two"));
    let empty = scratch.file("empty");
    std::fs::write(&empty, "no certificate").unwrap();
    let encrypted = scratch.file("encrypted");
    std::fs::write(&encrypted, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    let set_mode = |path: &PathBuf, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(&encrypted, 0o600);
    let said = |roots: &PathBuf, certificate: &PathBuf, key: &PathBuf| {
        let own = Issued { certificate: certificate.clone(), key: key.clone() };
        let mode = SslMode::VerifyFull;
        let own = Own { host: "h", mode, roots: Some(roots), certificate: Some(&own) };
        Origin::check_here(&own.config(1)).map_err(|error| error.to_string())
    };
    let root = &authority.root.certificate;
    assert_eq!(said(root, &one.certificate, &one.key), Ok(()));
    let none = scratch.file("none");
    for (roots, certificate, key, wanted) in [
        (&empty, &one.certificate, &one.key, "sslrootcert"),
        (&none, &one.certificate, &one.key, "cannot be read"),
        (root, &empty, &one.key, "sslcert"),
        (root, &one.certificate, &empty, "sslkey"),
        (root, &one.certificate, &encrypted, "is encrypted"),
        (root, &one.certificate, &two.key, "the certificate of this key"),
    ] {
        set_mode(&empty, 0o600);
        let said = said(roots, certificate, key).unwrap_err();
        assert!(said.starts_with("[origin] ") && said.contains(wanted), "{said}");
    }
    set_mode(&one.key, 0o644);
    let said = said(root, &one.certificate, &one.key).unwrap_err();
    assert!(said.contains("accessible to every user") && said.contains("run `chmod 6"), "{said}");
}
