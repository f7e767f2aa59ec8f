//! Callers that a proxy must survive, on both event loops.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use standin_config::IoKind;
use standin_testkit::wait_until;

use super::common::{Cluster, WITHIN, ring};
use super::{Proxy, Talk, Wanted, start_cluster};

/// Starts a proxy on each loop, and runs the test on it.
fn on_both_loops(test: &str, more: &str, body: impl Fn(&Cluster, &Proxy)) {
    let cluster = start_cluster(test);
    for (io, name) in [(IoKind::Epoll, "epoll"), (ring(), "ring")] {
        let wanted = Wanted { io, more, name, ..Wanted::default() };
        let mut proxy = Proxy::start(&cluster, wanted);
        body(&cluster, &proxy);
        assert_eq!(proxy.terminate(WITHIN), Some(0));
    }
}

#[test]
fn a_hundred_thousand_requests_at_once_are_answered_in_order() {
    on_both_loops("proxy_pipeline", "", |_, proxy| {
        let mut mem = proxy.memcached();
        for number in 0..100 {
            mem.ask(&format!("set k{number} 0 0 2\r\n{number:02}\r\n"), "STORED\r\n");
        }
        let mut reader = UnixStream::connect(&proxy.redis).expect("a connection");
        let mut writer = reader.try_clone().expect("a second descriptor");
        let sent = std::thread::spawn(move || {
            let all: String =
                (0..100_000).map(|number| format!("GET k{}\r\n", number % 100)).collect();
            writer.write_all(all.as_bytes()).expect("the proxy reads");
            writer.write_all(b"NOSUCH\r\nPING\r\n").expect("the proxy reads");
        });
        let wanted: String =
            (0..100_000).map(|number| format!("$2\r\n{:02}\r\n", number % 100)).collect();
        reader.set_read_timeout(Some(WITHIN)).expect("a timeout");
        let mut got = vec![0; wanted.len()];
        std::io::Read::read_exact(&mut reader, &mut got).expect("all replies");
        assert!(got == wanted.as_bytes(), "the replies are not in order");
        let rest = Talk(Box::new(reader)).until("+PONG\r\n");
        assert!(rest.starts_with("-ERR unknown command 'NOSUCH'"), "{rest}");
        sent.join().expect("all was sent");
    });
}

#[test]
fn nonsense_is_answered_or_ends_the_connection_and_harms_nobody() {
    let more = "[limits]\nhandshake_timeout = \"700ms\"";
    on_both_loops("proxy_nonsense", more, |_, proxy| {
        let (mut mem, mut redis) = (proxy.memcached(), proxy.redis());
        mem.ask("set k 0 0 1\r\n1\r\n", "STORED\r\n");
        for (request, wanted) in [
            ("\u{0}\u{1}\u{2}\r\n".to_owned(), "ERROR\r\n"),
            ("set k 0 0 4294967295\r\n".to_owned(), "CLIENT_ERROR bad command line format\r\n"),
            (format!("get {}\r\n", "k".repeat(251)), "CLIENT_ERROR bad command line format\r\n"),
            (
                "set k 0 0 1 noreply\r\nbad\r\nmn\r\n".to_owned(),
                "CLIENT_ERROR bad command line format\r\nMN\r\n",
            ),
        ] {
            let mut other = proxy.memcached();
            other.ask(&request, wanted);
            other.ask("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n");
        }
        for request in [
            "*2000000000\r\n",
            "*1\r\n$536870913\r\n",
            "*2\r\n$3\r\nGET\r\n$-5\r\n",
            "*1\r\nGET\r\n",
            "*-9999999999999999999\r\n",
        ] {
            let mut other = proxy.redis();
            other.send(request);
            let said = other.rest();
            assert!(said.starts_with("-ERR Protocol error"), "{request:?}: {said:?}");
        }
        for half in ["get", "set other 0 0 5\r\n12", "mg", "set other 0 0 99999999\r\nxx"] {
            let mut other = proxy.memcached();
            other.send(half);
            let said = other.rest();
            assert!(said.is_empty() || said.starts_with("SERVER_ERROR object too large"), "{said}");
        }
        let mut other = proxy.redis();
        other.send("*2\r\n$3\r\nGET\r\n$3\r\nab");
        assert_eq!(other.rest(), "");
        mem.ask("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n");
        redis.ask("GET k\r\n", "$1\r\n1\r\n");
    });
}

#[test]
fn who_does_not_read_is_closed_and_others_are_served() {
    let more = "[limits]\noutput_timeout = \"1s\"\noutput_bytes_per_connection = \"64KiB\"";
    on_both_loops("proxy_slow", more, |_, proxy| {
        let mut mem = proxy.memcached();
        let value = "x".repeat(100_000);
        mem.ask(&format!("set large 0 0 100000\r\n{value}\r\n"), "STORED\r\n");
        let mut slow = UnixStream::connect(&proxy.redis).expect("a connection");
        slow.set_nonblocking(true).expect("a mode");
        let dropped = proxy.counter("standin_connections_dropped");
        let mut sent = 0;
        wait_until(WITHIN, "the proxy to close the connection", || {
            // Sends as long as the proxy reads, which is soon over.
            while slow.write(&b"MGET large large large\r\n".repeat(1_000)).is_ok() {
                sent += 1;
                assert!(sent < 10_000, "the proxy reads without end");
            }
            mem.ask("mn\r\n", "MN\r\n");
            proxy.counter("standin_connections_dropped") > dropped
        });
        let pid = proxy.child.pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        let most_kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(most_kib < 200 << 10, "{most_kib} KiB");
        mem.ask("get large\r\n", &format!("VALUE large 0 100000\r\n{value}\r\nEND\r\n"));
    });
}

#[test]
fn a_caller_beyond_the_largest_number_is_told_so() {
    on_both_loops("proxy_many", "[limits]\nconnections = 9", |_, proxy| {
        let mut places: Vec<Talk> = (0..9).map(|_| proxy.memcached()).collect();
        places.iter_mut().for_each(|mem| mem.ask("mn\r\n", "MN\r\n"));
        let mut extra = proxy.memcached();
        assert_eq!(extra.rest(), "ERROR Too many open connections\r\n");
        let mut extra = proxy.redis();
        assert_eq!(extra.rest(), "-ERR max number of clients reached\r\n");
        places.pop();
        wait_until(WITHIN, "a place to be free", || {
            let mut mem = proxy.memcached();
            let mut reply = [0; 4];
            let asked = mem.0.write_all(b"mn\r\n");
            asked.is_ok() && mem.0.read_exact(&mut reply).is_ok() && &reply == b"MN\r\n"
        });
    });
}
