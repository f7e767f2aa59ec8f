//! One connection: its prepared statements, and whether anything was heard on it.

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
use super::pace::{Company, Pace};
use super::types::sql_type;
use crate::origin::statements::{Keyspace, Verb};

/// Names a statement on a connection: keyspace and verb.
pub(super) type StatementId = (u8, Verb);

/// A statement that is prepared, or being prepared.
pub(super) type Slot = Rc<OnceCell<Statement>>;

/// Why a statement is not prepared.
pub(super) enum PrepareError {
    Server(Error),
    /// Its key is not to the database what it is to the cache; what to do.
    Misfit(String),
}

impl From<Error> for PrepareError {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

/// What `statement_timeout` may be: steps, so that it is changed for a call only when the call
/// has much less time than others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    longest: Duration,
}

impl Limits {
    const STEPS: u32 = 16;

    pub(super) fn new(longest: Duration) -> Self {
        Self { longest }
    }

    /// In milliseconds, for a call that has so much time: a little less, so that the server says
    /// what came of it before its time is up.
    fn for_call(self, left: Duration) -> u128 {
        let step_ms = (self.longest / Self::STEPS).as_millis().max(1);
        let most_ms = left.min(self.longest).as_millis() * 9 / 10;
        (most_ms / step_ms * step_ms).max(1)
    }
}

/// A connection that is up.
pub(super) struct Link {
    pub(super) client: Client,
    /// Of its writes.
    pub(super) pace: RefCell<Pace>,
    statements: RefCell<HashMap<StatementId, Slot>>,
    limits: Limits,
    company: Company,
    /// The session's `statement_timeout`, in milliseconds.
    limit_ms: Cell<u128>,
    opened: Micros,
    heard: Cell<Micros>,
    hang_up: Notify,
}

impl Link {
    pub(super) fn new(client: Client, limits: Limits, company: Company) -> Self {
        Self {
            client,
            pace: RefCell::new(Pace::new(company.most)),
            company,
            statements: RefCell::new(HashMap::new()),
            limits,
            limit_ms: Cell::new(0),
            opened: Micros::boottime(),
            heard: Cell::new(Micros::boottime()),
            hang_up: Notify::new(),
        }
    }

    /// The session's statements may take as long as any call.
    pub(super) async fn set_longest(&self) -> Result<(), Error> {
        self.limit(self.limits.longest).await
    }

    /// A transaction whose rest does not come is over after a while: a server that is stopped in
    /// the middle of one must not hold its row.
    pub(super) async fn limit_transactions(&self) -> Result<(), Error> {
        let limit_ms = self.limits.for_call(self.limits.longest);
        let set = format!("SET idle_in_transaction_session_timeout = {limit_ms}");
        self.client.batch_execute(&set).await
    }

    /// The statement that is sent next on this connection must be over within this time. It is
    /// the only one there.
    pub(super) async fn limit(&self, left: Duration) -> Result<(), Error> {
        self.limit_to(self.limits.for_call(left)).await
    }

    /// Each statement that is sent from now on has the short limit of those in company.
    pub(super) async fn limit_company(&self) -> Result<(), Error> {
        self.limit_to(self.company.limit.as_millis().max(1)).await
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

    /// The server has answered something.
    pub(super) fn hear(&self) {
        self.heard.set(Micros::boottime());
    }

    pub(super) fn is_heard_since(&self, since: Micros) -> bool {
        self.heard.get() > since
    }

    /// A call has had no answer since then. If nobody else had, the server hangs or
    /// is gone without a word, and the connection is given up.
    pub(super) fn suspect(&self, since: Micros) {
        if !self.is_heard_since(since) {
            self.hang_up();
        }
    }

    /// How long it has been up.
    pub(super) fn age(&self) -> Duration {
        Micros::boottime().since(self.opened)
    }

    /// The connection is to be given up.
    pub(super) fn hang_up(&self) {
        self.hang_up.notify_one();
    }

    /// Waits until the connection is to be given up.
    pub(super) async fn given_up(&self) {
        self.hang_up.notified().await;
    }

    /// The statement as prepared on this connection; prepares it if it is not. What
    /// fails is tried again by the next call, so that a table can come later.
    pub(super) async fn prepared(
        &self,
        id: StatementId,
        keyspace: &Keyspace,
        statement: &Translated,
    ) -> Result<(Statement, Slot), PrepareError> {
        let cell = Rc::clone(self.statements.borrow_mut().entry(id).or_default());
        let prepare = || async {
            let type_of = |parameter: &Parameter| match parameter {
                // It may be citext, which text is not.
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

    /// Has the statement prepared anew by the next call, unless another call has seen to that.
    pub(super) fn forget(&self, id: StatementId, stale: &Slot) {
        let mut statements = self.statements.borrow_mut();
        if statements.get(&id).is_some_and(|slot| Rc::ptr_eq(slot, stale)) {
            statements.remove(&id);
        }
    }
}
