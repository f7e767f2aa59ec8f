//! One call: sent, repeated where that is safe, answered.

use std::rc::Rc;
use std::time::Duration;

use standin_protocol::time::Micros;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;

use super::column;
use super::failure::{Verdict, judge};
use super::link::{Link, StatementId};
use super::pool::{Kind, Pool};
use crate::origin::queue::Job;
use crate::origin::statements::{Keyspace, Verb};
use crate::origin::ticket::Ticket;
use crate::origin::value::Param;
use crate::origin::{Failure, Outcome};
use standin_config::sql::Translated;

/// A call with all that is known about it before it is sent.
struct Request<'a> {
    id: StatementId,
    keyspace: &'a Keyspace,
    statement: &'a Translated,
    params: &'a [Param<'a>],
    is_write: bool,
    /// How long the server may take to answer. The call itself may be over before; until the
    /// server has answered, or is given up, its connection is not free.
    patience: Duration,
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
    let (keyspace, statement) = pool.shared.statements.of(call)?;
    let mut params = Vec::with_capacity(2);
    for &parameter in &statement.parameters {
        params.push(keyspace.param(parameter, call)?);
    }
    let id = (call.keyspace, Verb::from(&call.operation));
    let is_write = call.operation.is_write();
    let patience = pool.shared.timeout;
    let request = Request { id, keyspace, statement, params: &params, is_write, patience };
    if !is_write {
        return Ok(request.on(link, ticket).await);
    }
    // The limit is sent right before what it is for.
    let limit = timeout(patience, link.limit(left(ticket)));
    Ok(tokio::join!(biased; limit, request.on(link, ticket)).1)
}

impl Request<'_> {
    async fn on(&self, link: &Link, ticket: &Ticket) -> Try {
        let since = Micros::boottime();
        // A statement whose plan has gone stale is refused unexecuted, and then
        // prepared anew: once, for the table will not change every time.
        for last in [false, true] {
            let preparing = link.prepared(self.id, self.keyspace, self.statement);
            let prepared = match timeout(self.patience, preparing).await {
                Ok(Ok(prepared)) => prepared,
                Ok(Err(error)) => {
                    return match judge(&error, self.is_write) {
                        Verdict::Lost => Try::NotSent,
                        Verdict::Stale => self.heard(link, Failure::Unavailable),
                        Verdict::Failed(failure) => self.heard(link, failure),
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
            let error = match timeout(self.patience, self.execute(link, &prepared)).await {
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
            match judge(&error, self.is_write) {
                Verdict::Lost => return Try::Lost,
                Verdict::Stale if last => return self.heard(link, Failure::Unavailable),
                Verdict::Stale => link.forget(self.id),
                Verdict::Failed(failure) => return self.heard(link, failure),
            }
        }
        Try::NotSent
    }

    fn heard(&self, link: &Link, failure: Failure) -> Try {
        link.hear();
        Try::Answer(Outcome::Failed(failure))
    }

    async fn execute(
        &self,
        link: &Link,
        prepared: &tokio_postgres::Statement,
    ) -> Result<Outcome, tokio_postgres::Error> {
        let params: Vec<&(dyn ToSql + Sync)> =
            self.params.iter().map(|param| param as &(dyn ToSql + Sync)).collect();
        if self.is_write {
            let rows = link.client.execute(prepared, &params).await?;
            let is_counted = self.keyspace.is_counted(self.id.1);
            return Ok(Outcome::Written { rows: if is_counted { rows } else { 1 } });
        }
        let rows = link.client.query(prepared, &params).await?;
        Ok(match rows.first().map_or(Ok(None), column::first_to_wire) {
            Ok(value) => Outcome::Value(value),
            Err(failure) => Outcome::Failed(failure),
        })
    }
}

fn left(ticket: &Ticket) -> Duration {
    ticket.due().since(Micros::boottime())
}
