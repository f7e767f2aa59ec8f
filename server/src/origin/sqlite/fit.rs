//! Checks that a statement fits its keyspace, so that its result can be sent. They run when the
//! file is opened for writing, not at the first request.

use standin_config::ColumnType;

use crate::origin::statements::{Keyspace, Verb};

/// Returns what is wrong with a statement, and what to do.
pub(super) fn wrong(
    keyspace: &Keyspace,
    verb: Verb,
    prepared: &rusqlite::Statement<'_>,
) -> Option<String> {
    let count = prepared.column_count();
    if verb != Verb::Get {
        if prepared.readonly() {
            let text = "it changes nothing; it must be an INSERT, UPDATE or DELETE";
            return Some(text.to_owned());
        }
        return (keyspace.returns_row(verb) && count < keyspace.row_columns()).then(|| {
            let what = if keyspace.has_flags() { "the value and the flags" } else { "the value" };
            format!(
                "after_put = \"returning\", and it returns {count} columns; add RETURNING and {what}, \
                 or write after_put = \"reread\""
            )
        });
    }
    if !prepared.readonly() || count == 0 {
        return Some("it must be a SELECT".to_owned());
    }
    if keyspace.has_flags() && count != 2 {
        let text =
            "it must return two columns, the value and the flags, because `put` has `:flags`";
        return Some(text.to_owned());
    }
    if count > keyspace.row_columns() {
        return Some(format!(
            "it returns {count} columns; select the one that is the value, or combine them: \
             SELECT json_object(…)"
        ));
    }
    let first = prepared.columns().next()?;
    let name = first.name();
    let type_ = first.decl_type()?.to_ascii_uppercase();
    let is_any = |words: &[&str]| words.iter().any(|word| type_.contains(word));
    // A column's type does not determine the type of its values, but these declarations turn all
    // numbers into floats.
    if is_any(&["REAL", "FLOA", "DOUB"]) && !type_.contains("INT") {
        return Some(format!(
            "it returns the column {name} of type {type_}, which has more than one text form; \
             write CAST({name} AS TEXT)"
        ));
    }
    if is_any(&["NUMERIC", "DECIMAL"]) {
        tracing::warn!(
            "keyspace {}: `get` returns the column {name} of type {type_}: a row with a fraction \
             can't be read; write CAST({name} AS TEXT)",
            keyspace.name
        );
    }
    None
}

/// A column that a statement reads.
pub(super) struct Column {
    pub(super) name: String,
    /// The declared type, in capitals; empty if there is none.
    pub(super) type_: String,
    /// The collation, in capitals.
    pub(super) collation: String,
    /// Whether the text of the keyspace's statements compares the key with it.
    pub(super) is_key: bool,
}

impl Column {
    /// Whether the column converts text to numbers, by SQLite's rules of type affinity.
    fn makes_numbers(&self) -> bool {
        let is_any = |words: &[&str]| words.iter().any(|word| self.type_.contains(word));
        is_any(&["INT"]) || !(self.type_.is_empty() || is_any(&["CHAR", "CLOB", "TEXT", "BLOB"]))
    }
}

/// Returns why keys that differ to the cache may be one row, and what to do.
pub(super) fn wrong_key(keyspace: &Keyspace, verb: Verb, columns: &[Column]) -> Option<String> {
    if keyspace.key_type != ColumnType::Text {
        return None;
    }
    let is_exact = keyspace.has_exact_text();
    let merges_case = |column: &&Column| is_exact && column.collation == "NOCASE";
    let mut compared = columns.iter().filter(|column| column.is_key);
    let what = "maps several keys to one row, but the cache keeps them as separate entries";
    for column in compared.clone() {
        let name = &column.name;
        if merges_case(&column) {
            return Some(format!(
                "COLLATE NOCASE of the column {name} {what}; write key_case = \"ascii\", or compare \
                 it by {name} = :key COLLATE BINARY"
            ));
        }
        if column.collation == "RTRIM" {
            return Some(format!(
                "COLLATE RTRIM of the column {name} {what}; compare it by {name} = :key COLLATE BINARY"
            ));
        }
        if column.type_.contains("INT") {
            return Some(format!(
                "the type {} of the column {name} {what} (1 and 01); write key = \"integer\"",
                column.type_
            ));
        }
        if column.makes_numbers() {
            tracing::warn!(
                "keyspace {}: `{}`: the type {} of the column {name} {what} where they look like \
                 numbers (1, 01 and 1.0); write key = \"integer\" if they are, otherwise declare \
                 it as TEXT",
                keyspace.name,
                verb.name(),
                column.type_
            );
        }
    }
    if compared.next().is_none()
        && let Some(column) = columns.iter().find(merges_case)
    {
        tracing::warn!(
            "keyspace {}: `{}` reads the column {}, which is COLLATE NOCASE, and Standin can't \
             tell whether the key is compared with it. If so, it {what}; write key_case = \
             \"ascii\"",
            keyspace.name,
            verb.name(),
            column.name
        );
    }
    None
}
