//! SIGHUP makes a role read its file again: what can change while it runs changes, a wrong file changes nothing,
//! and the log says which.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use standin_config::{HttpConfig, KeyspaceConfig, ServiceConfig, ServiceProtocol};
use standin_testkit::{free_ports, wait_until};

use crate::common::{Cluster, PAIR, WITHIN};

fn hang_up(cluster: &mut Cluster, name: &str, then: &str) -> String {
    let before = cluster.process(name).lines().len();
    cluster.process(name).signal(libc::SIGHUP);
    cluster.process(name).wait_for_line_after(before, then, WITHIN)
}

fn write_users(path: &Path, users: &str) {
    std::fs::write(path, users).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
}

/// The first line that a port of Redis answers on a new connection.
fn ask_redis(at: SocketAddr, requests: &str) -> String {
    let mut stream = TcpStream::connect(at).expect("a connection");
    stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
    stream.write_all(requests.as_bytes()).expect("written");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    line.trim_end().to_owned()
}

#[test]
fn a_server_takes_over_lifetimes_and_passwords_and_refuses_a_wrong_file_whole() {
    let port = free_ports(1)[0];
    let mut cluster = Cluster::with("reload", PAIR, |config| {
        config.keyspaces.push(KeyspaceConfig { ttl: None, ..KeyspaceConfig::cache(2, "notes") });
        config.servers[0].shards = 2;
        config.servers[0].services = vec![ServiceConfig {
            protocol: ServiceProtocol::Redis,
            address: ([127, 0, 0, 1], port).into(),
            passwords: Some("users".into()),
        }];
    });
    let users = cluster.directory().join("users");
    write_users(&users, "ann:first\n");
    cluster.start();
    let redis = SocketAddr::from(([127, 0, 0, 1], port));
    let admits = |password: &str| ask_redis(redis, &format!("AUTH ann {password}\r\n")) == "+OK";
    assert!(admits("first"));
    let old = std::fs::read_to_string(&cluster.config_path).expect("the file");

    // A mistake anywhere: nothing changes, not even the passwords.
    write_users(&users, "ann:second\n");
    std::fs::write(&cluster.config_path, old.replace("[limits]", "[limits]\nkey_bytse = 7"))
        .expect("written");
    hang_up(&mut cluster, "a1", "key_bytse");
    cluster.process("a1").wait_for_line("was not taken over, and nothing has changed", WITHIN);
    assert!(admits("first") && !admits("second"));
    let told = cluster.process("a1").wait_for_line("refused logins by Redis' protocol", WITHIN);
    assert!(told.contains("from 127.0.0.1") && !told.contains("second"), "{told}");

    // Lifetimes and passwords are taken over; what needs a restart is named.
    let notes = old.split_once("name = \"notes\"").expect("the keyspace");
    let (head, tail) = (notes.0, notes.1);
    let new =
        format!("{head}name = \"notes\"\nttl = \"1ms\"{}", tail.replace("\nttl = ", "\n#ttl = "));
    let new = new.replace("level = \"info\"", "level = \"debug\"");
    let new = new.replace("\nconnections = 10000", "\nconnections = 9999");
    let new = new.replace("in_flight_per_shard = 65536", "in_flight_per_shard = 65535");
    std::fs::write(&cluster.config_path, &new).expect("written");
    let said = hang_up(&mut cluster, "a1", "taken over: keyspace \"notes\": ttl none -> 1ms");
    assert!(said.contains("INFO"), "{said}");
    cluster.process("a1").wait_for_line("[limits] of the file differ", WITHIN);
    for change in ["[limits] connections 10000 -> 9999", "[log] level info -> debug"] {
        cluster.process("a1").wait_for_line(&format!("taken over: {change}"), WITHIN);
    }
    cluster.process("a1").wait_for_line("DEBUG", WITHIN);
    wait_until(WITHIN, "the new password to count", || admits("second"));
    assert!(!admits("first"), "the old one has ended");
    // Each of the two shards has the new lifetime.
    let mut stream = BufReader::new(TcpStream::connect(redis).expect("a connection"));
    stream.get_ref().set_read_timeout(Some(WITHIN)).expect("a timeout");
    let mut answer = |request: String| {
        stream.get_mut().write_all(request.as_bytes()).expect("written");
        let mut line = String::new();
        stream.read_line(&mut line).expect("an answer");
        line.trim_end().to_owned()
    };
    assert_eq!(answer("AUTH ann second\r\n".to_owned()), "+OK");
    let topology = &cluster.topology;
    let home = |key: &str| topology.home(topology.partition(2, key.as_bytes()));
    let is_here = |key: &String| home(key) == cluster.id("a1");
    for key in (0..40).map(|key| format!("k{key}")).filter(is_here).take(8) {
        assert_eq!(answer(format!("SET notes:{key} v\r\n")), "+OK");
        wait_until(WITHIN, "the value to expire", || {
            answer(format!("EXISTS notes:{key}\r\n")) == ":0"
        });
    }

    // Once more: the same file says nothing new.
    let before = cluster.process("a1").lines().len();
    hang_up(&mut cluster, "a1", "[limits] of the file differ");
    let after = cluster.process("a1").lines();
    assert!(!after[before..].iter().any(|line| line.contains("keyspace \"notes\"")), "{after:?}");
}

