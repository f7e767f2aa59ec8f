//! The writer thread. All waiting writes go into one transaction, and are answered once it is
//! committed.
//!
//! ```text
//! take ≤ 256 ─► BEGIN IMMEDIATE ─► each write, its own result ─► COMMIT ─► answers
//!                    │ locked                │ transaction gone      │ constraint
//!                    ▼                       ▼                       ▼
//!               Unavailable            each in a transaction of its own
//! ```
//!
//! A statement that fails undoes its own changes and leaves the transaction as it was, so one
//! write's constraint does not affect others. After the exceptions (conflict clause ROLLBACK,
//! interruption, constraints deferred to COMMIT) the writes are repeated one by one. Nothing has
//! been answered by then.

use std::time::Duration;

use standin_config::sql::Translated;
use standin_protocol::time::Micros;

use super::connection::{Access, Connection};
use super::failure::{Trouble, TroubleKind};
use super::reader::{ReadError, content, read_row};
use super::{LOOK_AGAIN, Shared};
use crate::origin::queue::{Job, Lane, Next};
use crate::origin::statements::{Keyspace, Verb};
use crate::origin::ticket::Ticket;
use crate::origin::{Call, Failure, Outcome, Stored};

/// The largest number of writes in a batch, because the first write waits for the last.
const BATCH_WRITES: usize = 256;
const BATCH_BYTES: usize = 4 << 20;
/// The time after which no more writes are added to a batch, so that a write does not wait for many
/// slow ones.
const BATCH_WITHIN: Duration = Duration::from_millis(20);
/// The largest number of bytes kept of the rows that a batch has read again.
const REREAD_BYTES: usize = 16 << 20;

/// The answer to a write that was committed to a file that has been moved or replaced.
const NOT_OURS: &str = "committed, but the SQLite file or its -wal or -shm file has been moved, \
                        replaced or deleted meanwhile";

/// The thread's body: takes writes until it is told to stop.
pub(super) fn run(shared: &Shared, first: Option<Connection>, writes: &Lane) {
    let mut writer = Writer { shared, writes, connection: first };
    let mut wakes = 0;
    loop {
        let within = writer.connection.is_none().then_some(LOOK_AGAIN);
        match writes.wait_in_turn(within, &mut wakes) {
            Next::Job(job) => {
                standin_protocol::fault::point();
                writer.write(fill_batch(job, writes));
            }
            Next::Nothing => writer.look(),
            Next::Stop => return,
        }
    }
}

/// Adds the writes that are already waiting to the first, without waiting for more.
fn fill_batch(first: Job, writes: &Lane) -> Vec<Job> {
    let mut bytes = first.size_bytes();
    let mut batch = vec![first];
    while batch.len() < BATCH_WRITES && bytes < BATCH_BYTES {
        let Some(job) = writes.take_in_turn() else { break };
        bytes += job.size_bytes();
        batch.push(job);
    }
    batch
}

/// The number of rows that a write has changed, and the row's content after it.
struct Written {
    rows: u64,
    stored: Stored,
}

struct Writer<'s> {
    shared: &'s Shared,
    writes: &'s Lane,
    connection: Option<Connection>,
}

/// The outcome of a transaction.
enum Committed {
    /// Each write has its result.
    Yes(Vec<(Ticket, Result<Written, Failure>)>),
    /// Nothing was committed, and it is unknown which write is to blame.
    Redo(Vec<Job>),
}

impl Writer<'_> {
    fn write(&mut self, batch: Vec<Job>) {
        match self.transaction(batch) {
            Committed::Yes(results) => answer(results),
            Committed::Redo(batch) => {
                for job in batch {
                    // Alone in its transaction, each write gets its own error.
                    if let Committed::Yes(results) = self.transaction(vec![job]) {
                        answer(results);
                    }
                }
            }
        }
    }

    fn transaction(&mut self, batch: Vec<Job>) -> Committed {
        let path = &self.shared.setup.path;
        if self.connection.as_ref().is_some_and(|open| !open.is_current(path)) {
            self.connection = None;
        }
        if self.connection.is_none() {
            self.connection = self.shared.try_open(Access::Write);
        }
        let Some(connection) = &self.connection else {
            return Committed::Yes(fail_all(batch, &self.shared.unavailable()));
        };
        let latest = batch.iter().map(|job| job.ticket.due()).max().unwrap_or(Micros(0));
        connection.set_deadline(latest);
        let (committed, trouble) = match connection.sql.execute_batch("BEGIN IMMEDIATE") {
            Ok(()) => execute(connection, self.shared, batch, self.writes),
            Err(error) => {
                let trouble = Trouble::from(error);
                // Without the lock, nothing has started.
                if let Some(first) = batch.first() {
                    self.shared.log_failure(&first.call, &trouble);
                }
                (Committed::Yes(fail_all(batch, &trouble.failure())), Some(trouble))
            }
        };
        match trouble {
            Some(trouble) if trouble.kind == TroubleKind::Broken => {
                self.shared.health.mark_down(&trouble);
                self.connection = None;
            }
            // Reads still work, so the database is not down.
            Some(_) | None => {}
        }
        if self.shared.gate.is_condemned() {
            self.connection = None;
        }
        committed
    }

    /// Nobody asks for anything: the connection is closed if all must be, and opened if it is not.
    fn look(&mut self) {
        if self.shared.gate.is_condemned() {
            self.connection = None;
        }
        if self.connection.is_none() {
            self.connection = self.shared.try_open(Access::Write);
        }
    }
}

