//! `standin proxy`: both protocols on TCP and on Unix sockets, in front of a cluster of real processes.
//!
//! ```text
//! serving.rs   what is asked of a proxy is done by the cluster, on both loops and by several threads
//! real.rs      pymemcache and redis-py, driven by client.py, also while servers die and return
//! stopping.rs  SIGTERM, and the files of Unix sockets
//! hostile.rs   callers that send half, too much, or nonsense, or do not read
//! gone.rs      a cluster that is not there, and is there again
//! ```

#[path = "../common/mod.rs"]
mod common;

mod gone;
mod hostile;
mod real;
mod serving;
mod stopping;

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use standin_config::{ClusterConfig, IoKind, KeyspaceConfig};
use standin_testkit::{Child, free_ports};

use common::cluster::PROGRAM;
use common::{Cluster, KEYSPACE, TWO_PAIRS, WITHIN};

/// The keyspace of keys that name none, which has no database.
const CACHE: u8 = 2;

/// Starts a cluster of two groups, none of whose servers speaks another protocol than its own. The
/// keyspace `items` has a database.
fn start_cluster(test: &str) -> Cluster {
    start_cluster_with(test, |_| {})
}

/// Starts one after a change to its configuration.
fn start_cluster_with(test: &str, change: impl FnOnce(&mut ClusterConfig)) -> Cluster {
    let mut cluster = Cluster::with(test, TWO_PAIRS, |config| {
        assert_eq!(config.keyspaces[0].id, KEYSPACE);
        config.keyspaces.push(KeyspaceConfig::cache(CACHE, "cache"));
        for server in &mut config.servers {
            (server.shards, server.memory_bytes) = (2, 64 << 20);
        }
        change(config);
    });
    cluster.start();
    cluster
}

/// A proxy in a process of its own.
struct Proxy {
    child: Child,
    /// The address or the path at which it speaks memcached's protocol.
    memcached: String,
    /// The address or the path at which it speaks Redis' protocol.
    redis: String,
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
    /// Whether Redis' protocol is that of the TCP port, and memcached's that of the Unix socket.
    is_redis_on_tcp: bool,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        let is_redis_on_tcp = false;
        Self { io: IoKind::Auto, threads: 2, more: "", name: "proxy", is_redis_on_tcp }
    }
}

impl Proxy {
    /// Starts a proxy that speaks one protocol on TCP and the other on a Unix socket.
    fn start(cluster: &Cluster, wanted: Wanted<'_>) -> Self {
        let Wanted { io, threads, more, name, is_redis_on_tcp } = wanted;
        let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0])).to_string();
        let socket = cluster.directory().join(format!("{name}.sock")).display().to_string();
        let (memcached, redis) =
            if is_redis_on_tcp { (socket, address) } else { (address, socket) };
        let server = |name| format!("{:?}", cluster.address(name).to_string());
        let io = match io {
            IoKind::Epoll => "epoll",
            IoKind::Uring => "uring",
            IoKind::Auto => "auto",
        };
        let mut text = format!(
            "[proxy]\nservers = [{}, {}]\nmemcached = \"{memcached}\"\nredis = \"{redis}\"\n\
             threads = {threads}\nio = \"{io}\"\ndefault_keyspace = \"cache\"\n{more}\n",
            server("a1"),
            server("b2"),
        );
        for keyspace in &cluster.config.keyspaces {
            let (id, name) = (keyspace.id, &keyspace.name);
            write!(text, "[[keyspace]]\nid = {id}\nname = \"{name}\"\n").expect("a string");
        }
        let path = cluster.directory().join(format!("{name}.toml"));
        std::fs::write(&path, text).expect("a file");
        let checked = Command::new(PROGRAM).arg("check-config").arg("--config").arg(&path).output();
        let checked = checked.expect("the program runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let child = Self::spawn(cluster, name);
        child.wait_for_line("is ready", WITHIN);
        Self { child, memcached, redis }
    }

    /// Starts a process on a proxy's file.
    fn spawn(cluster: &Cluster, name: &str) -> Child {
        let mut command = Command::new(PROGRAM);
        command.args(["proxy", "--config"]).arg(cluster.directory().join(format!("{name}.toml")));
        command.env("RUST_LOG", "info");
        Child::spawn(name, command, cluster.directory())
    }

    /// A connection that speaks memcached's protocol.
    fn memcached(&self) -> Talk {
        Talk::connect(&self.memcached).expect("the proxy accepts connections")
    }

    /// A connection that speaks Redis' protocol.
    fn redis(&self) -> Talk {
        Talk::connect(&self.redis).expect("the proxy accepts connections")
    }

    /// The value of a counter, as `stats` has it.
    fn counter(&self, name: &str) -> u64 {
        let mut talk = self.memcached();
        talk.send("stats\r\n");
        let said = talk.until("END\r\n");
        let wanted = format!("STAT {name} ");
        let line = said.lines().find_map(|line| line.strip_prefix(&wanted));
        line.unwrap_or_else(|| panic!("no {name} in {said}")).parse().expect("a number")
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
    fn connect(place: &str) -> std::io::Result<Self> {
        if place.starts_with('/') {
            let stream = UnixStream::connect(place)?;
            stream.set_read_timeout(Some(WITHIN))?;
            return Ok(Self(Box::new(stream)));
        }
        let stream = TcpStream::connect(place)?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.set_nodelay(true)?;
        Ok(Self(Box::new(stream)))
    }

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
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error} after {:?}", shown(&got[..length])),
            }
        }
        assert_eq!(shown(&got[..length]), shown(wanted));
    }

    /// Reads until there is this text.
    #[track_caller]
    fn until(&mut self, text: &str) -> String {
        let mut said = Vec::new();
        let mut bytes = [0; 65_536];
        loop {
            let shown = String::from_utf8_lossy(&said);
            if shown.contains(text) {
                return shown.into_owned();
            }
            let length = match self.0.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.expect("an answer"),
            };
            assert!(length > 0, "closed after {shown:?}");
            said.extend_from_slice(&bytes[..length]);
        }
    }

    /// Reads until the proxy closes the connection.
    #[track_caller]
    fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let ended = self.0.read_to_end(&mut rest);
        let is_reset = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
        assert!(ended.as_ref().err().is_none_or(is_reset), "{ended:?} after {:?}", shown(&rest));
        String::from_utf8_lossy(&rest).into_owned()
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
