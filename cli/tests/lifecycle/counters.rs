//! Read-modify-writes through the death and return of a server, by a client on tokio: no increment
//! that was acknowledged is lost, and none is executed twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use standin_client::modify::{Edit, Gives, Modify, Ttl, Vivified, Vivify};
use standin_client::tokio::Client;
use standin_client::{Bootstrap, ClientConfig, ClientError, ModifyOutcome};
use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::wait_until;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::common::{Cluster, KEYSPACE, PAIR, WITHIN};

/// Tasks that increment.
const TASKS: usize = 16;

/// A key, and its increments as the client knows them.
#[derive(Debug, Default)]
struct Counter {
    key: Vec<u8>,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
}

/// Increments the counters in turn until it is over.
async fn increment(
    client: Client,
    first: usize,
    counters: Arc<[Counter]>,
    is_over: Arc<AtomicBool>,
) {
    let vivify = Some(Vivify { value: Vivified::Number(1), ttl: Ttl::Keyspace });
    let increment = Modify { gives: Gives::New, vivify, ..Modify::new(Edit::Increment(1)) };
    for counter in counters.iter().cycle().skip(first) {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let known = match client.modify(KEYSPACE, &counter.key, &increment, b"").await {
            Ok(ModifyOutcome::Done(_)) => &counter.acknowledged,
            Err(ClientError::OutcomeUnknown) => &counter.unknown,
            // Nothing was done.
            Err(ClientError::Unavailable { .. } | ClientError::Overloaded { .. }) => continue,
            other => panic!("{other:?}"),
        };
        known.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn increments_through_a_kill_and_a_return_are_neither_lost_nor_doubled() {
    let mut cluster = Cluster::new("counters", PAIR);
    cluster.start();
    let keys = cluster.keys_of("a1").take(6).chain(cluster.keys_of("a2").take(2));
    let counters: Arc<[Counter]> = keys.map(|key| Counter { key, ..Counter::default() }).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let (config, topology) = (ClientConfig::from(&cluster.config), Arc::clone(&cluster.topology));
    let running = {
        let (counters, is_over) = (Arc::clone(&counters), Arc::clone(&is_over));
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client = Client::new(config, Bootstrap::Config(topology)).expect("a client");
                let mut tasks = JoinSet::new();
                for first in 0..TASKS {
                    let (counters, is_over) = (Arc::clone(&counters), Arc::clone(&is_over));
                    tasks.spawn(increment(client.clone(), first, counters, is_over));
                }
                tasks.join_all().await;
            });
        })
    };
    let acknowledged = || -> u64 {
        counters.iter().map(|counter| counter.acknowledged.load(Ordering::Relaxed)).sum()
    };
    let go_on = || {
        let before = acknowledged();
        wait_until(WITHIN, "more increments", || acknowledged() > before + 500);
    };
    for _ in 0..2 {
        go_on();
        cluster.kill("a1");
        cluster.wait_states(&[("a1", Offline)]);
        go_on();
        cluster.start_server("a1");
        cluster.wait_states(&[("a1", Online)]);
    }
    go_on();
    is_over.store(true, Ordering::Relaxed);
    running.join().expect("the increments end");
    for Counter { key, acknowledged, unknown } in counters.iter() {
        let row = cluster.row(key).expect("it was incremented");
        let value: u64 = String::from_utf8(row).expect("digits").parse().expect("a number");
        let at_least = acknowledged.load(Ordering::Relaxed);
        let at_most = at_least + unknown.load(Ordering::Relaxed);
        assert!((at_least..=at_most).contains(&value), "{value} of {at_least} to {at_most}");
    }
}
