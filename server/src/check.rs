//! Checks for problems that would prevent a start, as far as they can be found without taking the
//! address or contacting the database. [`crate::Server::start`] and `standin check-config` use
//! them.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use standin_config::{ClusterConfig, IoKind, OriginConfig, OriginKind, TlsConfig, TlsPort};
use standin_tls::kernel::KernelTls;
use standin_tls::{Acceptor, Connector, TlsError};

use crate::budget::output_bytes;
use crate::descriptors::{self, TooFewDescriptors};
use crate::error::ServerError;
use crate::node::NodeConfig;
use crate::origin::Origin;
use crate::shard::access::Access;
use crate::shard::admission::Places;
use crate::shard::users::UsersError;
use crate::shard::{self, LoopError, uring_missing};
use crate::store::can_map;
pub use standin_postgres::DatabaseHost;

/// The first bytes of an SQLite database.
const SQLITE_HEAD: &[u8; 16] = b"SQLite format 3\0";

/// Returns the problems that prevent a server from starting on any machine.
#[must_use]
pub fn of_file(cluster: &ClusterConfig, server: u16) -> Vec<ServerError> {
    let mut errors: Vec<ServerError> = Vec::new();
    errors.extend(cluster.topology().err().map(ServerError::from));
    let store = NodeConfig::store(cluster, server).check();
    errors.extend(store.err().map(|error| ServerError::Store { shard: 0, error }));
    let origin = cluster.origin.as_ref();
    let checked = origin.map(|origin| Origin::check(origin, &cluster.keyspaces));
    errors.extend(checked.and_then(Result::err).map(ServerError::from));
    errors
}

/// Reads who may connect to a server, and what they may do.
pub(crate) fn access(cluster: &ClusterConfig, server: u16) -> Result<Access, UsersError> {
    let services = cluster.servers[usize::from(server)].services.iter();
    let services = services.map(|service| (service.protocol, service.passwords.as_deref()));
    Access::read(cluster.cluster_keys(), &cluster.security, services)
}

/// Returns the problems with the files that the cluster file names, such as those of passwords and certificates.
#[must_use]
pub fn of_named_files(cluster: &ClusterConfig, server: u16) -> Vec<ServerError> {
    let mut errors: Vec<ServerError> = Vec::new();
    errors.extend(access(cluster, server).err().map(ServerError::from));
    errors.extend(tls(cluster, server, |_| None).err().map(ServerError::from));
    errors.extend(tls_calls(cluster).err().map(ServerError::from));
    let access = cluster.origin.as_ref().map(Origin::check_here);
    errors.extend(access.and_then(Result::err).map(ServerError::from));
    errors
}

/// Returns the problems that prevent a server from starting on this machine, with the limits of
/// this process. Raises the limit of descriptors, as a start does.
#[must_use]
pub fn of_machine(cluster: &ClusterConfig, server: u16) -> Vec<ServerError> {
    let own = &cluster.servers[usize::from(server)];
    let mut errors = of_named_files(cluster, server);
    let places = descriptors::divide(cluster, server, descriptors::raise_limit());
    errors.extend(places.err().map(ServerError::from));
    if own.io == IoKind::Uring {
        errors.extend(uring_missing().map(ServerError::from));
    }
    let store = NodeConfig::store(cluster, server);
    if store.check().is_ok() {
        let mapped = can_map(&store, own.shards);
        errors.extend(mapped.err().map(|error| ServerError::Store { shard: 0, error }));
    }
    errors
}

/// Returns the side of a server that accepts connections with TLS; `None` if none of its ports has it. `kernel`
/// is asked for the kernel that takes such connections over.
pub(crate) fn tls(
    cluster: &ClusterConfig,
    server: u16,
    kernel: impl FnOnce(&TlsConfig) -> Option<Arc<KernelTls>>,
) -> Result<Option<Acceptor>, TlsError> {
    let services = &cluster.servers[usize::from(server)].services;
    let has_some = |tls: &&TlsConfig| {
        tls.is_for(TlsPort::Standin) || services.iter().any(|one| tls.is_for(one.protocol))
    };
    let Some(files) = cluster.tls.as_ref().filter(has_some) else { return Ok(None) };
    Acceptor::with_kernel(files, kernel(files)).map(Some)
}

/// Returns the side of a server that calls others; `None` if that is not encrypted.
pub(crate) fn tls_calls(cluster: &ClusterConfig) -> Result<Option<Connector>, TlsError> {
    cluster.tls_calls.as_ref().map(Connector::new).transpose()
}

