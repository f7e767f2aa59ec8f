//! Callers that a server must survive, on both event loops.

use std::time::Duration;

use standin_config::ClusterConfig;

use super::cluster;
use super::common::hostile::{self, Ping};
use super::common::{Caller, Cluster, PAIR};

const PING: Ping = ("mn\r\n", "MN\r\n");

/// Starts a cluster on each loop, and runs the test on it.
fn on_both_loops(test: &str, change: impl Fn(&mut ClusterConfig), body: impl Fn(&mut Cluster)) {
    let start = |change: &dyn Fn(&mut ClusterConfig)| {
        let mut cluster = cluster(test, PAIR, change);
        cluster.start();
        cluster
    };
    hostile::on_both_loops(start, change, body);
}

#[test]
fn a_hundred_thousand_requests_at_once_are_answered_in_order() {
    on_both_loops(
        "mem_pipeline",
        |_| {},
        |cluster| {
            let mut mem = Caller::to(cluster, "a1");
            for number in 0..100 {
                mem.ask(&format!("set k{number} 0 0 2\r\n{number:02}\r\n"), "STORED\r\n");
            }
            let all = (0..100_000).map(|number| format!("get k{}\r\n", number % 100)).collect();
            // All keys in one line, and then what is no request between requests.
            let keys: Vec<String> =
                (0..20_000).map(|number| format!("k{}", number % 100)).collect();
            let line = format!("get {}\r\n\r\nbogus\r\nmn\r\n", keys.join(" "));
            let sent = mem.send_meanwhile(vec![all, line]);
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
        let unfinished = [
            ("get", ""),
            ("get k", ""),
            ("set k 0 0 5", ""),
            ("set k 0 0 5\r\n12", ""),
            ("mg", ""),
            ("set k 0 0 99999999\r\nxx", "SERVER_ERROR object too large for cache\r\n"),
        ];
        hostile::unfinished_requests_end(|| Caller::to(cluster, "a1"), PING, &unfinished);
    });
}

#[test]
fn nonsense_is_answered_or_ends_the_connection_and_harms_nobody() {
    on_both_loops(
        "mem_nonsense",
        |_| {},
        |cluster| {
            let mut other = Caller::to(cluster, "a1");
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
                let mut mem = Caller::to(cluster, "a1");
                mem.ask(&request, wanted);
                mem.ask("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n");
            }
            for request in [format!("incr{spaces}"), spaces, "GET / HTTP/1.1\r\n".to_owned()] {
                let mut mem = Caller::to(cluster, "a1");
                // The server may close the connection before it has read everything.
                let _ = mem.try_send(request);
                mem.expect_end();
            }
            let mut binary = Caller::to(cluster, "a1");
            binary.send([0x80, 0, 0, 1, 0, 0, 0, 0]);
            let said = binary.rest();
            assert!(
                said.starts_with("SERVER_ERROR the binary protocol is not supported"),
                "{said}"
            );
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
        let mut mem = Caller::to(cluster, "a1");
        let value = "x".repeat(100_000);
        mem.ask(&format!("set large 0 0 100000\r\n{value}\r\n"), "STORED\r\n");
        hostile::who_does_not_read_is_closed(
            Caller::to(cluster, "a1"),
            &b"get large large large\r\n".repeat(1_000),
            || mem.ask(PING.0, PING.1),
            || cluster.counter("a1", "connections_dropped"),
        );
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
            let connect = || Caller::to(cluster, "a1");
            let places = hostile::take_places(9, connect, PING);
            hostile::expect_no_place(connect(), "ERROR Too many open connections\r\n");
            hostile::give_place_back(places, connect, PING);
        },
    );
}
