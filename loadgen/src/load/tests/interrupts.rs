//! Runs that are ended before their time, as by Ctrl-C: how long that takes, and what they say.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use standin_config::{ClusterConfig, KeyspaceConfig, OriginConfig};
use standin_testkit::wait_until;

use super::*;
use crate::load::LoadError;

/// Far longer than the time after which a run that was ended no longer waits, and far shorter than its requests have.
const SOON: Duration = Duration::from_secs(20);

/// A memcached that answers, until it is told to answer nothing more. Redis it answers nothing at all.
struct Hanging {
    address: SocketAddr,
    hangs: Arc<AtomicBool>,
    /// Whether it has seen something that it did not answer.
    is_asked: Arc<AtomicBool>,
}

impl Hanging {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (hangs, is_asked) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let shared = (Arc::clone(&hangs), Arc::clone(&is_asked));
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let (hangs, is_asked) = shared.clone();
                std::thread::spawn(move || {
                    let mut bytes = [0; 65_536];
                    while let Ok(1..) = stream.read(&mut bytes) {
                        let asked = bytes.iter().take_while(|byte| **byte != 0);
                        let reads = asked.filter(|byte| **byte == b'\n').count();
                        if hangs.load(Ordering::Acquire) || bytes[0] == b'*' {
                            is_asked.store(true, Ordering::Release);
                        } else if stream.write_all("END\r\n".repeat(reads).as_bytes()).is_err() {
                            break;
                        }
                        bytes.fill(0);
                    }
                });
            }
        });
        Self { address, hangs, is_asked }
    }

    fn wait_until_asked(&self) {
        wait_until(SOON, "a request", || self.is_asked.load(Ordering::Acquire));
    }
}

/// Runs a load in another thread.
fn spawn(load: Load) -> (Arc<Live>, JoinHandle<Result<Document, LoadError>>) {
    let live = Arc::new(Live::new(load.workers));
    let own = Arc::clone(&live);
    (live, std::thread::spawn(move || run(&load, &own)))
}

/// Ends a run.
fn end(
    (live, running): (Arc<Live>, JoinHandle<Result<Document, LoadError>>),
) -> Result<Document, LoadError> {
    live.stop();
    wait_until(SOON, "the end of the run", || running.is_finished());
    running.join().unwrap()
}

#[test]
fn open_requests_are_not_waited_for_without_end_and_are_told() {
    for pacing in [&["--rate", "100"][..], &["--closed", "1x4"]] {
        let server = Hanging::new();
        let url = format!("memcached://{}?timeout=1h", server.address);
        let fixed = ["--target", &url, "--reads", "100", "--seconds", "3600", "--workers", "1"];
        let running = spawn(load(&[&fixed[..], pacing].concat()));
        wait_until(SOON, "some answers", || running.0.progress().ended > 10);
        server.hangs.store(true, Ordering::Release);
        server.wait_until_asked();
        let document = end(running).unwrap();
        let counts = &document.total.counts;
        assert!(counts.unanswered > 0 && counts.failed == 0 && !document.is_good, "{counts:?}");
        assert_eq!(counts.requests, counts.reads, "{counts:?}");
        let said = document.warnings.join("; ");
        assert!(said.contains("requests were still without an answer"), "{said}");
        assert!(said.contains("the run was interrupted after"), "{said}");
    }
}

#[test]
fn the_opening_of_connections_is_ended() {
    let server = Hanging::new();
    let url = format!("redis://:password@{}?timeout=1h", server.address);
    let running = spawn(load(&["--target", &url, "--seconds", "3600", "--workers", "2"]));
    server.wait_until_asked();
    let error = end(running).unwrap_err().to_string();
    assert!(error.contains("interrupted during the opening of connections"), "{error}");
}

/// A cluster file with rows in an SQLite file.
fn rows(scratch: &Scratch, get: &str) -> String {
    let database = scratch.file("t.sqlite");
    let own = rusqlite::Connection::open(&database).unwrap();
    own.execute_batch(
        "CREATE TABLE items (id TEXT PRIMARY KEY, value TEXT); INSERT INTO items VALUES ('a', 'b')",
    )
    .unwrap();
    let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let config = ClusterConfig::new("t", address(7_100), Some(OriginConfig::sqlite(&database)));
    let mut config = config.with_group("a", [("a1", address(7_101)), ("a2", address(7_102))]);
    config.keyspaces = vec![KeyspaceConfig::new(1, "items", get)];
    let path = scratch.file("cluster.toml");
    std::fs::write(&path, config.to_toml()).unwrap();
    path.to_str().unwrap().to_owned()
}

const ENDLESS: &str =
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c WHERE x < 0";

/// As an agent's run, which no signal ends.
#[test]
fn a_run_that_reads_rows_is_ended() {
    let scratch = Scratch::new("load-rows-ended");
    let file = rows(&scratch, "SELECT value FROM items WHERE id = :key");
    let fixed = ["--database", &file, "--row-query", ENDLESS, "--check", "--seconds", "1"];
    let running = spawn(load(&fixed));
    let error = end(running).unwrap_err().to_string();
    assert!(error.contains("interrupted while keys were read"), "{error}");
}

#[test]
fn rows_are_read_within_the_time_that_the_target_has() {
    let scratch = Scratch::new("load-rows-timeout");
    let get = "SELECT value FROM items WHERE id = :key AND (WITH RECURSIVE \
               c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c) > 0";
    let (file, server) = (rows(&scratch, get), FakeServer::memcached());
    let url = format!("{}?timeout=300ms", server.url());
    let rows = ["--row-query", "SELECT id FROM items", "--check", "--seconds", "1", "--ttl", "60"];
    let load = load(&[&["--target", &url, "--database", &file][..], &rows].concat());
    let error = run(&load, &Arc::new(Live::new(load.workers))).unwrap_err().to_string();
    assert!(error.contains("no answer within 300ms"), "{error}");
}
