//! Callers that a proxy must survive, on both event loops.

use standin_config::IoKind;

use super::common::hostile::{self, Ping};
use super::common::kernel::{peak_resident_bytes, resident_bytes};
use super::common::{Cluster, WITHIN, ring};
use super::{Proxy, Wanted, start_cluster};

const PING: Ping = ("mn\r\n", "MN\r\n");

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
        let mut redis = proxy.redis();
        let all = (0..100_000).map(|number| format!("GET k{}\r\n", number % 100)).collect();
        let sent = redis.send_meanwhile(vec![all, "NOSUCH\r\nPING\r\n".to_owned()]);
        let wanted: String =
            (0..100_000).map(|number| format!("$2\r\n{:02}\r\n", number % 100)).collect();
        redis.expect(wanted);
        let rest = redis.until("+PONG\r\n");
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
            ("set k 0 0 1 noreply\r\nbad\r\nmn\r\n".to_owned(), "ERROR\r\nMN\r\n"),
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
fn crowds_of_callers_leave_nothing_behind() {
    on_both_loops("proxy_crowd", "", |_, proxy| {
        let pid = proxy.child.pid();
        let beginnings: [&[u8]; 7] = [
            b"",
            b"get",
            b"set k 0 0 5\r\n12",
            b"set k 0 0 536870912\r\nabc",
            &b"get k none\r\n".repeat(20),
            &b"set k 0 0 1 noreply\r\n1\r\n".repeat(20),
            &b"k".repeat(5_000),
        ];
        hostile::crowds_leave_nothing_behind(
            || proxy.memcached(),
            PING,
            &beginnings,
            || resident_bytes(pid),
            || proxy.counter("curr_connections"),
        );
    });
}

#[test]
fn who_does_not_read_is_closed_and_others_are_served() {
    let more = "[limits]\noutput_timeout = \"1s\"\noutput_bytes_per_connection = \"64KiB\"";
    on_both_loops("proxy_slow", more, |_, proxy| {
        let mut mem = proxy.memcached();
        let value = "x".repeat(100_000);
        mem.ask(&format!("set large 0 0 100000\r\n{value}\r\n"), "STORED\r\n");
        hostile::who_does_not_read_is_closed(
            proxy.redis(),
            &b"MGET large large large\r\n".repeat(1_000),
            || mem.ask(PING.0, PING.1),
            || proxy.counter("standin_connections_dropped"),
        );
        let most = peak_resident_bytes(proxy.child.pid());
        assert!(most < 200 << 20, "{} MiB", most >> 20);
        mem.ask("get large\r\n", &format!("VALUE large 0 100000\r\n{value}\r\nEND\r\n"));
    });
}

#[test]
fn a_caller_beyond_the_largest_number_is_told_so() {
    on_both_loops("proxy_many", "[limits]\nconnections = 9", |_, proxy| {
        let places = hostile::take_places(9, || proxy.memcached(), PING);
        hostile::expect_no_place(proxy.memcached(), "ERROR Too many open connections\r\n");
        hostile::expect_no_place(proxy.redis(), "-ERR max number of clients reached\r\n");
        hostile::give_place_back(places, || proxy.memcached(), PING);
    });
}
