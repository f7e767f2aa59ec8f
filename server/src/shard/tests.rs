//! Protocols whose replies come in the order of the requests, memcached's and Redis', over real
//! sockets, on both event loops. Hits are served at once and misses when the database has answered; the client sees
//! neither.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use standin_config::{
    ClusterConfig, KeyCase, KeyspaceConfig, OriginConfig, OriginKind, ServiceProtocol,
};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus};
use standin_testkit::scratch::Scratch;
use standin_testkit::wait::wait_until;

use super::admission::{Admission, Places};
use super::challenges::Challenges;
use super::link::LinkConfig;
use super::listeners::{Listener, Service};
use super::mailbox::{Mailboxes, Message};
use super::*;
use crate::control::ControlHandle;
use crate::node::{Lease, Node, NodeConfig};
use crate::origin::{Health, Origin};
use crate::slow_log::SlowLog;
use crate::stats::StatsHub;

const PATIENCE: Duration = Duration::from_secs(20);
const BOOT: u64 = 5;
/// Replies of this many bytes that have not been read are enough to pause a connection.
const OUTPUT_BYTES: u32 = 64 << 10;

/// A shard that owns every partition of a cluster of one server.
struct Shard {
    address: SocketAddr,
    redis_address: SocketAddr,
    mailboxes: Mailboxes,
    origin: Option<Origin>,
    thread: Option<JoinHandle<Result<(), LoopError>>>,
    _scratch: Scratch,
}

