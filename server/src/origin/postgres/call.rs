//! A call: sent, repeated where that is safe, and answered.

use std::rc::Rc;
use std::time::Duration;

use standin_protocol::time::Micros;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement};

use super::column;
use super::connect::random_part;
use super::connection::{Connection, PrepareError, Slot, StatementId};
use super::failure::{Verdict, judge, state};
use super::fit;
use super::key;
use super::pool::{Pool, Traffic};
use crate::origin::failure_log::FailureLog;
use crate::origin::queue::{Handed, Job};
use crate::origin::statements::{Keyspace, Verb};
use crate::origin::ticket::Ticket;
use crate::origin::value::Param;
use crate::origin::{Call, Failure, Outcome, RowValue, Stored};
use standin_config::sql::Translated;

/// A call with its statements and bounds.
struct Request<'a> {
    keyspace: &'a Keyspace,
    key: &'a [u8],
    verb: Verb,
    statement: Bound<'a>,
    /// The statement that reads the row again after the write, in the same transaction.
    reread: Option<Bound<'a>>,
    /// The time that the server may take to answer. The call itself may end earlier. Until the
    /// server has answered, or has been given up, the connection is not free.
    patience: Duration,
    failure_log: &'a FailureLog,
    /// Whether it is a pipelined write: see pace.rs.
    is_pipelined: bool,
}

/// A statement with its parameters.
struct Bound<'a> {
    id: StatementId,
    sql: &'a Translated,
    params: Vec<Param<'a>>,
}

/// The statements of a request as prepared on a connection.
struct Ready {
    statement: (Statement, Slot),
    reread: Option<(Statement, Slot)>,
}

/// The outcome of one attempt.
enum Try {
    Answer(Outcome),
    /// The call is overdue, or has been answered because it was.
    Expired,
    /// The connection was lost before the call was sent.
    NotSent,
    /// The connection was lost after the call was sent. The server's last message, if there was
    /// one.
    Lost(Option<String>),
    /// The statement was not executed, and must be prepared again.
    Stale(Failure),
    /// The transaction was rolled back because of concurrent ones.
    Again(Failure),
    /// It was cancelled, or not even sent, because it would delay others. It must be sent alone.
    Alone,
}

/// The number of repetitions of a statement that was rolled back because of concurrent ones. They
/// come after pauses that double.
const REPEATS: u32 = 3;
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// The age beyond which a connection to a read-only server is given up: another server may be the
/// primary by now.
const READ_ONLY_AFTER: Duration = Duration::from_secs(2);

/// The SQLSTATE query_canceled, which also reports a statement's timeout.
const CANCELLED: &str = "57014";

/// The largest number of attempts of a read. After each a connection was lost, perhaps because of
/// it.
const TRIES_MAX: u32 = 4;

/// Processes a call until it is answered or put back as the next of its keyspace.
pub(super) async fn serve(pool: Rc<Pool>, kind: Traffic, handed: Handed) {
    let side = pool.side(kind);
    let under_way = pool.calls.begin(Micros::boottime());
    let Handed { worker: slot, job, is_alone } = handed;
    let is_pipelined = kind == Traffic::Writes && !is_alone;
    let tried = match side.connection(slot) {
        // It could be overdue before the calls ahead of it have been executed.
        Some(_) if is_pipelined && left(&job.ticket) <= pool.shared.pipelining().lasts => {
            Ok(Try::Alone)
        }
        Some(connection) if kind == Traffic::Writes => {
            paced(&pool, &connection, &job, is_pipelined).await
        }
        Some(connection) => attempt(&pool, &connection, &job, false).await,
        None => Ok(Try::NotSent),
    };
    drop(under_way);
    pool.under_way.set(pool.under_way.get() - 1);
    let Job { call, ticket, tries, wants_alone } = job;
    let is_write = call.operation.is_write();
    side.lane.done(slot, &call.key);
    match tried {
        Ok(Try::Answer(outcome)) => ticket.finish(outcome),
        Ok(Try::Expired) => ticket.expire(),
        Ok(Try::Alone) => {
            side.lane.put_back(Job { call, ticket, tries, wants_alone: true });
        }
        Ok(Try::Lost(text)) if is_write => {
            ticket.finish(Outcome::Failed(text.map_or(Failure::OutcomeUnknown, Failure::Doubtful)));
        }
        Ok(Try::Lost(_) | Try::NotSent) if tries < TRIES_MAX => {
            side.lane.put_back(Job { call, ticket, tries: tries + 1, wants_alone });
        }
        Ok(Try::Lost(text)) => {
            ticket.finish(Outcome::Failed(text.map_or(Failure::Unavailable, Failure::Refused)));
        }
        Ok(Try::NotSent) => ticket.finish(Outcome::Failed(Failure::Unavailable)),
        Ok(Try::Stale(failure) | Try::Again(failure)) | Err(failure) => {
            ticket.finish(Outcome::Failed(failure))
        }
    }
}

