//! Writes per second with each `after_put`, on SQLite and on PostgreSQL, of the server's database drivers
//! alone, without shards or a network. Each writer waits for the answer to its write. Rounds are
//! interleaved, and the medians are shown.
//!
//! Neither waits for the disk (PostgreSQL runs with `fsync=off`; for SQLite there is
//! `--durable`): what a disk adds to a COMMIT is the same for all, and makes the ratios smaller.

use std::error::Error;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use standin_config::{AfterPut, KeyspaceConfig, OriginConfig, OriginKind};
use standin_protocol::time::Micros;
use standin_server::origin::{Call, Completions, Done, Operation, Origin, Outcome};
use standin_testkit::{Postgres, Scratch};

/// Rows that are written.
const KEYS: u64 = 10_000;

#[derive(Parser)]
#[command(about)]
struct Cli {
    /// Writers at once.
    #[arg(long, value_delimiter = ',', default_value = "1,64")]
    writers: Vec<u64>,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// Seconds of a round.
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Rounds of each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Make SQLite wait for the disk at every COMMIT, as servers do by default.
    #[arg(long)]
    durable: bool,
}

/// What has been answered.
#[derive(Default)]
struct Mailbox {
    done: Mutex<Vec<Done>>,
    came: Condvar,
}

impl Completions for Mailbox {
    fn deliver(&self, _shard: u16, done: Done) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(done);
        self.came.notify_one();
    }
}

impl Mailbox {
    fn take(&self) -> Vec<Done> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.came.wait_while(done, |done| done.is_empty());
        std::mem::take(&mut *done.unwrap_or_else(PoisonError::into_inner))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    let scratch = Scratch::new("after-put");
    let path = scratch.file("origin.sqlite");
    let speed = if cli.durable { "FULL" } else { "OFF" };
    let sqlite = with_init(
        OriginConfig::sqlite(&path),
        &format!(
            "PRAGMA synchronous = {speed};
             CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
        ),
    );
    measure("SQLite", &sqlite, &cli)?;
    let Some(postgres) = Postgres::start_or_skip("bench after_put") else { return Ok(()) };
    let table = "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, value BYTEA NOT NULL)";
    measure("PostgreSQL", &with_init(OriginConfig::postgres(&postgres.url()), table), &cli)
}

fn with_init(mut config: OriginConfig, sql: &str) -> OriginConfig {
    match &mut config.kind {
        OriginKind::Sqlite { init, .. } | OriginKind::Postgres { init, .. } => {
            *init = Some(sql.to_owned());
        }
    }
    config
}

fn keyspaces() -> Vec<KeyspaceConfig> {
    let upsert = "INSERT INTO items (id, value) VALUES (:key, :value)
                  ON CONFLICT (id) DO UPDATE SET value = excluded.value";
    let keyspace = |(id, (name, after_put)): (u8, (&str, AfterPut))| {
        let returning = if after_put == AfterPut::Returning { " RETURNING value" } else { "" };
        KeyspaceConfig {
            after_put,
            put: Some(format!("{upsert}{returning}")),
            ..KeyspaceConfig::new(id, name, "SELECT value FROM items WHERE id = :key")
        }
    };
    (1..).zip(AfterPut::ALL).map(keyspace).collect()
}

/// Nobody stops this process.
const PAUSE_MAX: Duration = Duration::from_secs(60);

fn measure(name: &str, config: &OriginConfig, cli: &Cli) -> Result<(), Box<dyn Error>> {
    let mailbox = Arc::new(Mailbox::default());
    let completions: Arc<dyn Completions> = Arc::<Mailbox>::clone(&mailbox);
    let keyspaces = keyspaces();
    let origin = Origin::start(Some(config), &keyspaces, completions, PAUSE_MAX)?;
    println!(
        "{name}: writes per second, values of {} bytes, durable: {}",
        cli.value_bytes, cli.durable
    );
    print!("{:>10}", "writers");
    keyspaces.iter().for_each(|keyspace| print!("{:>12}", keyspace.name));
    println!();
    for &writers in &cli.writers {
        let mut rates = vec![Vec::new(); keyspaces.len()];
        for _ in 0..cli.rounds {
            for (keyspace, rates) in keyspaces.iter().zip(&mut rates) {
                rates.push(round(&origin, &mailbox, keyspace.id, writers, cli)?);
            }
        }
        print!("{writers:>10}");
        for rates in &mut rates {
            rates.sort_by(f64::total_cmp);
            print!("{:>12.0}", rates[rates.len() / 2]);
        }
        println!();
    }
    origin.shutdown();
    Ok(())
}

/// Writes for a while; how many a second.
fn round(
    origin: &Origin,
    mailbox: &Mailbox,
    keyspace: u8,
    writers: u64,
    cli: &Cli,
) -> Result<f64, Box<dyn Error>> {
    let begin = Micros::boottime();
    let until = begin + Duration::from_secs(cli.seconds);
    let (mut sent, mut answered) = (0, 0);
    let send = |sent: &mut u64| {
        // Neighbours are far apart, and none is under way twice.
        let key = *sent * 7 % KEYS;
        let value = vec![b'v'; cli.value_bytes].into();
        *sent += 1;
        let call = Call {
            shard: 0,
            token: *sent,
            keyspace,
            operation: Operation::Put { value, flags: 0 },
            key: format!("key-{key:07}").into_bytes().into(),
            made: Micros::boottime(),
            deadline: Micros::NEVER,
        };
        origin.submit(call).map_err(|_| "the queue of the origin is full")
    };
    for _ in 0..writers {
        send(&mut sent)?;
    }
    while answered < sent {
        for done in mailbox.take() {
            if !matches!(done.outcome, Outcome::Written { rows: 1, .. }) {
                return Err(format!("a write came to {:?}", done.outcome).into());
            }
            answered += 1;
            if Micros::boottime() < until {
                send(&mut sent)?;
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let count = answered as f64;
    Ok(count / Micros::boottime().since(begin).as_secs_f64())
}
