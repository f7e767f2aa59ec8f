//! The keys of rows, by a statement that returns nothing else. It can't write: the database is asked to refuse that.

use super::{Database, DatabaseError, DatabasePlace, postgres, sqlite};
use crate::key_list::KeyListError;

/// The reason why keys can't be read.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A key can't be used.
    #[error(transparent)]
    List(#[from] KeyListError),
    /// The database.
    #[error("the statement for keys: {0}")]
    Database(#[from] DatabaseError),
    /// The statement returns more than a key, or nothing.
    #[error(
        "the statement for keys returns {0} columns; write one that returns the key alone, such as SELECT id FROM items"
    )]
    Columns(usize),
    /// The key has a type with more than one text form.
    #[error(
        "the statement for keys returns a column of type {0}, whose keys have no one form; write SELECT CAST(… AS text)"
    )]
    Type(String),
    /// The run was interrupted.
    #[error("interrupted while keys were read: nothing was measured")]
    Interrupted,
}

/// Takes a key, or that a row has none, and returns whether more are needed.
pub(super) type TakeKey<'t> = &'t mut dyn FnMut(Option<&[u8]>) -> Result<bool, KeyListError>;

impl Database {
    /// Gives `take` each key that the statement returns, at most `needs`, until it needs no more.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn keys(
        &self,
        statement: &str,
        needs: Option<u64>,
        is_interrupted: &dyn Fn() -> bool,
        take: TakeKey<'_>,
    ) -> Result<(), KeysError> {
        // Nested below, where a semicolon has no place.
        let statement = statement.trim_end().trim_end_matches(';');
        let limit = needs.map_or_else(String::new, |needs| format!(" LIMIT {needs}"));
        let statement = format!("SELECT * FROM (\n{statement}\n) AS keys{limit}");
        match &self.place {
            DatabasePlace::Sqlite(path) => {
                sqlite::keys(self, path, &statement, is_interrupted, take)
            }
            DatabasePlace::Postgres(url) => {
                postgres::keys(self, url, &statement, is_interrupted, take)
            }
        }
    }
}
