//! The origin against real databases: SQLite files and a PostgreSQL server.

mod after_put;
mod answers;
mod fit;
mod flags;
mod keys;
mod postgres;
mod postgres_access;
mod postgres_errors;
mod postgres_locks;
mod postgres_outage;
mod postgres_tls;
mod rows;
mod session;
mod sqlite;
mod sqlite_files;
mod sqlite_outage;
mod sqlite_shared;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use standin_config::{
    AfterPut, ColumnType, KeyCase, KeyspaceConfig, KeyspaceKind, OriginConfig, OriginKind,
    PostgresAccess,
};
use standin_protocol::time::Micros;
use standin_testkit::wait_until;

use super::{
    Call, Completions, Done, Failure, Operation, Origin, OriginStartError, Outcome, Stored,
};

/// Far longer than anything takes, also on a disk to which others write so much that a write of ours takes seconds.
const SOON: Duration = Duration::from_secs(60);

/// A shard's mailbox: keeps every answer, and fails on a second one.
#[derive(Default)]
struct Mailbox {
    answers: Mutex<HashMap<u64, Outcome>>,
    came: Condvar,
}

impl Completions for Mailbox {
    fn deliver(&self, shard: u16, done: Done) {
        assert_eq!(shard, SHARD);
        let second = self.answers.lock().unwrap().insert(done.token, done.outcome.clone());
        if let Some(first) = second {
            eprintln!("call {} was answered twice: {first:?}, then {:?}", done.token, done.outcome);
            std::process::abort();
        }
        self.came.notify_all();
    }
}

const SHARD: u16 = 3;

/// Longer than a busy machine delays a thread.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// An origin with its mailbox.
struct Bench {
    origin: Origin,
    mailbox: Arc<Mailbox>,
    next_token: AtomicU64,
}

impl Bench {
    fn start(
        config: &OriginConfig,
        keyspaces: &[KeyspaceConfig],
    ) -> Result<Self, OriginStartError> {
        let mailbox = Arc::new(Mailbox::default());
        let completions: Arc<dyn Completions> = Arc::<Mailbox>::clone(&mailbox);
        let origin = Origin::start(Some(config), keyspaces, completions, PAUSE_MAX)?;
        Ok(Self { origin, mailbox, next_token: AtomicU64::new(1) })
    }

    /// Submits a call, and returns the token to wait for.
    fn send(&self, keyspace: u8, key: &[u8], operation: Operation) -> u64 {
        self.try_send(keyspace, key, operation).expect("the queue is full")
    }

    fn try_send(&self, keyspace: u8, key: &[u8], operation: Operation) -> Option<u64> {
        self.send_by(keyspace, key, operation, Micros::NEVER)
    }

    fn send_by(
        &self,
        keyspace: u8,
        key: &[u8],
        operation: Operation,
        deadline: Micros,
    ) -> Option<u64> {
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let (key, made) = (key.into(), Micros::boottime());
        let call = Call { shard: SHARD, token, keyspace, operation, key, made, deadline };
        self.origin.submit(call).ok().map(|()| token)
    }

    #[track_caller]
    fn wait(&self, token: u64) -> Outcome {
        let answers = self.mailbox.answers.lock().unwrap();
        let mut waited = self
            .mailbox
            .came
            .wait_timeout_while(answers, SOON, |a| !a.contains_key(&token))
            .unwrap();
        assert!(!waited.1.timed_out(), "call {token} has no answer after {SOON:?}");
        waited.0.remove(&token).unwrap()
    }

    #[track_caller]
    fn run(&self, keyspace: u8, key: &[u8], operation: Operation) -> Outcome {
        self.wait(self.send(keyspace, key, operation))
    }

    #[track_caller]
    fn get(&self, key: &str) -> Outcome {
        self.run(KV, key.as_bytes(), Operation::Get)
    }

    /// Reads when others have found that the files have changed: a thread that has not opened them again
    /// yet fails its read.
    #[track_caller]
    fn get_once_open(&self, key: &str) -> Outcome {
        let mut outcome = self.get(key);
        wait_until(SOON, "a read that does not fail", || {
            if matches!(outcome, Outcome::Failed(_)) {
                outcome = self.get(key);
            }
            !matches!(outcome, Outcome::Failed(_))
        });
        outcome
    }