/// Executes a write, and records its duration in its connection's pace.
async fn paced(
    pool: &Pool,
    connection: &Connection,
    job: &Job,
    is_pipelined: bool,
) -> Result<Try, Failure> {
    connection.pace.borrow_mut().began(Micros::boottime());
    let tried = attempt(pool, connection, job, is_pipelined).await;
    let was_executed = matches!(tried, Ok(Try::Answer(_)));
    connection.pace.borrow_mut().ended(Micros::boottime(), was_executed);
    tried
}

async fn attempt(
    pool: &Pool,
    connection: &Connection,
    job: &Job,
    is_pipelined: bool,
) -> Result<Try, Failure> {
    let (call, ticket) = (&job.call, &job.ticket);
    let request = Request { is_pipelined, ..Request::new(pool, call)? };
    Ok(request.on(connection, ticket).await)
}

impl<'a> Request<'a> {
    fn new(pool: &'a Pool, call: &'a Call) -> Result<Self, Failure> {
        let (keyspace, sql) = pool.shared.statements.of(call)?;
        let verb = Verb::from(&call.operation);
        let statement = Bound::new(keyspace, verb, sql, call)?;
        let reread = keyspace.reread(verb).map(|sql| Bound::new(keyspace, Verb::Get, sql, call));
        let reread = reread.transpose()?;
        let (patience, failure_log) = (pool.shared.timeout, &*pool.shared.failure_log);
        let (key, is_pipelined) = (&call.key, false);
        Ok(Self { keyspace, key, verb, statement, reread, patience, failure_log, is_pipelined })
    }

    fn is_write(&self) -> bool {
        self.verb != Verb::Get
    }

    async fn on(&self, connection: &Connection, ticket: &Ticket) -> Try {
        let (mut is_stale, mut repeats) = (false, 0);
        loop {
            match self.limited(connection, ticket).await {
                // Only once, because the table will not change every time.
                Try::Stale(_) if !is_stale => is_stale = true,
                Try::Again(failure) => {
                    let pause = jittered(PAUSE_FIRST * 2u32.pow(repeats));
                    if repeats == REPEATS || pause >= left(ticket) {
                        return Try::Again(failure);
                    }
                    repeats += 1;
                    tokio::time::sleep(pause).await;
                }
                tried => return tried,
            }
        }
    }

    async fn limited(&self, connection: &Connection, ticket: &Ticket) -> Try {
        if !self.is_write() {
            return self.once(connection, ticket).await;
        }
        // The limit is sent right before the statement to which it applies.
        let limit = async {
            match self.is_pipelined {
                true => connection.limit_pipelined().await,
                false => connection.limit(left(ticket)).await,
            }
        };
        tokio::join!(biased; timeout(self.patience, limit), self.once(connection, ticket)).1
    }

