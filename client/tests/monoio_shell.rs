//! The monoio shell against real sockets, on io_uring (where allowed) and on epoll.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use standin_client::monoio::Client;
use standin_client::runtime::{Driver, runtime};
use standin_client::{Bootstrap, CasOutcome, ClientConfig, ClientError, ClientEvent, Target};
use standin_protocol::auth::ClusterKey;
use standin_protocol::control::DatagramKind;
use standin_protocol::map::ServerState;
use standin_protocol::time::Micros;
use standin_testkit::Scratch;
use support::{Cluster, drivers};

fn secret() -> ClientConfig {
    ClientConfig { key: Some(ClusterKey::new([3; 32])), ..ClientConfig::default() }
}

async fn all_operations(client: Client, cluster: &Cluster) {
    assert_eq!(client.get(1, b"k").await, Ok(None));
    let version = client.put(1, b"k", b"one".to_vec(), 0).await.unwrap();
    let value = client.get(1, b"k").await.unwrap().unwrap();
    assert_eq!((value.bytes, value.version), (b"one".to_vec(), version));
    let two = client.cas(1, b"k", version, b"two".to_vec(), 0).await.unwrap();
    assert_eq!(two, CasOutcome::Written { version: version + 1 });
    let three = client.cas(1, b"k", version, b"three".to_vec(), 0).await.unwrap();
    assert_eq!(three, CasOutcome::Mismatch { version: version + 1 });
    assert_eq!(client.cas(1, b"none", 1, vec![], 0).await, Ok(CasOutcome::NotFound));
    assert_eq!(client.touch(1, b"k", 77).await, Ok(Some(77)));
    assert_eq!(client.invalidate(1, b"k").await, Ok(()));
    let stats = client.stats(Target::Server(cluster.home(b"k").id())).await.unwrap();
    assert_eq!(["rows", "invalidated"].map(|name| stats.counter(name)), [1, 1]);
    let many: Vec<String> = (0..1_000).map(|n| format!("key {n}")).collect();
    let ended = client.invalidate_many(1, &many).await;
    assert!(ended.len() == 1_000 && ended.iter().all(Result::is_ok));
    let flushed = client.flush(1).await.unwrap();
    assert!(flushed.is_complete() && flushed.partitions == 64);
    assert_eq!(client.delete(1, b"k").await, Ok(true));
    assert_eq!(client.delete(1, b"k").await, Ok(false));
    assert_eq!(client.ping(Target::Server(1), 0).await.unwrap().server, 1);
    let map = client.map(Target::Server(0)).await.unwrap();
    assert_eq!(map.topology.id, client.map_in_force().unwrap().topology.id);
}

#[test]
fn all_operations_on_both_drivers_and_with_a_secret() {
    for driver in drivers() {
        for config in [ClientConfig::default(), secret()] {
            let cluster = Cluster::start(2, config.key.clone());
            runtime(driver).unwrap().block_on(async {
                let seeds = Bootstrap::Seeds(cluster.addresses());
                all_operations(Client::new(config, seeds).unwrap(), &cluster).await;
            });
        }
    }
}

#[test]
fn all_operations_and_the_largest_value_with_tls() {
    let scratch = Scratch::new("monoio-tls");
    for driver in drivers() {
        let (cluster, config) = Cluster::start_with_tls(scratch.path());
        runtime(driver).unwrap().block_on(async {
            let bootstrap = Bootstrap::Config(cluster.topology.clone());
            let client = Client::new(config.clone(), bootstrap).unwrap();
            all_operations(client.clone(), &cluster).await;
            let large = vec![9; 16 << 20];
            client.put(1, b"large", large.clone(), 0).await.unwrap();
            assert!(client.get(1, b"large").await.unwrap().unwrap().bytes == large);
            client.delete(1, b"large").await.unwrap();
        });
    }
}

#[test]
fn a_wrong_secret_is_told_at_once() {
    let cluster = Cluster::start(2, Some(ClusterKey::new([4; 32])));
    for config in [ClientConfig::default(), secret()] {
        runtime(drivers()[0]).unwrap().block_on(async {
            let bootstrap = Bootstrap::Config(cluster.topology.clone());
            let client = Client::new(config, bootstrap).unwrap();
            assert_eq!(client.get(1, b"k").await, Err(ClientError::AuthFailed));
        });
    }
}

#[test]
fn many_keys_and_the_largest_value() {
    for driver in drivers() {
        let cluster = Cluster::start(3, None);
        runtime(driver).unwrap().block_on(async {
            let bootstrap = Bootstrap::Config(cluster.topology.clone());
            // A busy machine must not look like a silent server.
            let patient = Duration::from_secs(20);
            let config = ClientConfig {
                attempt_timeout: patient,
                operation_timeout: patient * 3,
                ..ClientConfig::default()
            };
            let client = Client::new(config, bootstrap).unwrap();
            let keys: Vec<String> = (0..5_000).map(|n| format!("key {n}")).collect();
            for key in keys.iter().step_by(2) {
                client.put(1, key.as_bytes(), key.clone().into_bytes(), 0).await.unwrap();
            }
            let values = client.get_many(1, &keys).await;
            assert_eq!(values.len(), keys.len());
            for (n, (key, value)) in keys.iter().zip(values).enumerate() {
                let expected = (n % 2 == 0).then(|| key.clone().into_bytes());
                assert_eq!(value.unwrap().map(|v| v.bytes), expected);
            }
            assert!(cluster.servers.iter().all(|server| server.accepted() <= 2), "one per shard");
            let large = vec![9; 16 << 20];
            client.put(1, b"large", large.clone(), 0).await.unwrap();
            assert!(client.get(1, b"large").await.unwrap().unwrap().bytes == large);
            let key = vec![1; 65_535];
            client.put(1, &key, vec![1], 0).await.unwrap();
            assert_eq!(client.get(1, &key).await.unwrap().unwrap().bytes, [1]);
            assert_eq!(client.open_operations(), 0);
        });
    }
}

