//! The end of a proxy, and what it leaves behind.

use std::path::Path;
use std::time::Duration;

use standin_config::IoKind;
use standin_protocol::map::ServerState::Online;
use standin_testkit::wait_until;

use super::common::{Caller, WITHIN, ring};
use super::{Proxy, Wanted, start_cluster};

/// A request waits for a server that is stopped. The proxy is told to end, answers it, and ends.
#[test]
fn what_was_read_before_a_sigterm_is_answered_and_no_connection_is_accepted_after_it() {
    let mut cluster = start_cluster("proxy_drain");
    let key = cluster.key_of("a1");
    let key = String::from_utf8(key).expect("text");
    let more = "[timings]\nattempt_timeout = \"8s\"\noperation_timeout = \"30s\"\n\
                drain_timeout = \"15s\"";
    for (io, name) in [(IoKind::Epoll, "epoll"), (ring(), "ring")] {
        let mut proxy = Proxy::start(&cluster, Wanted { io, more, name, ..Wanted::default() });
        let mut mem = proxy.memcached();
        mem.ask(&format!("set items:{key} 0 0 1\r\n1\r\n"), "STORED\r\n");
        let mut redis = proxy.redis();
        redis.ask("PING\r\n", "+PONG\r\n");
        let mut idle = proxy.memcached();
        idle.ask("mn\r\n", "MN\r\n");
        cluster.freeze("a1");
        mem.send(format!("get items:{key}\r\nmn\r\n"));
        redis.send(format!("GET items:{key}\r\n"));
        // Both are counted before the signal is sent, so that they have been read.
        wait_until(WITHIN, "the requests to wait", || proxy.counter("standin_in_flight") >= 2);
        proxy.child.signal(libc::SIGTERM);
        let (memcached, redis_place) = (proxy.memcached.clone(), proxy.redis.clone());
        wait_until(WITHIN, "the proxy to accept no more connections", || {
            [&memcached, &redis_place].iter().all(|place| Caller::try_connect(place).is_err())
        });
        assert!(proxy.child.try_exit_status().is_none(), "requests still wait");
        assert_eq!(idle.rest(), "", "an idle connection is closed");
        cluster.thaw("a1");
        mem.expect(format!("VALUE items:{key} 0 1\r\n1\r\nEND\r\nMN\r\n"));
        redis.expect("$1\r\n1\r\n");
        assert_eq!((mem.rest(), redis.rest()), (String::new(), String::new()));
        assert_eq!(proxy.child.exit_status(WITHIN).code(), Some(0));
        cluster.wait_states(&[("a1", Online)]);
    }
}

#[test]
fn a_drain_ends_in_time_although_no_server_answers() {
    let mut cluster = start_cluster("proxy_drain_bound");
    let more = "[timings]\noperation_timeout = \"1h\"\nattempt_timeout = \"20m\"\n\
                drain_timeout = \"1s\"";
    let mut proxy = Proxy::start(&cluster, Wanted { more, ..Wanted::default() });
    let mut mem = proxy.memcached();
    mem.ask("get k\r\n", "END\r\n");
    for server in ["a1", "a2", "b1", "b2"] {
        cluster.freeze_anywhere(server);
    }
    mem.send("get k\r\n");
    wait_until(WITHIN, "the request to wait", || proxy.counter("standin_in_flight") >= 1);
    assert_eq!(proxy.terminate(WITHIN), Some(0));
}

#[test]
fn the_socket_of_a_killed_proxy_is_replaced_and_that_of_a_running_one_is_not() {
    let cluster = start_cluster("proxy_sockets");
    let mut proxy = Proxy::start(&cluster, Wanted::default());
    proxy.child.kill();
    assert!(Path::new(&proxy.redis).exists(), "it could not remove it");
    let mut proxy = Proxy::start(&cluster, Wanted::default());
    proxy.redis().ask("PING\r\n", "+PONG\r\n");
    // A second one on the other's socket, but on a port of its own.
    let path = cluster.directory().join("proxy.toml");
    let text = std::fs::read_to_string(&path).expect("the file");
    let other = format!("127.0.0.1:{}", standin_testkit::free_ports(1)[0]);
    let text = text.replace(&proxy.memcached, &other);
    std::fs::write(cluster.directory().join("second.toml"), text).expect("a file");
    let mut second = Proxy::spawn(&cluster, "second", &[]);
    assert_eq!(second.exit_status(WITHIN).code(), Some(2));
    second.wait_for_line("another process listens there", WITHIN);
    proxy.redis().ask("PING\r\n", "+PONG\r\n");
    assert_eq!(proxy.terminate(Duration::from_secs(10)), Some(0));
    assert!(!Path::new(&proxy.redis).exists(), "it has removed its own");
}
