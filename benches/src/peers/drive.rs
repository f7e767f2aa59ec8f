//! One row's run: 8 threads on a fixed schedule, each with a client that takes one request at
//! a time; warm-up, steady state, fault, aftermath. Every request is logged and every read
//! judged.
#![expect(clippy::disallowed_methods, reason = "a shell: its threads sleep until a request is due")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use standin_loadgen::checker::{Checker, Initial, Seen, WriteKind};
use standin_loadgen::interrupt::Interrupt;
use standin_loadgen::origin::Rows;
use standin_loadgen::popularity::Popularity;
use standin_loadgen::recorder::{Displaced, Ending, FailureKind, Logged, OpKind, Sample};
use standin_loadgen::request::{Access, Request, ValueSizes};
use standin_loadgen::schedule::{Arrivals, Schedule};
use standin_loadgen::workload::{Cold, Keys, Mix, Others, Supply};
use standin_protocol::frame::response_flags::HIT;
use standin_protocol::time::Micros;
use standin_testkit::Postgres;

use super::database::Database;
use super::memcached::Memcacheds;
use super::redis::RedisCluster;
use super::standin::StandinCluster;
use super::{Cluster, Failure, Fault, Peer, Subject};

/// Requests per second of all threads.
pub const RATE_PER_S: u32 = 2_000;
/// Threads, each with a client.
pub const WORKERS: u32 = 8;
/// Keys that the caches hold.
pub const KEYS: u32 = 10_000;
/// Share of reads.
pub const READS_PERCENT: f64 = 90.0;
/// Share of the reads that go to keys that no cache holds, so that there is a steady load of
/// the database to compare with, for a write-through cache too.
pub const COLD_PERCENT: f64 = 5.0;
/// Ten times the reads of them in a run of the default length: few are read a second time.
const COLD_KEYS: u32 = 60_000;
const VALUE_BYTES: u32 = 100;
/// The time at the start of the load, before the fault, that is not counted.
const SETTLE: Duration = Duration::from_secs(3);
const STEADY: Duration = Duration::from_secs(7);
/// A thread that is this far behind when the run ends does not catch up.
const CATCH_UP: Duration = Duration::from_secs(30);
const SEED: u64 = 1;
const SWEEPS_MAX: u32 = 5;

/// The parameters of a run.
#[derive(Debug)]
pub struct Setting<'a> {
    /// The `standin` program.
    pub program: &'a Path,
    /// For logs and configurations.
    pub folder: &'a Path,
    /// The database's server.
    pub postgres: &'a Postgres,
    /// Load after the fault.
    pub aftermath: Duration,
    /// Ends it.
    pub interrupt: &'a Interrupt,
}

/// The observations.
#[derive(Debug)]
pub struct Observed {
    /// Every request.
    pub log: Vec<Logged>,
    /// The times of the beginning of the steady state, of the fault, and of the end.
    pub times: [Micros; 3],
    /// Reads of the database.
    pub database_reads: Vec<Micros>,
    /// Keys of the struck node.
    pub struck: BTreeSet<u32>,
    /// The first failures.
    pub quotes: Vec<String>,
}

/// Runs one row.
///
/// # Errors
/// Something does not start, or the user has interrupted it.
pub fn run(peer: Peer, fault: Fault, setting: &Setting<'_>) -> Result<Observed, Failure> {
    let run = 0x9EE5;
    let rows = Rows { count: KEYS + COLD_KEYS, run, value_bytes: VALUE_BYTES };
    let database = Database::prepare(setting.postgres, setting.folder, rows)?;
    let folder = setting.folder;
    let seen = match peer {
        Peer::RedisCluster { node_timeout_ms } => {
            let cluster = RedisCluster::start(node_timeout_ms, folder, &database)?;
            strike(cluster, fault, setting, &database, run)
        }
        Peer::Twemproxy { ejects } => strike(
            Memcacheds::start(Some(ejects), folder, &database)?,
            fault,
            setting,
            &database,
            run,
        ),
        Peer::Memcached => {
            strike(Memcacheds::start(None, folder, &database)?, fault, setting, &database, run)
        }
        Peer::Standin => {
            let cluster = StandinCluster::before(setting.program, folder, &database)?;
            strike(cluster, fault, setting, &database, run)
        }
    }?;
    database.remove()?;
    Ok(seen)
}

fn strike(
    mut cluster: impl Cluster,
    fault: Fault,
    setting: &Setting<'_>,
    database: &Database,
    run: u32,
) -> Result<Observed, Failure> {
    let checker = Checker::new(KEYS + COLD_KEYS, run, Initial::Filled);
    let mut clients = (0..WORKERS).map(|_| cluster.client()).collect::<Result<Vec<_>, _>>()?;
    warm_up(&mut clients)?;
    let names: Vec<Vec<u8>> = (0..KEYS).map(|key| Keys::Numbered.name(key)).collect();
    let struck = cluster.servers().held_by_victim(&names)?;
    let start = Micros::boottime() + Duration::from_millis(20);
    let (steady, at) = (start + SETTLE, start + SETTLE + STEADY);
    let end = at + setting.aftermath;
    let (checker, interrupt) = (&checker, setting.interrupt);
    let parts = std::thread::scope(|scope| -> Result<Vec<Part>, Failure> {
        let threads: Vec<_> = (0u32..)
            .zip(clients)
            .map(|(number, client)| {
                let worker = Worker { number, start, end, checker, interrupt, client };
                scope.spawn(move || worker.work())
            })
            .collect();
        sleep_until(at, interrupt);
        match fault {
            Fault::Kill => cluster.servers().victim().kill(),
            Fault::Pause { seconds } => {
                cluster.servers().victim().pause();
                sleep_until(at + Duration::from_secs(seconds.into()), interrupt);
                cluster.servers().victim().resume();
            }
        }
        let ended =
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread has panicked"));
        Ok(ended.collect::<Result<Vec<Part>, _>>()?)
    })?;
    if interrupt.is_set() {
        return Err("interrupted; all processes that were started have ended".into());
    }
    let (mut log, mut quotes) = (Vec::new(), Vec::new());
    for part in parts {
        log.extend(part.log);
        quotes.extend(part.quotes);
    }
    Ok(Observed { log, times: [steady, at, end], database_reads: database.reads(), struck, quotes })
}

