//! The tokio shell against real sockets, on runtimes with one thread and with several.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use standin_client::tokio::Client;
use standin_client::{Bootstrap, CasOutcome, ClientConfig, ClientError, ClientEvent, Target};
use standin_config::{TlsAuthorities, TlsCalls};
use standin_protocol::auth::ClusterKey;
use standin_protocol::map::ServerState;
use standin_protocol::time::Micros;
use standin_testkit::{Authority, Scratch};
use standin_tls::Failure;
use support::Cluster;
use tokio::runtime::{Builder, Runtime};

fn runtimes() -> [Runtime; 2] {
    let one = Builder::new_current_thread().enable_all().build().unwrap();
    let several = Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    [one, several]
}

fn secret() -> ClientConfig {
    ClientConfig { key: Some(ClusterKey::new([3; 32])), ..ClientConfig::default() }
}

/// A busy machine must not look like a silent server.
fn patient() -> ClientConfig {
    let attempt_timeout = Duration::from_secs(20);
    let operation_timeout = attempt_timeout * 3;
    ClientConfig { attempt_timeout, operation_timeout, ..ClientConfig::default() }
}

fn client(cluster: &Cluster, config: ClientConfig) -> Client {
    Client::new(config, Bootstrap::Config(Arc::clone(&cluster.topology))).unwrap()
}

async fn all_operations(client: Client, cluster: &Cluster) {
    assert_eq!(client.get(1, b"k").await, Ok(None));
    let version = client.put(1, b"k", b"one".to_vec(), 0).await.unwrap();
    let value = client.get(1, b"k").await.unwrap().unwrap();
    assert_eq!((value.bytes, value.version), (b"one".to_vec(), version));
    let two = client.cas(1, b"k", version, b"two".to_vec(), 0).await.unwrap();
    assert_eq!(two, CasOutcome::Written { version: version + 1 });
    assert_eq!(client.touch(1, b"k", 77).await, Ok(Some(77)));
    assert_eq!(client.invalidate(1, b"k").await, Ok(()));
    let stats = client.stats(Target::Server(cluster.home(b"k").id())).await.unwrap();
    assert_eq!(["rows", "invalidated"].map(|name| stats.counter(name)), [1, 1]);
    let flushed = client.flush(1).await.unwrap();
    assert!(flushed.is_complete() && flushed.partitions == 64);
    assert_eq!(client.delete(1, b"k").await, Ok(true));
    assert_eq!(client.ping(Target::Server(1), 0).await.unwrap().server, 1);
    let map = client.map(Target::Server(0)).await.unwrap();
    assert_eq!(map.topology.id, client.map_in_force().unwrap().topology.id);
}

#[test]
fn all_operations_on_both_runtimes_and_with_a_secret() {
    for runtime in runtimes() {
        for config in [ClientConfig::default(), secret()] {
            let cluster = Cluster::start(2, config.key.clone());
            runtime.block_on(async {
                let seeds = Bootstrap::Seeds(cluster.addresses());
                all_operations(Client::new(config, seeds).unwrap(), &cluster).await;
            });
        }
    }
}

