//! Callers that a server must survive, on both event loops.

use std::time::Duration;

use standin_config::ClusterConfig;

use crate::common::hostile::{self, Ping};
use crate::common::kernel::resident_bytes;
use crate::common::{Caller, Cluster};
use crate::start_with;

const PING: Ping = ("PING\r\n", "+PONG\r\n");
const TOO_LARGE: &str =
    "-ERR the value or command is larger than this server allows (limits.value_bytes)\r\n";

/// Starts a cluster on each loop, and runs the test on it.
fn on_both_loops(test: &str, change: impl Fn(&mut ClusterConfig), body: impl Fn(&mut Cluster)) {
    hostile::on_both_loops(|change| start_with(test, change), change, body);
}

#[test]
fn a_hundred_thousand_commands_at_once_are_answered_in_order() {
    on_both_loops(
        "redis_pipeline",
        |_| {},
        |cluster| {
            let mut raw = Caller::to(cluster, "a1");
            for number in 0..100 {
                raw.ask(&format!("SET k{number} {number:02}\r\n"), "+OK\r\n");
            }
            let command = |number: usize| match number % 4 {
                0 => format!("GET k{}\r\n", number % 100),
                1 => format!("get  \"k{}\"\n", number % 100),
                2 => "*1\r\n$4\r\nPING\r\n".to_owned(),
                _ => {
                    let key = format!("k{}", number % 100);
                    format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len())
                }
            };
            let all = (0..100_000).map(command).collect();
            // All keys in one command, and then what is no command.
            let keys: String = (0..20_000)
                .map(|number| format!("k{}", number % 100))
                .map(|key| format!("${}\r\n{key}\r\n", key.len()))
                .collect();
            let command = format!("*20001\r\n$4\r\nMGET\r\n{keys}\r\n*0\r\nbogus\r\n");
            let sent = raw.send_meanwhile(vec![all, command]);
            let value = |number: usize| format!("$2\r\n{:02}\r\n", number % 100);
            let reply = |number: usize| match number % 4 {
                2 => "+PONG\r\n".to_owned(),
                _ => value(number),
            };
            raw.expect((0..100_000).map(reply).collect::<String>());
            raw.expect("*20000\r\n".to_owned() + &(0..20_000).map(value).collect::<String>());
            raw.expect("-ERR unknown command 'bogus', with args beginning with: \r\n");
            sent.join().expect("all was sent");
        },
    );
}

#[test]
fn half_a_command_is_not_waited_for_and_a_silent_connection_is_left_alone() {
    let change =
        |config: &mut ClusterConfig| config.limits.handshake_timeout = Duration::from_millis(700);
    on_both_loops("redis_half", change, |cluster| {
        let unfinished = [
            ("GET k", ""),
            ("*", ""),
            ("*2\r\n$3\r\nGET\r\n", ""),
            ("*2\r\n$3\r\nGET\r\n$1\r\nk\r", ""),
            ("*3\r\n$4\r\nMGET\r\n$1\r\nk\r\n", ""),
            ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\n12", ""),
            ("MULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\n12", "+OK\r\n"),
            ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$99999999\r\nxx", TOO_LARGE),
        ];
        hostile::unfinished_requests_end(|| Caller::to(cluster, "a1"), PING, &unfinished);
    });
}