/// Returns why this process can't listen on an address, unless another process listens on it.
#[must_use]
pub fn of_address(address: SocketAddr) -> Option<ServerError> {
    let tcp = TcpListener::bind(address).map(drop).map_err(|error| ("TCP", error));
    let udp = UdpSocket::bind(address).map(drop).map_err(|error| ("UDP", error));
    let (what, error) = tcp.and(udp).err()?;
    let is_taken = error.kind() == std::io::ErrorKind::AddrInUse;
    (!is_taken).then_some(ServerError::Bind { what, address, error })
}

/// Returns why this process can't listen on the addresses of a server's services, unless other
/// processes listen on them.
#[must_use]
pub fn of_services(cluster: &ClusterConfig, server: u16) -> Vec<ServerError> {
    let own = &cluster.servers[usize::from(server)];
    let services = own.services.iter().map(|service| (service.protocol.key(), service.address));
    let nodes = (0..own.shards).filter_map(|shard| cluster.node_address(server, shard));
    let nodes = nodes.map(|address| ("redis_node_port", address));
    let wrong = services.chain(nodes).filter_map(|(key, address)| {
        let error = TcpListener::bind(address).err()?;
        let is_taken = error.kind() == std::io::ErrorKind::AddrInUse;
        (!is_taken).then_some(ServerError::BindService { key, address, error })
    });
    wrong.collect()
}

/// Whether this machine has this address.
#[must_use]
pub fn is_of_this_machine(address: SocketAddr) -> bool {
    UdpSocket::bind((address.ip(), 0)).is_ok()
}

/// Returns the problems that do not prevent a start, but are probably mistakes.
#[must_use]
pub fn doubts(cluster: &ClusterConfig, server: u16) -> Vec<String> {
    let own = &cluster.servers[usize::from(server)];
    let mut doubts = Vec::new();
    let wanted = Places::wanted(cluster, server);
    if let Ok(places) = descriptors::divide(cluster, server, descriptors::raise_limit())
        && places != wanted
    {
        doubts.push(format!(
            "this process may not open enough files and sockets for limits.connections and \
             limits.handshakes: there is room for {} of {} and {} of {}; raise the limit \
             (`ulimit -Hn`, or LimitNOFILE= of the systemd unit), or lower them",
            places.clients, wanted.clients, places.handshakes, wanted.handshakes
        ));
    }
    if own.io == IoKind::Auto
        && let Some(error) = uring_missing()
    {
        doubts.push(format!("it will run on epoll, which needs more CPU time: {error}"));
    }
    let known = core_affinity::get_core_ids().unwrap_or_default();
    let missing = own.cores.iter().filter(|core| !known.iter().any(|known| known.id == **core));
    let missing: Vec<String> = missing.map(usize::to_string).collect();
    if !missing.is_empty() {
        doubts.push(format!(
            "`cores`: {} do not exist, or this process may not use them, so their shards are not \
             pinned; write cores that `taskset -cp $$` shows, or none",
            missing.join(", ")
        ));
    }
    let system = rustix::system::sysinfo();
    let machine_bytes = system.totalram.saturating_mul(system.mem_unit.into());
    if own.memory_bytes > machine_bytes {
        doubts.push(format!(
            "`memory` is {} MiB, but this machine has {} MiB; the kernel would kill the server \
             when the cache has grown that far. Write less",
            own.memory_bytes >> 20,
            machine_bytes >> 20
        ));
    }
    if let Some(OriginKind::Sqlite { path, .. }) = cluster.origin.as_ref().map(|o| &o.kind) {
        doubts.extend(doubt_of_sqlite(path));
    }
    doubts
}

/// Returns why the file is no SQLite database, if it can be seen without opening it as one.
fn doubt_of_sqlite(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder
        && !folder.is_dir()
    {
        return Some(format!(
            "there is no folder {}; the database is unavailable until it exists",
            folder.display()
        ));
    }
    let wrong = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => format!("can't be read ({error})"),
        Ok(metadata) if metadata.is_dir() => "is a folder".to_owned(),
        // Anything else may hang when it is opened.
        Ok(metadata) if !metadata.is_file() => "is no regular file".to_owned(),
        // SQLite makes a database of an empty file.
        Ok(metadata) if metadata.len() == 0 => return None,
        Ok(_) => {
            let mut head = [0; SQLITE_HEAD.len()];
            let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
            match read {
                Ok(()) if head == *SQLITE_HEAD => return None,
                Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                    format!("can't be read ({error})")
                }
                _ => "is no SQLite database".to_owned(),
            }
        }
    };
    Some(format!(
        "{} {wrong}; the database is unavailable until an SQLite file, or none, is there",
        path.display()
    ))
}

