//! What a proxy reads and writes: its file, which has neither the cluster's members nor a database, the
//! clients' key, and its log.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::wait_until;

use super::common::{Caller, SECRET, WITHIN};
use super::{Proxy, Wanted, start_cluster, start_cluster_with};

/// Requests that wait when the signal comes are answered on their connections.
#[test]
fn sighup_reopens_the_log_and_disturbs_no_request() {
    let mut cluster = start_cluster("proxy_sighup");
    let key = String::from_utf8(cluster.key_of("a1")).expect("text");
    let file = |name: &str| -> PathBuf { cluster.directory().join(name) };
    let (log, old) = (file("proxy.file"), file("proxy.old"));
    let is_there = |path: &PathBuf, text: &str| {
        std::fs::read_to_string(path).is_ok_and(|all| all.contains(text))
    };
    let more = "[timings]\nattempt_timeout = \"8s\"\noperation_timeout = \"30s\"";
    let arguments = &["--log-file", "proxy.file"];
    let mut proxy = Proxy::start(&cluster, Wanted { more, arguments, ..Wanted::default() });
    assert!(is_there(&log, "proxy started"));
    let (mut mem, mut redis) = (proxy.memcached(), proxy.redis());
    mem.ask(&format!("set items:{key} 0 0 1\r\n1\r\n"), "STORED\r\n");
    redis.ask("PING\r\n", "+PONG\r\n");
    cluster.freeze("a1");
    mem.send(format!("get items:{key}\r\n"));
    redis.send(format!("GET items:{key}\r\n"));
    wait_until(WITHIN, "the requests to wait", || proxy.counter("standin_in_flight") >= 2);
    for round in 0..2_usize {
        std::fs::rename(&log, &old).expect("the log is there");
        proxy.child.signal(libc::SIGHUP);
        wait_until(WITHIN, "a line in the new file", || is_there(&log, "file was reopened"));
        // Each signal is followed by one line, in the file that is new.
        let before = std::fs::read_to_string(&old).expect("the old file");
        assert_eq!(before.matches("file was reopened").count(), round);
    }
    assert!(proxy.child.try_exit_status().is_none());
    cluster.thaw("a1");
    mem.expect(format!("VALUE items:{key} 0 1\r\n1\r\nEND\r\n"));
    redis.expect("$1\r\n1\r\n");
    assert_eq!(proxy.terminate(WITHIN), Some(0));
    assert!(is_there(&log, "stopped"));
}

/// A file with a mistake changes nothing, not even the passwords of the metrics, which are in a file of their own.
#[test]
fn a_wrong_file_is_refused_whole_on_sighup() {
    let cluster = start_cluster("proxy_reload");
    let metrics = SocketAddr::from(([127, 0, 0, 1], standin_testkit::free_ports(1)[0]));
    let web = cluster.directory().join("web");
    let write = |text: &str| {
        std::fs::write(&web, text).expect("a file");
        std::fs::set_permissions(&web, Permissions::from_mode(0o600)).expect("its mode");
    };
    write("ann:first\n");
    let more = format!("metrics = \"{metrics}\"\nmetrics_passwords = \"web\"");
    let mut proxy = Proxy::start(&cluster, Wanted { more: &more, ..Wanted::default() });
    let admits = |password: &str| {
        let mut caller = Caller::connect(&metrics.to_string());
        caller.send(format!(
            "GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nAuthorization: Basic {password}\r\n\r\n"
        ));
        let said = caller.until("\r\n");
        assert!(said.starts_with("HTTP/1.1 200") || said.starts_with("HTTP/1.1 401"), "{said}");
        said.starts_with("HTTP/1.1 200")
    };
    // ann:first, ann:second
    let (first, second) = ("YW5uOmZpcnN0", "YW5uOnNlY29uZA==");
    assert!(admits(first) && !admits(second));
    let path = cluster.directory().join("proxy.toml");
    let right = std::fs::read_to_string(&path).expect("its file");
    let mut hang_up = |text: &str, then: &str| {
        std::fs::write(&path, text).expect("written");
        let before = proxy.child.lines().len();
        proxy.child.signal(libc::SIGHUP);
        proxy.child.wait_for_line_after(before, then, WITHIN);
    };
    write("ann:second\n");
    hang_up(
        &right.replace("threads = 2", "threds = 2"),
        "was not taken over, and nothing has changed",
    );
    assert!(admits(first) && !admits(second));
    hang_up(&right, "taken over: the password file");
    assert!(admits(second) && !admits(first));
    // Signals are obeyed in order, so the first one has been by now.
    let lines = proxy.child.lines();
    let taken = lines.iter().filter(|line| line.contains("taken over: the password file"));
    assert_eq!(taken.count(), 1, "{lines:?}");
}

