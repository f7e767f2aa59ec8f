//! Whether a statement writes to a view. SQLite counts no row for such a statement, whatever
//! its INSTEAD OF triggers have changed; what they change is in the connection's total alone.
//!
//! The total is no measure for tables: a BEFORE trigger may have changed rows elsewhere although
//! `INSERT OR IGNORE` then stored nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// The table or view that the statement compiled last writes to. Written from inside SQLite.
type Target = Arc<Mutex<Option<String>>>;

/// What is known of the connection's statements.
pub(super) struct Views {
    target: Target,
    is_view: RefCell<HashMap<String, bool>>,
}

impl Views {
    /// Has SQLite say what each statement writes to when it compiles it.
    pub(super) fn watch(sql: &mut rusqlite::Connection) -> rusqlite::Result<Self> {
        let target = Target::default();
        let seen = Arc::clone(&target);
        sql.authorizer(Some(move |context: AuthContext<'_>| {
            note(&seen, &context);
            Authorization::Allow
        }))?;
        Ok(Self { target, is_view: RefCell::default() })
    }

    /// Whether the statement writes to a view, as of when it was asked first.
    pub(super) fn is_written_by(&self, sql: &rusqlite::Connection, statement: &str) -> bool {
        if let Some(known) = self.is_view.borrow().get(statement) {
            return *known;
        }
        let is_view = self.look(sql, statement).unwrap_or(false);
        self.is_view.borrow_mut().insert(statement.to_owned(), is_view);
        is_view
    }

    fn look(&self, sql: &rusqlite::Connection, statement: &str) -> Option<bool> {
        self.lock().take();
        sql.prepare(statement).ok()?;
        let target = self.lock().take()?;
        let find = "SELECT type = 'view' FROM sqlite_schema WHERE name = ?1
                    UNION ALL SELECT type = 'view' FROM sqlite_temp_schema WHERE name = ?1";
        sql.query_row(find, [target], |row| row.get(0)).ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first thing written to, not by a trigger, is the statement's own.
fn note(target: &Target, context: &AuthContext<'_>) {
    let (AuthAction::Insert { table_name }
    | AuthAction::Update { table_name, .. }
    | AuthAction::Delete { table_name }) = context.action
    else {
        return;
    };
    if context.accessor.is_none() {
        let mut target = target.lock().unwrap_or_else(PoisonError::into_inner);
        target.get_or_insert_with(|| table_name.to_owned());
    }
}
