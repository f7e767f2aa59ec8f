//! Servers and the master that end and start again while every answer is checked.

use std::time::Duration;

use standin_config::Mode;
use standin_protocol::frame::Status;
use standin_protocol::map::ServerState::{Offline, Online};
use standin_protocol::time::Micros;

use crate::common::{Cluster, FakeMaster, KEYSPACE, Load, PAIR, TWO_PAIRS, WITHIN, load};

/// On SIGTERM the server leaves the cluster before it stops, so that no client notices.
#[test]
fn a_server_that_is_told_to_stop_leaves_without_a_failed_request() {
    let mut cluster = Cluster::new("sigterm", TWO_PAIRS);
    cluster.start();
    let load = Load::start(&cluster, 4);
    load.wait_for(400);
    let (events, mark) = (cluster.events(), cluster.events().mark());
    let begin = Micros::boottime();
    let status = cluster.terminate("a1", WITHIN);
    let took = Micros::boottime().since(begin);
    assert_eq!(status.code(), Some(0));
    // The bound counts twice, for the master to acknowledge, and for the requests under way.
    let bound = cluster.config.timings.drain_timeout * 2;
    assert!(took < bound, "within {bound:?}, and not {took:?}");
    load.wait_for(400);
    load.finish().assert_clean();
    let seen = events.wait_in_order(mark, &[("offline", "a1"), ("announced", "a1")]);
    assert!(seen[0].text.contains("has left"), "it said so itself: {seen:?}");
}

/// Every server is restarted in turn, as an operator does it for a new version.
#[test]
fn a_rolling_restart_of_every_server_fails_no_request() {
    let mut cluster = Cluster::new("rolling", TWO_PAIRS);
    cluster.start();
    let load = Load::start(&cluster, 4);
    for server in ["a1", "a2", "b1", "b2"] {
        load.wait_for(200);
        assert_eq!(cluster.terminate(server, WITHIN).code(), Some(0), "{server}");
        load.wait_for(200);
        cluster.start_server(server);
        cluster.wait_all(Online);
    }
    load.wait_for(200);
    load.finish().assert_clean();
}

/// A server is killed with SIGKILL and returns, under load.
#[test]
fn a_server_that_is_killed_and_comes_back_fails_no_request() {
    let mut cluster = Cluster::new("kill", TWO_PAIRS);
    cluster.start();
    let load = Load::start(&cluster, 4);
    load.through_kill_and_return(&mut cluster, "b1", 400);
    load.finish().assert_clean();
}

/// A stopped (not dead) server that resumes later has kept all its values. Until it hears of its
/// outage it may still serve them, but never afterwards.
#[test]
fn a_server_that_was_stopped_and_goes_on_serves_nothing_stale_once_it_has_returned() {
    let mut cluster = Cluster::new("pause", TWO_PAIRS);
    cluster.start();
    let load = Load::start(&cluster, 4);
    load.wait_for(400);
    cluster.freeze("b1");
    cluster.wait_states(&[("b1", Offline)]);
    load.wait_for(400);
    cluster.thaw("b1");
    cluster.wait_all(Online);
    load.wait_for(400);
    let report = load.finish();
    assert_eq!(report.failures, [""; 0]);
    assert_nothing_stale_is_cached(&cluster);
}

/// The state file of the master survives the master.
#[test]
fn a_master_that_is_killed_and_started_again_remembers_who_is_offline() {
    let mut cluster = Cluster::new("master-again", TWO_PAIRS);
    cluster.start();
    let load = Load::start(&cluster, 2);
    cluster.kill("a1");
    cluster.wait_states(&[("a1", Offline)]);
    let before = cluster.map_at("master").expect("a map").epoch;
    cluster.kill("master");
    load.wait_for(200);
    cluster.start_master();
    cluster.wait_states(&[("a1", Offline), ("a2", Online), ("b1", Online), ("b2", Online)]);
    let after = cluster.map_at("master").expect("a map").epoch;
    assert!(after.term > before.term, "{before} then {after}");
    cluster.start_server("a1");
    cluster.wait_all(Online);
    load.wait_for(200);
    load.finish().assert_clean();
}

/// The master finds out what it has missed when it is back.
#[test]
fn a_server_that_dies_while_the_master_is_away_is_found_out_afterwards() {
    let mut cluster = Cluster::new("master-away", TWO_PAIRS);
    cluster.start();
    let load = Load::start(&cluster, 4);
    load.wait_for(400);
    cluster.kill("master");
    load.wait_for(200);
    cluster.kill("a1");
    load.wait_for(400);
    cluster.start_master();
    cluster.wait_states(&[("a1", Offline), ("a2", Online), ("b1", Online), ("b2", Online)]);
    load.wait_for(200);
    cluster.start_server("a1");
    cluster.wait_all(Online);
    load.wait_for(200);
    load.finish().assert_clean();
}

