//! Callers that a server must survive, on both event loops.

use std::time::Duration;

use standin_config::ClusterConfig;

use super::cluster;
use super::common::hostile::{self, Ping};
use super::common::kernel::resident_bytes;
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
            mem.expect("ERROR\r\nERROR\r\nMN\r\n");
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
                ("set k 0 0 1 noreply\r\nbad\r\nmn\r\n".to_owned(), "ERROR\r\nMN\r\n"),
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

/// As in memcached, a request with `noreply` is silent whether or not it succeeds. What is no command at all is
/// answered.
#[test]
fn line_ends_are_mixed_and_a_quiet_request_says_nothing_but_what_follows_is_read() {
    const BAD_DATA: &str = "CLIENT_ERROR bad data chunk\r\n";
    const NO_COMMAND: &str = "ERROR\r\n";
    on_both_loops(
        "mem_quiet",
        |_| {},
        |cluster| {
            for (request, wanted) in [
                ("set k 0 0 1\n1\r\nget k\n", "STORED\r\nVALUE k 0 1\r\n1\r\nEND\r\n".to_owned()),
                ("set k 0 0 1\r\n1\nmn\r\n", format!("{BAD_DATA}{NO_COMMAND}")),
                ("get k\n\r\n", format!("VALUE k 0 1\r\n1\r\nEND\r\n{NO_COMMAND}")),
                ("set k 0 0 1 noreply\n1\r\n", String::new()),
                ("set k 0 0 1 noreply\r\n1\n\r\n", NO_COMMAND.to_owned()),
                ("ms k 1 q\r\nbad\r\n", format!("{BAD_DATA}{NO_COMMAND}")),
                ("incr none 1 noreply\r\n", String::new()),
                ("set t 0 0 1 noreply\r\nx\r\nincr t 1 noreply\r\n", String::new()),
                ("incr k abc noreply\r\n", String::new()),
                ("cas k 0 0 1 99 noreply\r\n1\r\n", String::new()),
                ("add k 0 0 1 noreply\r\n9\r\n", String::new()),
                ("delete none noreply\r\n", String::new()),
                ("delete k 5 noreply\r\n", String::new()),
                ("touch none 1 noreply\r\n", String::new()),
                ("verbosity noreply\r\n", String::new()),
                ("bogus noreply\r\n", NO_COMMAND.to_owned()),
                ("get noreply\r\n", "END\r\n".to_owned()),
            ] {
                let mut mem = Caller::to(cluster, "a1");
                mem.ask("set k 0 0 1\r\n1\r\n", "STORED\r\n");
                mem.ask(request, &wanted);
                mem.ask(PING.0, PING.1);
            }
        },
    );
}

#[test]
fn what_is_announced_takes_no_memory() {
    const TOO_LARGE: &str = "SERVER_ERROR object too large for cache\r\n";
    on_both_loops(
        "mem_announced",
        |_| {},
        |cluster| {
            let pid = cluster.process("a1").pid();
            let before = resident_bytes(pid);
            // Each of a hundred callers announces what would not fit into the machine.
            let announcements = [
                "set k 0 0 536870912\r\nabc",
                "ms k 536870912\r\nabc",
                "cas k 0 0 536870912 1\r\nabc",
                "append k 0 0 536870912\r\nabc",
            ];
            let mut callers: Vec<Caller> = (0..100)
                .map(|number| {
                    let mut mem = Caller::to(cluster, "a1");
                    mem.ask(announcements[number % announcements.len()], TOO_LARGE);
                    mem
                })
                .collect();
            // What comes of it is read and forgotten, also a line of keys without an end.
            let piece = vec![b'x'; 64 << 10];
            for caller in callers.iter_mut().take(4) {
                for _ in 0..400 {
                    caller.send(&piece);
                }
            }
            let mut endless = Caller::to(cluster, "a1");
            endless.send("get");
            let keys = " none".repeat(10_000);
            for _ in 0..20 {
                endless.send(&keys);
            }
            endless.ask("\r\n", "END\r\n");
            let mut other = Caller::to(cluster, "a1");
            other.ask(PING.0, PING.1);
            let grown = resident_bytes(pid).saturating_sub(before);
            assert!(grown < 48 << 20, "{} MiB", grown >> 20);
        },
    );
}

#[test]
fn crowds_of_callers_leave_nothing_behind() {
    on_both_loops(
        "mem_crowd",
        |_| {},
        |cluster| {
            let pid = cluster.process("a1").pid();
            let cluster = &*cluster;
            let beginnings: [&[u8]; 10] = [
                b"",
                b"get",
                b"set k 0 0 5\r\n12",
                b"set k 0 0 536870912\r\nabc",
                b"ms k 1000 T0\r\n0123456789",
                &b"get k none\r\n".repeat(20),
                &b"set k 0 0 1 noreply\r\n1\r\n".repeat(20),
                &b"bogus\r\n".repeat(100),
                &b"mg k v q\r\n".repeat(50),
                // This closes the connection.
                &b"k".repeat(5_000),
            ];
            hostile::crowds_leave_nothing_behind(
                || Caller::to(cluster, "a1"),
                PING,
                &beginnings,
                || resident_bytes(pid),
                || cluster.counter("a1", "connections"),
            );
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
        let pid = cluster.process("a1").pid();
        let before = resident_bytes(pid);
        let value = "x".repeat(100_000);
        mem.ask(&format!("set large 0 0 100000\r\n{value}\r\n"), "STORED\r\n");
        hostile::who_does_not_read_is_closed(
            Caller::to(cluster, "a1"),
            &b"get large large large\r\n".repeat(1_000),
            || mem.ask(PING.0, PING.1),
            || cluster.counter("a1", "connections_dropped"),
        );
        // Up to 64 MiB of values may be on their way from the shard of the key to that of the connection.
        let grown = resident_bytes(pid).saturating_sub(before);
        assert!(grown < (64 + 48) << 20, "{} MiB", grown >> 20);
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
