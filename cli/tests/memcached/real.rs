//! What others have written: libmemcached's test of a server, `memccapable`, and a client library, pymemcache, driven
//! by `client.py` beside this file.

use std::process::Command;

use standin_config::TlsPort;

use super::cluster;
use super::common::scripts::{Python, Scripts};
use super::common::{Cluster, PAIR, TWO_PAIRS, tls};

const REQUIRE: &str = "STANDIN_REQUIRE_MEMCCAPABLE";
const SCRIPT: &str = "memcached/client.py";

fn addresses(cluster: &Cluster) -> String {
    let servers = ["a1", "a2", "b1", "b2"];
    servers.map(|server| cluster.service(server).to_string()).join(",")
}

#[test]
fn memccapable_passes_whole() {
    // It has no option for its version: it says how it is used.
    if let Err(error) = Command::new("memccapable").arg("-V").output() {
        return standin_testkit::skip("memccapable", REQUIRE, &format!("memccapable: {error}"));
    }
    let mut cluster = cluster("memccapable", PAIR, |_| {});
    cluster.start();
    for server in ["a1", "a2"] {
        let address = cluster.service(server);
        let mut command = Command::new("memccapable");
        command.args(["-a", "-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
        let ended = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.contains("All tests passed"), "{server}: {said}");
    }
}

#[test]
fn pymemcache_does_what_a_frameworks_cache_does() {
    let Some(python) = Python::with("pymemcache_does", &["pymemcache"]) else { return };
    let mut cluster = cluster("pymemcache", TWO_PAIRS, |_| {});
    cluster.start();
    python.check(SCRIPT, &["operations", &addresses(&cluster)], "all operations are right");
}

/// A server is killed and returns while clients read and write. No request fails for good, and no
/// read returns a value older than the last that was stored.
#[test]
fn pymemcache_goes_on_through_the_death_and_the_return_of_a_server() {
    let Some(python) = Python::with("pymemcache_goes_on", &["pymemcache"]) else { return };
    let mut cluster = cluster("pymemcache_kill", TWO_PAIRS, |_| {});
    cluster.start();
    let mut scripts = Scripts(vec![python.start(SCRIPT, &["load", &addresses(&cluster)])]);
    scripts.through_kills(&mut cluster, &["a1", "b2"]);
    scripts.finish();
}

#[test]
fn pymemcache_with_tls_goes_on_through_the_death_and_the_return_of_a_server() {
    let Some(python) = Python::with("pymemcache_with_tls", &["pymemcache"]) else { return };
    let mut authority = None;
    let mut cluster = cluster("pymemcache_tls", TWO_PAIRS, |config| {
        authority = Some(tls::switch_on(config, &[TlsPort::Memcached]));
    });
    let (authority, _files) = authority.expect("it was made");
    cluster.start();
    let python = python.trusting(&authority.root.certificate);
    python.check(SCRIPT, &["operations", &addresses(&cluster)], "all operations are right");
    let mut scripts = Scripts(vec![python.start(SCRIPT, &["load", &addresses(&cluster)])]);
    scripts.through_kills(&mut cluster, &["a1", "b2"]);
    scripts.finish();
}
