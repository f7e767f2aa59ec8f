//! The keys of rows, by a statement that returns nothing else. It can't write: the database is asked to refuse that.

use super::DatabaseError;
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
