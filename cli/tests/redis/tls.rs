//! TLS on the ports of Redis' protocol: redis-py, redis-py's client of a cluster, redis-cli and `openssl
//! s_client`, also while servers are killed and certificates are renewed.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use standin_config::{TlsConfig, TlsPort};
use standin_testkit::{Authority, Scratch, wait_until};

use crate::cluster;
use crate::common::scripts::{Python, Scripts};
use crate::common::{WITHIN, tls};
use crate::start_with;

/// Runs a command of redis-cli; `None` if there is no redis-cli with TLS, after a message.
fn redis_cli(place: SocketAddr, options: &[&str], command: &[&str]) -> Option<Output> {
    let help = Command::new("redis-cli").arg("--help").output();
    let has_tls = help.is_ok_and(|help| {
        [help.stdout, help.stderr].concat().windows(5).any(|word| word == b"--tls")
    });
    if !has_tls {
        let require = standin_testkit::caches::REQUIRE_REDIS;
        standin_testkit::skip("redis_cli_with_tls", require, "redis-cli with TLS");
        return None;
    }
    let (host, port) = (place.ip().to_string(), place.port().to_string());
    let mut cli = Command::new("redis-cli");
    cli.args(["-h", &host, "-p", &port, "--tls"]).args(options).args(command);
    Some(cli.stdin(Stdio::null()).output().expect("redis-cli runs"))
}

/// Returns what `openssl s_client` says of a port's certificate.
fn s_client(place: SocketAddr, trusted: &Path) -> String {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &place.to_string(), "-verify_ip", "127.0.0.1"]);
    client.arg("-CAfile").arg(trusted);
    let said = client.stdin(Stdio::null()).output().expect("openssl runs");
    String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
}

#[test]
fn redis_py_with_tls_goes_on_through_the_kill_and_return_of_a_server() {
    let Some(python) = Python::with("redis_py_with_tls", &["redis"]) else { return };
    let mut made = None;
    let mut cluster = start_with("redis_py_tls", |config| {
        made = Some(tls::switch_on(config, &[TlsPort::Redis]));
    });
    let (authority, files) = made.expect("it was made");
    let python = python.trusting(&authority.root.certificate);
    let [open, guarded] = ["b1", "b2"].map(|server| cluster.service(server).to_string());
    python.check("redis/client.py", &[&open, "commands", "3"], "all replies right");
    python.check("redis/client.py", &[&guarded, "passwords", "2"], "only with a password");
    let failover = python.start("redis/client.py", &[&open, "failover", "3"]);
    let mut scripts = Scripts(vec![failover]);
    scripts.through_kills(&mut cluster, &["a1", "a2"]);
    scripts.finish();

    let trusted = authority.root.certificate.display().to_string();
    let place = cluster.service("a1");
    if let Some(set) = redis_cli(place, &["--cacert", &trusted], &["SET", "cli", "value"]) {
        assert_eq!(String::from_utf8_lossy(&set.stdout), "OK\n");
    }
    let said = s_client(place, &authority.root.certificate);
    assert!(said.contains("Verify return code: 0 (ok)") && said.contains("TLSv1.3"), "{said}");

    // New certificates of a running server.
    let new = Scratch::new("redis_py_tls_new");
    let renewed = Authority::new(new.path(), "new");
    let issued = renewed.issue("server", "IP:127.0.0.1");
    std::fs::copy(&issued.certificate, files.file("server.crt")).expect("our file");
    std::fs::copy(&issued.key, files.file("server.key")).expect("our file");
    assert!(s_client(place, &authority.root.certificate).contains("Verify return code: 0 (ok)"));
    cluster.process("a1").signal(libc::SIGHUP);
    wait_until(WITHIN, "the new certificate", || {
        s_client(place, &renewed.root.certificate).contains("Verify return code: 0 (ok)")
    });
    assert!(!s_client(place, &authority.root.certificate).contains("Verify return code: 0 (ok)"));
}

#[test]
fn redis_pys_cluster_client_finds_the_nodes_with_tls() {
    let Some(python) = Python::with("redis_py_cluster_with_tls", &["redis"]) else { return };
    let mut made = None;
    let cluster = cluster::start_with("redis_cluster_tls", |config| {
        made = Some(tls::switch_on(config, &[TlsPort::Redis]));
    });
    let (authority, _files) = made.expect("it was made");
    let node = cluster.config.node_address(0, 1).expect("a node");
    let python = python.trusting(&authority.root.certificate);
    python.check("redis/cluster.py", &[&node.to_string(), "commands", "2"], "all replies right");
}

#[test]
fn callers_without_a_certificate_are_refused_where_one_is_asked_for() {
    let mut made = None;
    let cluster = start_with("redis_tls_mutual", |config| {
        let (authority, scratch) = tls::switch_on(config, &[TlsPort::Redis]);
        let client_ca_file = Some(authority.root.certificate.clone());
        config.tls = config.tls.take().map(|tls| TlsConfig { client_ca_file, ..tls });
        made = Some((authority, scratch));
    });
    let (authority, _files) = made.expect("it was made");
    let trusted = authority.root.certificate.display().to_string();
    let own = authority.issue("client", "DNS:client");
    let (certificate, key) = (own.certificate.display().to_string(), own.key.display().to_string());
    let place = cluster.service("a1");
    let both = ["--cacert", &trusted, "--cert", &certificate, "--key", &key];
    let Some(set) = redis_cli(place, &both, &["SET", "cli", "value"]) else { return };
    assert_eq!(String::from_utf8_lossy(&set.stdout), "OK\n");
    let without = redis_cli(place, &both[..2], &["GET", "cli"]).expect("there is one");
    assert!(!String::from_utf8_lossy(&without.stdout).contains("value"));
    cluster.wait_counter("a1", "tls_failures", 1);
}
