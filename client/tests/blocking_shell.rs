//! The blocking shell against real sockets.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use standin_client::blocking::Client;
use standin_client::{Bootstrap, CasOutcome, ClientConfig, ClientError, ClientEvent, Target};
use standin_protocol::auth::ClusterKey;
use support::Cluster;

fn client(cluster: &Cluster) -> Client {
    let bootstrap = Bootstrap::Config(cluster.topology.clone());
    Client::new(ClientConfig::default(), bootstrap).unwrap()
}

#[test]
fn all_operations() {
    let key = ClusterKey::new([3; 32]);
    let cluster = Cluster::start(2, Some(key.clone()));
    let config = ClientConfig { key: Some(key), ..ClientConfig::default() };
    let mut client = Client::new(config, Bootstrap::Seeds(cluster.addresses())).unwrap();
    assert_eq!(client.get(1, b"k"), Ok(None));
    let version = client.put(1, b"k", b"one".to_vec(), 0).unwrap();
    assert_eq!(client.get(1, b"k").unwrap().unwrap().bytes, b"one");
    let written = client.cas(1, b"k", version, b"two".to_vec(), 0);
    assert_eq!(written, Ok(CasOutcome::Written { version: version + 1 }));
    assert_eq!(client.touch(1, b"k", 100_000), Ok(Some(100_020)), "rounded up to minutes");
    assert_eq!(client.invalidate(1, b"k"), Ok(()));
    let stats = client.stats(Target::Server(cluster.home(b"k").id())).unwrap();
    assert_eq!(["rows", "invalidated"].map(|name| stats.counter(name)), [1, 1]);
    let many: Vec<String> = (0..1_000).map(|n| format!("key {n}")).collect();
    let ended = client.invalidate_many(1, &many);
    assert!(ended.len() == 1_000 && ended.iter().all(Result::is_ok));
    let flushed = client.flush(1).unwrap();
    assert!(flushed.is_complete() && flushed.partitions == cluster.topology.partitions);
    assert_eq!(client.delete(1, b"k"), Ok(true));
    assert_eq!(client.ping(Target::Server(1), 1).unwrap().server, 1);
    assert_eq!(client.map(Target::Any).unwrap().topology.id, cluster.topology.id);
    assert!(client.map_in_force().is_some());
    assert!(matches!(client.ping(Target::Master, 0), Err(ClientError::NoAnswer(_))), "only UDP");
}

#[test]
fn many_keys_and_the_largest_value() {
    let cluster = Cluster::start(2, None);
    let mut client = client(&cluster);
    let keys: Vec<String> = (0..2_000).map(|n| format!("key {n}")).collect();
    client.put(1, keys[7].as_bytes(), b"seven".to_vec(), 0).unwrap();
    let values = client.get_many(1, &keys);
    let found: Vec<usize> =
        (0..keys.len()).filter(|n| values[*n].as_ref().unwrap().is_some()).collect();
    assert_eq!(found, [7]);
    let large = vec![9; 16 << 20];
    client.put(1, b"large", large.clone(), 0).unwrap();
    assert!(client.get(1, b"large").unwrap().unwrap().bytes == large);
    let error = client.put(1, b"large", vec![9; (16 << 20) + 1], 0);
    assert!(matches!(error, Err(ClientError::TooLarge(_))));
}

#[test]
fn c10_a_frozen_server_is_left_for_its_stand_in_and_reported() {
    let cluster = Cluster::start(2, None);
    let mut client = client(&cluster);
    client.put(1, b"k", b"v".to_vec(), 0).unwrap();
    cluster.home(b"k").freeze();
    assert_eq!(client.get(1, b"k").unwrap().unwrap().bytes, b"v");
    let mut events = client.take_events();
    while !events.iter().any(|(_, event)| matches!(event, ClientEvent::MapApplied { .. })) {
        client.get(1, b"k").unwrap();
        events.extend(client.take_events());
    }
    assert!(matches!(events[0].1, ClientEvent::EnteredFailover { attempts: 2, .. }));
}

#[test]
fn connections_that_the_server_closed_meanwhile_are_no_failure() {
    let cluster = Cluster::start(2, None);
    let mut client = client(&cluster);
    for _ in 0..20 {
        client.get(1, b"k").unwrap();
        cluster.home(b"k").close();
    }
    assert!(client.take_events().is_empty());
}
