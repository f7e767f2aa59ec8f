//! `:key` and `:value` in a user's statement become what the database's driver wants:
//! `?1` and `?2` for SQLite, `$1` and `$2` for PostgreSQL.
//!
//! A `:key` inside a string, a quoted identifier or a comment is text, not a parameter,
//! and `::` is a cast. All else passes unchanged: this is no SQL parser, and whether a
//! statement means something only the database can tell.

mod all_keys;
mod key;
mod scan;

pub use all_keys::all_keys;
pub use key::{KeyUse, Merge, key_use};
use scan::{Piece, Scanner};

/// The dialect of SQL; quoting and parameters differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL (with `standard_conforming_strings` on, the default since 9.1).
    Postgres,
}

/// A parameter of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// `:key`.
    Key,
    /// `:value`.
    Value,
    /// `:flags`.
    Flags,
}

/// A statement as the driver takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// The statement with numbered parameters.
    pub text: String,
    /// The parameters to bind: the parameter numbered `n` is `parameters[n - 1]`. Each occurs once,
    /// the key before the value before the flags, whatever their order in the statement; numbers have no gap, so a
    /// statement with `:value` alone binds the value as number 1.
    pub parameters: Vec<Parameter>,
}

/// Why a statement cannot be translated. The texts say what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// A parameter other than `:key`, `:value` and `:flags`.
    #[error("`{0}` is not a parameter; write `:key`, `:value` or `:flags`")]
    UnknownParameter(String),
    /// A numbered or bare parameter of the driver's own form, or a lone `$`.
    #[error(
        "`{0}` is the driver's own way to write a parameter; write `:key`, `:value` or `:flags`"
    )]
    DriverParameter(String),
    /// A string, identifier or comment without its end.
    #[error("the {what} that begins with `{start}` has no end; close it with `{end}`")]
    Unclosed {
        /// The unclosed element.
        what: &'static str,
        /// Its first characters.
        start: String,
        /// The token that would close it.
        end: String,
    },
    /// More than one statement.
    #[error("there is a second statement after `;`; write one statement")]
    SecondStatement,
    /// No statement.
    #[error("there is no statement; write one")]
    Empty,
    /// A NUL character, where both databases stop reading.
    #[error("there is a NUL character in it; remove it")]
    Nul,
}

/// Translates one statement.
///
/// # Errors
/// If it is not exactly one statement, if something in it is not closed, or if it has
/// parameters other than `:key`, `:value` and `:flags`.
pub fn translate(sql: &str, dialect: Dialect) -> Result<Translated, SqlError> {
    if sql.contains('\0') {
        return Err(SqlError::Nul);
    }
    let pieces = Scanner::new(sql, dialect).collect::<Result<Vec<_>, _>>()?;
    one_statement(&pieces)?;

    let has = |parameter| {
        pieces.iter().any(|piece| matches!(piece, Piece::Parameter(p) if *p == parameter))
    };
    let mut parameters = vec![Parameter::Key, Parameter::Value, Parameter::Flags];
    parameters.retain(|parameter| has(*parameter));

    let sigil = match dialect {
        Dialect::Sqlite => '?',
        Dialect::Postgres => '$',
    };
    let mut text = String::with_capacity(sql.len() + 8);
    for piece in &pieces {
        match piece {
            Piece::Parameter(parameter) => {
                // `limit:key` must not become the identifier `limit$1`.
                if text.ends_with(scan::is_word) {
                    text.push(' ');
                }
                let index = parameters.iter().position(|p| p == parameter).unwrap_or(0);
                text.push(sigil);
                text.push_str(&(index + 1).to_string());
            }
            Piece::Blank(verbatim) | Piece::Code(verbatim) => text.push_str(verbatim),
            Piece::Semicolon => text.push(';'),
        }
    }
    Ok(Translated { text, parameters })
}

/// Whether a statement has `:flags`, in either dialect.
#[must_use]
pub fn has_flags(sql: &str) -> bool {
    let has = |dialect| {
        translate(sql, dialect).is_ok_and(|sql| sql.parameters.contains(&Parameter::Flags))
    };
    has(Dialect::Sqlite) || has(Dialect::Postgres)
}

/// The word that a statement begins with, in capitals; empty if it begins with something else.
#[must_use]
pub fn first_word(sql: &str, dialect: Dialect) -> String {
    let mut pieces = Scanner::new(sql, dialect).map_while(Result::ok);
    match pieces.find(|piece| !matches!(piece, Piece::Blank(_))) {
        Some(Piece::Code(code)) => {
            code.chars().take_while(|c| scan::is_word(*c)).collect::<String>().to_ascii_uppercase()
        }
        _ => String::new(),
    }
}

/// Drivers prepare the first statement of several and pass over the rest, or refuse.
fn one_statement(pieces: &[Piece<'_>]) -> Result<(), SqlError> {
    let mut parts = pieces.split(|piece| matches!(piece, Piece::Semicolon));
    let says_something =
        |part: &[Piece<'_>]| part.iter().any(|piece| !matches!(piece, Piece::Blank(_)));
    if !parts.next().is_some_and(says_something) {
        return Err(SqlError::Empty);
    }
    if parts.any(says_something) { Err(SqlError::SecondStatement) } else { Ok(()) }
}