#[test]
fn all_operations_and_the_largest_value_with_tls() {
    let scratch = Scratch::new("tokio-tls");
    for runtime in runtimes() {
        let (cluster, config) = Cluster::start_with_tls(scratch.path());
        runtime.block_on(async {
            let client = client(&cluster, config.clone());
            all_operations(client.clone(), &cluster).await;
            let large = vec![9; 16 << 20];
            client.put(1, b"large", large.clone(), 0).await.unwrap();
            assert!(client.get(1, b"large").await.unwrap().unwrap().bytes == large);
            client.delete(1, b"large").await.unwrap();
        });
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_told_at_once() {
    let scratch = Scratch::new("tokio-tls-wrong");
    let (cluster, config) = Cluster::start_with_tls(scratch.path());
    let calls = config.tls.clone().unwrap();
    let other = Authority::new(scratch.path(), "other").root.certificate;
    for (calls, is_own) in [
        (TlsCalls { authorities: TlsAuthorities::File(other), ..calls.clone() }, true),
        (TlsCalls { own: None, ..calls }, false),
    ] {
        let config = ClientConfig { tls: Some(calls), ..config.clone() };
        for runtime in runtimes() {
            runtime.block_on(async {
                let error = client(&cluster, config.clone()).get(1, b"k").await.unwrap_err();
                let ClientError::Tls { failure, .. } = &error else { panic!("{error}") };
                match failure {
                    Failure::Certificate(_) => assert!(is_own, "{error}"),
                    failure => {
                        assert!(matches!(failure, Failure::Refused(_)) && !is_own, "{error}")
                    }
                }
            });
        }
    }
    let gone = TlsAuthorities::File(scratch.file("gone.crt"));
    let calls = TlsCalls { authorities: gone, name: None, own: None };
    let config = ClientConfig { tls: Some(calls), ..config };
    let bootstrap = Bootstrap::Config(Arc::clone(&cluster.topology));
    let runtime = &runtimes()[0];
    let error = runtime.block_on(async { Client::new(config, bootstrap).err().unwrap() });
    assert!(error.to_string().contains("gone.crt"), "{error}");
}

#[test]
fn a_wrong_secret_is_told_at_once() {
    let cluster = Cluster::start(2, Some(ClusterKey::new([4; 32])));
    for runtime in runtimes() {
        runtime.block_on(async {
            let client = client(&cluster, secret());
            assert_eq!(client.get(1, b"k").await, Err(ClientError::AuthFailed));
        });
    }
}

#[test]
fn tasks_on_all_threads_share_one_connection_for_each_shard() {
    for runtime in runtimes() {
        let cluster = Cluster::start(3, None);
        runtime.block_on(async {
            let client = client(&cluster, patient());
            let task = |n: u32| {
                let client = client.clone();
                tokio::spawn(async move {
                    let (key, value) = (format!("key {n}"), n.to_le_bytes().to_vec());
                    client.put(1, key.as_bytes(), value.clone(), 0).await.unwrap();
                    let read = client.get(1, key.as_bytes()).await.unwrap().unwrap();
                    assert_eq!(read.bytes, value);
                })
            };
            let tasks: Vec<_> = (0..5_000).map(task).collect();
            for task in tasks {
                task.await.unwrap();
            }
            let keys: Vec<String> = (0..5_000).map(|n| format!("key {n}")).collect();
            let values = client.get_many(1, &keys).await;
            let is_its = |(n, value): (u32, Result<Option<standin_client::Value>, _>)| {
                value.unwrap().unwrap().bytes == n.to_le_bytes()
            };
            assert!((0..).zip(values).all(is_its));
            assert!(cluster.servers.iter().all(|server| server.accepted() <= 2), "one per shard");
            assert_eq!(client.open_operations(), 0);
        });
    }
}

/// More than a socket takes at once.
#[test]
fn the_largest_values_are_written_and_read() {
    for runtime in runtimes() {
        let cluster = Cluster::start(2, None);
        runtime.block_on(async {
            let client = client(&cluster, patient());
            let large = vec![9; 16 << 20];
            for key in [b"a", b"b", b"c"] {
                client.put(1, key, large.clone(), 0).await.unwrap();
            }
            for value in client.get_many(1, &[b"a", b"b", b"c"]).await {
                assert!(value.unwrap().unwrap().bytes == large);
            }
        });
    }
}

#[test]
fn a_call_that_is_dropped_takes_nothing_from_others() {
    for runtime in runtimes() {
        let cluster = Cluster::start(2, None);
        runtime.block_on(async {
            let client = client(&cluster, patient());
            client.put(1, b"k", b"v".to_vec(), 0).await.unwrap();
            for _ in 0..1_000 {
                // It is polled once, which begins it, and dropped.
                let call = client.get(1, b"k");
                let _ = tokio::time::timeout(Duration::ZERO, call).await;
            }
            assert_eq!(client.get(1, b"k").await.unwrap().unwrap().bytes, b"v");
            wait_until(|| client.open_operations() == 0).await;
        });
    }
}

async fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = Micros::boottime() + Duration::from_secs(20);
    while !is_so() {
        assert!(Micros::boottime() < deadline, "it has not come about in time");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn c10_c14_a_stopped_or_frozen_server_costs_no_request() {
    for runtime in runtimes() {
        for is_frozen in [false, true] {
            let cluster = Cluster::start(2, None);
            let home = cluster.home(b"k").clone();
            let seen: Arc<Mutex<Vec<ClientEvent>>> = Arc::default();
            runtime.block_on(async {
                let client = client(&cluster, ClientConfig::default());
                let events = Arc::clone(&seen);
                client.observe(move |_, event| events.lock().unwrap().push(event.clone()));
                client.put(1, b"k", b"v".to_vec(), 0).await.unwrap();
                if is_frozen {
                    home.freeze()
                } else {
                    home.stop()
                }
                assert_eq!(client.get(1, b"k").await.unwrap().unwrap().bytes, b"v");
                // The verdict comes over UDP, while other requests go on.
                let has_map = |e: &ClientEvent| matches!(e, ClientEvent::MapApplied { .. });
                while !seen.lock().unwrap().iter().any(has_map) {
                    client.get(1, b"k").await.unwrap();
                }
                let map = client.map_in_force().unwrap();
                assert_eq!(map.state(home.id()), ServerState::Offline);
            });
            let first = seen.lock().unwrap()[0].clone();
            assert_eq!(first, ClientEvent::EnteredFailover { server: home.id(), attempts: 2 });
        }
    }
}

#[test]
fn the_last_clone_closes_the_connections() {
    for runtime in runtimes() {
        let cluster = Cluster::start(2, None);
        runtime.block_on(async {
            let first = client(&cluster, ClientConfig::default());
            let last = first.clone();
            first.get(1, b"k").await.unwrap();
            drop(first);
            last.get(1, b"k").await.unwrap();
            let home = cluster.home(b"k").clone();
            assert!(home.connections() > 0);
            drop(last);
            wait_until(|| home.connections() == 0).await;
        });
    }
}

#[test]
fn a_client_whose_runtime_has_ended_says_so() {
    let cluster = Cluster::start(2, None);
    let [one, other] = runtimes();
    let client = one.block_on(async {
        let client = client(&cluster, ClientConfig::default());
        client.get(1, b"k").await.unwrap();
        client
    });
    drop(one);
    let ended = other.block_on(client.get(1, b"k"));
    assert!(matches!(ended, Err(ClientError::Protocol(text)) if text.contains("runtime")));
}

/// Its calls may run on any thread of any runtime.
#[test]
fn a_client_can_be_sent_and_shared() {
    fn is_send<F: Future + Send>(_: F) {}
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<Client>();
    let cluster = Cluster::start(2, None);
    let [_, runtime] = runtimes();
    runtime.block_on(async {
        let client = client(&cluster, ClientConfig::default());
        is_send(client.get(1, b"k"));
        is_send(client.get_many(1, &[b"k"]));
        is_send(client.flush(1));
    });
}

#[test]
fn an_idle_client_rests() {
    let cluster = Cluster::start(2, None);
    let [runtime, _] = runtimes();
    runtime.block_on(async {
        let client = client(&cluster, ClientConfig::default());
        client.get(1, b"k").await.unwrap();
        let cpu = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_nsec;
        let before = cpu();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let used = Duration::from_nanos(cpu().wrapping_sub(before).unsigned_abs());
        assert!(used < Duration::from_millis(30), "{used:?} of CPU in 300 ms of rest");
    });
}
