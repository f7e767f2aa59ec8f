//! Claims 1 to 9: servers in failover groups, a master, and the database partitioned over them.

use standin_client::{Action, Operation, Outcome};
use standin_protocol::control::DatagramKind;
use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::wait_until;

use crate::common::{Cluster, FakeMaster, KEYSPACE, Load, PAIR, TWO_PAIRS, WITHIN};

const ALL: [&str; 4] = ["a1", "a2", "b1", "b2"];

/// Makes `by` find out that `dead` does not answer, and waits until the master's verdict has
/// arrived everywhere.
fn fail_over(cluster: &Cluster, dead: &str, by: &str) {
    cluster.connect(by).get(&cluster.key_of(dead));
    cluster.wait_states(&[(dead, Offline)]);
}

/// Claim 1: data is partitioned over servers in failover groups. Each server usually processes its
/// own type, and the other types of its group when their servers are offline. The master receives
/// notifications, verifies them, and notifies the other servers.
#[test]
fn c01_servers_of_a_group_process_the_types_of_those_that_the_master_verified_as_offline() {
    let mut cluster = Cluster::new("c01", TWO_PAIRS);
    cluster.start();
    for server in ALL {
        let key = cluster.key_of(server);
        cluster.set_row(&key, server.as_bytes());
        let reply = cluster.connect(server).get(&key);
        assert_eq!(reply.value(), server.as_bytes());
        assert!(!reply.is_stand_in() && !reply.is_forwarded(), "its own type: {reply:?}");
    }

    let (events, key) = (cluster.events(), cluster.key_of("a1"));
    let mark = events.mark();
    cluster.kill("a1");
    let reply = cluster.connect("a2").get(&key);
    assert_eq!(reply.value(), b"a1");
    assert!(reply.is_stand_in(), "processed by another of the group: {reply:?}");
    let verified = ["reported", "probing", "probe_failed", "offline", "announced"];
    events.wait_in_order(mark, &verified.map(|kind| (kind, "a1")));

    cluster.wait_states(&[("a1", Offline), ("a2", Online), ("b1", Online), ("b2", Online)]);
    let (a1, a2) = (cluster.id("a1"), cluster.id("a2"));
    for server in ["a2", "b1", "b2"] {
        let map = cluster.map_at(server).expect("a map");
        for partition in 0..cluster.topology.partitions {
            let home = cluster.topology.home(partition);
            let owner = if home == a1 { a2 } else { home };
            assert_eq!(map.ownership(partition).owner, owner, "{server} on {partition}");
        }
    }
    let reply = cluster.connect("a2").get(&key);
    assert!(reply.is_stand_in() && !reply.is_provisional(), "by the verdict: {reply:?}");
    let reply = cluster.connect("b1").get(&key);
    assert!(reply.is_forwarded(), "another group does not process it: {reply:?}");
    let own = cluster.connect("a2").get(&cluster.key_of("a2"));
    assert!(!own.is_stand_in() && own.value() == b"a2", "its own type as before: {own:?}");
}

/// Claim 2: a database with data of all types is partitioned over the servers, and each server
/// caches the data of its type.
#[test]
fn c02_each_server_caches_the_data_of_its_own_type() {
    let mut cluster = Cluster::new("c02", TWO_PAIRS);
    cluster.start();
    // Each server gets a different number of keys, so that the counters show which server cached
    // them.
    let counts = [("a1", 3), ("a2", 5), ("b1", 7), ("b2", 11)];
    for (server, count) in counts {
        let keys: Vec<Vec<u8>> = cluster.keys_of(server).take(count).collect();
        for (turn, key) in keys.iter().enumerate() {
            cluster.set_row(key, key);
            // Different servers are asked. Whichever is asked, the same server caches the key.
            let reply = cluster.connect(ALL[turn % ALL.len()]).get(key);
            assert_eq!(reply.value(), key);
            assert!(reply.is_filled() && reply.is_cached(), "{reply:?}");
        }
    }
    for (server, count) in counts {
        cluster.wait_counter(server, "items", count as u64);
        cluster.wait_counter(server, "origin_reads", count as u64);
    }
    for (server, _) in counts {
        let key = cluster.key_of(server);
        assert!(cluster.connect(server).get(&key).is_hit(), "cached at its own server");
        let reply = cluster.connect(if server == "b2" { "a1" } else { "b2" }).get(&key);
        assert!(reply.is_hit() && reply.is_forwarded(), "and nowhere else: {reply:?}");
    }
}