    async fn once(&self, connection: &Connection, ticket: &Ticket) -> Try {
        let since = Micros::boottime();
        // Preparing a statement for a locked table waits for the lock, and so for the database.
        ticket.sent(since);
        let ready = match timeout(self.patience, self.prepare(connection)).await {
            Ok(Ok(ready)) => ready,
            Ok(Err(PrepareError::Server(error))) => {
                return match self.failed(connection, &error) {
                    Try::Lost(_) => Try::NotSent,
                    tried => tried,
                };
            }
            Ok(Err(PrepareError::Misfit(wrong))) => return rejected(connection, wrong),
            Err(_) => {
                connection.suspect(since);
                return Try::Expired;
            }
        };
        if let Some(wrong) = self.wrong_columns(&ready) {
            // Forgotten, because a column's type may change again.
            self.forget(connection, &ready);
            return rejected(connection, wrong);
        }
        if self.keyspace.folding.is_doubtful(self.key) {
            return rejected(connection, key::DOUBTFUL.to_owned());
        }
        if connection.client.is_closed() {
            return Try::NotSent;
        }
        if !ticket.start() {
            return Try::Expired;
        }
        match timeout(self.patience, self.execute(connection, &ready)).await {
            Ok(Ok(outcome)) => {
                connection.hear();
                Try::Answer(outcome)
            }
            Ok(Err(error)) => {
                let tried = self.failed(connection, &error);
                if matches!(tried, Try::Stale(_)) {
                    // The error does not say which of the statements it was.
                    self.forget(connection, &ready);
                }
                tried
            }
            Err(_) => {
                connection.suspect(since);
                Try::Expired
            }
        }
    }

    fn failed(&self, connection: &Connection, error: &Error) -> Try {
        if self.is_pipelined && state(error) == Some(CANCELLED) {
            // It was cancelled by its limit in the server, and not executed.
            connection.hear();
            return Try::Alone;
        }
        let verdict = judge(error, self.is_write());
        let failure = match &verdict {
            Verdict::Lost(_) => None,
            Verdict::Stale(failure)
            | Verdict::Again(failure)
            | Verdict::ReadOnly(failure)
            | Verdict::Failed(failure) => Some(failure),
        };
        if failure.is_some() {
            connection.hear();
        }
        if let (Some(state), Some(text)) = (state(error), failure.and_then(Failure::text)) {
            self.failure_log.log(&self.keyspace.name, state, &text);
        }
        match verdict {
            Verdict::Lost(text) => Try::Lost(text),
            Verdict::Stale(failure) => Try::Stale(failure),
            Verdict::Again(failure) => Try::Again(failure),
            Verdict::ReadOnly(failure) => {
                if connection.age() >= READ_ONLY_AFTER {
                    connection.hang_up();
                }
                Try::Answer(Outcome::Failed(failure))
            }
            Verdict::Failed(failure) => Try::Answer(Outcome::Failed(failure)),
        }
    }

    /// Returns what is wrong with the columns that the statement, as prepared now, would return.
    fn wrong_columns(&self, ready: &Ready) -> Option<String> {
        fit::wrong_columns(self.keyspace, self.verb, &ready.statement.0)
    }

    fn forget(&self, connection: &Connection, ready: &Ready) {
        connection.forget(self.statement.id, &ready.statement.1);
        if let (Some(reread), Some((_, slot))) = (&self.reread, &ready.reread) {
            connection.forget(reread.id, slot);
        }
    }

    async fn prepare(&self, connection: &Connection) -> Result<Ready, PrepareError> {
        let statement = self.prepare_one(connection, &self.statement).await?;
        let reread = match &self.reread {
            Some(reread) => Some(self.prepare_one(connection, reread).await?),
            None => None,
        };
        Ok(Ready { statement, reread })
    }

    async fn prepare_one(
        &self,
        connection: &Connection,
        bound: &Bound<'_>,
    ) -> Result<(Statement, Slot), PrepareError> {
        connection.prepared(bound.id, self.keyspace, bound.sql).await
    }