/// Executes the writes of a transaction that has begun, and ends it. Returns an error of the
/// connection, if there was one.
fn execute(
    connection: &Connection,
    shared: &Shared,
    batch: Vec<Job>,
    writes: &Lane,
) -> (Committed, Option<Trouble>) {
    let mut results: Vec<(Job, Result<Written, Failure>)> = Vec::with_capacity(batch.len());
    let alone = batch.len() == 1;
    let until = Micros::boottime() + BATCH_WITHIN;
    let mut reread_bytes = 0;
    let mut rest = batch.into_iter();
    while let Some(job) = rest.next() {
        if !results.is_empty() && Micros::boottime() >= until {
            // Put back at the front, in their order.
            rest.rev().chain([job]).for_each(|job| writes.put_back(job));
            break;
        }
        if !job.ticket.start() {
            continue;
        }
        let trouble = match write_one(connection, shared, &job) {
            Ok(mut result) => {
                if let Ok(written) = &mut result {
                    bound(written, &mut reread_bytes);
                }
                results.push((job, result));
                continue;
            }
            Err(trouble) => trouble,
        };
        shared.log_failure(&job.call, &trouble);
        let failure = trouble.failure();
        results.push((job, Err(failure)));
        if trouble.kind == TroubleKind::Broken || trouble.kind == TroubleKind::Full {
            roll_back(connection);
            let jobs = results.into_iter().map(|(job, _)| job).chain(rest).collect();
            return (Committed::Yes(fail_all(jobs, &trouble.failure())), Some(trouble));
        }
        if connection.sql.is_autocommit() {
            // The failure has ended the transaction.
            if alone {
                return (Committed::Yes(tickets(results)), None);
            }
            return (
                Committed::Redo(results.into_iter().map(|(job, _)| job).chain(rest).collect()),
                None,
            );
        }
    }
    commit(connection, shared, results, alone)
}

/// Ends a transaction whose writes have been executed, with these results.
fn commit(
    connection: &Connection,
    shared: &Shared,
    results: Vec<(Job, Result<Written, Failure>)>,
    alone: bool,
) -> (Committed, Option<Trouble>) {
    // COMMIT has no deadline: interrupting it would only make its outcome unknown. The overdue
    // thread answers meanwhile.
    connection.set_deadline(Micros::NEVER);
    match connection.sql.execute_batch("COMMIT") {
        Ok(()) if connection.is_current(&shared.setup.path) => {
            (Committed::Yes(tickets(results)), None)
        }
        // Committed to a file that has been deleted or replaced.
        Ok(()) => (Committed::Yes(unknown(results, &Failure::Doubtful(NOT_OURS.to_owned()))), None),
        Err(error) => {
            let trouble = Trouble::from(error);
            roll_back(connection);
            if let Some((job, _)) = results.first() {
                shared.log_failure(&job.call, &trouble);
            }
            match trouble.kind {
                TroubleKind::Constraint | TroubleKind::Statement if alone => {
                    let failure = trouble.failure();
                    let jobs = results.into_iter().map(|(job, _)| job).collect();
                    (Committed::Yes(fail_all(jobs, &failure)), None)
                }
                TroubleKind::Constraint | TroubleKind::Statement => {
                    (Committed::Redo(results.into_iter().map(|(job, _)| job).collect()), None)
                }
                // Rolled back before the last page, whose mark commits all of them, was in the log.
                TroubleKind::Busy | TroubleKind::Full | TroubleKind::Interrupted => {
                    let jobs = results.into_iter().map(|(job, _)| job).collect();
                    (Committed::Yes(fail_all(jobs, &trouble.failure())), Some(trouble))
                }
                // The log may contain that page although the sync failed.
                TroubleKind::Broken => {
                    (Committed::Yes(unknown(results, &trouble.doubt())), Some(trouble))
                }
            }
        }
    }
}

