//! What is asked of a proxy is done by the cluster.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use standin_config::{IoKind, TlsAuthorities, TlsCalls, TlsPort};
use standin_protocol::slots::KeyHash;
use standin_testkit::{Authority, Issued, Scratch, wait_until};

use super::common::memcached::Many;
use super::common::{WITHIN, ring, tls};
use super::{CACHE, Proxy, Wanted, start_cluster, start_cluster_with};

#[test]
fn both_protocols_reach_every_key_on_both_loops() {
    for (io, threads, hash, name) in
        [(IoKind::Epoll, 1, KeyHash::Xxh3, "one"), (ring(), 3, KeyHash::Crc16, "three")]
    {
        // The proxy learns from the cluster how keys are hashed.
        let cluster = start_cluster_with(&format!("proxy_{name}"), |config| config.hash = hash);
        let mut proxy = Proxy::start(&cluster, Wanted { io, threads, name, ..Wanted::default() });
        let mode = std::fs::metadata(&proxy.redis).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        let mut mems = [0, 1, 2, 3].map(|_| proxy.memcached());
        let mut redises = [0, 1, 2, 3].map(|_| proxy.redis());
        for number in 0..40 {
            let key = format!("{name}-{number}");
            let length = key.len();
            let (mem, redis) = (&mut mems[number % 4], &mut redises[(number + 1) % 4]);
            mem.ask(&format!("set {key} 7 0 2\r\n10\r\n"), "STORED\r\n");
            redis.ask(&format!("*2\r\n$4\r\nINCR\r\n${length}\r\n{key}\r\n"), ":11\r\n");
            mem.ask(&format!("get {key}\r\n"), &format!("VALUE {key} 7 2\r\n11\r\nEND\r\n"));
            redis.ask(&format!("SET {key} new EX 100 NX\r\n"), "$-1\r\n");
            redis.ask(&format!("SET {key} new EX 100\r\n"), "+OK\r\n");
            redis.ask(&format!("TTL {key}\r\n"), ":100\r\n");
            mem.ask(&format!("append {key} 0 0 1\r\n!\r\n"), "STORED\r\n");
            redis.ask(&format!("GET {key}\r\n"), "$4\r\nnew!\r\n");
            mem.ask(
                &format!("incr {key} 1\r\n"),
                "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
            );
            redis.ask(&format!("DEL {key} none\r\n"), ":1\r\n");
            mem.ask(&format!("get {key}\r\n"), "END\r\n");
        }
        let many = Many::store(&mut mems);
        redises[0].ask("FLUSHALL\r\n", "+OK\r\n");
        many.expect_none(&mut mems[0]);
        redises[1].ask("MULTI\r\n", "+OK\r\n");
        redises[1].ask("SET t 1\r\nINCR t\r\n", "+QUEUED\r\n+QUEUED\r\n");
        redises[1].ask("EXEC\r\n", "*2\r\n+OK\r\n:2\r\n");
        assert_eq!(proxy.terminate(WITHIN), Some(0));
        assert!(!Path::new(&proxy.redis).exists(), "the file of the socket is removed");
    }
}

#[test]
fn several_watched_keys_of_a_partition_are_written_in_one_step() {
    let cluster = start_cluster("proxy_watch");
    let proxy = Proxy::start(&cluster, Wanted::default());
    let (mut redis, mut other) = (proxy.redis(), proxy.redis());
    let partition = |key: &String| cluster.topology.partition(CACHE, key.as_bytes());
    let first = "key0".to_owned();
    let names = (1..).map(|number: u32| format!("key{number}"));
    let second = names.into_iter().find(|key| partition(key) == partition(&first)).expect("many");
    let mut watch = |wanted: &str, between: &mut dyn FnMut()| {
        redis.ask(&format!("WATCH {first} {second}\r\n"), "+OK\r\n");
        between();
        redis.ask("MULTI\r\n", "+OK\r\n");
        redis.ask(&format!("SET {first} 1\r\nINCR {second}\r\n"), "+QUEUED\r\n+QUEUED\r\n");
        redis.ask("EXEC\r\n", wanted);
    };
    watch("*2\r\n+OK\r\n:1\r\n", &mut || ());
    watch("*-1\r\n", &mut || other.ask(&format!("INCR {second}\r\n"), ":2\r\n"));
    watch("*2\r\n+OK\r\n:3\r\n", &mut || ());
    // A row is written by a statement.
    redis.ask("WATCH items:row\r\nMULTI\r\nSET items:row 5\r\n", "+OK\r\n+OK\r\n+QUEUED\r\n");
    redis.ask("EXEC\r\n", "*1\r\n+OK\r\n");
    redis.ask("GET items:row\r\n", "$1\r\n5\r\n");
}

