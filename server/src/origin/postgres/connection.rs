//! A connection: its prepared statements, and when the server last answered.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use standin_config::sql::{Parameter, Translated};
use standin_protocol::time::Micros;
use tokio::sync::{Notify, OnceCell};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Statement};

use super::key;
use super::pace::{Pace, Pipelining};
use super::types::sql_type;
use crate::origin::statements::{Keyspace, Verb};

/// The identity of a statement on a connection: keyspace and verb.
pub(super) type StatementId = (u8, Verb);

/// A statement that is prepared, or being prepared.
pub(super) type Slot = Rc<OnceCell<Statement>>;

/// The reason why a statement is not prepared.
pub(super) enum PrepareError {
    Server(Error),
    /// The database and the cache compare its key differently. The text says what to do.
    Misfit(String),
}

impl From<Error> for PrepareError {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

/// The steps of `statement_timeout`, so that it is changed only for a call that has much less time
/// than others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    longest: Duration,
}

impl Limits {
    const STEPS: u32 = 16;

    pub(super) fn new(longest: Duration) -> Self {
        Self { longest }
    }

    /// Returns the limit in milliseconds for a call that has this much time left. It is a little
    /// shorter, so that the server reports the outcome before the call is overdue.
    fn for_call(self, left: Duration) -> u128 {
        let step_ms = (self.longest / Self::STEPS).as_millis().max(1);
        let most_ms = left.min(self.longest).as_millis() * 9 / 10;
        (most_ms / step_ms * step_ms).max(1)
    }
}

/// A connection that is up.
pub(super) struct Connection {
    pub(super) client: Client,
    /// The pace of its writes.
    pub(super) pace: RefCell<Pace>,
    statements: RefCell<HashMap<StatementId, Slot>>,
    limits: Limits,
    pipelining: Pipelining,
    /// The session's `statement_timeout`, in milliseconds.
    limit_ms: Cell<u128>,
    opened: Micros,
    heard: Cell<Micros>,
    hang_up: Notify,
}

impl Connection {
    pub(super) fn new(client: Client, limits: Limits, pipelining: Pipelining) -> Self {
        Self {
            client,
            pace: RefCell::new(Pace::new(pipelining.most)),
            pipelining,
            statements: RefCell::new(HashMap::new()),
            limits,
            limit_ms: Cell::new(0),
            opened: Micros::boottime(),
            heard: Cell::new(Micros::boottime()),
            hang_up: Notify::new(),
        }
    }

    /// Sets the session's limit to the longest time that a call may take.
    pub(super) async fn set_longest(&self) -> Result<(), Error> {
        self.limit(self.limits.longest).await
    }

    /// Makes the server end a transaction whose rest does not arrive: a Standin server that is
    /// stopped in the middle of one must not hold its lock on the row.
    pub(super) async fn limit_transactions(&self) -> Result<(), Error> {
        let limit_ms = self.limits.for_call(self.limits.longest);
        let set = format!("SET idle_in_transaction_session_timeout = {limit_ms}");
        self.client.batch_execute(&set).await
    }

    /// Sets the limit for the next statement on this connection, which is the only one there.
    pub(super) async fn limit(&self, left: Duration) -> Result<(), Error> {
        self.limit_to(self.limits.for_call(left)).await
    }

    /// Sets the short limit of pipelined statements for each statement sent from now on.
    pub(super) async fn limit_pipelined(&self) -> Result<(), Error> {
        self.limit_to(self.pipelining.limit.as_millis().max(1)).await
    }

    async fn limit_to(&self, limit_ms: u128) -> Result<(), Error> {
        if self.limit_ms.replace(limit_ms) == limit_ms {
            return Ok(());
        }
        let set = format!("SET statement_timeout = {limit_ms}");
        let result = self.client.batch_execute(&set).await;
        if result.is_err() {
            self.limit_ms.set(0);
        }
        result
    }

    /// Notes that the server has answered something.
    pub(super) fn hear(&self) {
        self.heard.set(Micros::boottime());
    }

    pub(super) fn is_heard_since(&self, since: Micros) -> bool {
        self.heard.get() > since
    }

    /// Notes that a call has had no answer since then. If no other call had one either, the server
    /// hangs or has disappeared, and the connection is given up.
    pub(super) fn suspect(&self, since: Micros) {
        if !self.is_heard_since(since) {
            self.hang_up();
        }
    }

    /// Returns how long it has been up.
    pub(super) fn age(&self) -> Duration {
        Micros::boottime().since(self.opened)
    }

    /// Makes the connection be given up.
    pub(super) fn hang_up(&self) {
        self.hang_up.notify_one();
    }

    /// Waits until the connection has to be given up.
    pub(super) async fn given_up(&self) {
        self.hang_up.notified().await;
    }

    /// Returns the statement as prepared on this connection, and prepares it if necessary. After a
    /// failure the next call tries again, so that a table may be created later.
    pub(super) async fn prepared(
        &self,
        id: StatementId,
        keyspace: &Keyspace,
        statement: &Translated,
    ) -> Result<(Statement, Slot), PrepareError> {
        let cell = Rc::clone(self.statements.borrow_mut().entry(id).or_default());
        let prepare = || async {
            let type_of = |parameter: &Parameter| match parameter {
                // The column may be citext, which is a different type from text.
                Parameter::Key if keyspace.folded().is_some() => key::undeclared(),
                parameter => sql_type(keyspace.type_of(*parameter)),
            };
            let types: Vec<Type> = statement.parameters.iter().map(type_of).collect();
            let prepared = self.client.prepare_typed(&statement.text, &types).await;
            let compared = keyspace.compared(id.1);
            if compared.get().is_none()
                && prepared.as_ref().map_or_else(key::may_be_why, |_| true)
                && let Some(misfit) = key::misfit(&self.client, keyspace, statement).await?
            {
                return Err(PrepareError::Misfit(misfit));
            }
            let prepared = prepared?;
            compared.get_or_init(|| ());
            if let Some(form) = keyspace.folded()
                && (keyspace.folds_key || prepared.params().iter().any(key::is_folded))
            {
                keyspace.folding.look(&self.client, form).await?;
            }
            Ok(prepared)
        };
        let prepared = cell.get_or_try_init(prepare).await?.clone();
        Ok((prepared, cell))
    }

    /// Makes the next call prepare the statement again, unless another call has already done so.
    pub(super) fn forget(&self, id: StatementId, stale: &Slot) {
        let mut statements = self.statements.borrow_mut();
        if statements.get(&id).is_some_and(|slot| Rc::ptr_eq(slot, stale)) {
            statements.remove(&id);
        }
    }
}
