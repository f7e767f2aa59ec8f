//! One call: sent, repeated where that is safe, answered.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use standin_protocol::time::Micros;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement};

use super::column;
use super::failure::{Verdict, judge};
use super::link::{Link, StatementId};
use super::pool::{Kind, Pool};
use crate::origin::queue::Job;
use crate::origin::statements::{Keyspace, Verb};
use crate::origin::ticket::Ticket;
use crate::origin::value::Param;
use crate::origin::{Call, Failure, Outcome, Stored};
use standin_config::sql::Translated;

/// A call with all that is known about it before it is sent.
struct Request<'a> {
    keyspace: &'a Keyspace,
    verb: Verb,
    statement: Bound<'a>,
    /// Asked after the statement, in the same transaction.
    reread: Option<Bound<'a>>,
    /// How long the server may take to answer. The call itself may be over before; until the
    /// server has answered, or is given up, its connection is not free.
    patience: Duration,
}

/// A statement with its parameters.
struct Bound<'a> {
    id: StatementId,
    sql: &'a Translated,
    params: Vec<Param<'a>>,
}

/// The statements of a request as prepared on a connection.
struct Ready {
    statement: Statement,
    reread: Option<Statement>,
}

/// What came of one try.
enum Try {
    Answer(Outcome),
    /// Time is up; or somebody has answered because it was.
    Expired,
    /// The connection was lost before the call was sent.
    NotSent,
    /// The connection was lost after the call was sent.
    Lost,
}

/// A read is sent this often at most: each time a connection was lost, perhaps because of it.
const TRIES_MAX: u32 = 4;

/// Sees to a call until it is answered, or is the next of its keyspace once more.
pub(super) async fn serve(pool: Rc<Pool>, kind: Kind, slot: usize, job: Job) {
    let side = pool.side(kind);
    let tried = match side.link(slot) {
        Some(link) => attempt(&pool, &link, &job).await,
        None => Ok(Try::NotSent),
    };
    pool.under_way.set(pool.under_way.get() - 1);
    let Job { call, ticket, tries } = job;
    let is_write = call.operation.is_write();
    side.lane.done(slot, &call.key);
    match tried {
        Ok(Try::Answer(outcome)) => ticket.finish(outcome),
        Ok(Try::Expired) => ticket.expire(),
        Ok(Try::Lost) if is_write => ticket.finish(Outcome::Failed(Failure::OutcomeUnknown)),
        Ok(Try::Lost | Try::NotSent) if tries < TRIES_MAX => {
            side.lane.put_back(Job { call, ticket, tries: tries + 1 });
        }
        Ok(Try::Lost | Try::NotSent) => ticket.finish(Outcome::Failed(Failure::Unavailable)),
        Err(failure) => ticket.finish(Outcome::Failed(failure)),
    }
}

async fn attempt(pool: &Pool, link: &Link, job: &Job) -> Result<Try, Failure> {
    let (call, ticket) = (&job.call, &job.ticket);
    let request = Request::new(pool, call)?;
    if !request.is_write() {
        return Ok(request.on(link, ticket).await);
    }
    // The limit is sent right before what it is for.
    let limit = timeout(request.patience, link.limit(left(ticket)));
    Ok(tokio::join!(biased; limit, request.on(link, ticket)).1)
}

impl<'a> Request<'a> {
    fn new(pool: &'a Pool, call: &'a Call) -> Result<Self, Failure> {
        let (keyspace, sql) = pool.shared.statements.of(call)?;
        let verb = Verb::from(&call.operation);
        let statement = Bound::new(keyspace, verb, sql, call)?;
        let reread = keyspace.reread(verb).map(|sql| Bound::new(keyspace, Verb::Get, sql, call));
        let reread = reread.transpose()?;
        Ok(Self { keyspace, verb, statement, reread, patience: pool.shared.timeout })
    }

    fn is_write(&self) -> bool {
        self.verb != Verb::Get
    }

