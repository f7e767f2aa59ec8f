//! The memcached protocol, with real processes and sockets.
//!
//! ```text
//! caches.rs    all keys from every server, keyspaces with and without a database, flushes, passwords
//! hostile.rs   callers that send half, too much, or nonsense, or do not read
//! real.rs      a client library that others have written, and the death of a server
//! ```

#[path = "../common/mod.rs"]
mod common;

mod caches;
mod hostile;
mod real;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use standin_config::{ClusterConfig, KeyspaceConfig, ServiceConfig, ServiceProtocol};
use standin_testkit::free_ports;

use common::{Cluster, KEYSPACE, WITHIN};

/// The keyspace of keys that name none, which has no database.
const CACHE: u8 = 2;

/// Creates a cluster whose servers speak the protocol. The keyspace `items` has a database.
fn cluster(
    test: &str,
    groups: &[(&str, &[&str])],
    change: impl FnOnce(&mut ClusterConfig),
) -> Cluster {
    Cluster::with(test, groups, |config| {
        assert_eq!(config.keyspaces[0].id, KEYSPACE);
        config.keyspaces.push(KeyspaceConfig::cache(CACHE, "cache"));
        config.naming.default_keyspace = Some(CACHE);
        let ports = free_ports(config.servers.len());
        for (server, port) in config.servers.iter_mut().zip(ports) {
            server.services = vec![ServiceConfig {
                protocol: ServiceProtocol::Memcached,
                address: ([127, 0, 0, 1], port).into(),
                passwords: None,
            }];
            (server.shards, server.memory_bytes) = (2, 64 << 20);
        }
        change(config);
    })
}

/// The address at which a server speaks the protocol.
fn address(cluster: &Cluster, server: &str) -> SocketAddr {
    cluster.config.servers[usize::from(cluster.id(server))].services[0].address
}

/// A connection that speaks the protocol.
struct Mem(TcpStream);

impl Mem {
    fn connect(cluster: &Cluster, server: &str) -> Self {
        let stream = TcpStream::connect(address(cluster, server)).expect("the port is open");
        stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
        stream.set_write_timeout(Some(WITHIN)).expect("a timeout");
        Self(stream)
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Reads as many bytes as these are, which must be these.
    #[track_caller]
    fn expect(&mut self, wanted: impl AsRef<[u8]>) {
        let wanted = wanted.as_ref();
        let mut got = vec![0; wanted.len()];
        let mut length = 0;
        while length < wanted.len() && wanted.starts_with(&got[..length]) {
            match self.0.read(&mut got[length..]) {
                Ok(0) => break,
                Ok(bytes) => length += bytes,
                Err(error) => panic!("{error} after {:?}", shown(&got[..length])),
            }
        }
        assert_eq!(shown(&got[..length]), shown(wanted));
    }

    /// Sends, and expects this reply.
    #[track_caller]
    fn ask(&mut self, request: &str, wanted: &str) {
        self.send(request);
        self.expect(wanted);
    }

    /// Expects that the server closes the connection without sending anything more.
    #[track_caller]
    fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => assert_eq!(shown(&rest), ""),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}

/// Bytes for a message; long ones are cut.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).into_owned();
    if bytes.len() > 600 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