/// Whether a shard can run on io_uring here: sets up a ring as a shard does, and closes it.
///
/// # Errors
/// Why it can't.
pub fn uring() -> Result<(), LoopError> {
    uring_missing().map_or(Ok(()), Err)
}

/// Returns the kernel's operations that a shard uses on io_uring, by their names in
/// `linux/io_uring.h`, each with whether this kernel has it; `None` if it does not say.
#[must_use]
pub fn uring_operations() -> Vec<(&'static str, Option<bool>)> {
    shard::uring_operations()
}

/// Returns the numbers of descriptors that a server needs to start, and to take all clients that the
/// cluster file allows.
///
/// # Panics
/// If the cluster has no such server.
#[must_use]
pub fn descriptors(cluster: &ClusterConfig, server: u16) -> TooFewDescriptors {
    descriptors::divide(cluster, server, 0).expect_err("no server starts without a descriptor")
}

/// Returns the bytes of memory that a server may use for its caches and for replies that are not read
/// yet. Its index and its connections come on top.
///
/// # Panics
/// If the cluster has no such server.
#[must_use]
pub fn memory_bytes(cluster: &ClusterConfig, server: u16) -> u64 {
    let own = &cluster.servers[usize::from(server)];
    let replies = output_bytes(cluster, server) as u64 * u64::from(own.shards);
    own.memory_bytes.saturating_add(replies)
}

/// Returns the places that a connection string of PostgreSQL names, in its order; none for SQLite, or
/// if the string can't be parsed.
#[must_use]
pub fn database_hosts(origin: &OriginConfig) -> Vec<DatabaseHost> {
    Origin::hosts(origin)
}

/// Whether the database's connection string contains a password, as far as it can be parsed.
#[must_use]
pub fn has_password(origin: &OriginConfig) -> bool {
    Origin::has_password(origin)
}

#[cfg(test)]
mod tests {
    use standin_config::{KeyspaceConfig, OriginConfig};

    use super::*;

    fn cluster(change: impl FnOnce(&mut ClusterConfig)) -> ClusterConfig {
        let address = |port: u16| ([127, 0, 0, 1], port).into();
        let group = [("a1", address(1)), ("a2", address(2))];
        let mut cluster = ClusterConfig::new("c", address(3), OriginConfig::sqlite("/none/x"))
            .with_group("g", group);
        change(&mut cluster);
        cluster
    }

    fn postgres(url: &str) -> ClusterConfig {
        cluster(|cluster| cluster.origin = Some(OriginConfig::postgres(url)))
    }

    fn sized(memory_bytes: u64, shards: u16) -> ClusterConfig {
        cluster(|cluster| {
            for server in &mut cluster.servers {
                (server.memory_bytes, server.shards) = (memory_bytes, shards);
            }
        })
    }

    /// The problems that are refused, and the part of the message that says what to do.
    #[test]
    fn what_can_not_work_is_refused_with_a_remedy_before_anything_is_started() {
        let statement = |get: &str| {
            let keyspace = KeyspaceConfig { get: get.to_owned(), ..keyspace() };
            cluster(|cluster| cluster.keyspaces = vec![keyspace])
        };
        let table: &[(&str, ClusterConfig, &[&str])] = &[
            ("too much for a shard", sized(1 << 40, 1), &["cache of shard 0", "between"]),
            ("too little for a shard", sized(1 << 20, 256), &["4096 bytes", "65536"]),
            ("no URL", postgres("nonsense"), &["[origin] url", "postgres://user@host:port"]),
            ("another scheme", postgres("mysql://h/d"), &["[origin] url", "postgres://"]),
            ("a bad port", postgres("postgres://u@h:port/d"), &["[origin] url", "postgres://"]),
            ("an unknown setting", postgres("postgres://u@h/d?x=y"), &["[origin] url"]),
            (
                "TLS in a place that is not its",
                postgres("postgres://u@h/d?sslmode=verify-full"),
                &["[origin] url", "write `sslmode = "],
            ),
            (
                "TLS that is needed and not wanted",
                postgres("postgres://u@h/d?sslmode=prefer&channel_binding=require"),
                &["[origin] url", "channel_binding=require", "sslmode verify-full"],
            ),
            ("nobody to ask", postgres("dbname=x"), &["[origin] url", "host"]),
            ("a parameter that is not bound", statement("SELECT :nothing"), &["keyspace items"]),
        ];
        for (what, cluster, wanted) in table {
            let errors: Vec<String> = of_file(cluster, 0).iter().map(ToString::to_string).collect();
            assert_eq!(errors.len(), 1, "{what}: {errors:?}");
            for part in *wanted {
                assert!(errors[0].contains(part), "{what}: {errors:?} does not say {part:?}");
            }
        }
    }

