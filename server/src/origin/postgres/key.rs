//! Checks that a statement and the cache compare keys in the same way: which type PostgreSQL infers
//! for the key, and whether `key_case` folds letters as the database does.

use standin_config::sql::{Parameter, Translated};
use standin_config::{ColumnType, KeyCase};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{Client, Error};

use super::types::sql_type;
use crate::origin::statements::Keyspace;

/// Returns what is wrong with a statement's key, and what to do. `None` also if PostgreSQL can't
/// infer the key's type because the statement is ambiguous.
pub(super) async fn misfit(
    client: &Client,
    keyspace: &Keyspace,
    statement: &Translated,
) -> Result<Option<String>, Error> {
    let types = |parameter: &Parameter| match parameter {
        Parameter::Key => undeclared(),
        other => sql_type(keyspace.type_of(*other)),
    };
    let is_key = |parameter: &Parameter| *parameter == Parameter::Key;
    let Some(at) = statement.parameters.iter().position(is_key) else { return Ok(None) };
    if keyspace.key_type != ColumnType::Text {
        return Ok(None);
    }
    let types: Vec<Type> = statement.parameters.iter().map(types).collect();
    let prepared = match client.prepare_typed(&statement.text, &types).await {
        Ok(prepared) => prepared,
        Err(error) if error.as_db_error().is_some() => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(prepared.params().get(at).and_then(|type_| misfit_of(keyspace, type_)))
}

/// Whether the error may be due to the key's declaration as text.
pub(super) fn may_be_why(error: &Error) -> bool {
    let why = [SqlState::UNDEFINED_FUNCTION, SqlState::DATATYPE_MISMATCH, SqlState::CANNOT_COERCE];
    error.code().is_some_and(|code| why.contains(code))
}

/// Returns the type of a parameter whose type PostgreSQL has to infer.
pub(super) fn undeclared() -> Type {
    Type::new("undeclared".to_owned(), 0, Kind::Simple, "pg_catalog".to_owned())
}

/// Returns what is wrong with a text key that has this type in the database.
fn misfit_of(keyspace: &Keyspace, type_: &Type) -> Option<String> {
    let instead = match *type_ {
        Type::TEXT | Type::VARCHAR | Type::NAME | Type::UNKNOWN | Type::CHAR => return None,
        Type::BPCHAR => {
            keyspace.blanks_told.call_once(|| {
                tracing::warn!(
                    "keyspace {}: the key is of type char(n), which ignores trailing blanks: keys \
                     with and without them are one row, but separate entries of the cache. Do not \
                     send keys with trailing blanks, or make the column text",
                    keyspace.name
                );
            });
            return None;
        }
        Type::UUID => "write key = \"uuid\"".to_owned(),
        Type::BYTEA => "write key = \"bytes\"".to_owned(),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => "write key = \"integer\"".to_owned(),
        _ => match type_.kind() {
            Kind::Domain(base) => return misfit_of(keyspace, base),
            Kind::Enum(_) => return None,
            Kind::Simple if type_.name() == CITEXT => match keyspace.key_case {
                KeyCase::Exact => "write key_case = \"unicode\"".to_owned(),
                KeyCase::Ascii | KeyCase::Unicode => return None,
            },
            _ => "compare its text: column::text = :key".to_owned(),
        },
    };
    Some(format!(
        "the key is of type {type_}, which maps several keys to one row, but the cache keeps them \
         as separate entries; {instead}"
    ))
}

/// The extension's type has no fixed number.
const CITEXT: &str = "citext";

/// Whether the database folds the letters of a key of this type.
pub(super) fn is_folded(type_: &Type) -> bool {
    match type_.kind() {
        Kind::Domain(base) => is_folded(base),
        _ => type_.name() == CITEXT,
    }
}

/// The answer to a call whose key contains letters that are folded in two ways.
pub(super) const DOUBTFUL: &str = "the database does not map a letter of the key to lower case as \
                                   key_case does; use another key";

/// Decides what follows from the differences: a refusal, a warning, or nothing.
pub(super) fn judge(keyspace: &Keyspace, doubtful: &[char]) -> Result<(), String> {
    let case = keyspace.key_case.name();
    let differs = |c| doubtful.binary_search(&c).is_ok();
    let some: String = doubtful.iter().take(8).collect();
    match keyspace.key_case {
        KeyCase::Unicode if differs('Ä') && !differs('A') => Err(format!(
            "the database's lower() does not change letters other than A to Z, but key_case = \
             \"{case}\" does not; write key_case = \"ascii\""
        )),
        KeyCase::Ascii if !doubtful.is_empty() && !doubtful.iter().any(char::is_ascii) => {
            Err(format!(
                "the database's lower() maps more letters than A to Z ({some} …); write key_case = \
                 \"unicode\""
            ))
        }
        _ if doubtful.iter().any(char::is_ascii) => {
            let wrong = "the database's lower() does not map A to Z to a to z, and no key_case fits \
                         it; make the column text and write key_case = \"exact\"";
            Err(wrong.to_owned())
        }
        KeyCase::Unicode if !doubtful.is_empty() => {
            tracing::warn!(
                "keyspace {}: the database's lower() maps {} characters differently from key_case \
                 = \"{case}\" ({some} …); keys with them are refused",
                keyspace.name,
                doubtful.len()
            );
            Ok(())
        }
        _ => Ok(()),
    }
}
