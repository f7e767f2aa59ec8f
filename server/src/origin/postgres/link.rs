//! One connection: its prepared statements, and whether anything was heard on it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use standin_config::ColumnType;
use standin_config::sql::Translated;
use standin_protocol::time::Micros;
use tokio::sync::{Notify, OnceCell};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Statement};

use crate::origin::statements::{Keyspace, Statements, Verb};

/// Names a statement on a connection: keyspace and verb.
pub(super) type StatementId = (u8, Verb);

/// A connection that is up.
pub(super) struct Link {
    pub(super) client: Client,
    statements: RefCell<HashMap<StatementId, Rc<OnceCell<Statement>>>>,
    under_way: Cell<usize>,
    heard: Cell<Micros>,
    hang_up: Notify,
}

/// A call that is under way on a link.
pub(super) struct UnderWay<'l>(&'l Link);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

impl Link {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            statements: RefCell::new(HashMap::new()),
            under_way: Cell::new(0),
            heard: Cell::new(Micros::boottime()),
            hang_up: Notify::new(),
        }
    }

    /// Counts a call.
    pub(super) fn enter(&self) -> UnderWay<'_> {
        self.under_way.set(self.under_way.get() + 1);
        UnderWay(self)
    }

    /// Calls under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.get()
    }

    /// The server has answered something.
    pub(super) fn hear(&self) {
        self.heard.set(Micros::boottime());
    }

    /// A call has had no answer since then. If nobody else had, the server hangs or
    /// is gone without a word, and the connection is given up.
    pub(super) fn suspect(&self, since: Micros) {
        if self.heard.get() <= since {
            self.hang_up.notify_one();
        }
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
    ) -> Result<Statement, Error> {
        let cell = Rc::clone(self.statements.borrow_mut().entry(id).or_default());
        let prepare = || async {
            let types: Vec<Type> = statement
                .parameters
                .iter()
                .map(|&parameter| sql_type(keyspace.type_of(parameter)))
                .collect();
            self.client.prepare_typed(&statement.text, &types).await
        };
        cell.get_or_try_init(prepare).await.cloned()
    }

    /// Has the statement prepared anew by the next call.
    pub(super) fn forget(&self, id: StatementId) {
        self.statements.borrow_mut().remove(&id);
    }

    /// Prepares every statement and logs what the server does not accept: no reason
    /// not to start, for the table may come later.
    pub(super) async fn check(&self, statements: &Statements) {
        for (id, keyspace, verb, statement) in statements.all() {
            if let Err(error) = self.prepared((id, verb), keyspace, statement).await
                && let Some(error) = error.as_db_error()
            {
                tracing::warn!(
                    "keyspace {}: PostgreSQL does not accept `{}`: {error}",
                    keyspace.name,
                    verb.name()
                );
            }
        }
    }
}

/// The type is declared and not left to the server to guess, so that the wire's form
/// is the column's; `:key::uuid` and the like convert in the statement.
fn sql_type(column: ColumnType) -> Type {
    match column {
        ColumnType::Text => Type::TEXT,
        ColumnType::Bytes => Type::BYTEA,
        ColumnType::Integer => Type::INT8,
    }
}
