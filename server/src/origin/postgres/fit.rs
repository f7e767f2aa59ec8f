//! Checks that a statement fits its keyspace: that its result can be sent, and that keys which it
//! considers equal are one key to the cache. They run when the statement is prepared, not at the
//! first request.

use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;

use super::column;
use super::connect::OpenError;
use super::connection::{Connection, PrepareError};
use super::key;
use crate::origin::statements::{Keyspace, Statements, Verb};

/// Returns what is wrong with the columns that a prepared statement returns, and what to do.
pub(super) fn wrong_columns(
    keyspace: &Keyspace,
    verb: Verb,
    statement: &Statement,
) -> Option<String> {
    let columns = statement.columns();
    let what = verb.name();
    match (verb, columns) {
        (Verb::Get, [_]) if !keyspace.has_flags() => {}
        (Verb::Get, [_, flags]) if keyspace.has_flags() && column::is_integer(flags.type_()) => {}
        (Verb::Get, _) if keyspace.has_flags() => {
            return Some(
                "`get` must return two columns, the value and the flags as an integer, because \
                 `put` has `:flags`"
                    .to_owned(),
            );
        }
        (Verb::Get, [_]) => {}
        (Verb::Get, []) => return Some("`get` returns no column; select the value".to_owned()),
        (Verb::Get, [first, ..]) => {
            return Some(format!(
                "`get` returns {} columns; select the one that is the value ({}?), or combine \
                 them: SELECT json_build_object(…)::text",
                columns.len(),
                first.name()
            ));
        }
        (_, []) if keyspace.returns_row(verb) => {
            return Some(
                "after_put = \"returning\", and `put` returns no column; add RETURNING and the value, \
                 or write after_put = \"reread\""
                    .to_owned(),
            );
        }
        _ if !keyspace.returns_row(verb) => return None,
        (_, [_, flags, ..]) if keyspace.has_flags() && column::is_integer(flags.type_()) => {}
        _ if keyspace.has_flags() => {
            return Some(
                "after_put = \"returning\", and `put` has `:flags`; add RETURNING, the value and \
                 the flags as an integer, or write after_put = \"reread\""
                    .to_owned(),
            );
        }
        _ => {}
    }
    let first = columns.first()?;
    if standin_postgres::has_one_form(first.type_()) {
        return None;
    }
    let (name, type_) = (first.name(), first.type_());
    Some(format!(
        "`{what}` returns the column {name} of type {type_}, which has more than one text form; \
         write {name}::text"
    ))
}

/// Prepares every statement. One that can never work is an error. One that the server does not
/// accept yet, because a table or a privilege may be missing, is logged.
pub(super) async fn check(
    connection: &Connection,
    statements: &Statements,
) -> Result<(), OpenError> {
    for (id, keyspace, verb, statement) in statements.all() {
        let wrong = |message| OpenError::Statement {
            keyspace: keyspace.name.clone(),
            statement: verb.name(),
            message,
        };
        match connection.prepared((id, verb), keyspace, statement).await {
            Ok((prepared, _)) => {
                if let Some(message) = wrong_columns(keyspace, verb, &prepared) {
                    return Err(wrong(message));
                }
                if verb == Verb::Get
                    && let Some(doubtful) = keyspace.folding.doubtful()
                {
                    key::judge(keyspace, doubtful).map_err(wrong)?;
                }
            }
            Err(PrepareError::Misfit(message)) => return Err(wrong(message)),
            Err(PrepareError::Server(error)) => {
                let Some(error) = error.as_db_error() else { continue };
                if [SqlState::SYNTAX_ERROR, SqlState::DATATYPE_MISMATCH].contains(error.code()) {
                    return Err(wrong(error.to_string()));
                }
                tracing::warn!(
                    "keyspace {}: PostgreSQL does not accept `{}`: {error}",
                    keyspace.name,
                    verb.name()
                );
            }
        }
    }
    Ok(())
}