/// Claim 3: a server caches data of other types only temporarily, while the other servers of its
/// group are offline.
#[test]
fn c03_what_a_stand_in_cached_is_gone_after_the_return() {
    let mut cluster = Cluster::new("c03", PAIR);
    cluster.start();
    let key = cluster.key_of("a1");
    cluster.set_row(&key, b"v0");
    cluster.kill("a1");
    fail_over(&cluster, "a1", "a2");
    let mut a2 = cluster.connect("a2");
    a2.get(&key);
    let reply = a2.get(&key);
    assert!(reply.is_stand_in() && reply.is_hit(), "cached while a1 is offline: {reply:?}");
    assert_eq!(reply.value(), b"v0");

    cluster.start_server("a1");
    cluster.wait_all(Online);
    let reply = a2.get(&key);
    assert!(reply.is_forwarded() && !reply.is_stand_in(), "a1 processes its type: {reply:?}");

    // If the stand-in still had its copy, the second outage would show it.
    cluster.set_row(&key, b"v1");
    cluster.kill("a1");
    let reply = a2.get(&key);
    assert_eq!(reply.value(), b"v1");
    assert!(reply.is_stand_in() && reply.is_filled(), "from the database: {reply:?}");
}

/// Claim 4: exactly one failover group.
#[test]
fn c04_with_exactly_one_group_the_last_server_processes_everything() {
    let mut cluster = Cluster::new("c04", &[("all", &["s1", "s2", "s3"])]);
    assert_eq!(cluster.config.groups.len(), 1);
    cluster.start();
    let owners = |cluster: &Cluster, at: &str| {
        let map = cluster.map_at(at).expect("a map");
        (0..64).map(|p| map.ownership(p).owner).collect::<Vec<u16>>()
    };
    let homes: Vec<u16> = (0..64).map(|p| cluster.topology.home(p)).collect();
    assert_eq!(owners(&cluster, "s3"), homes);

    let (s1, s2, s3) = (cluster.id("s1"), cluster.id("s2"), cluster.id("s3"));
    cluster.kill("s1");
    fail_over(&cluster, "s1", "s2");
    let shared = owners(&cluster, "s3");
    let taken: Vec<u16> = (0..64).filter(|p| homes[*p] == s1).map(|p| shared[p]).collect();
    assert!(taken.contains(&s2) && taken.contains(&s3), "both stand in: {taken:?}");

    cluster.kill("s2");
    fail_over(&cluster, "s2", "s3");
    assert_eq!(owners(&cluster, "s3"), vec![s3; 64]);
    for server in ["s1", "s2", "s3"] {
        let key = cluster.key_of(server);
        cluster.set_row(&key, server.as_bytes());
        let reply = cluster.connect("s3").get(&key);
        assert_eq!(reply.value(), server.as_bytes());
        assert_eq!(reply.is_stand_in(), server != "s3");
    }
}

/// Claim 5: one or more clients send requests to the servers.
#[test]
fn c05_several_clients_send_requests_and_go_on_when_a_server_dies() {
    let mut cluster = Cluster::new("c05", TWO_PAIRS);
    cluster.start();
    let load = Load::start(&cluster, 4);
    load.wait_for(400);
    for server in ALL {
        assert_eq!(cluster.counter(server, "forwarded"), 0, "each request goes to its server");
    }
    cluster.kill("b1");
    cluster.wait_states(&[("b1", Offline)]);
    load.wait_for(400);
    let report = load.finish();
    report.assert_clean();
    for server in ["a1", "a2", "b2"] {
        wait_until(WITHIN, "a share for each server", || {
            cluster.counter(server, "origin_writes") > 0
        });
    }
}

/// Claim 6: groups, and a database partitioned for caching. Each server caches its own type, and
/// temporarily the other types of its group. The test plays the master, so that only the indication
/// of a state decides.
#[test]
fn c06_other_types_are_cached_while_and_only_while_their_server_is_offline() {
    let mut cluster = Cluster::new("c06", TWO_PAIRS);
    let master = FakeMaster::start(&cluster.topology);
    for server in ALL {
        cluster.start_server(server);
        master.wait_heard(cluster.id(server), 0);
    }
    let tell_all = |server: &str, state| {
        let epoch = master.announce(cluster.id(server), state);
        for other in ALL {
            master.wait_acked(cluster.id(other), epoch);
        }
    };
    tell_all("b1", Online);
    let key = cluster.key_of("b1");
    cluster.set_row(&key, b"v0");
    let (mut b1, mut b2) = (cluster.connect("b1"), cluster.connect("b2"));
    assert!(b1.get(&key).is_filled() && b1.get(&key).is_hit(), "b1 caches its own type");
    assert!(b2.get(&key).is_forwarded(), "b2 does not");
    cluster.wait_counter("b2", "items", 0);

    tell_all("b1", Offline);
    let reply = b2.get(&key);
    assert!(reply.is_filled() && reply.is_stand_in() && reply.is_cached(), "{reply:?}");
    assert!(b2.get(&key).is_hit(), "b2 caches b1's type while b1 is offline");
    for server in ["a1", "a2"] {
        let reply = cluster.connect(server).get(&key);
        assert!(reply.is_forwarded() && reply.is_hit(), "not in b1's group: {reply:?}");
        cluster.wait_counter(server, "items", 0);
    }

    cluster.set_row(&key, b"v1");
    tell_all("b1", Online);
    let reply = b1.get(&key);
    assert!(reply.is_filled() && reply.value() == b"v1", "b1 kept nothing either: {reply:?}");
    assert!(b2.get(&key).is_forwarded());
    cluster.set_row(&key, b"v2");
    tell_all("b1", Offline);
    let reply = b2.get(&key);
    assert!(reply.is_filled() && reply.value() == b"v2", "b2's copy is gone: {reply:?}");
    assert!(master.seen(DatagramKind::ReportFailed).is_empty(), "nobody had to find out by itself");
}

