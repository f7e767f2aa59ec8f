//! Callers that a server must survive, on both event loops.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use standin_config::{ClusterConfig, IoKind};
use standin_testkit::wait_until;

use super::common::{Cluster, PAIR, WITHIN, ring};
use super::{Mem, cluster};

/// Starts a cluster on each loop, and runs the test on it.
fn on_both_loops(test: &str, change: impl Fn(&mut ClusterConfig), body: impl Fn(&mut Cluster)) {
    for io in [IoKind::Epoll, ring()] {
        let mut cluster = cluster(test, PAIR, |config| {
            config.servers.iter_mut().for_each(|server| server.io = io);
            change(config);
        });
        cluster.start();
        body(&mut cluster);
    }
}

#[test]
fn a_hundred_thousand_requests_at_once_are_answered_in_order() {
    on_both_loops(
        "mem_pipeline",
        |_| {},
        |cluster| {
            let mut mem = Mem::connect(cluster, "a1");
            for number in 0..100 {
                mem.ask(&format!("set k{number} 0 0 2\r\n{number:02}\r\n"), "STORED\r\n");
            }
            let mut writer = mem.0.try_clone().expect("a second descriptor");
            let sent = std::thread::spawn(move || {
                let all: String =
                    (0..100_000).map(|number| format!("get k{}\r\n", number % 100)).collect();
                writer.write_all(all.as_bytes()).expect("the server reads");
                // The same in one line, and what is no request between requests.
                let keys: Vec<String> =
                    (0..20_000).map(|number| format!("k{}", number % 100)).collect();
                let line = format!("get {}\r\n\r\nbogus\r\nmn\r\n", keys.join(" "));
                writer.write_all(line.as_bytes()).expect("the server reads");
            });
            let value = |number: usize| {
                let number = number % 100;
                format!("VALUE k{number} 0 2\r\n{number:02}\r\n")
            };
            let wanted: String = (0..100_000).map(|number| value(number) + "END\r\n").collect();
            mem.expect(wanted);
            let wanted: String = (0..20_000).map(value).collect();
            mem.expect(wanted + "END\r\n");
            mem.expect("CLIENT_ERROR bad command line format\r\nERROR\r\nMN\r\n");
            sent.join().expect("all was sent");
        },
    );
}

#[test]
fn half_a_command_is_not_waited_for_and_a_silent_connection_is_left_alone() {
    let change =
        |config: &mut ClusterConfig| config.limits.handshake_timeout = Duration::from_millis(700);
    on_both_loops("mem_half", change, |cluster| {
        let mut silent = Mem::connect(cluster, "a1");
        silent.ask("mn\r\n", "MN\r\n");
        for half in
            ["get", "get k", "set k 0 0 5", "set k 0 0 5\r\n12", "mg", "set k 0 0 99999999\r\nxx"]
        {
            let mut mem = Mem::connect(cluster, "a1");
            mem.send(half);
            if half.contains("9999") {
                mem.expect("SERVER_ERROR object too large for cache\r\n");
            }
            mem.expect_end();
        }
        silent.ask("mn\r\n", "MN\r\n");
    });
}

#[test]
fn nonsense_is_answered_or_ends_the_connection_and_harms_nobody() {
    on_both_loops(
        "mem_nonsense",
        |_| {},
        |cluster| {
            let mut other = Mem::connect(cluster, "a1");
            other.ask("set k 0 0 1\r\n1\r\n", "STORED\r\n");
            let spaces = " ".repeat(5_000);
            let long_key = "k".repeat(251);
            for (request, wanted) in [
                (String::from("\u{0}\u{1}\u{2}\r\n"), "ERROR\r\n"),
                ("set k 0 0 4294967295\r\n".to_owned(), "CLIENT_ERROR bad command line format\r\n"),
                (format!("get {long_key}\r\n"), "CLIENT_ERROR bad command line format\r\n"),
                (
                    format!("set {long_key} 0 0 2\r\nab\r\nmn\r\n"),
                    "CLIENT_ERROR bad command line format\r\nMN\r\n",
                ),
                (
                    "set k 0 0 1 noreply\r\nbad\r\nmn\r\n".to_owned(),
                    "CLIENT_ERROR bad command line format\r\nMN\r\n",
                ),
                (
                    "incr k 99999999999999999999\r\n".to_owned(),
                    "CLIENT_ERROR invalid numeric delta argument\r\n",
                ),
                (format!("get{spaces}k{spaces}\r\n"), "VALUE k 0 1\r\n1\r\nEND\r\n"),
            ] {
                let mut mem = Mem::connect(cluster, "a1");
                mem.ask(&request, wanted);
                mem.ask("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n");
            }
            for request in [format!("incr{spaces}"), spaces, "GET / HTTP/1.1\r\n".to_owned()] {
                let mut mem = Mem::connect(cluster, "a1");
                let _ = mem.0.write_all(request.as_bytes());
                mem.expect_end();
            }
            let mut binary = Mem::connect(cluster, "a1");
            binary.send([0x80, 0, 0, 1, 0, 0, 0, 0]);
            let mut said = Vec::new();
            let _ = binary.0.read_to_end(&mut said);
            assert!(said.starts_with(b"SERVER_ERROR the binary protocol is not supported"));
            other.ask("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n");
        },
    );
}

#[test]
fn who_does_not_read_is_closed_and_others_are_served() {
    let change = |config: &mut ClusterConfig| {
        config.limits.output_timeout = Duration::from_secs(1);
        config.limits.output_bytes_per_connection = 64 << 10;
    };
    on_both_loops("mem_slow", change, |cluster| {
        let mut mem = Mem::connect(cluster, "a1");
        let value = "x".repeat(100_000);
        mem.ask(&format!("set large 0 0 100000\r\n{value}\r\n"), "STORED\r\n");
        let mut slow = Mem::connect(cluster, "a1");
        slow.0.set_nonblocking(true).expect("a mode");
        let dropped = cluster.counter("a1", "connections_dropped");
        let mut sent = 0;
        wait_until(WITHIN, "the server to close the connection", || {
            // Sends as long as the server reads, which is soon over.
            while slow.0.write(&b"get large large large\r\n".repeat(1_000)).is_ok() {
                sent += 1;
                assert!(sent < 10_000, "the server reads without end");
            }
            mem.ask("mn\r\n", "MN\r\n");
            cluster.counter("a1", "connections_dropped") > dropped
        });
        let wanted = format!("VALUE large 0 100000\r\n{value}\r\nEND\r\n");
        mem.ask("get large\r\n", &wanted);
    });
}

#[test]
fn a_caller_beyond_the_largest_number_is_told_so() {
    on_both_loops(
        "mem_many",
        |config| config.limits.connections = 9,
        |cluster| {
            let mut places: Vec<Mem> = (0..9).map(|_| Mem::connect(cluster, "a1")).collect();
            places.iter_mut().for_each(|mem| mem.ask("mn\r\n", "MN\r\n"));
            let mut extra = Mem::connect(cluster, "a1");
            extra.expect("ERROR Too many open connections\r\n");
            extra.expect_end();
            places.pop();
            wait_until(WITHIN, "a place to be free", || {
                let mut mem = Mem::connect(cluster, "a1");
                let _ = mem.0.write_all(b"mn\r\n");
                let mut reply = [0; 4];
                mem.0.read_exact(&mut reply).is_ok() && &reply == b"MN\r\n"
            });
        },
    );
}