#[test]
fn c10_c14_a_stopped_or_frozen_server_costs_no_request() {
    for driver in drivers() {
        for is_frozen in [false, true] {
            let cluster = Cluster::start(2, None);
            let home = cluster.home(b"k").clone();
            let seen: Rc<RefCell<Vec<ClientEvent>>> = Rc::default();
            runtime(driver).unwrap().block_on(async {
                let bootstrap = Bootstrap::Config(cluster.topology.clone());
                let client = Client::new(ClientConfig::default(), bootstrap).unwrap();
                let events = Rc::clone(&seen);
                client.observe(move |_, event| events.borrow_mut().push(event.clone()));
                client.put(1, b"k", b"v".to_vec(), 0).await.unwrap();
                if is_frozen {
                    home.freeze()
                } else {
                    home.stop()
                }
                let value = client.get(1, b"k").await.unwrap().unwrap();
                assert_eq!(value.bytes, b"v");
                // The verdict comes over UDP, while other requests go on.
                let has_map = |e: &ClientEvent| matches!(e, ClientEvent::MapApplied { .. });
                while !seen.borrow().iter().any(has_map) {
                    client.get(1, b"k").await.unwrap();
                }
                let map = client.map_in_force().unwrap();
                assert_eq!(map.state(home.id()), ServerState::Offline);
            });
            let seen = seen.borrow();
            let server = home.id();
            assert_eq!(seen[0], ClientEvent::EnteredFailover { server, attempts: 2 });
            assert!(matches!(
                seen[1],
                ClientEvent::Reported { kind: DatagramKind::ReportFailed, .. }
            ));
            assert!(matches!(seen[2], ClientEvent::Verdict { .. }));
            assert_eq!(cluster.notices.lock().unwrap()[0].subject, server);
        }
    }
}

#[test]
fn a_runtime_has_the_driver_that_was_asked_for() {
    for driver in drivers() {
        runtime(driver).unwrap().block_on(async {
            assert_eq!(monoio::utils::is_legacy(), driver == Driver::Epoll);
        });
    }
}

#[test]
fn an_operation_is_open_until_it_ends() {
    for driver in drivers() {
        let cluster = Cluster::start(2, None);
        cluster.home(b"k").freeze();
        runtime(driver).unwrap().block_on(async {
            let bootstrap = Bootstrap::Config(cluster.topology.clone());
            let client = Client::new(ClientConfig::default(), bootstrap).unwrap();
            let other = client.clone();
            let get = monoio::spawn(async move { other.get(1, b"k").await });
            let deadline = Micros::boottime() + Duration::from_secs(20);
            while client.open_operations() == 0 {
                assert!(Micros::boottime() < deadline, "no operation is open");
                monoio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(get.await, Ok(None));
            assert_eq!(client.open_operations(), 0);
        });
    }
}

/// A client that rests has set its timer for a second.
#[test]
fn an_attempt_ends_in_its_time_although_the_timer_was_set_for_later() {
    let failover = |driver| {
        let cluster = Cluster::start(2, None);
        runtime(driver).unwrap().block_on(async {
            let bootstrap = Bootstrap::Config(cluster.topology.clone());
            let attempt_timeout = Duration::from_millis(50);
            let config = ClientConfig { attempt_timeout, ..ClientConfig::default() };
            let client = Client::new(config, bootstrap).unwrap();
            client.get(1, b"k").await.unwrap();
            cluster.home(b"k").freeze();
            let before = Micros::boottime();
            client.get(1, b"k").await.unwrap();
            Micros::boottime().since(before)
        })
    };
    for driver in drivers() {
        // A busy machine may be late some of the time.
        let is_in_time = |_| failover(driver) < Duration::from_millis(500);
        assert!((0..10).any(is_in_time), "{driver:?}: each attempt ended late");
    }
}

#[test]
fn an_idle_client_rests() {
    for driver in drivers() {
        let cluster = Cluster::start(2, None);
        runtime(driver).unwrap().block_on(async {
            let bootstrap = Bootstrap::Config(cluster.topology.clone());
            let client = Client::new(ClientConfig::default(), bootstrap).unwrap();
            client.get(1, b"k").await.unwrap();
            let cpu = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_nsec;
            let before = cpu();
            monoio::time::sleep(Duration::from_millis(300)).await;
            let used = Duration::from_nanos(cpu().wrapping_sub(before).unsigned_abs());
            assert!(used < Duration::from_millis(30), "{used:?} of CPU in 300 ms of rest");
        });
    }
}