/// The file has seeds and the clients' key, and the proxy learns the rest, also which server is offline. The
/// secret will do in the place of the key.
#[test]
fn a_proxy_needs_the_clients_key_and_nothing_of_the_database() {
    let mut cluster =
        start_cluster_with("proxy_secret", |config| config.security.secret = Some(SECRET));
    let more = "[timings]\noperation_timeout = \"1s\"";
    let without = Proxy::start(&cluster, Wanted { more, name: "without", ..Wanted::default() });
    let mut mem = without.memcached();
    mem.send("get k\r\n");
    let said = mem.until("\r\n");
    assert!(said.starts_with("SERVER_ERROR "), "{said}");
    let more = "[security]\nsecret_file = \"cluster.secret\"";
    let with_secret = Wanted { more, name: "with-secret", ..Wanted::default() };
    Proxy::start(&cluster, with_secret).redis().ask("GET items:nobody\r\n", "$-1\r\n");
    let key = cluster.config.client_key().expect("the cluster has a secret");
    let digits: String = key.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let more = format!("[security]\nclient_key = \"{digits}\"");
    let proxy = Proxy::start(&cluster, Wanted { more: &more, ..Wanted::default() });
    let text = std::fs::read_to_string(cluster.directory().join("proxy.toml")).expect("its file");
    assert!(!text.contains("origin") && !text.contains("sqlite"), "{text}");
    cluster.set_row(b"row", b"from the table");
    let mut redis = proxy.redis();
    redis.ask("GET items:row\r\n", "$14\r\nfrom the table\r\n");
    cluster.kill("a1");
    cluster.wait_states(&[("a1", Offline)]);
    for key in cluster.keys_of("a1").take(10) {
        let key = String::from_utf8(key).expect("text");
        redis.ask(&format!("SET items:{key} 1\r\n"), "+OK\r\n");
        redis.ask(&format!("GET items:{key}\r\n"), "$1\r\n1\r\n");
    }
    cluster.start_server("a1");
    cluster.wait_states(&[("a1", Online)]);
}

/// A proxy does not start with a file in which something is wrong, and says all that is.
#[test]
fn a_wrong_file_is_refused_with_all_that_is_wrong() {
    let cluster = start_cluster("proxy_wrong");
    let proxy = Proxy::start(&cluster, Wanted::default());
    let right = std::fs::read_to_string(cluster.directory().join("proxy.toml")).expect("its file");
    let refused = |name: &str, text: &str, wanted: &[&str]| {
        std::fs::write(cluster.directory().join(format!("{name}.toml")), text).expect("a file");
        let mut child = Proxy::spawn(&cluster, name, &[]);
        assert_eq!(child.exit_status(WITHIN).code(), Some(2), "{name}");
        wanted.iter().for_each(|wanted| drop(child.wait_for_line(wanted, WITHIN)));
    };
    let many = right.replace("threads = 2", "threads = 0\nthreds = 2\nsocket_mode = \"0999\"")
        + "[origin]\nkind = \"postgres\"\nurl = \"postgres://u:word@db/d\"\n";
    refused("many", &many, &["proxy.threads", "threds", "octal", "origin", "remove it"]);
    let cluster_file = std::fs::read_to_string(&cluster.config_path).expect("the cluster's file");
    refused("cluster", &cluster_file, &["proxy"]);
    refused("port", &right.replace("proxy.sock", "port.sock"), &[&proxy.memcached, "free this"]);
    let folder = right.replace("proxy.sock", "none/proxy.sock");
    let other = format!("127.0.0.1:{}", standin_testkit::free_ports(1)[0]);
    refused("folder", &folder.replace(&proxy.memcached, &other), &["none/proxy.sock"]);
    let users =
        right.replacen("[[keyspace]]", "redis_passwords = \"nobody.users\"\n[[keyspace]]", 1);
    refused("users", &users, &["nobody.users"]);
    proxy.memcached().ask("mn\r\n", "MN\r\n");
}