/// Executes a write. The outer error is SQLite's; the inner one was found before SQLite was called.
fn write_one(
    connection: &Connection,
    shared: &Shared,
    job: &Job,
) -> Result<Result<Written, Failure>, Trouble> {
    let (keyspace, statement) = match shared.setup.statements.of(&job.call) {
        Ok(found) => found,
        Err(failure) => return Ok(Err(failure)),
    };
    let mut params = Vec::with_capacity(2);
    for parameter in &statement.parameters {
        match keyspace.param(*parameter, &job.call) {
            Ok(param) => params.push(param),
            Err(failure) => return Ok(Err(failure)),
        }
    }
    connection.set_deadline(job.ticket.due());
    let verb = Verb::from(&job.call.operation);
    let mut prepared = connection.bind(statement, &params)?;
    let before = connection.sql.total_changes();
    // Not `execute`, which refuses statements that return rows (RETURNING).
    let mut returned = prepared.raw_query();
    let mut stored = keyspace.untold(verb);
    let mut is_first = true;
    while let Some(row) = returned.next()? {
        if std::mem::take(&mut is_first) && keyspace.returns_row(verb) {
            // A value that can't be sent is not cached either. A read of it returns the reason.
            stored = content(keyspace, row).map_or(Stored::Unknown, Stored::Row);
        }
    }
    drop(returned);
    drop(prepared);
    let rows = connection.rows_changed(statement, before);
    if let Some(get) = keyspace.reread(verb)
        && rows > 0
    {
        stored = reread(connection, keyspace, get, &job.call)?;
    }
    Ok(Ok(Written { rows, stored }))
}

/// Reads the row that the transaction has just written. A failure does not undo the write, as long
/// as the transaction is still open.
fn reread(
    connection: &Connection,
    keyspace: &Keyspace,
    get: &Translated,
    call: &Call,
) -> Result<Stored, Trouble> {
    match read_row(connection, keyspace, get, call) {
        Ok(value) => Ok(Stored::Row(value)),
        Err(ReadError::Sqlite(trouble))
            if matches!(trouble.kind, TroubleKind::Broken | TroubleKind::Full) =>
        {
            Err(trouble)
        }
        Err(_) => Ok(Stored::Unknown),
    }
}

/// Bounds the memory of the rows that a batch has read again, which are kept until its COMMIT.
fn bound(written: &mut Written, reread_bytes: &mut usize) {
    if let Stored::Row(Some(row)) = &written.stored {
        match *reread_bytes + row.bytes.len() <= REREAD_BYTES {
            true => *reread_bytes += row.bytes.len(),
            false => written.stored = Stored::Unknown,
        }
    }
}

fn roll_back(connection: &Connection) {
    if !connection.sql.is_autocommit() {
        connection.set_deadline(Micros::boottime() + Duration::from_secs(1));
        if let Err(error) = connection.sql.execute_batch("ROLLBACK") {
            tracing::warn!("rolling back: {error}");
        }
    }
}

fn tickets(
    results: Vec<(Job, Result<Written, Failure>)>,
) -> Vec<(Ticket, Result<Written, Failure>)> {
    results.into_iter().map(|(job, result)| (job.ticket, result)).collect()
}

/// Changes the results of successful writes to unknown outcomes.
fn unknown(
    results: Vec<(Job, Result<Written, Failure>)>,
    doubt: &Failure,
) -> Vec<(Ticket, Result<Written, Failure>)> {
    let doubted = |(job, result): (Job, Result<Written, Failure>)| {
        (job.ticket, result.and(Err(doubt.clone())))
    };
    results.into_iter().map(doubted).collect()
}

fn fail_all(batch: Vec<Job>, failure: &Failure) -> Vec<(Ticket, Result<Written, Failure>)> {
    batch.into_iter().map(|job| (job.ticket, Err(failure.clone()))).collect()
}

fn answer(results: Vec<(Ticket, Result<Written, Failure>)>) {
    for (ticket, result) in results {
        ticket.finish(match result {
            Ok(Written { rows, stored }) => Outcome::Written { rows, stored },
            Err(failure) => Outcome::Failed(failure),
        });
    }
}