    fn keyspace() -> KeyspaceConfig {
        KeyspaceConfig::new(1, "items", "SELECT v FROM t WHERE k = :key")
    }

    #[test]
    fn the_cluster_file_allows_what_a_shard_can_have_and_no_more() {
        use standin_config::{SHARD_MEMORY_BYTES_MAX, SHARD_MEMORY_BYTES_MIN};
        for (of_shard, is_possible) in [
            (SHARD_MEMORY_BYTES_MIN, true),
            (SHARD_MEMORY_BYTES_MIN - 1, false),
            (SHARD_MEMORY_BYTES_MAX, true),
            (SHARD_MEMORY_BYTES_MAX + 1, false),
        ] {
            let cluster = sized(of_shard * 16, 16);
            assert_eq!(of_file(&cluster, 0).is_empty(), is_possible, "{of_shard}");
        }
    }

    #[test]
    fn all_mistakes_are_said_at_once() {
        let mut cluster = sized(1 << 40, 1);
        cluster.origin = Some(OriginConfig::postgres("nonsense"));
        assert_eq!(of_file(&cluster, 0).len(), 2);
    }

    #[test]
    fn what_can_work_is_not_refused() {
        for cluster in [
            cluster(|_| {}),
            sized(64 << 30, 1),
            sized(1 << 20, 16),
            postgres("postgres://u@h/d"),
            postgres("postgres://u:secret@h,h2:5433/d?sslmode=prefer&connect_timeout=3"),
            postgres("host=/var/run/postgresql user=u dbname=d"),
            postgres("postgres://u@h/d?sslmode=require"),
        ] {
            let errors = of_file(&cluster, 1);
            assert!(errors.is_empty(), "{errors:?}");
        }
        let errors = of_machine(&cluster(|_| {}), 0);
        assert!(errors.is_empty(), "{errors:?}");
    }

    #[test]
    fn a_password_is_seen_in_whichever_form_it_is_written() {
        for (url, has) in [
            ("postgres://u:secret@h/d", true),
            ("postgres://u@h/d?password=secret", true),
            ("host=h user=u password='a secret'", true),
            ("postgres://u@h/d", false),
            ("host=h user=u", false),
        ] {
            assert_eq!(has_password(&OriginConfig::postgres(url)), has, "{url}");
        }
        assert!(!has_password(&OriginConfig::sqlite("/password=x")));
    }

    #[test]
    fn an_address_is_refused_when_it_is_another_machines_and_not_when_it_is_in_use() {
        // An address of TEST-NET-1, which no machine has.
        let foreign = ([192, 0, 2, 1], 7_101).into();
        assert!(!is_of_this_machine(foreign));
        let said = of_address(foreign).map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("192.0.2.1:7101") && said.contains("of this machine"), "{said}");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert!(is_of_this_machine(address));
        assert!(of_address(address).is_none());
    }

    #[test]
    fn what_is_hardly_meant_is_said() {
        let cluster = cluster(|cluster| {
            let a1 = &mut cluster.servers[0];
            (a1.cores, a1.memory_bytes) = (vec![4_095], 60 << 30);
            cluster.limits.connections = 1_000_000_000;
        });
        let doubts = doubts(&cluster, 0).join("\n");
        for part in ["`cores`: 4095 do not exist", "no folder /none"] {
            assert!(doubts.contains(part), "{doubts}");
        }
    }

    #[test]
    fn a_path_that_is_no_sqlite_database_is_said_and_a_new_or_old_one_is_not() {
        let scratch = standin_testkit::Scratch::new("sqlite-path");
        let file = |name: &str, bytes: &[u8]| {
            std::fs::write(scratch.file(name), bytes).unwrap();
            scratch.file(name)
        };
        let database = scratch.file("database");
        let direct = rusqlite::Connection::open(&database).unwrap();
        direct.execute_batch("CREATE TABLE t (k)").unwrap();
        for path in [database, scratch.file("new"), file("empty", b"")] {
            assert_eq!(doubt_of_sqlite(&path), None);
        }
        for (path, part) in [
            (scratch.path().to_owned(), "is a folder"),
            (file("text", &[b'x'; 4_096]), "is no SQLite database"),
            (file("short", b"SQLite"), "is no SQLite database"),
            ("/dev/null".into(), "is no regular file"),
            (scratch.file("none").join("database"), "there is no folder"),
            (scratch.file("text").join("database"), "there is no folder"),
        ] {
            let doubt = doubt_of_sqlite(&path).unwrap_or_default();
            assert!(doubt.contains(part), "{}: {doubt:?}", path.display());
        }
    }
}