/// Claim 7: claim 6 with the master of claim 1.
#[test]
fn c07_the_master_decides_when_other_types_are_cached() {
    let mut cluster = Cluster::new("c07", TWO_PAIRS);
    cluster.start();
    let (key, events) = (cluster.key_of("b2"), cluster.events());
    cluster.set_row(&key, b"v0");
    assert!(cluster.connect("b2").get(&key).is_cached());
    let mut b1 = cluster.connect("b1");
    assert!(b1.get(&key).is_forwarded());

    let mark = events.mark();
    cluster.kill("b2");
    let reply = b1.get(&key);
    assert!(reply.is_stand_in(), "{reply:?}");
    let order = ["reported", "probing", "offline", "announced"].map(|kind| (kind, "b2"));
    events.wait_in_order(mark, &order);
    cluster.wait_states(&[("b2", Offline)]);
    b1.get(&key);
    let reply = b1.get(&key);
    assert!(reply.is_hit() && reply.is_stand_in() && !reply.is_provisional(), "{reply:?}");

    let mark = events.mark();
    cluster.start_server("b2");
    cluster.wait_all(Online);
    let order = ["probe_ok", "returning", "online", "announced"].map(|kind| (kind, "b2"));
    events.wait_in_order(mark, &order);
    cluster.set_row(&key, b"v1");
    let reply = b1.get(&key);
    assert!(reply.is_forwarded() && reply.value() == b"v1", "b2 caches again: {reply:?}");
    assert!(cluster.connect("b2").get(&key).is_hit());
}

/// Claim 8: claim 6 with exactly one failover group.
#[test]
fn c08_with_exactly_one_group_each_server_caches_for_every_other() {
    let mut cluster = Cluster::new("c08", PAIR);
    assert_eq!(cluster.config.groups.len(), 1);
    cluster.start();
    for (dead, alive) in [("a1", "a2"), ("a2", "a1")] {
        let (theirs, own) = (cluster.key_of(dead), cluster.key_of(alive));
        cluster.set_row(&theirs, dead.as_bytes());
        cluster.set_row(&own, alive.as_bytes());
        cluster.kill(dead);
        fail_over(&cluster, dead, alive);
        let mut wire = cluster.connect(alive);
        for key in [&theirs, &own] {
            wire.get(key);
            let reply = wire.get(key);
            assert!(reply.is_hit(), "both types are cached: {reply:?}");
            assert_eq!(reply.is_stand_in(), key == &theirs);
        }
        cluster.start_server(dead);
        cluster.wait_all(Online);
        let reply = wire.get(&theirs);
        assert!(reply.is_forwarded() && !reply.is_stand_in(), "temporarily: {reply:?}");
    }
}

/// Claim 9: claim 6 with one or more clients sending requests.
#[test]
fn c09_clients_find_their_data_cached_at_the_stand_in() {
    let mut cluster = Cluster::new("c09", TWO_PAIRS);
    cluster.start();
    let keys: Vec<Vec<u8>> =
        ALL.iter().flat_map(|s| cluster.keys_of(s).take(4).collect::<Vec<_>>()).collect();
    let mut clients = [cluster.client(), cluster.client()];
    for key in &keys {
        clients[0].put(KEYSPACE, key, key.clone(), 0).expect("written");
    }
    cluster.kill("a2");
    let read = |client: &mut standin_client::blocking::Client, key: &[u8]| {
        let get = Operation { keyspace: KEYSPACE, key: key.to_vec(), action: Action::Get };
        let answer = client.run(get).expect("answered");
        let Outcome::Value(value) = &answer.outcome else { panic!("{answer:?}") };
        assert_eq!(value.bytes, key);
        answer
    };
    for client in &mut clients {
        for key in &keys {
            read(client, key);
        }
    }
    cluster.wait_states(&[("a2", Offline)]);
    for key in &keys {
        // The first client's read fills the cache, and the second client finds the value there.
        let [first, second] = &mut clients;
        read(first, key);
        let answer = read(second, key);
        let home = cluster.home(key);
        let server = if home == "a2" { "a1" } else { home };
        assert!(answer.is_hit(), "{answer:?}");
        assert_eq!(answer.served_by, cluster.id(server), "the one that caches it");
        assert_eq!(answer.is_stand_in(), home == "a2");
    }
    for client in &mut clients {
        for found in client.get_many(KEYSPACE, &keys) {
            assert!(found.expect("answered").is_some());
        }
    }
}
