//! Detection of statements that write to a view. SQLite counts no rows for such a statement,
//! whatever its INSTEAD OF triggers have changed. Only the connection's total includes their
//! changes.
//!
//! The total can't be used for tables: a BEFORE trigger may have changed rows elsewhere although
//! `INSERT OR IGNORE` then stored nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// SQLite's report on the statement compiled last. It is written from a callback of SQLite.
#[derive(Default)]
struct Compiled {
    /// The table or view that it writes to.
    target: Option<String>,
    /// The pairs of table and column that it reads.
    reads: Vec<(String, String)>,
}

/// The reports on the connection's statements.
pub(super) struct Views {
    compiled: Arc<Mutex<Compiled>>,
    is_view: RefCell<HashMap<String, bool>>,
}

impl Views {
    /// Makes SQLite report, when it compiles a statement, what the statement writes to.
    pub(super) fn watch(sql: &mut rusqlite::Connection) -> rusqlite::Result<Self> {
        let compiled = Arc::<Mutex<Compiled>>::default();
        let seen = Arc::clone(&compiled);
        sql.authorizer(Some(move |context: AuthContext<'_>| {
            note(&mut seen.lock().unwrap_or_else(PoisonError::into_inner), &context);
            Authorization::Allow
        }))?;
        Ok(Self { compiled, is_view: RefCell::default() })
    }

    /// Whether the statement writes to a view. The first answer is kept.
    pub(super) fn is_written_by(&self, sql: &rusqlite::Connection, statement: &str) -> bool {
        if let Some(known) = self.is_view.borrow().get(statement) {
            return *known;
        }
        let is_view = self.look(sql, statement).unwrap_or(false);
        self.is_view.borrow_mut().insert(statement.to_owned(), is_view);
        is_view
    }

    fn look(&self, sql: &rusqlite::Connection, statement: &str) -> Option<bool> {
        let target = self.compile(sql, statement)?.target?;
        let find = "SELECT type = 'view' FROM sqlite_schema WHERE name = ?1
                    UNION ALL SELECT type = 'view' FROM sqlite_temp_schema WHERE name = ?1";
        sql.query_row(find, [target], |row| row.get(0)).ok()
    }

    /// Returns the pairs of table and column that the statement reads, also through views.
    pub(super) fn columns_read(
        &self,
        sql: &rusqlite::Connection,
        statement: &str,
    ) -> Vec<(String, String)> {
        self.compile(sql, statement).map(|compiled| compiled.reads).unwrap_or_default()
    }

    fn compile(&self, sql: &rusqlite::Connection, statement: &str) -> Option<Compiled> {
        self.take();
        sql.prepare(statement).ok()?;
        Some(self.take())
    }

    fn take(&self) -> Compiled {
        std::mem::take(&mut self.compiled.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The largest number of columns noted per statement. Real statements read fewer.
const READS_MAX: usize = 1_024;

/// Notes an action. The first table written to, not by a trigger, is the statement's target.
fn note(compiled: &mut Compiled, context: &AuthContext<'_>) {
    match context.action {
        AuthAction::Read { table_name, column_name } => {
            let read = (table_name.to_owned(), column_name.to_owned());
            if compiled.reads.len() < READS_MAX && !compiled.reads.contains(&read) {
                compiled.reads.push(read);
            }
        }
        AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name }
            if context.accessor.is_none() =>
        {
            compiled.target.get_or_insert_with(|| table_name.to_owned());
        }
        _ => {}
    }
}
