//! Makes of a statement that reads one row the statement that reads the keys of all rows, where the words of the
//! first show how.

use super::scan::{self, Piece, Scanner};
use super::{Dialect, Parameter};

/// Returns the statement for the keys of all rows of the table that a `get` reads; `None`: the `get` is not of the
/// form `SELECT … FROM table WHERE column = :key`.
#[must_use]
pub fn all_keys(get: &str, dialect: Dialect) -> Option<String> {
    let pieces: Vec<Piece<'_>> = Scanner::new(get, dialect)
        .map_while(Result::ok)
        .filter(|piece| !matches!(piece, Piece::Blank(_)))
        .collect();
    let pieces = match pieces.as_slice() {
        [pieces @ .., Piece::Semicolon] => pieces,
        pieces => pieces,
    };
    if !is_word(pieces.first()?, "select") {
        return None;
    }
    let (from, place) = (only(pieces, "from")?, only(pieces, "where")?);
    let table = pieces.get(from + 1..place)?;
    let (name, alias) = name(table)?;
    let is_table = match alias {
        [] => true,
        [alias] => is_identifier(alias),
        [word, alias] => is_word(word, "as") && is_identifier(alias),
        _ => false,
    };
    let condition = &pieces[place + 1..];
    let condition = match condition {
        [condition @ .., limit, one] if is_word(limit, "limit") && is_word(one, "1") => condition,
        condition => condition,
    };
    let column = column(condition)?;
    let alias = if alias.is_empty() { String::new() } else { format!(" {}", text(alias)) };
    is_table.then(|| format!("SELECT {} FROM {}{alias}", text(column), text(name)))
}

/// The place of a word that is there once.
fn only(pieces: &[Piece<'_>], word: &str) -> Option<usize> {
    let mut places = (0..pieces.len()).filter(|at| is_word(&pieces[*at], word));
    places.next().filter(|_| places.next().is_none())
}

/// The name at the beginning, with its schema, and what is behind it.
fn name<'p, 's>(pieces: &'p [Piece<'s>]) -> Option<(&'p [Piece<'s>], &'p [Piece<'s>])> {
    let mut end = 1;
    is_identifier(pieces.first()?).then_some(())?;
    while let [Piece::Code("."), next, ..] = &pieces[end..] {
        is_identifier(next).then_some(())?;
        end += 2;
    }
    Some(pieces.split_at(end))
}

/// The column in `column = :key` or `:key = column`, if there is nothing else.
fn column<'p, 's>(condition: &'p [Piece<'s>]) -> Option<&'p [Piece<'s>]> {
    match name(condition) {
        Some((column, [Piece::Code("="), Piece::Code("="), key @ ..])) if is_key(key) => {
            Some(column)
        }
        Some((column, [Piece::Code("="), key @ ..])) if is_key(key) => Some(column),
        Some(_) => None,
        None => {
            let equal = only(condition, "=")?;
            let (key, column) = (&condition[..equal], &condition[equal + 1..]);
            let (column, rest) = name(column)?;
            (is_key(key) && rest.is_empty()).then_some(column)
        }
    }
}

/// Whether this is the key, perhaps with a cast.
fn is_key(pieces: &[Piece<'_>]) -> bool {
    let is_type = |pieces: &[Piece<'_>]| !pieces.is_empty() && pieces.iter().all(is_identifier);
    match pieces {
        [Piece::Parameter(Parameter::Key)] => true,
        [Piece::Parameter(Parameter::Key), Piece::Code("::"), cast @ ..] => is_type(cast),
        [cast, Piece::Code("("), Piece::Parameter(Parameter::Key), word, cast_to @ .., end] => {
            let is_closed = matches!(end, Piece::Code(")"));
            is_word(cast, "cast") && is_word(word, "as") && is_type(cast_to) && is_closed
        }
        _ => false,
    }
}

fn is_word(piece: &Piece<'_>, word: &str) -> bool {
    matches!(piece, Piece::Code(code) if code.eq_ignore_ascii_case(word))
}

fn is_identifier(piece: &Piece<'_>) -> bool {
    let Piece::Code(code) = piece else { return false };
    code.starts_with(|c: char| matches!(c, '"' | '`' | '[') && code.len() > 1)
        || code.starts_with(|c: char| scan::is_word(c) && !c.is_ascii_digit())
}

fn text(pieces: &[Piece<'_>]) -> String {
    let mut text = String::new();
    for piece in pieces {
        let Piece::Code(code) = piece else { continue };
        if !text.is_empty() && *code != "." && !text.ends_with('.') {
            text.push(' ');
        }
        text.push_str(code);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_statements_have_one_for_all_keys() {
        for (get, keys) in [
            ("SELECT value FROM items WHERE id = :key", "SELECT id FROM items"),
            ("select value, flags from items where :key = id;", "SELECT id FROM items"),
            (
                "SELECT i.value FROM shop.\"Items\" AS i WHERE i.\"Id\" = :key LIMIT 1",
                "SELECT i.\"Id\" FROM shop.\"Items\" AS i",
            ),
            ("SELECT v FROM t x WHERE x.k == :key -- one row", "SELECT x.k FROM t x"),
            ("SELECT v FROM t WHERE k = CAST(:key AS uuid)", "SELECT k FROM t"),
            ("SELECT v::text FROM t WHERE k = :key::double precision", "SELECT k FROM t"),
        ] {
            let found = all_keys(get, Dialect::Postgres).or_else(|| all_keys(get, Dialect::Sqlite));
            assert_eq!(found.as_deref(), Some(keys), "{get}");
        }
    }

    #[test]
    fn what_has_other_conditions_has_none() {
        for get in [
            "SELECT value FROM items WHERE id = :key AND NOT deleted",
            "SELECT value FROM items WHERE lower(id) = :key",
            "SELECT value FROM items WHERE id = lower(:key)",
            "SELECT value FROM items, others WHERE id = :key",
            "SELECT a.v FROM a JOIN b ON a.i = b.i WHERE a.k = :key",
            "SELECT extract(year FROM day) FROM items WHERE id = :key",
            "WITH one AS (SELECT 1) SELECT value FROM items WHERE id = :key",
            "SELECT value FROM items WHERE id > :key",
            "SELECT value FROM items WHERE id = :key ORDER BY id",
            "SELECT value FROM items WHERE id = :key OR id = 'x'",
            "SELECT value FROM (SELECT * FROM t) WHERE id = :key",
            "SELECT :key",
            "",
        ] {
            assert_eq!(all_keys(get, Dialect::Postgres), None, "{get}");
            assert_eq!(all_keys(get, Dialect::Sqlite), None, "{get}");
        }
    }
}