/// Reads every key until nearly all are in the cache: a cluster that has just started may answer
/// before it caches anything.
fn warm_up(clients: &mut [Box<dyn Subject>]) -> Result<(), Failure> {
    for _ in 0..SWEEPS_MAX {
        if sweep(clients)? >= KEYS - KEYS / 100 {
            break;
        }
    }
    Ok(())
}

/// Reads every key once. Returns the number of keys that were in the cache.
fn sweep(clients: &mut [Box<dyn Subject>]) -> Result<u32, Failure> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0u32..)
            .zip(clients)
            .map(|(number, client)| {
                scope.spawn(move || -> Result<u32, Failure> {
                    let mut hits = 0;
                    for key in (number..KEYS).step_by(WORKERS as usize) {
                        hits += u32::from(client.get(&Keys::Numbered.name(key))?.is_hit);
                    }
                    Ok(hits)
                })
            })
            .collect();
        let hits = threads.into_iter().map(|t| t.join().map_err(|_| "a thread has panicked")?);
        hits.sum()
    })
}

struct Worker<'a> {
    number: u32,
    start: Micros,
    end: Micros,
    checker: &'a Checker,
    interrupt: &'a Interrupt,
    client: Box<dyn Subject>,
}

#[derive(Default)]
struct Part {
    log: Vec<Logged>,
    quotes: Vec<String>,
}

impl Worker<'_> {
    fn work(mut self) -> Part {
        let mut part = Part::default();
        let mix = Mix {
            keys: KEYS,
            popularity: Popularity::ranked(0.99),
            reads_percent: READS_PERCENT,
            reads_first: false,
            others: Others::NONE,
            sizes: ValueSizes::fixed(VALUE_BYTES),
            cold: Cold { keys: COLD_KEYS, percent: COLD_PERCENT },
        };
        let schedule = Schedule::new(Arrivals::Constant, RATE_PER_S, self.number, WORKERS, SEED);
        let mut supply = Supply::mixed(mix, SEED, self.number, WORKERS);
        for offset in schedule {
            let due = self.start + offset;
            let is_late = Micros::boottime() >= self.end + CATCH_UP;
            if due >= self.end || is_late || self.interrupt.is_set() {
                break;
            }
            sleep_until(due, self.interrupt);
            let Some(wanted) = supply.next() else { break };
            let (request, error) = self.request(due, wanted);
            part.log.push(request);
            if let Some(error) = error.filter(|_| part.quotes.len() < 2) {
                part.quotes.push(error);
            }
        }
        part
    }

    fn request(&mut self, due: Micros, wanted: Request) -> (Logged, Option<String>) {
        let Request { key, access } = wanted;
        let name = Keys::Numbered.name(key);
        let sent = Micros::boottime();
        let write = match access {
            Access::Write { .. } => self.checker.begin_write(key, WriteKind::Put, sent),
            // A write of a key that is being written is a read instead.
            _ => None,
        };
        let (op, result) = if let Some(write) = write {
            let value = self.checker.value(&write, VALUE_BYTES);
            let result = self.client.put(&name, &value);
            self.checker.end_write(write, Micros::boottime(), result.is_ok());
            (OpKind::Write, result.map(|()| (0, None)))
        } else {
            let floor = self.checker.before_read(key, sent);
            let result = self.client.get(&name).map(|read| {
                let seen = read.value.as_deref().map_or(Seen::Absent, Seen::Value);
                let verdict = self.checker.after_read(key, floor, seen);
                (if read.is_hit { HIT } else { 0 }, Some(verdict))
            });
            (OpKind::Read, result)
        };
        let ended = Micros::boottime();
        let is_write_wanted = matches!(access, Access::Write { .. });
        let became_read = is_write_wanted && op == OpKind::Read;
        let displaced = Displaced { redraws: 0, became_read };
        let (ending, served_by, error) = match result {
            Ok((flags, verdict)) => {
                (Ending::Answered { flags, is_absent: false, verdict }, Some(0), None)
            }
            Err(error) => (Ending::Failed(FailureKind::Unavailable), None, Some(error.to_string())),
        };
        let sample =
            Sample { op, is_fill: false, phase: 0, due, sent, ended, sends: 1, displaced, ending };
        (Logged { worker: self.number, key, served_by, sample }, error)
    }
}

fn sleep_until(at: Micros, interrupt: &Interrupt) {
    loop {
        let left = at.since(Micros::boottime());
        if left.is_zero() || interrupt.is_set() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}
