//! Callers that a server must survive, on both event loops.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use standin_config::{ClusterConfig, IoKind};
use standin_testkit::wait_until;

use crate::common::{Cluster, WITHIN, ring};
use crate::{address, start_with};

/// A connection that sends and expects bytes.
struct Raw(TcpStream);

impl Raw {
    fn connect(cluster: &Cluster, server: &str) -> Self {
        let stream = TcpStream::connect(address(cluster, server)).expect("a connection");
        stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
        stream.set_write_timeout(Some(WITHIN)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self(stream)
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("the server reads");
    }

    #[track_caller]
    fn expect(&mut self, wanted: impl AsRef<[u8]>) {
        let wanted = wanted.as_ref();
        let mut got = vec![0; wanted.len()];
        let mut filled = 0;
        while filled < got.len() {
            match self.0.read(&mut got[filled..]) {
                Ok(0) | Err(_) => break,
                Ok(read) => filled += read,
            }
        }
        let shown = |bytes: &[u8]| bytes[..bytes.len().min(300)].escape_ascii().to_string();
        assert!(got == wanted, "got {}\nwanted {}", shown(&got[..filled]), shown(wanted));
    }

    #[track_caller]
    fn ask(&mut self, request: impl AsRef<[u8]>, wanted: impl AsRef<[u8]>) {
        self.send(request);
        self.expect(wanted);
    }

    /// The server closes the connection, perhaps with an error because it has not read everything.
    #[track_caller]
    fn expect_end(&mut self) {
        let mut rest = Vec::new();
        if self.0.read_to_end(&mut rest).is_ok() {
            assert!(rest.is_empty(), "{}", rest.escape_ascii());
        }
    }
}

/// Starts a cluster on each loop, and runs the test on it.
fn on_both_loops(test: &str, change: impl Fn(&mut ClusterConfig), body: impl Fn(&mut Cluster)) {
    for io in [IoKind::Epoll, ring()] {
        let mut cluster = start_with(test, |config| {
            config.servers.iter_mut().for_each(|server| server.io = io);
            change(config);
        });
        body(&mut cluster);
    }
}

/// The memory of a server that the machine really gives it, in bytes.
fn memory(cluster: &mut Cluster, server: &str) -> usize {
    let pid = cluster.process(server).pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

#[test]
fn a_hundred_thousand_commands_at_once_are_answered_in_order() {
    on_both_loops(
        "redis_pipeline",
        |_| {},
        |cluster| {
            let mut raw = Raw::connect(cluster, "a1");
            for number in 0..100 {
                raw.ask(format!("SET k{number} {number:02}\r\n"), "+OK\r\n");
            }
            let mut writer = raw.0.try_clone().expect("a second descriptor");
            let sent = std::thread::spawn(move || {
                let command = |number: usize| match number % 4 {
                    0 => format!("GET k{}\r\n", number % 100),
                    1 => format!("get  \"k{}\"\n", number % 100),
                    2 => "*1\r\n$4\r\nPING\r\n".to_owned(),
                    _ => {
                        let key = format!("k{}", number % 100);
                        format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len())
                    }
                };
                let all: String = (0..100_000).map(command).collect();
                writer.write_all(all.as_bytes()).expect("the server reads");
                // All keys in one command, and then what is no command.
                let keys: String = (0..20_000)
                    .map(|number| format!("k{}", number % 100))
                    .map(|key| format!("${}\r\n{key}\r\n", key.len()))
                    .collect();
                let command = format!("*20001\r\n$4\r\nMGET\r\n{keys}\r\n*0\r\nbogus\r\n");
                writer.write_all(command.as_bytes()).expect("the server reads");
            });
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
        let mut silent = Raw::connect(cluster, "a1");
        silent.ask("PING\r\n", "+PONG\r\n");
        for half in [
            "GET k",
            "*",
            "*2\r\n$3\r\nGET\r\n",
            "*2\r\n$3\r\nGET\r\n$1\r\nk\r",
            "*3\r\n$4\r\nMGET\r\n$1\r\nk\r\n",
            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\n12",
            "MULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\n12",
            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$99999999\r\nxx",
        ] {
            let mut raw = Raw::connect(cluster, "a1");
            raw.send(half);
            if half.contains("MULTI") {
                raw.expect("+OK\r\n");
            }
            if half.contains("9999") {
                let wanted = "-ERR the value or command is larger than this server allows \
                              (limits.value_bytes)\r\n";
                raw.expect(wanted);
            }
            raw.expect_end();
        }
        silent.ask("PING\r\n", "+PONG\r\n");
    });
}

#[test]
fn nonsense_is_answered_or_ends_the_connection_and_harms_nobody() {
    on_both_loops(
        "redis_nonsense",
        |_| {},
        |cluster| {
            let mut other = Raw::connect(cluster, "a1");
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
                let mut raw = Raw::connect(cluster, "a1");
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
                let mut raw = Raw::connect(cluster, "a1");
                raw.ask(request, format!("-ERR Protocol error: {wanted}\r\n"));
                raw.expect_end();
            }
            let endless = "x".repeat(70_000);
            for (request, wanted) in [
                (endless.clone(), "too big inline request"),
                (format!("*{}", "1".repeat(70_000)), "too big mbulk count string"),
                (format!("*1\r\n${}", "1".repeat(70_000)), "too big bulk count string"),
            ] {
                let mut raw = Raw::connect(cluster, "a1");
                let _ = raw.0.write_all(request.as_bytes());
                let mut said = Vec::new();
                let _ = raw.0.read_to_end(&mut said);
                // A close with bytes unread may overtake the reply.
                let wanted = format!("-ERR Protocol error: {wanted}\r\n");
                assert!(said.is_empty() || said == wanted.as_bytes(), "{}", said.escape_ascii());
            }
            let mut http = Raw::connect(cluster, "a1");
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
            let before = memory(cluster, "a1");
            // Each of a hundred callers announces what would not fit into the machine.
            let announcements = [
                "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc",
                "*1048576\r\n$4\r\nMSET\r\n$1\r\nk\r\n$1\r\nv\r\n",
                "*2\r\n$536870912\r\nabc",
                "MULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc",
            ];
            let mut callers: Vec<Raw> = (0..100)
                .map(|number| {
                    let mut raw = Raw::connect(cluster, "a1");
                    raw.send(announcements[number % announcements.len()]);
                    raw
                })
                .collect();
            // What comes of it is read and forgotten.
            let piece = vec![b'x'; 64 << 10];
            for caller in callers.iter_mut().step_by(announcements.len()).take(4) {
                let wanted = "-ERR the value or command is larger than this server allows \
                              (limits.value_bytes)\r\n";
                caller.expect(wanted);
                for _ in 0..400 {
                    caller.send(&piece);
                }
            }
            let mut other = Raw::connect(cluster, "a1");
            other.ask("PING\r\n", "+PONG\r\n");
            let grown = memory(cluster, "a1").saturating_sub(before);
            assert!(grown < 48 << 20, "{} MiB", grown >> 20);
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
        let mut raw = Raw::connect(cluster, "a1");
        let value = "x".repeat(100_000);
        let set = format!("*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$100000\r\n{value}\r\n");
        raw.ask(set, "+OK\r\n");
        let mut slow = Raw::connect(cluster, "a1");
        slow.0.set_nonblocking(true).expect("a mode");
        let dropped = cluster.counter("a1", "connections_dropped");
        let mut sent = 0;
        wait_until(WITHIN, "the server to close the connection", || {
            // Sends as long as the server reads, which is soon over.
            let commands = b"GET large\r\nMULTI\r\nGET large\r\nEXEC\r\nKEYS *\r\n".repeat(300);
            while slow.0.write(&commands).is_ok() {
                sent += 1;
                assert!(sent < 10_000, "the server reads without end");
            }
            raw.ask("PING\r\n", "+PONG\r\n");
            cluster.counter("a1", "connections_dropped") > dropped
        });
        raw.ask("GET large\r\n", format!("$100000\r\n{value}\r\n"));
    });
}

#[test]
fn a_caller_beyond_the_largest_number_is_told_so() {
    on_both_loops(
        "redis_many",
        |config| config.limits.connections = 9,
        |cluster| {
            let mut places: Vec<Raw> = (0..9).map(|_| Raw::connect(cluster, "a1")).collect();
            places.iter_mut().for_each(|raw| raw.ask("PING\r\n", "+PONG\r\n"));
            let mut extra = Raw::connect(cluster, "a1");
            extra.expect("-ERR max number of clients reached\r\n");
            extra.expect_end();
            places.pop();
            wait_until(WITHIN, "a place to be free", || {
                let mut raw = Raw::connect(cluster, "a1");
                let _ = raw.0.write_all(b"PING\r\n");
                let mut reply = [0; 7];
                raw.0.read_exact(&mut reply).is_ok() && &reply == b"+PONG\r\n"
            });
        },
    );
}