#[test]
fn nonsense_is_answered_or_ends_the_connection_and_harms_nobody() {
    on_both_loops(
        "redis_nonsense",
        |_| {},
        |cluster| {
            let mut other = Caller::to(cluster, "a1");
            other.ask("SET k 1\r\n", "+OK\r\n");
            let get = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
            let spaces = " ".repeat(5_000);
            // After these the connection goes on.
            for (request, wanted) in [
                ("\r\n\n\r\n*0\r\n*-1\r\n*-99999\r\n".to_owned(), ""),
                (format!("{spaces}PING{spaces}\r\n"), "+PONG\r\n"),
                ("get k\n".to_owned(), "$1\r\n1\r\n"),
                ("*1\r\n$4\r\nPING\n\n".to_owned(), "+PONG\r\n"),
                ("*2\r\n$3\r\nGET\r\n$0\r\n\r\n".to_owned(), "-ERR keys can't be empty here\r\n"),
            ] {
                let mut raw = Caller::to(cluster, "a1");
                raw.ask(&request, wanted);
                raw.ask(get, "$1\r\n1\r\n");
            }
            // After these it ends.
            for (request, wanted) in [
                ("*2147483648\r\n", "invalid multibulk length"),
                ("*9223372036854775808\r\n", "invalid multibulk length"),
                ("*2\r\n$3\r\nGET\r\n$-1\r\n", "invalid bulk length"),
                ("*2\r\n$3\r\nGET\r\n$-9223372036854775808\r\n", "invalid bulk length"),
                ("*2\r\n$3\r\nGET\r\n$536870913\r\n", "invalid bulk length"),
                ("*2\r\n$3\r\nGET\r\n+OK\r\n", "expected '$', got '+'"),
                ("*3\r\n$4\r\nMGET\r\n$1\r\nk\r\n$-1\r\n", "invalid bulk length"),
                ("get \"k\r\n", "unbalanced quotes in request"),
            ] {
                let mut raw = Caller::to(cluster, "a1");
                raw.ask(request, &format!("-ERR Protocol error: {wanted}\r\n"));
                raw.expect_end();
            }
            let endless = "x".repeat(70_000);
            for (request, wanted) in [
                (endless.clone(), "too big inline request"),
                (format!("*{}", "1".repeat(70_000)), "too big mbulk count string"),
                (format!("*1\r\n${}", "1".repeat(70_000)), "too big bulk count string"),
            ] {
                let mut raw = Caller::to(cluster, "a1");
                let _ = raw.try_send(request);
                let said = raw.rest();
                // A close with bytes unread may overtake the reply.
                let wanted = format!("-ERR Protocol error: {wanted}\r\n");
                assert!(said.is_empty() || said == wanted, "{said}");
            }
            let mut http = Caller::to(cluster, "a1");
            http.ask("GET / HTTP/1.1\r\n", "-ERR wrong number of arguments for 'get' command\r\n");
            other.ask(get, "$1\r\n1\r\n");
        },
    );
}

#[test]
fn what_is_announced_takes_no_memory() {
    on_both_loops(
        "redis_announced",
        |_| {},
        |cluster| {
            let pid = cluster.process("a1").pid();
            let before = resident_bytes(pid);
            // Each of a hundred callers announces what would not fit into the machine.
            let announcements = [
                "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc",
                "*1048576\r\n$4\r\nMSET\r\n$1\r\nk\r\n$1\r\nv\r\n",
                "*2\r\n$536870912\r\nabc",
                "MULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc",
            ];
            let mut callers: Vec<Caller> = (0..100)
                .map(|number| {
                    let mut raw = Caller::to(cluster, "a1");
                    raw.send(announcements[number % announcements.len()]);
                    raw
                })
                .collect();
            // What comes of it is read and forgotten.
            let piece = vec![b'x'; 64 << 10];
            for caller in callers.iter_mut().step_by(announcements.len()).take(4) {
                caller.expect(TOO_LARGE);
                for _ in 0..400 {
                    caller.send(&piece);
                }
            }
            let mut other = Caller::to(cluster, "a1");
            other.ask("PING\r\n", "+PONG\r\n");
            let grown = resident_bytes(pid).saturating_sub(before);
            assert!(grown < 48 << 20, "{} MiB", grown >> 20);
        },
    );
}

#[test]
fn crowds_of_callers_leave_nothing_behind() {
    on_both_loops(
        "redis_crowd",
        |_| {},
        |cluster| {
            let pid = cluster.process("a1").pid();
            let cluster = &*cluster;
            let beginnings: [&[u8]; 10] = [
                b"",
                b"GET",
                b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\n12",
                b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc",
                b"*1048576\r\n$4\r\nMSET\r\n$1\r\nk\r\n",
                &b"GET k\r\n".repeat(20),
                &b"SET k 1\r\n".repeat(20),
                b"MULTI\r\nSET k 1\r\n",
                b"SUBSCRIBE k\r\n",
                // This closes the connection.
                b"*1\r\n+OK\r\n",
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
    on_both_loops("redis_slow", change, |cluster| {
        let mut raw = Caller::to(cluster, "a1");
        let value = "x".repeat(100_000);
        let set = format!("*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$100000\r\n{value}\r\n");
        raw.ask(&set, "+OK\r\n");
        hostile::who_does_not_read_is_closed(
            Caller::to(cluster, "a1"),
            &b"GET large\r\nMULTI\r\nGET large\r\nEXEC\r\nKEYS *\r\n".repeat(300),
            || raw.ask(PING.0, PING.1),
            || cluster.counter("a1", "connections_dropped"),
        );
        raw.ask("GET large\r\n", &format!("$100000\r\n{value}\r\n"));
    });
}

#[test]
fn a_caller_beyond_the_largest_number_is_told_so() {
    on_both_loops(
        "redis_many",
        |config| config.limits.connections = 9,
        |cluster| {
            let connect = || Caller::to(cluster, "a1");
            let places = hostile::take_places(9, connect, PING);
            hostile::expect_no_place(connect(), "-ERR max number of clients reached\r\n");
            hostile::give_place_back(places, connect, PING);
        },
    );
}