#[test]
fn a_proxy_has_tls_on_both_sides_and_reads_its_certificates_again() {
    let mut made = None;
    let cluster = start_cluster_with("proxy_tls", |config| {
        made = Some(tls::switch_on(config, &[TlsPort::Standin]));
    });
    let (authority, files) = made.expect("it was made");
    let of_clients = Authority::new(files.path(), "of-clients");
    let issued = of_clients.issue("proxy", "IP:127.0.0.1");
    let more = format!(
        "[proxy.tls]\nports = [\"memcached\"]\ncert_file = {:?}\nkey_file = {:?}\n[tls]\nca_file = {:?}\n",
        issued.certificate, issued.key, authority.root.certificate,
    );
    let mut proxy = Proxy::start(&cluster, Wanted { more: &more, ..Wanted::default() });
    let place = proxy.memcached.parse().expect("an address");
    let calls = |authority: &Authority| TlsCalls {
        authorities: TlsAuthorities::File(authority.root.certificate.clone()),
        name: None,
        own: None,
    };
    let calls_now = calls(&of_clients);
    let mut stream = tls::Stream::open(place, &calls_now).expect("it connects");
    let mut ask = |request: &str, wanted: &str| {
        let said = stream.exchange(request.as_bytes(), wanted.as_bytes()).expect("it answers");
        assert_eq!(String::from_utf8_lossy(&said), wanted);
    };
    for number in 0..20 {
        ask(&format!("set key{number} 0 0 5\r\nvalue\r\n"), "STORED\r\n");
        ask(&format!("get key{number}\r\n"), &format!("VALUE key{number} 0 5\r\nvalue\r\nEND\r\n"));
    }
    // The other place is a Unix socket, which has none.
    proxy.redis().ask("GET key7\r\n", "$5\r\nvalue\r\n");
    proxy.memcached().ask("get key7\r\n", "SERVER_ERROR this port takes TLS only\r\n");
    proxy.child.wait_for_line("it does not speak TLS", WITHIN);
    let renewed = Authority::new(files.path(), "renewed");
    let new = renewed.issue("renewed-proxy", "IP:127.0.0.1");
    std::fs::copy(&new.certificate, &issued.certificate).expect("our file");
    std::fs::copy(&new.key, &issued.key).expect("our file");
    proxy.child.signal(libc::SIGHUP);
    wait_until(WITHIN, "the new certificate", || {
        let mut stream = tls::Stream::open(place, &calls(&renewed)).expect("it connects");
        stream.exchange(b"get none\r\n", b"END\r\n").is_ok_and(|said| said == b"END\r\n")
    });
    // Connections of before stay.
    ask("get none\r\n", "END\r\n");
}

#[test]
fn a_proxy_answers_no_caller_without_a_certificate_of_its_authority() {
    let cluster = start_cluster("proxy_mutual_tls");
    let files = Scratch::new("proxy_mutual_tls_files");
    let authority = Authority::new(files.path(), "root");
    let Issued { certificate, key } = authority.issue("proxy", "IP:127.0.0.1");
    let more = format!(
        "[proxy.tls]\nports = [\"memcached\"]\ncert_file = {certificate:?}\nkey_file = {key:?}\nclient_ca_file = {:?}\n",
        authority.root.certificate,
    );
    let proxy = Proxy::start(&cluster, Wanted { more: &more, ..Wanted::default() });
    let place = proxy.memcached.parse().expect("an address");
    let callers = tls::Callers::new(&authority, &files);
    callers.only_the_right_one_is_answered("the proxy", place, b"version\r\n", b"VERSION ");
}