    async fn execute(&self, connection: &Connection, ready: &Ready) -> Result<Outcome, Error> {
        let params = self.statement.borrowed();
        if self.verb == Verb::Get {
            let rows = connection.client.query(&ready.statement.0, &params).await?;
            return Ok(match first_row(self.keyspace, &rows) {
                Ok(value) => Outcome::Value(value),
                Err(failure) => Outcome::Failed(failure),
            });
        }
        let (rows, stored) = match (&self.reread, &ready.reread) {
            (Some(reread), Some((get, _))) => {
                let get = (get, reread.borrowed());
                let (rows, found) = in_one(connection, (&ready.statement.0, params), get).await?;
                (rows, row_of(self.keyspace, &found))
            }
            _ if self.keyspace.returns_row(self.verb) => {
                let returned = connection.client.query(&ready.statement.0, &params).await?;
                let rows = u64::try_from(returned.len()).unwrap_or(u64::MAX);
                (rows, row_of(self.keyspace, &returned))
            }
            _ => {
                let rows = connection.client.execute(&ready.statement.0, &params).await?;
                (rows, self.keyspace.untold(self.verb))
            }
        };
        let rows = if self.keyspace.is_counted(self.verb) { rows } else { 1 };
        Ok(Outcome::Written { rows, stored })
    }
}

impl<'a> Bound<'a> {
    fn new(
        keyspace: &Keyspace,
        verb: Verb,
        sql: &'a Translated,
        call: &'a Call,
    ) -> Result<Self, Failure> {
        let params = sql.parameters.iter().map(|parameter| keyspace.param(*parameter, call));
        Ok(Self { id: (call.keyspace, verb), sql, params: params.collect::<Result<_, _>>()? })
    }

    fn borrowed(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.params.iter().map(|param| param as &(dyn ToSql + Sync)).collect()
    }
}

/// A prepared statement and its parameters.
type Asked<'s> = (&'s Statement, Vec<&'s (dyn ToSql + Sync)>);

/// Executes a write and a read of the same row in one transaction and one round trip: everything is
/// sent before the first answer. If a statement fails, the transaction has not happened: the server
/// refuses the rest, and COMMIT rolls back. If the connection ends before COMMIT is answered, the
/// outcome is unknown.
async fn in_one(
    connection: &Connection,
    (put, put_params): Asked<'_>,
    (get, get_params): Asked<'_>,
) -> Result<(u64, Vec<Row>), Error> {
    let client = &connection.client;
    // Biased, because each sends at its first poll, and they must be sent in this order.
    let (begun, rows, found, committed) = tokio::join!(
        biased;
        client.batch_execute("BEGIN"),
        client.execute(put, &put_params),
        client.query(get, &get_params),
        client.batch_execute("COMMIT"),
    );
    begun?;
    let rows = rows?;
    let found = found?;
    committed?;
    Ok((rows, found))
}

/// Returns the content of a row from a statement's result. A value that can't be sent is not cached
/// either. A read of it returns the reason.
fn row_of(keyspace: &Keyspace, rows: &[Row]) -> Stored {
    first_row(keyspace, rows).map_or(Stored::Unknown, Stored::Row)
}

fn first_row(keyspace: &Keyspace, rows: &[Row]) -> Result<Option<RowValue>, Failure> {
    rows.first().map_or(Ok(None), |row| column::content(keyspace, row))
}

fn rejected(connection: &Connection, wrong: String) -> Try {
    connection.hear();
    Try::Answer(Outcome::Failed(Failure::Rejected(wrong)))
}

fn left(ticket: &Ticket) -> Duration {
    ticket.due().since(Micros::boottime())
}

/// Returns a random time between one and two pauses, so that transactions which collided do not
/// collide again.
fn jittered(pause: Duration) -> Duration {
    pause + random_part(pause)
}
