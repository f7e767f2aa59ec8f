//! `standin proxy`: both protocols on TCP and on Unix sockets, in front of a cluster of real processes.
//!
//! ```text
//! files.rs     what a proxy reads and writes: its file, the cluster's secret, its log
//! serving.rs   what is asked of a proxy is done by the cluster, on both loops and by several threads
//! real.rs      pymemcache and redis-py, driven by client.py, also while servers die and return
//! stopping.rs  SIGTERM, and the files of Unix sockets
//! hostile.rs   callers that send half, too much, or nonsense, or do not read
//! gone.rs      a cluster that is not there, and is there again
//! walks.rs     the keys that the cluster has cached
//! ```

#[path = "../common/mod.rs"]
mod common;

mod files;
mod gone;
mod hostile;
mod real;
mod serving;
mod stopping;
mod walks;

use std::fmt::Write as _;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use standin_config::{ClusterConfig, IoKind, KeyspaceConfig};
use standin_testkit::{Child, free_ports};

use common::cluster::PROGRAM;
use common::{Caller, Cluster, KEYSPACE, TWO_PAIRS, WITHIN};

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
    /// More arguments of the command.
    arguments: &'a [&'a str],
    /// Whether Redis' protocol is that of the TCP port, and memcached's that of the Unix socket.
    is_redis_on_tcp: bool,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        let is_redis_on_tcp = false;
        let (io, threads, more, name) = (IoKind::Auto, 2, "", "proxy");
        Self { io, threads, more, name, arguments: &[], is_redis_on_tcp }
    }
}

impl Proxy {
    /// Starts a proxy that speaks one protocol on TCP and the other on a Unix socket.
    fn start(cluster: &Cluster, wanted: Wanted<'_>) -> Self {
        let Wanted { io, threads, more, name, arguments, is_redis_on_tcp } = wanted;
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
            let kind = keyspace.kind.name();
            write!(text, "[[keyspace]]\nid = {id}\nname = \"{name}\"\nkind = \"{kind}\"\n")
                .expect("a string");
        }
        let path = cluster.directory().join(format!("{name}.toml"));
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("its mode");
        let checked = Command::new(PROGRAM).arg("check-config").arg("--config").arg(&path).output();
        let checked = checked.expect("the program runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let child = Self::spawn(cluster, name, arguments);
        child.wait_for_line("is ready", WITHIN);
        Self { child, memcached, redis }
    }

    /// Starts a process on a proxy's file.
    fn spawn(cluster: &Cluster, name: &str, arguments: &[&str]) -> Child {
        let mut command = Command::new(PROGRAM);
        command.args(["proxy", "--config"]).arg(cluster.directory().join(format!("{name}.toml")));
        command.args(arguments).current_dir(cluster.directory());
        command.env("RUST_LOG", "info");
        Child::spawn(name, command, cluster.directory())
    }

    /// A connection that speaks memcached's protocol.
    fn memcached(&self) -> Caller {
        Caller::connect(&self.memcached)
    }

    /// A connection that speaks Redis' protocol.
    fn redis(&self) -> Caller {
        Caller::connect(&self.redis)
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
