//! What a cache is used for, from every server.

use std::os::unix::fs::PermissionsExt as _;

use super::cluster;
use super::common::memcached::Many;
use super::common::{Caller, PAIR, TWO_PAIRS, WITHIN};

#[test]
fn every_server_reaches_every_key_and_all_its_changes() {
    let mut cluster = cluster("mem_every", TWO_PAIRS, |_| {});
    cluster.start();
    let mut servers = ["a1", "a2", "b1", "b2"].map(|server| Caller::to(&cluster, server));
    for number in 0..40 {
        let key = format!("key-{number}");
        let (first, second) = (number % 4, (number + 1) % 4);
        servers[first].ask(&format!("set {key} 7 0 2\r\n10\r\n"), "STORED\r\n");
        servers[second]
            .ask(&format!("get {key}\r\n"), &format!("VALUE {key} 7 2\r\n10\r\nEND\r\n"));
        servers[second].ask(&format!("incr {key} 5\r\n"), "15\r\n");
        servers[first].ask(&format!("append {key} 0 0 1\r\n!\r\n"), "STORED\r\n");
        servers[second].ask(&format!("add {key} 0 0 1\r\nx\r\n"), "NOT_STORED\r\n");
        servers[first]
            .ask(&format!("get {key}\r\n"), &format!("VALUE {key} 7 3\r\n15!\r\nEND\r\n"));
        servers[second].ask(
            &format!("incr {key} 1\r\n"),
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        );
        // The version travels to the owner and back.
        servers[first].send(format!("mg {key} c\r\n"));
        let version = servers[first].until("\r\n");
        let version = version.trim_end().trim_start_matches("HD c").to_owned();
        servers[second].ask(&format!("ms {key} 1 C1\r\ny\r\n"), "EX\r\n");
        servers[second].ask(&format!("ms {key} 1 C{version} F9\r\ny\r\n"), "HD\r\n");
        servers[first].ask(&format!("cas {key} 0 0 1 {version}\r\nz\r\n"), "EXISTS\r\n");
        servers[first].ask(&format!("mg {key} v f t\r\n"), "VA 1 f9 t-1\r\ny\r\n");
        // A stale value is told to one reader.
        servers[second].ask(&format!("md {key} I T30\r\n"), "HD\r\n");
        servers[first].ask(&format!("mg {key} v\r\n"), "VA 1 X W\r\ny\r\n");
        servers[second].ask(&format!("mg {key} v\r\n"), "VA 1 Z X\r\ny\r\n");
        servers[second].ask(&format!("delete {key}\r\n"), "DELETED\r\n");
        servers[first].ask(&format!("get {key}\r\n"), "END\r\n");
    }
    let many = Many::store(&mut servers);
    servers[3].ask("flush_all\r\n", "OK\r\n");
    servers.iter_mut().for_each(|server| many.expect_none(server));
}

#[test]
fn a_keyspace_with_a_database_is_written_through_and_a_flush_leaves_its_rows() {
    let mut cluster = cluster("mem_rows", PAIR, |config| {
        let items = &mut config.keyspaces[0];
        items.put = Some(
            "INSERT INTO items (id, value) VALUES (:key, :value) ON CONFLICT (id) DO UPDATE SET \
             value = excluded.value"
                .to_owned(),
        );
        items.delete = Some("DELETE FROM items WHERE id = :key".to_owned());
    });
    cluster.start();
    cluster.set_row(b"row", b"from the table");
    let mut mem = Caller::to(&cluster, "a1");
    mem.ask("get items:row\r\n", "VALUE items:row 0 14\r\nfrom the table\r\nEND\r\n");
    for number in 0..8 {
        let key = format!("k{number}");
        mem.ask(&format!("set items:{key} 0 0 3\r\nnew\r\n"), "STORED\r\n");
        assert_eq!(cluster.row(key.as_bytes()).as_deref(), Some(&b"new"[..]));
        mem.ask(&format!("append items:{key} 0 0 1\r\n!\r\n"), "STORED\r\n");
        assert_eq!(cluster.row(key.as_bytes()).as_deref(), Some(&b"new!"[..]));
    }
    mem.ask("flush_all\r\n", "OK\r\n");
    cluster.set_row(b"row", b"changed behind it");
    mem.ask("get items:row\r\n", "VALUE items:row 0 17\r\nchanged behind it\r\nEND\r\n");
    mem.ask("delete items:k1\r\n", "DELETED\r\n");
    assert_eq!(cluster.row(b"k1"), None);
    assert_eq!(cluster.row(b"k2").as_deref(), Some(&b"new!"[..]));
}

#[test]
fn without_a_default_keyspace_a_key_has_to_name_one() {
    let mut cluster = cluster("mem_named", PAIR, |config| config.naming.default_keyspace = None);
    cluster.start();
    let mut mem = Caller::to(&cluster, "a2");
    let wrong = "CLIENT_ERROR the key names no keyspace, and the cluster file has no \
                 default_keyspace\r\n";
    mem.ask("set k 0 0 1\r\n1\r\n", wrong);
    mem.ask("get cache:k k\r\nmn\r\n", &format!("{wrong}MN\r\n"));
    mem.ask("set cache:k 0 0 1\r\n1\r\n", "STORED\r\n");
    mem.ask("get cache:k\r\n", "VALUE cache:k 0 1\r\n1\r\nEND\r\n");
}

#[test]
fn a_port_with_passwords_is_for_its_users_only() {
    let mut cluster = cluster("mem_users", PAIR, |config| {
        config.servers[0].services[0].passwords = Some("users".into());
        config.limits.handshake_timeout = std::time::Duration::from_secs(2);
    });
    let path = cluster.directory().join("users");
    std::fs::write(&path, "ann:with:colon\n").expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    cluster.start();
    let mut mem = Caller::to(&cluster, "a1");
    mem.ask("get k\r\n", "CLIENT_ERROR unauthenticated\r\n");
    mem.ask("set x 0 0 3\r\nann\r\n", "CLIENT_ERROR bad authentication token format\r\n");
    mem.ask("set x 0 0 9\r\nann wrong\r\n", "CLIENT_ERROR authentication failure\r\n");
    cluster.wait_counter("a1", "auth_failures_memcached", 1);
    let told =
        cluster.process("a1").wait_for_line("refused logins by memcached's protocol", WITHIN);
    assert!(told.contains("from 127.0.0.1"), "{told}");
    // What follows in the same packet is served by the shard that gets the connection.
    for _ in 0..4 {
        let mut mem = Caller::to(&cluster, "a1");
        mem.ask(
            "set x 0 0 14\r\nann with:colon\r\nset k 0 0 1\r\n1\r\nget k\r\n",
            "STORED\r\nSTORED\r\nVALUE k 0 1\r\n1\r\nEND\r\n",
        );
    }
    let mut silent = Caller::to(&cluster, "a1");
    silent.expect_end();
    let mut huge = Caller::to(&cluster, "a1");
    huge.ask("set x 0 0 1000000\r\n", "CLIENT_ERROR auth token too long\r\n");
    huge.expect_end();
    Caller::to(&cluster, "a2").ask("get nothing\r\n", "END\r\n");
}
