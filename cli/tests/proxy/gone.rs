//! A cluster that is not there, and is there again.

use standin_protocol::map::ServerState;
use standin_testkit::wait_until;

use super::common::WITHIN;
use super::{Proxy, Wanted, start_cluster};

const SERVERS: [&str; 4] = ["a1", "a2", "b1", "b2"];

/// Timings with which a request is given up soon.
const SOON: &str = "[timings]\nattempt_timeout = \"200ms\"\noperation_timeout = \"1500ms\"";

/// While no server runs, each request gets an error in the words of its protocol, whichever it is; and when
/// they run again, the proxy serves without having been told.
#[test]
fn without_a_cluster_requests_are_refused_and_with_one_they_are_served_again() {
    let mut cluster = start_cluster("proxy_gone");
    let mut proxy = Proxy::start(&cluster, Wanted { more: SOON, ..Wanted::default() });
    let (mut mem, mut redis) = (proxy.memcached(), proxy.redis());
    mem.ask("set k 0 0 1\r\n1\r\n", "STORED\r\n");
    redis.ask("GET k\r\n", "$1\r\n1\r\n");
    SERVERS.iter().for_each(|server| cluster.kill(server));
    refused(&proxy);
    // The connections live on.
    mem.send("get k none\r\nmn\r\n");
    let said = mem.until("MN\r\n");
    assert!(said.starts_with("SERVER_ERROR "), "{said}");
    redis.send("GET k\r\nPING\r\n");
    let said = redis.until("+PONG\r\n");
    assert!(said.starts_with("-CLUSTERDOWN "), "{said}");
    SERVERS.iter().for_each(|server| cluster.start_server(server));
    served(&proxy);
    // Until all have returned, what is stored may be lost with the next change of an owner.
    cluster.wait_all(ServerState::Online);
    mem.ask("set k 0 0 1\r\n2\r\n", "STORED\r\n");
    redis.ask("GET k\r\n", "$1\r\n2\r\n");
    // A proxy that starts without a cluster.
    assert_eq!(proxy.terminate(WITHIN), Some(0));
    SERVERS.iter().for_each(|server| cluster.kill(server));
    let proxy = Proxy::start(&cluster, Wanted { more: SOON, name: "early", ..Wanted::default() });
    refused(&proxy);
    SERVERS.iter().for_each(|server| cluster.start_server(server));
    served(&proxy);
}

/// Every kind of request is refused, and promptly.
fn refused(proxy: &Proxy) {
    let (mut mem, mut redis) = (proxy.memcached(), proxy.redis());
    for request in
        ["get k", "set k 0 0 1\r\n1", "delete k", "incr k 1", "touch k 9", "flush_all", "mg k v"]
    {
        mem.send(format!("{request}\r\n"));
        let said = mem.until("\r\n");
        assert!(said.starts_with("SERVER_ERROR "), "{request}: {said}");
    }
    for request in [
        "GET k",
        "SET k 1",
        "DEL k",
        "INCR k",
        "EXPIRE k 9",
        "FLUSHALL",
        "MGET k l",
        "DBSIZE",
        "SCAN 0",
        "KEYS *",
        "RANDOMKEY",
    ] {
        redis.send(format!("{request}\r\n"));
        let said = redis.until("\r\n");
        assert!(said.starts_with("-CLUSTERDOWN "), "{request}: {said}");
    }
    mem.ask("mn\r\n", "MN\r\n");
    redis.ask("PING\r\n", "+PONG\r\n");
}

fn served(proxy: &Proxy) {
    wait_until(WITHIN, "the proxy to serve again", || {
        let mut mem = proxy.memcached();
        mem.send("set back 0 0 1\r\n1\r\n");
        mem.until("\r\n") == "STORED\r\n"
    });
}