    #[track_caller]
    fn put(&self, key: &str, value: &str) -> Outcome {
        self.run(KV, key.as_bytes(), put(value))
    }

    #[track_caller]
    fn delete(&self, key: &str) -> Outcome {
        self.run(KV, key.as_bytes(), Operation::Delete)
    }

    /// Returns the number of answers that no test has waited for.
    fn stray_answers(&self) -> usize {
        self.mailbox.answers.lock().unwrap().len()
    }
}

impl Outcome {
    fn rows(&self) -> Option<u64> {
        match self {
            Self::Written { rows, .. } => Some(*rows),
            _ => None,
        }
    }
}

fn put(value: &str) -> Operation {
    Operation::Put { value: Bytes::copy_from_slice(value.as_bytes()), flags: 0 }
}

fn value(text: &str) -> Outcome {
    Outcome::Value(Some(Bytes::copy_from_slice(text.as_bytes()).into()))
}

const NOTHING: Outcome = Outcome::Value(None);
const ONE_ROW: Outcome = Outcome::Written { rows: 1, stored: Stored::Sent };
const UNAVAILABLE: Outcome = Outcome::Failed(Failure::Unavailable);

/// Asserts that the call was certainly not executed, with or without a reason.
#[track_caller]
fn assert_unavailable(outcome: &Outcome) {
    assert!(
        matches!(outcome, Outcome::Failed(Failure::Unavailable | Failure::Refused(_))),
        "{outcome:?}"
    );
}

/// The keyspace of the table `kv`.
const KV: u8 = 1;

#[track_caller]
fn assert_rejected(outcome: &Outcome, part: &str) {
    match outcome {
        Outcome::Failed(Failure::Rejected(message)) if message.contains(part) => {}
        other => panic!("expected a rejection with {part:?}, got {other:?}"),
    }
}

/// A keyspace on the table of its name, with text keys and values.
fn keyspace(id: u8, name: &str) -> KeyspaceConfig {
    KeyspaceConfig {
        id,
        name: name.to_owned(),
        get: format!("SELECT v FROM {name} WHERE k = :key"),
        put: Some(format!(
            "INSERT INTO {name} (k, v) VALUES (:key, :value) ON CONFLICT (k) DO UPDATE SET v = excluded.v"
        )),
        delete: Some(format!("DELETE FROM {name} WHERE k = :key")),
        after_put: AfterPut::Keep,
        also_invalidates: Vec::new(),
        key_type: ColumnType::Text,
        key_case: KeyCase::Exact,
        value_type: ColumnType::Text,
        kind: KeyspaceKind::Database,
        ttl: Some(Duration::from_secs(60)),
        negative_ttl: Duration::ZERO,
        ttl_jitter_percent: 0,
        log_slower_than: None,
    }
}

fn kv() -> Vec<KeyspaceConfig> {
    vec![keyspace(KV, "kv")]
}

fn sqlite_config(path: &Path, init: &str) -> OriginConfig {
    OriginConfig {
        kind: OriginKind::Sqlite { path: path.to_owned(), init: Some(init.to_owned()) },
        concurrency: 2,
        queue: 10_000,
        queue_bytes: 64 << 20,
        timeout: Duration::from_secs(5),
        surge_reads: 100,
        reads_per_second: None,
    }
}

fn postgres_config(url: &str, init: &str) -> OriginConfig {
    OriginConfig {
        kind: OriginKind::Postgres {
            url: url.to_owned(),
            access: PostgresAccess::default(),
            connections: 4,
            init: Some(init.to_owned()),
        },
        concurrency: 64,
        queue: 10_000,
        queue_bytes: 64 << 20,
        timeout: Duration::from_secs(5),
        surge_reads: 100,
        reads_per_second: None,
    }
}

const SQLITE_KV: &str = "CREATE TABLE IF NOT EXISTS kv (k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID";
const POSTGRES_KV: &str = "CREATE TABLE IF NOT EXISTS kv (k text PRIMARY KEY, v text)";
