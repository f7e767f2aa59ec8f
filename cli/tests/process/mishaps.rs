//! What callers fail with at ports is counted and told: the first at once, and the others of a burst together, also when
//! no more follow, and at the end of the process.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use standin_config::HttpConfig;
use standin_protocol::hello::Role;
use standin_testkit::free_ports;

use crate::common::metrics::wait_metrics;
use crate::common::wire::Wire;
use crate::common::{Cluster, PAIR, SECRET, WITHIN};

/// The beginning of a ClientHello.
const TLS_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// Sends bytes, and reads until the other side closes.
fn send(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
    stream.write_all(bytes).expect("it reads");
    let mut reply = Vec::new();
    // It may be reset, with bytes that were not read.
    let _ = stream.read_to_end(&mut reply);
    String::from_utf8_lossy(&reply).into_owned()
}

#[test]
fn the_master_and_ports_for_http_count_who_fails_and_leave_none_of_a_burst_out() {
    let ports = free_ports(2);
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let (of_master, of_server) = (at(ports[0]), at(ports[1]));
    let mut cluster = Cluster::with("mishaps", PAIR, |config| {
        config.security.secret = Some(SECRET);
        config.master.metrics = Some(HttpConfig { address: of_master, passwords: None });
        config.servers[0].metrics =
            Some(HttpConfig { address: of_server, passwords: Some("web".into()) });
    });
    let web = cluster.directory().join("web");
    std::fs::write(&web, "ann:right\n").expect("a file");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&web, private).expect("its mode");
    cluster.start();
    let address = cluster.config.master.address;
    let topology = Arc::clone(&cluster.topology);
    let fail = || {
        let refused = Wire::greet(address, &topology, (0, Role::Client), [1; 32]);
        assert!(refused.err().expect("a wrong secret").to_string().contains("HELLO"));
    };
    (0..3).for_each(|_| fail());
    (0..2).for_each(|_| assert!(send(address, TLS_HELLO).contains("no TLS")));
    wait_metrics(of_master, "the failures at the master's port", |metrics| {
        metrics.sum("standin_master_auth_failures_native_total", &[]) == 3.0
            && metrics.sum("standin_master_tls_failures_total", &[]) == 2.0
    });
    // ann:wrong
    let wrong = format!(
        "GET /metrics HTTP/1.1\r\nHost: {of_server}\r\nAuthorization: Basic YW5uOndyb25n\r\n\r\n"
    );
    (0..4).for_each(|_| assert!(send(of_server, wrong.as_bytes()).starts_with("HTTP/1.1 401")));
    assert!(send(of_server, TLS_HELLO).contains("no HTTPS"));

    // The first of each, and what followed it, although nothing follows that.
    for (name, what, rest) in [
        ("master", "refused logins because of a wrong secret", 2),
        ("master", "closed callers because of TLS", 1),
        ("a1", "refused requests to `metrics`", 3),
    ] {
        let first = cluster.process(name).wait_for_line(what, WITHIN);
        assert!(first.contains("from 127.0.0.1") && first.contains("failed=1"), "{first}");
        let is_rest = |line: &String| {
            line.contains(what)
                && line.contains("127.0.0.1")
                && line.contains(&format!("failed={rest}"))
        };
        standin_testkit::wait_until(WITHIN, "the end of the burst", || {
            cluster.process(name).lines().iter().filter(|line| is_rest(line)).count()
                == 1 + usize::from(rest == 1)
        });
    }
    cluster.process("a1").wait_for_line("closed callers of `metrics` because of TLS", WITHIN);

    // A process that ends tells what it has not told.
    (0..4).for_each(|_| fail());
    wait_metrics(of_master, "more failures", |metrics| {
        metrics.sum("standin_master_auth_failures_native_total", &[]) == 7.0
    });
    let master = cluster.process("master");
    master.signal(libc::SIGTERM);
    assert_eq!(master.exit_status(WITHIN).code(), Some(0));
    let lines = master.lines();
    let told = |line: &String| {
        let of_line = line.contains("refused logins").then(|| line.split_once("failed="))??;
        of_line.1.split(' ').next()?.trim().parse::<u32>().ok()
    };
    let told: Vec<u32> = lines.iter().filter_map(told).collect();
    assert_eq!(told.iter().sum::<u32>(), 7, "{told:?}: {lines:?}");
}
