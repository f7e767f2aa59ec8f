//! Redis' protocol on the ports of a cluster of real processes.
//!
//! ```text
//! differential.rs  the same commands to a redis-server, and the same bytes in the replies
//! words.rs         every command with any number of words, unknown ones, and bytes that are no command
//! client.rs        redis-py, a client that others have written, also while a server is killed
//! cluster.rs       the nodes of Redis Cluster, and a client that knows them
//! pipelines.rs     the order of what a connection sends
//! hostile.rs       callers that a server must survive
//! walks.rs         SCAN, KEYS and DBSIZE over the whole cluster
//! watches.rs       WATCH of rows of a database, and of several keys of one slot
//! tls.rs           the same clients with TLS
//! speaker.rs       a connection that sends commands and reads replies byte for byte
//! ```

#[path = "../common/mod.rs"]
mod common;

mod client;
mod cluster;
mod differential;
mod hostile;
mod pipelines;
mod speaker;
mod tls;
mod walks;
mod watches;
mod words;

use standin_config::{ClusterConfig, KeyspaceConfig, ServiceConfig, ServiceProtocol};
use standin_testkit::{Scratch, free_ports};

use common::{Cluster, KEYSPACE};

/// Starts a cluster without a database, of two groups whose servers speak Redis' protocol. That of b2
/// has passwords.
fn start(test: &str) -> Cluster {
    start_with(test, |_| {})
}

/// Starts such a cluster, with these changes.
fn start_with(test: &str, change: impl FnOnce(&mut ClusterConfig)) -> Cluster {
    start_speaking(test, |config| {
        config.origin = None;
        config.keyspaces = vec![KeyspaceConfig::cache(KEYSPACE, "cache")];
        change(config);
    })
}

/// Starts such a cluster with a database.
fn start_with_rows(test: &str) -> Cluster {
    start_speaking(test, |_| {})
}

/// Starts a cluster whose servers speak Redis' protocol, after this change.
fn start_speaking(test: &str, change: impl FnOnce(&mut ClusterConfig)) -> Cluster {
    let users = Scratch::new(&format!("{test}-users"));
    let passwords = users.file("users");
    std::fs::write(&passwords, "default:secret\nann:hers\n").expect("a file of users");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&passwords, private).expect("its mode");
    let mut ports = free_ports(4).into_iter();
    let groups: &[(&str, &[&str])] = &[("a", &["a1", "a2"]), ("b", &["b1", "b2"])];
    let mut cluster = Cluster::with(test, groups, |config| {
        config.naming.default_keyspace = Some(KEYSPACE);
        for server in &mut config.servers {
            server.shards = 2;
            let port = ports.next().expect("a port for each server");
            server.services = vec![ServiceConfig {
                protocol: ServiceProtocol::Redis,
                address: ([127, 0, 0, 1], port).into(),
                passwords: (server.name == "b2").then(|| passwords.clone()),
            }];
        }
        change(config);
    });
    cluster.start();
    cluster
}
