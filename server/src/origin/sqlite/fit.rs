//! Whether a statement fits the keyspace: what it returns can be sent. Looked at when the file is
//! opened for writing, so that nobody's request has to find it out.

use crate::origin::statements::{Keyspace, Verb};

/// What is wrong with a statement, and what to do.
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
        return (keyspace.returns_row(verb) && count == 0).then(|| {
            "after_put = \"returning\", and it returns no column; add RETURNING and the value, or \
             write after_put = \"reread\""
                .to_owned()
        });
    }
    if !prepared.readonly() || count == 0 {
        return Some("it must be a SELECT".to_owned());
    }
    if count > 1 {
        return Some(format!(
            "it returns {count} columns; select the one that is the value, or make one of them: \
             SELECT json_object(…)"
        ));
    }
    let first = prepared.columns().next()?;
    let name = first.name();
    let type_ = first.decl_type()?.to_ascii_uppercase();
    let is_any = |words: &[&str]| words.iter().any(|word| type_.contains(word));
    // What a column holds is each row's affair, but this one turns all numbers into floats.
    if is_any(&["REAL", "FLOA", "DOUB"]) && !type_.contains("INT") {
        return Some(format!(
            "it returns the column {name} of type {type_}, which has more than one form; write \
             CAST({name} AS TEXT)"
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