impl Shard {
    /// Starts it on a database with these rows.
    fn start(io: IoKind, rows: &[(&str, Vec<u8>)]) -> Self {
        let scratch = Scratch::new("ordered");
        let file = scratch.file("origin.sqlite");
        let mut database = rusqlite::Connection::open(&file).unwrap();
        let table = "CREATE TABLE items (id TEXT PRIMARY KEY COLLATE NOCASE, value BLOB)";
        database.execute(table, ()).unwrap();
        let transaction = database.transaction().unwrap();
        for (key, value) in rows {
            transaction.execute("INSERT INTO items VALUES (?1, ?2)", (key, value)).unwrap();
        }
        transaction.commit().unwrap();
        let origin = OriginConfig::sqlite(file);
        assert!(matches!(origin.kind, OriginKind::Sqlite { .. }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = ClusterConfig::new("ordered", ([127, 0, 0, 1], 9).into(), origin)
            .with_group("g", [("a", address)]);
        let get = "SELECT value FROM items WHERE id = :key";
        let mut items = KeyspaceConfig::new(1, "items", get);
        items.key_case = KeyCase::Unicode;
        config.keyspaces = vec![items];
        config.naming.default_keyspace = Some(1);
        config.limits.key_bytes = 36;
        config.limits.output_bytes_per_connection = OUTPUT_BYTES;
        config.origin.as_mut().expect("it has a database").timeout = PATIENCE;
        let own = &mut config.servers[0];
        (own.shards, own.memory_bytes, own.huge_pages) = (1, 32 << 20, false);
        let config = Arc::new(config);
        let topology = Arc::new(config.topology().unwrap());
        let mailboxes = Mailboxes::new(1).unwrap();
        let completions = Arc::new(mailboxes.clone());
        let origin =
            Origin::start(config.origin.as_ref(), &config.keyspaces, completions, PATIENCE)
                .unwrap();
        let outside = Outside {
            mailboxes: mailboxes.clone(),
            hub: Arc::new(StatsHub::new("a".to_owned(), BOOT, 1, Micros::boottime())),
            threads: ServerThreads {
                origin: origin.clone(),
                control: ControlHandle::new().unwrap(),
                slow_log: Arc::new(SlowLog::new(&config)),
            },
        };
        let context = ShardContext {
            shard: 0,
            shards: 1,
            server: 0,
            cluster: Arc::clone(&config),
            topology: Arc::clone(&topology),
            admission: Arc::new(Admission::new(Places::wanted(&config, 0))),
            challenges: Challenges::new([7; 32]),
            tls: None,
            tls_calls: None,
            link: LinkConfig::new(&config, BOOT),
            access: Arc::default(),
        };
        let node = NodeConfig::new(&config, 0, 0, BOOT, Micros::boottime());
        let node = Node::new(node, Arc::clone(&topology)).unwrap();
        let redis = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let redis_address = redis.local_addr().unwrap();
        let listeners = [(listener, ServiceProtocol::Memcached), (redis, ServiceProtocol::Redis)];
        let listeners = listeners
            .map(|(socket, protocol)| Listener {
                socket: socket.into(),
                service: Service::Other(protocol),
            })
            .into();
        let thread = std::thread::spawn(move || run(node, context, outside, listeners, io));
        wait_until(PATIENCE, "the database", || origin.health() == Health::Up);
        let epoch = MapEpoch { term: 1, counter: 1 };
        let status = ServerStatus { boot_id: BOOT, since: epoch, state: ServerState::Online };
        let map = ClusterMap::new(topology, epoch, vec![status]);
        mailboxes.post(0, Message::Map(Arc::new(map)));
        mailboxes.post(0, Message::Lease(Lease { until: Micros::NEVER, orphan: false }));
        let (origin, thread) = (Some(origin), Some(thread));
        Self { address, redis_address, mailboxes, origin, thread, _scratch: scratch }
    }

    fn connect(&self) -> TcpStream {
        Self::connect_to(self.address)
    }

    fn connect_redis(&self) -> TcpStream {
        Self::connect_to(self.redis_address)
    }

    fn connect_to(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// The part of a reply for a key with this value.
fn value(key: &str, value: &[u8]) -> Vec<u8> {
    [format!("VALUE {key} 0 {}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

const END: &[u8] = b"END\r\n";

impl Drop for Shard {
    fn drop(&mut self) {
        self.mailboxes.post(0, Message::Stop { by: Micros::boottime() + PATIENCE });
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(origin) = self.origin.take() {
            origin.shutdown();
        }
        if !std::thread::panicking() {
            ended.expect("a thread").expect("no panic").expect("a loop that ends when told");
        }
    }
}

/// Reads what the shard sends from now on, as long as the expected bytes are.
fn read(stream: &mut TcpStream, expected: &[u8]) -> Vec<u8> {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).expect("replies to all requests");
    got
}

fn on_both_loops(body: impl Fn(IoKind)) {
    body(IoKind::Epoll);
    if standin_testkit::uring::is_available() {
        body(IoKind::Uring);
    }
}

#[test]
fn a_hit_waits_for_the_misses_before_it() {
    on_both_loops(|io| {
        let rows = [("hit", b"1".to_vec()), ("miss", b"22".to_vec()), ("other", b"3".to_vec())];
        let shard = Shard::start(io, &rows);
        let mut stream = shard.connect();
        stream.write_all(b"get hit\r\n").unwrap();
        let hit = [&*value("hit", b"1"), END].concat();
        assert_eq!(read(&mut stream, &hit), hit);
        // All in one turn: the hits are served before the database is asked for the others.
        stream.write_all(b"get hit\r\nget hit miss hit none\r\nget hit\r\nget other\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        let (one, two) = (value("hit", b"1"), value("miss", b"22"));
        let other = value("other", b"3");
        let wanted = [&*one, END, &*one, &*two, &*one, END, &*one, END, &*other, END].concat();
        assert_eq!(String::from_utf8(got), String::from_utf8(wanted), "then the server closes");
    });
}

#[test]
fn a_refusal_waits_its_turn() {
    on_both_loops(|io| {
        let shard = Shard::start(io, &[("hit", b"1".to_vec()), ("miss", b"22".to_vec())]);
        let mut stream = shard.connect();
        // A character of two bytes whose lower case has three.
        let long = "Ⱥ".repeat(18);
        stream.write_all(format!("get miss\r\nget {long}\r\nget hit\r\n").as_bytes()).unwrap();
        let wrong = b"SERVER_ERROR TOO_LARGE: in its keyspace's form the key is over the limit\r\n";
        let (miss, hit) = (value("miss", b"22"), value("hit", b"1"));
        let expected = [&*miss, END, wrong, &*hit, END].concat();
        assert_eq!(read(&mut stream, &expected), expected);
    });
}

#[test]
fn hits_that_fill_the_output_while_a_miss_is_out_pause_the_connection_and_it_goes_on() {
    on_both_loops(|io| {
        let large = vec![b'x'; 10_000];
        let misses: Vec<String> = (0..20).map(|number| format!("miss-{number}")).collect();
        let rows = misses.iter().map(|name| (&**name, name.clone().into_bytes()));
        let rows: Vec<_> = rows.chain([("hit", large.clone())]).collect();
        let shard = Shard::start(io, &rows);
        let mut stream = shard.connect();
        let hit = value("hit", &large);
        stream.write_all(b"get hit\r\n").unwrap();
        let first = [&*hit, END].concat();
        assert_eq!(read(&mut stream, &first), first);
        // Every other line has all its keys together, the others one each.
        let (mut requests, mut expected) = (Vec::new(), Vec::new());
        for (number, miss) in misses.iter().enumerate() {
            let gap = if number % 2 == 0 { " " } else { "\r\nget " };
            let keys = vec!["hit"; 50].join(gap);
            requests.extend(format!("get {miss}{gap}{keys}\r\n").into_bytes());
            let end = if number % 2 == 0 { &[][..] } else { END };
            expected.extend(value(miss, miss.as_bytes()));
            expected.extend_from_slice(end);
            for _ in 0..50 {
                expected.extend_from_slice(&hit);
                expected.extend_from_slice(end);
            }
            expected.extend_from_slice(if number % 2 == 0 { END } else { &[] });
        }
        stream.write_all(&requests).unwrap();
        let got = read(&mut stream, &expected);
        assert!(got == expected, "{} bytes in order", expected.len());
    });
}

/// A client waits for its values instead of being refused some.
#[test]
fn a_line_with_more_misses_than_may_be_under_way_is_answered_whole() {
    on_both_loops(|io| {
        let names: Vec<String> = (0..5_000).map(|number| format!("row-{number}")).collect();
        let rows: Vec<_> = names.iter().map(|name| (&**name, name.clone().into_bytes())).collect();
        let shard = Shard::start(io, &rows);
        let mut stream = shard.connect();
        let expected: Vec<u8> =
            names.iter().flat_map(|name| value(name, name.as_bytes())).collect();
        let expected = [&*expected, END].concat();
        for _ in 0..2 {
            stream.write_all(format!("get {}\r\n", names.join(" ")).as_bytes()).unwrap();
            let got = read(&mut stream, &expected);
            assert!(got == expected, "{} bytes in order", expected.len());
        }
    });
}

/// A command as RESP sends it.
fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

#[track_caller]
fn says(stream: &mut TcpStream, sent: &[u8], wanted: &str) {
    stream.write_all(sent).unwrap();
    let got = read(stream, wanted.as_bytes());
    assert_eq!(String::from_utf8_lossy(&got), wanted);
}

#[test]
fn redis_hits_wait_for_the_misses_before_them_and_transactions_are_replayed_in_order() {
    on_both_loops(|io| {
        let rows = [("hit", b"1".to_vec()), ("miss", b"22".to_vec()), ("other", b"3".to_vec())];
        let shard = Shard::start(io, &rows);
        let mut stream = shard.connect_redis();
        says(&mut stream, &command(&["GET", "hit"]), "$1\r\n1\r\n");
        let sent = [
            command(&["GET", "hit"]),
            command(&["MGET", "hit", "miss", "none", "hit"]),
            b"GET hit\r\n".to_vec(),
            command(&["MULTI"]),
            command(&["GET", "other"]),
            command(&["STRLEN", "miss"]),
            command(&["EXEC"]),
            command(&["EXISTS", "hit", "none"]),
            b"PING\r\nGET \"hit\"\r\n".to_vec(),
        ];
        let wanted = "$1\r\n1\r\n*4\r\n$1\r\n1\r\n$2\r\n22\r\n$-1\r\n$1\r\n1\r\n$1\r\n1\r\n\
                      +OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$1\r\n3\r\n:2\r\n:1\r\n+PONG\r\n$1\r\n1\r\n";
        says(&mut stream, &sent.concat(), wanted);
        // Byte by byte.
        let mut stream = shard.connect_redis();
        stream.set_nodelay(true).unwrap();
        for byte in sent.concat() {
            stream.write_all(&[byte]).unwrap();
        }
        says(&mut stream, &command(&["QUIT"]), &format!("{wanted}+OK\r\n"));
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection is closed");
    });
}

#[test]
fn what_is_no_redis_command_is_refused_after_what_came_before_it() {
    on_both_loops(|io| {
        let shard = Shard::start(io, &[("miss", b"22".to_vec())]);
        for (sent, wanted) in [
            (&b"*2\r\n$3\r\nGET\r\n$536870913\r\n"[..], "invalid bulk length"),
            (b"*1048577\r\n", "invalid multibulk length"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n:1\r\n", "expected '$', got ':'"),
            (b"set \"x\r\n", "unbalanced quotes in request"),
        ] {
            let mut stream = shard.connect_redis();
            stream.write_all(&[&command(&["GET", "miss"]), sent].concat()).unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            let wanted = format!("$2\r\n22\r\n-ERR Protocol error: {wanted}\r\n");
            assert_eq!(String::from_utf8_lossy(&got), wanted);
        }
    });
}

/// Commands are served in order across pauses, of which there are many here.
#[test]
fn a_long_pipeline_of_redis_commands_is_answered_whole() {
    on_both_loops(|io| {
        let large = vec![b'x'; 3 << 10];
        let names: Vec<String> = (0..2_000).map(|number| format!("row-{number}")).collect();
        let rows: Vec<_> = names.iter().map(|name| (&**name, name.clone().into_bytes())).collect();
        let rows: Vec<_> = rows.into_iter().chain([("hit", large.clone())]).collect();
        let shard = Shard::start(io, &rows);
        let mut stream = shard.connect_redis();
        let bulk = |value: &str| format!("${}\r\n{value}\r\n", value.len());
        let hit = bulk(std::str::from_utf8(&large).unwrap());
        let (mut sent, mut wanted) = (Vec::new(), String::new());
        for (number, name) in names.iter().enumerate() {
            match number % 4 {
                0 => {
                    sent.extend(command(&["GET", name]));
                    wanted += &bulk(name);
                }
                1 => {
                    sent.extend(command(&["MGET", name, "hit", "none"]));
                    wanted += &format!("*3\r\n{}{hit}$-1\r\n", bulk(name));
                }
                2 => {
                    sent.extend(format!("GET {name}\r\n").into_bytes());
                    wanted += &bulk(name);
                }
                _ => {
                    for words in [&["MULTI"][..], &["GET", "hit"], &["GET", name], &["EXEC"]] {
                        sent.extend(command(words));
                    }
                    wanted += &format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n{hit}{}", bulk(name));
                }
            }
        }
        let mut writer = stream.try_clone().unwrap();
        let thread = std::thread::spawn(move || writer.write_all(&sent).unwrap());
        let got = read(&mut stream, wanted.as_bytes());
        assert!(got == wanted.as_bytes(), "{} bytes in order", wanted.len());
        thread.join().unwrap();
    });
}
