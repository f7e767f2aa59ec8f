//! One call: sent, repeated where that is safe, answered.

use standin_protocol::time::Micros;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;

use super::column;
use super::failure::{Verdict, judge};
use super::link::{Link, StatementId};
use super::pool::Pool;
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

/// Sees to a call until it is answered.
pub(super) async fn serve(pool: &Pool, job: Job) {
    match attempt(pool, &job).await {
        Ok(Try::Answer(outcome)) => job.ticket.finish(outcome),
        Ok(Try::Expired) => job.ticket.expire(),
        Ok(Try::NotSent | Try::Lost) => job.ticket.finish(Outcome::Failed(Failure::Unavailable)),
        Err(failure) => job.ticket.finish(Outcome::Failed(failure)),
    }
}

async fn attempt(pool: &Pool, job: &Job) -> Result<Try, Failure> {
    let (call, ticket) = (&job.call, &job.ticket);
    let (keyspace, statement) = pool.shared.statements.of(call)?;
    let mut params = Vec::with_capacity(2);
    for &parameter in &statement.parameters {
        params.push(keyspace.param(parameter, call)?);
    }
    let id = (call.keyspace, Verb::from(&call.operation));
    let request =
        Request { id, keyspace, statement, params: &params, is_write: call.operation.is_write() };
    // Each try that fails is a connection gone, so there are no more tries than those.
    for _ in 0..pool.connections() {
        let Some(link) = pool.pick(call) else { break };
        let _counted = link.enter();
        match request.on(&link, ticket).await {
            Try::Lost if request.is_write => return Err(Failure::OutcomeUnknown),
            Try::Lost | Try::NotSent => {}
            done => return Ok(done),
        }
    }
    Err(Failure::Unavailable)
}

impl Request<'_> {
    async fn on(&self, link: &Link, ticket: &Ticket) -> Try {
        let since = Micros::boottime();
        // A statement whose plan has gone stale is refused unexecuted, and then
        // prepared anew: once, for the table will not change every time.
        for last in [false, true] {
            let preparing = link.prepared(self.id, self.keyspace, self.statement);
            let prepared = match timeout(left(ticket), preparing).await {
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
            let error = match timeout(left(ticket), self.execute(link, &prepared)).await {
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

fn left(ticket: &Ticket) -> std::time::Duration {
    ticket.due().since(Micros::boottime())
}