    async fn on(&self, link: &Link, ticket: &Ticket) -> Try {
        let since = Micros::boottime();
        // A statement whose plan has gone stale is refused unexecuted, and then
        // prepared anew: once, for the table will not change every time.
        for last in [false, true] {
            let ready = match timeout(self.patience, self.prepare(link)).await {
                Ok(Ok(ready)) => ready,
                Ok(Err(error)) => {
                    return match judge(&error, self.is_write()) {
                        Verdict::Lost => Try::NotSent,
                        Verdict::Stale => heard(link, Failure::Unavailable),
                        Verdict::Failed(failure) => heard(link, failure),
                    };
                }
                Err(_) => {
                    link.suspect(since);
                    return Try::Expired;
                }
            };
            if link.client.is_closed() {
                return Try::NotSent;
            }
            if !ticket.start() {
                return Try::Expired;
            }
            let error = match timeout(self.patience, self.execute(link, &ready)).await {
                Ok(Ok(outcome)) => {
                    link.hear();
                    return Try::Answer(outcome);
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    link.suspect(since);
                    return Try::Expired;
                }
            };
            match judge(&error, self.is_write()) {
                Verdict::Lost => return Try::Lost,
                Verdict::Stale if last => return heard(link, Failure::Unavailable),
                // Which of them it was is not said.
                Verdict::Stale => {
                    link.forget(self.statement.id);
                    self.reread.iter().for_each(|reread| link.forget(reread.id));
                }
                Verdict::Failed(failure) => return heard(link, failure),
            }
        }
        Try::NotSent
    }

    async fn prepare(&self, link: &Link) -> Result<Ready, Error> {
        let statement = self.prepare_one(link, &self.statement).await?;
        let reread = match &self.reread {
            Some(reread) => Some(self.prepare_one(link, reread).await?),
            None => None,
        };
        Ok(Ready { statement, reread })
    }

    async fn prepare_one(&self, link: &Link, bound: &Bound<'_>) -> Result<Statement, Error> {
        link.prepared(bound.id, self.keyspace, bound.sql).await
    }

    async fn execute(&self, link: &Link, ready: &Ready) -> Result<Outcome, Error> {
        let params = self.statement.borrowed();
        if self.verb == Verb::Get {
            let rows = link.client.query(&ready.statement, &params).await?;
            return Ok(match first_value(&rows) {
                Ok(value) => Outcome::Value(value),
                Err(failure) => Outcome::Failed(failure),
            });
        }
        let (rows, stored) = match (&self.reread, &ready.reread) {
            (Some(reread), Some(get)) => {
                let get = (get, reread.borrowed());
                let (rows, found) = in_one(link, (&ready.statement, params), get).await?;
                (rows, row_of(&found))
            }
            _ if self.keyspace.returns_row(self.verb) => {
                let returned = link.client.query(&ready.statement, &params).await?;
                (u64::try_from(returned.len()).unwrap_or(u64::MAX), row_of(&returned))
            }
            _ => {
                let rows = link.client.execute(&ready.statement, &params).await?;
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

/// A write and a read of the same row, in one transaction and one round trip: all of it is sent
/// before any of it is answered. When one of them fails, the transaction has not happened: the
/// read of one that has failed is refused, and its COMMIT rolls back. A connection that ends
/// before the COMMIT is answered leaves open what became of it.
async fn in_one(
    link: &Link,
    (put, put_params): Asked<'_>,
    (get, get_params): Asked<'_>,
) -> Result<(u64, Vec<Row>), Error> {
    let client = &link.client;
    // Biased: each sends at its first poll, and they must be sent in this order.
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

/// What a row holds by what a statement has returned of it. What can't be sent is not kept
/// either: a read will say why.
fn row_of(rows: &[Row]) -> Stored {
    first_value(rows).map_or(Stored::Unknown, Stored::Row)
}

fn first_value(rows: &[Row]) -> Result<Option<Bytes>, Failure> {
    rows.first().map_or(Ok(None), column::first_to_wire)
}

fn heard(link: &Link, failure: Failure) -> Try {
    link.hear();
    Try::Answer(Outcome::Failed(failure))
}

fn left(ticket: &Ticket) -> Duration {
    ticket.due().since(Micros::boottime())
}
