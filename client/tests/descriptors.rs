//! No descriptor is leaked, whatever becomes of connections. Alone in its process, because it
//! counts the process's descriptors.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use standin_client::monoio::Client;
use standin_client::runtime::runtime;
use standin_client::{Bootstrap, ClientConfig};
use support::{Cluster, drivers};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn clients_leave_no_descriptors() {
    let cluster = Cluster::start(2, None);
    for driver in drivers() {
        let mut runtime = runtime(driver).unwrap();
        let mut after_first = None;
        for round in 0..6 {
            runtime.block_on(async {
                let bootstrap = Bootstrap::Config(cluster.topology.clone());
                let client = Client::new(ClientConfig::default(), bootstrap).unwrap();
                client.get(1, b"k").await.unwrap();
                drop(client);
                // Nobody listens here, nobody accepts there, and nobody is at the third.
                let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
                let seeds = vec![
                    SocketAddr::from(([127, 0, 0, 1], 1)),
                    silent.local_addr().unwrap(),
                    SocketAddr::from(([192, 0, 2, 1], 9)),
                ];
                let operation_timeout = Duration::from_millis(300);
                let config = ClientConfig { operation_timeout, ..ClientConfig::default() };
                let client = Client::new(config, Bootstrap::Seeds(seeds)).unwrap();
                assert!(client.get(1, b"k").await.is_err());
                drop((client, silent));
                // The server's side of a closed connection ends in its own thread.
                // The first round has nothing to compare with, so it waits to the end.
                let limit = after_first.unwrap_or(0);
                for _ in 0..200 {
                    monoio::time::sleep(Duration::from_millis(5)).await;
                    if descriptors() <= limit {
                        break;
                    }
                }
            });
            let now = descriptors();
            assert!(now <= *after_first.get_or_insert(now), "round {round}: {now} open");
        }
    }
}
