//! Client libraries of other languages, unmodified, on a cluster of real processes: what their frameworks' caches
//! do, and on through the kill and the return of a server. `cargo xtask clients` has more of them, beside the same
//! clients on Redis and memcached.

#[path = "../common/mod.rs"]
mod common;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use standin_config::{KeyspaceConfig, ServiceConfig, ServiceProtocol};
use standin_protocol::map::ServerState::{Offline, Online};
use standin_protocol::slots::KeyHash;
use standin_testkit::languages::judge::Verdict;
use standin_testkit::languages::load::{Ending, Load};
use standin_testkit::languages::script::Place;
use standin_testkit::languages::{Language, Library, Script, Service, names};
use standin_testkit::{free_ports, free_ports_in_a_row, wait_until};

use common::scripts::REQUIRE;
use common::{Cluster, KEYSPACE, TWO_PAIRS, WITHIN};

/// The variable that, set to 1, makes a test without Node or its libraries fail instead of being skipped.
const REQUIRE_NODE: &str = "STANDIN_REQUIRE_NODE";
/// Scripts of one client that run at a time.
const SCRIPTS: usize = 2;
const INTERVAL: Duration = Duration::from_millis(5);
/// Good answers of each script before the next step.
const GO_ON: usize = 100;

/// Shards of each server.
const SHARDS: u16 = 2;

/// Starts a cluster without a database. Each server has a loopback address of its own, with the same ports. For
/// clients of a cluster its shards are nodes, with the ports behind that of Redis.
fn start(test: &str, service: Service) -> Cluster {
    let ports = [free_ports(1)[0], free_ports_in_a_row(1 + SHARDS)];
    let mut cluster = Cluster::with(test, TWO_PAIRS, |config| {
        if service == Service::RedisCluster {
            config.hash = KeyHash::Crc16;
        }
        config.origin = None;
        config.keyspaces = vec![KeyspaceConfig::cache(KEYSPACE, "cache")];
        config.naming.default_keyspace = Some(KEYSPACE);
        for (number, server) in (1..).zip(&mut config.servers) {
            let protocols = [ServiceProtocol::Memcached, ServiceProtocol::Redis];
            let service = |(protocol, port): (ServiceProtocol, &u16)| ServiceConfig {
                protocol,
                address: ([127, 0, 0, number], *port).into(),
                passwords: None,
            };
            server.services = protocols.into_iter().zip(&ports).map(service).collect();
            (server.shards, server.memory_bytes) = (SHARDS, 64 << 20);
        }
    });
    cluster.start();
    cluster
}

fn place(cluster: &Cluster, service: Service) -> Place {
    let protocol = match service {
        Service::Memcached => ServiceProtocol::Memcached,
        Service::Redis | Service::RedisCluster => ServiceProtocol::Redis,
    };
    let services = cluster.config.servers.iter().flat_map(|server| &server.services);
    let of_protocol = services.filter(|service| service.protocol == protocol);
    let addresses: Vec<SocketAddr> = of_protocol.map(|service| service.address).collect();
    let hosts: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    Place {
        service,
        addresses: addresses.iter().map(ToString::to_string).collect(),
        name: format!("{}:{}", names::HOST, addresses[0].port()),
        variables: names::resolve(cluster.directory(), hosts).expect("a file of hosts"),
    }
}

/// Runs the library's checks, and then load through the kill and the return of two servers. Of the requests
/// under way when a server is killed, `failed_max` may fail in each script.
fn shown_for(name: &str, service: Service, failed_max: usize) {
    let library = Library::of(name);
    let test = format!("{}_{}", library.script.replace(['.', '_'], "-"), service.word());
    if library.version().is_none() || !names::is_available() {
        let needs = format!("{}, and nss_wrapper", library.needs);
        let require = if library.language == Language::Node { REQUIRE_NODE } else { REQUIRE };
        standin_testkit::skip(&test, require, &needs);
        return;
    }
    let mut cluster = start(&test, service);
    let place = place(&cluster, service);
    let script = || {
        Script::start(library, &place, cluster.directory())
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let checks = script().check("checked-").expect("the script runs its checks");
    let wrong: Vec<_> = checks.iter().filter(|check| check.wrong.is_some()).collect();
    assert!(wrong.is_empty() && checks.len() > 30, "{} checks; wrong: {wrong:#?}", checks.len());

    let load = Load::start((0..SCRIPTS).map(|_| script()).collect(), INTERVAL);
    let go_on = |load: &Load, what: &str| {
        let from = load.now();
        wait_until(WITHIN * 2, what, || load.goes_on(from, GO_ON, |_| true));
    };
    go_on(&load, "the clients to begin");
    // All clients of a single server are connected to the first.
    for server in ["a1", "b2"] {
        cluster.kill(server);
        go_on(&load, "the clients to go on after a kill");
        cluster.wait_states(&[(server, Offline)]);
        cluster.start_server(server);
        cluster.wait_states(&[(server, Online)]);
        go_on(&load, "the clients to go on after a return");
    }
    let (samples, quotes) = load.finish().expect("all scripts go on");
    let count = |is_meant: fn(&Ending) -> bool| {
        samples.iter().filter(|sample| is_meant(&sample.ending)).count()
    };
    let failed = count(|ending| *ending == Ending::Failed);
    let wrong = count(|ending| {
        matches!(ending, Ending::Read(Verdict::Stale | Verdict::Late | Verdict::Wrong))
    });
    let missing = count(|ending| *ending == Ending::Read(Verdict::Missing));
    println!(
        "{name}: {} checks, {} requests, {failed} failed, {missing} misses, {wrong} stale",
        checks.len(),
        samples.len()
    );
    assert_eq!(wrong, 0, "{quotes:#?}");
    assert!(failed <= failed_max * SCRIPTS, "{failed} failed: {quotes:#?}");
    assert!(missing < samples.len() / 2, "{missing} misses of {}", samples.len());
}

#[test]
fn djangos_cache_on_pymemcache_goes_on_through_the_kill_and_return_of_a_server() {
    // A connection to each server that was killed. The library does not repeat a request that fails.
    shown_for("Django", Service::Memcached, 4);
}

#[test]
fn pylibmc_goes_on_through_the_kill_and_return_of_a_server() {
    // The request under way, and those by which it finds out that it can't connect again.
    shown_for("pylibmc", Service::Memcached, 8);
}

#[test]
fn djangos_cache_on_redis_goes_on_through_the_kill_and_return_of_a_server() {
    shown_for("Django", Service::Redis, 0);
}

#[test]
fn ioredis_goes_on_through_the_kill_and_return_of_a_server() {
    shown_for("ioredis", Service::Redis, 0);
}

#[test]
fn node_redis_goes_on_through_the_kill_and_return_of_a_server() {
    shown_for("node-redis", Service::Redis, 2);
}

#[test]
fn ioredis_as_a_cluster_goes_on_through_the_kill_and_return_of_a_server() {
    shown_for("ioredis", Service::RedisCluster, 0);
}

#[test]
fn node_redis_as_a_cluster_goes_on_through_the_kill_and_return_of_a_server() {
    shown_for("node-redis", Service::RedisCluster, 6);
}
