//! All servers start with empty caches at once, and one of them dies. The database is asked for no
//! more than `reads_per_second`, and is not asked for much less. The database itself counts its
//! reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use standin_config::OriginConfig;
use standin_protocol::map::ServerState::{Offline, Online};
use standin_protocol::time::Micros;
use standin_testkit::{Postgres, wait_until};
use tokio::runtime::{Builder, Runtime};

use crate::common::{Cluster, KEYSPACE, WITHIN};

/// The limit in the cluster file.
const READS_PER_SECOND: u32 = 240;
/// The number of clients that each wait for one read. Reads that are under way may reach the
/// database late, and all at once.
const CLIENTS: u64 = 24;
/// The number of rows. Each is read once.
const ROWS: u64 = 3_000;

/// A separate session with the database.
struct Session {
    runtime: Runtime,
    client: tokio_postgres::Client,
}

impl Session {
    fn new(url: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (client, connection) =
            runtime.block_on(tokio_postgres::connect(url, tokio_postgres::NoTls)).expect("there");
        runtime.spawn(connection);
        Self { runtime, client }
    }

    fn run(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).expect(sql);
    }

    /// Returns the number of reads that the statement of the keyspace has executed.
    fn reads(&self) -> u64 {
        let sql = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM reads";
        let row = self.runtime.block_on(self.client.query_one(sql, &[])).expect(sql);
        u64::try_from(row.get::<_, i64>(0)).expect("a count")
    }
}

/// A number of reads, with the times before and after it was taken.
struct Look {
    before: Micros,
    reads: u64,
    after: Micros,
}

/// Samples until the number of reads has reached `reads`.
fn watch(session: &Session, looks: &mut Vec<Look>, reads: u64) {
    wait_until(WITHIN * 2, "the reads", || {
        let before = Micros::boottime();
        let now = session.reads();
        looks.push(Look { before, reads: now, after: Micros::boottime() });
        now >= reads
    });
}

/// Asserts that no interval of a second or more has seen more reads than allowed.
fn assert_bounded(looks: &[Look]) {
    for (at, first) in looks.iter().enumerate() {
        for last in &looks[at..] {
            let lasts = last.after.since(first.before);
            if lasts < Duration::from_secs(1) {
                continue;
            }
            // The limit is counted with clocks within the drift bound. It is increased by what
            // three shards may have saved up (for their own partitions and for the others), and by
            // the reads that clients wait for.
            let whole = f64::from(READS_PER_SECOND);
            let most = whole * lasts.as_secs_f64() * 1.1 + whole / 20.0 + 6.0;
            let reads = last.reads - first.reads;
            assert!(reads <= most as u64 + CLIENTS, "{reads} in {lasts:?}, not {most}");
        }
    }
}

#[test]
fn a_cold_cluster_asks_the_database_for_no_more_than_it_may() {
    let Some(postgres) = Postgres::start_or_skip("a_cold_cluster_asks") else { return };
    let session = Session::new(&postgres.url());
    session.run(&format!(
        "CREATE TABLE items (id TEXT PRIMARY KEY, value BYTEA NOT NULL);
         INSERT INTO items SELECT 'k' || n, 'v' FROM generate_series(0, {ROWS}) AS n;
         CREATE SEQUENCE reads"
    ));
    let names = ["a1", "a2", "a3"];
    let mut cluster = Cluster::with("cold", &[("a", &names)], |config| {
        config.origin = Some(OriginConfig::postgres(&postgres.url()));
        config.origin.as_mut().expect("it has a database").reads_per_second =
            Some(READS_PER_SECOND);
        config.keyspaces[0].get =
            "SELECT value FROM items, nextval('reads') WHERE id = :key".to_owned();
    });
    cluster.start();
    names.iter().for_each(|name| cluster.kill(name));
    names.iter().for_each(|name| cluster.start_server(name));
    cluster.wait_states(&names.map(|name| (name, Online)));

    let (next, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut looks = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let mut client = cluster.client();
            let (next, is_over) = (&next, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let key = format!("k{}", next.fetch_add(1, Ordering::Relaxed) % ROWS);
                    // Refused reads are expected.
                    let _ = client.get(KEYSPACE, key.as_bytes());
                }
            });
        }
        // Three quarters of the limit are for partitions that have an owner: some three seconds.
        watch(&session, &mut looks, 600);
        let status = cluster.run(&["status", "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
        assert_eq!(json["origin_reads"]["per_second_max"], READS_PER_SECOND);
        assert!(json["origin_reads"]["last_10_s"].as_u64() >= Some(300), "{json}");
        // The two other servers take over the partitions of a3, and its share of the limit.
        cluster.kill("a3");
        let reads = looks.last().expect("a look").reads;
        watch(&session, &mut looks, reads + 600);
        is_over.store(true, Ordering::Relaxed);
    });
    cluster.wait_states(&[("a3", Offline)]);
    assert_bounded(&looks);
    let held: u64 = ["a1", "a2"].map(|name| cluster.counter(name, "rate_held")).iter().sum();
    assert!(held > 0, "they have waited for it");
}