/// A flush of everything needs to know the cluster, which a proxy learns before it is asked for anything.
#[test]
fn the_first_request_of_a_proxy_may_be_a_flush() {
    let cluster = start_cluster("proxy_flush_first");
    for name in ["mem", "redis"] {
        let proxy = Proxy::start(&cluster, Wanted { name, threads: 3, ..Wanted::default() });
        for _ in 0..6 {
            match name {
                "mem" => proxy.memcached().ask("flush_all\r\n", "OK\r\n"),
                _ => proxy.redis().ask("FLUSHALL\r\n", "+OK\r\n"),
            }
        }
    }
}

#[test]
fn a_keyspace_with_a_database_is_written_through() {
    let cluster = start_cluster("proxy_rows");
    cluster.set_row(b"row", b"from the table");
    let proxy = Proxy::start(&cluster, Wanted::default());
    let mut mem = proxy.memcached();
    mem.ask("get items:row\r\n", "VALUE items:row 0 14\r\nfrom the table\r\nEND\r\n");
    mem.ask("set items:new 0 0 3\r\nabc\r\n", "STORED\r\n");
    assert_eq!(cluster.row(b"new").as_deref(), Some(&b"abc"[..]));
    proxy.redis().ask("APPEND items:new !\r\n", ":4\r\n");
    assert_eq!(cluster.row(b"new").as_deref(), Some(&b"abc!"[..]));
    mem.ask("delete items:new\r\n", "DELETED\r\n");
    assert_eq!(cluster.row(b"new"), None);
}

/// What `stats` and INFO count are the proxy's own requests.
#[test]
fn the_counters_are_those_of_the_proxy() {
    let cluster = start_cluster("proxy_counters");
    let proxy = Proxy::start(&cluster, Wanted::default());
    let mut mem = proxy.memcached();
    mem.ask("set k 0 0 1\r\n1\r\n", "STORED\r\n");
    for _ in 0..10 {
        mem.ask("get k none\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n");
    }
    let look = |request: &str, wanted: &[&str], end: &str| {
        wait_until(WITHIN, "the counters", || {
            let mut talk = if request.starts_with('s') { proxy.memcached() } else { proxy.redis() };
            talk.send(request);
            let said = talk.until(end);
            wanted.iter().all(|line| said.contains(line))
        });
    };
    look("stats\r\n", &["STAT get_hits 10\r\n", "STAT get_misses 10\r\n"], "END\r\n");
    let wanted = ["keyspace_hits:10\r\n", "keyspace_misses:10\r\n"];
    look("INFO stats\r\n", &wanted, "keyspace_misses");
}

#[test]
fn a_place_with_passwords_is_for_its_users_only() {
    let cluster = start_cluster("proxy_users");
    for file in ["mem.users", "redis.users"] {
        let path = cluster.directory().join(file);
        std::fs::write(&path, "ann:hers\n").expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    }
    let more = "memcached_passwords = \"mem.users\"\nredis_passwords = \"redis.users\"\n\
                socket_mode = \"0600\"";
    let proxy = Proxy::start(&cluster, Wanted { more, ..Wanted::default() });
    let mode = std::fs::metadata(&proxy.redis).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for _ in 0..4 {
        let mut mem = proxy.memcached();
        mem.ask("get k\r\n", "CLIENT_ERROR unauthenticated\r\n");
        mem.ask("set x 0 0 9\r\nann wrong\r\n", "CLIENT_ERROR authentication failure\r\n");
        let mut mem = proxy.memcached();
        mem.ask("set x 0 0 8\r\nann hers\r\nget k\r\n", "STORED\r\nEND\r\n");
        let mut redis = proxy.redis();
        redis.ask("GET k\r\n", "-NOAUTH Authentication required.\r\n");
        redis.ask("AUTH ann hers\r\nGET k\r\n", "+OK\r\n$-1\r\n");
    }
}