#[test]
fn the_passwords_of_metrics_and_of_the_dashboard_are_read_again() {
    let ports = free_ports(2);
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let mut cluster = Cluster::with("reload-http", PAIR, |config| {
        let http = |port| Some(HttpConfig { address: at(port), passwords: Some("web".into()) });
        config.servers[0].metrics = http(ports[0]);
        config.master.dashboard = http(ports[1]);
    });
    let web = cluster.directory().join("web");
    write_users(&web, "ann:first\n");
    cluster.start();
    // ann:first, ann:second
    let (first, second) = ("YW5uOmZpcnN0", "YW5uOnNlY29uZA==");
    let admits = |port: u16, password: &str| {
        let path = if port == ports[0] { "/metrics" } else { "/" };
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", at(port));
        let said = ask_redis(at(port), &format!("{head}Authorization: Basic {password}\r\n\r\n"));
        assert!(said.starts_with("HTTP/1.1 200") || said.starts_with("HTTP/1.1 401"), "{said}");
        said.starts_with("HTTP/1.1 200")
    };
    for (name, port, key) in [("a1", ports[0], "metrics"), ("master", ports[1], "dashboard")] {
        write_users(&web, "ann:first\n");
        hang_up(&mut cluster, name, "taken over: the password file");
        assert!(admits(port, first) && !admits(port, second), "{name}");
        let refused = format!("refused requests to `{key}`");
        let told = cluster.process(name).wait_for_line(&refused, WITHIN);
        assert!(told.contains("from 127.0.0.1"), "{told}");
        write_users(&web, "ann:second\n");
        hang_up(&mut cluster, name, "taken over: the password file");
        assert!(admits(port, second) && !admits(port, first), "{name}");
        // A file with a mistake changes nothing.
        std::fs::set_permissions(&web, std::fs::Permissions::from_mode(0o666)).expect("its mode");
        let refused = hang_up(&mut cluster, name, "the passwords of before stay in use");
        assert!(refused.contains("chmod 6"), "{refused}");
        assert!(admits(port, second), "{name}");
        let lines = cluster.process(name).lines();
        let reopened: Vec<&String> =
            lines.iter().filter(|line| line.contains("reopened")).collect();
        // The log of neither is a file, and only the master has a file of events.
        let is_right = |line: &&String| name == "master" && line.contains("the event file was");
        assert!(reopened.iter().all(is_right), "{reopened:?}");
        assert_eq!(reopened.is_empty(), name == "a1", "{reopened:?}");
    }
}

#[test]
fn a_master_says_what_needs_a_restart_and_survives_a_file_that_is_gone() {
    let mut cluster = Cluster::new("reload-master", PAIR);
    cluster.start();
    let old = std::fs::read_to_string(&cluster.config_path).expect("the file");
    std::fs::write(&cluster.config_path, old.replace("probe_attempts = 2", "probe_attempts = 3"))
        .expect("written");
    hang_up(&mut cluster, "master", "[timings] of the file differ");
    std::fs::remove_file(&cluster.config_path).expect("removed");
    hang_up(&mut cluster, "master", "was not taken over, and nothing has changed");
    hang_up(&mut cluster, "a1", "was not taken over, and nothing has changed");
    let key = cluster.key_of("a1");
    cluster.set_row(&key, b"v");
    assert_eq!(cluster.connect("a1").get(&key).value(), b"v");
}