/// The restart may cause no outage, but the address has another cache behind it. Until all parties
/// agree, a read may be as old as the lease, and no older.
#[test]
fn a_server_restarted_faster_than_anybody_notices_serves_nothing_older_than_the_lease() {
    let lease = Duration::from_millis(400);
    let mut cluster = Cluster::with("fast-restart", TWO_PAIRS, |config| {
        config.timings.lease = lease;
    });
    cluster.start();
    let load = Load::start(&cluster, 4);
    for _ in 0..3 {
        load.wait_for(300);
        let before = boot_id(&cluster, "a2");
        cluster.kill("a2");
        cluster.start_server("a2");
        cluster.wait_all(Online);
        assert_ne!(boot_id(&cluster, "a2"), before, "the master knows the new incarnation");
    }
    load.wait_for(300);
    load.finish().assert_within(lease);
    assert_nothing_stale_is_cached(&cluster);
}

/// A new incarnation may keep nothing before the master has announced it to all servers, because
/// its stand-in may still assume ownership.
#[test]
fn a_new_incarnation_caches_nothing_until_it_is_known() {
    let mut cluster = Cluster::new("unknown", PAIR);
    let master = FakeMaster::start(&cluster.topology);
    for server in ["a1", "a2"] {
        cluster.start_server(server);
        master.wait_heard(cluster.id(server), 0);
    }
    let (a1, key) = (cluster.id("a1"), cluster.key_of("a1"));
    cluster.set_row(&key, b"v");
    let epoch = master.announce(a1, Online);
    master.wait_acked(a1, epoch);
    wait_until_cached(&cluster, &key);
    let old_boot_id = master.wait_heard(a1, 0);

    cluster.kill("a1");
    cluster.start_server("a1");
    // It is sent the old states, which contain its previous incarnation.
    master.wait_heard(a1, old_boot_id);
    standin_testkit::wait_until(WITHIN, "the old states to arrive", || {
        cluster.map_at("a1").is_some_and(|map| map.epoch == epoch)
    });
    let mut wire = cluster.connect("a1");
    for _ in 0..3 {
        let reply = wire.get(&key);
        assert_eq!(reply.value(), b"v", "served nevertheless");
        assert!(reply.is_filled() && !reply.is_cached(), "and not kept: {reply:?}");
    }
    assert_eq!(wire.put(&key, b"w").status, Status::Unavailable, "it may not be the owner");

    let epoch = master.announce(a1, Online);
    master.wait_acked(a1, epoch);
    wait_until_cached(&cluster, &key);
    let reply = wire.get(&key);
    assert!(reply.is_hit() && reply.value() == b"v", "{reply:?}");
}

/// Waits until a1 caches a key. The lease arrives shortly after the map that it belongs to.
fn wait_until_cached(cluster: &Cluster, key: &[u8]) {
    let mut wire = cluster.connect("a1");
    standin_testkit::wait_until(WITHIN, "a1 to have a lease", || wire.get(key).is_cached());
}

/// Asserts that the servers answer with the values of the database while all servers are online and
/// nobody writes.
fn assert_nothing_stale_is_cached(cluster: &Cluster) {
    let mut client = cluster.client();
    for key in (0..4).flat_map(load::keys) {
        let value = client.get(KEYSPACE, &key).expect("answered").map(|value| value.bytes);
        assert_eq!(value, cluster.row(&key), "{}", String::from_utf8_lossy(&key));
    }
}

fn boot_id(cluster: &Cluster, server: &str) -> u64 {
    let map = cluster.map_at("master").expect("a map");
    map.statuses()[usize::from(cluster.id(server))].boot_id
}

/// In `strict` a refused connection proves nothing, so the cluster waits for the lease of a killed
/// server. A server that was asked to stop has acknowledged that it owns nothing, so nothing is
/// waited for.
#[test]
fn a_restart_in_strict_waits_for_no_lease() {
    let lease = Duration::from_secs(30);
    let mut cluster = Cluster::with("strict-restart", PAIR, |config| {
        config.mode = Mode::Strict;
        config.timings.lease = lease;
        config.timings.operation_timeout = lease;
        config.timings.drain_timeout = Duration::from_secs(5);
    });
    cluster.start();
    let key = cluster.key_of("a1");
    assert_eq!(cluster.connect("a1").put(&key, b"before").status, Status::Ok);
    let begun = Micros::boottime();
    assert_eq!(cluster.terminate("a1", WITHIN).code(), Some(0));
    cluster.start_server("a1");
    cluster.wait_all(Online);
    let mut client = cluster.client();
    client.put(KEYSPACE, &key, b"after".to_vec(), 0).expect("a write");
    let took = Micros::boottime().since(begun);
    assert!(took < lease / 2, "{took:?} with a lease of {lease:?}");
}
