//! `standin proxy`: both protocols on TCP and on Unix sockets, in front of a cluster of real processes.
//!
//! ```text
//! serving.rs   what is asked of a proxy is done by the cluster, on both loops and by several threads
//! ```

#[path = "../common/mod.rs"]
mod common;

mod serving;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use standin_config::{IoKind, KeyspaceConfig};
use standin_testkit::{Child, free_ports};

use common::cluster::PROGRAM;
use common::{Cluster, KEYSPACE, TWO_PAIRS, WITHIN};

/// The keyspace of keys that name none, which has no database.
const CACHE: u8 = 2;

/// Starts a cluster of two groups, none of whose servers speaks another protocol than its own. The
/// keyspace `items` has a database.
fn start_cluster(test: &str) -> Cluster {
    let mut cluster = Cluster::with(test, TWO_PAIRS, |config| {
        assert_eq!(config.keyspaces[0].id, KEYSPACE);
        config.keyspaces.push(KeyspaceConfig::cache(CACHE, "cache"));
        config.servers.iter_mut().for_each(|server| server.shards = 2);
    });
    cluster.start();
    cluster
}

/// A proxy in a process of its own.
struct Proxy {
    child: Child,
    memcached: SocketAddr,
    socket: PathBuf,
}

/// How a test wants its proxy.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    io: IoKind,
    threads: u16,
    /// More lines of `[proxy]`, and then of other sections.
    more: &'a str,
    /// The name of its files, if there are several.
    name: &'a str,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { io: IoKind::Auto, threads: 2, more: "", name: "proxy" }
    }
}

impl Proxy {
    /// Starts a proxy that speaks memcached's protocol on TCP and Redis' on a Unix socket.
    fn start(cluster: &Cluster, wanted: Wanted<'_>) -> Self {
        let Wanted { io, threads, more, name } = wanted;
        let directory = cluster.directory();
        let memcached = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
        let socket = directory.join(format!("{name}.sock"));
        let servers: Vec<String> = ["a1", "b2"]
            .iter()
            .map(|server| format!("{:?}", cluster.address(server).to_string()))
            .collect();
        let io = match io {
            IoKind::Epoll => "epoll",
            IoKind::Uring => "uring",
            IoKind::Auto => "auto",
        };
        let mut text = format!(
            "[proxy]\nservers = [{}]\nmemcached = \"{memcached}\"\nredis = \"./{name}.sock\"\n\
             threads = {threads}\nio = \"{io}\"\ndefault_keyspace = \"cache\"\n{more}\n",
            servers.join(", ")
        );
        for keyspace in &cluster.config.keyspaces {
            let (id, name) = (keyspace.id, &keyspace.name);
            write!(text, "[[keyspace]]\nid = {id}\nname = \"{name}\"\n").expect("a string");
        }
        let path = directory.join(format!("{name}.toml"));
        std::fs::write(&path, text).expect("a file");
        let checked = Command::new(PROGRAM).arg("check-config").arg("--config").arg(&path).output();
        let checked = checked.expect("the program runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let mut command = Command::new(PROGRAM);
        command.args(["proxy", "--config"]).arg(&path).env("RUST_LOG", "info");
        let child = Child::spawn(name, command, directory);
        child.wait_for_line("is ready", WITHIN);
        Self { child, memcached, socket }
    }

    /// A connection that speaks memcached's protocol.
    fn memcached(&self) -> Talk {
        let stream = TcpStream::connect(self.memcached).expect("the proxy accepts connections");
        stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Talk(Box::new(stream))
    }

    /// A connection that speaks Redis' protocol.
    fn redis(&self) -> Talk {
        let stream = UnixStream::connect(&self.socket).expect("the proxy accepts connections");
        stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
        Talk(Box::new(stream))
    }

    /// Sends SIGTERM, and returns the exit code.
    fn terminate(&mut self, within: Duration) -> Option<i32> {
        self.child.signal(libc::SIGTERM);
        self.child.exit_status(within).code()
    }
}

/// Bytes in both directions.
trait Duplex: Read + Write {}
impl<S: Read + Write> Duplex for S {}

/// A connection to a proxy.
struct Talk(Box<dyn Duplex>);

impl Talk {
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("the proxy reads");
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
}

/// Bytes for a message; long ones are cut.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).into_owned();
    if bytes.len() > 600 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
