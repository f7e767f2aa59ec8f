//! Finds what a statement does with its key, as far as its words show it: the columns that it compares
//! the key with, and the functions that it applies first.

use super::scan::{Piece, Scanner};
use super::{Dialect, Parameter};

/// The use of `:key` in a statement, as far as the statement's text shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// The columns that the key is compared with by `=`, without their tables and quotes.
    pub columns: Vec<String>,
    /// The expression that maps several keys to one row, as it is written: `lower(:key)`.
    pub merged_by: Option<Merge>,
}

/// A construct that maps several keys to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The text as it is written.
    pub text: String,
    /// Whether it makes upper and lower case equal.
    pub is_case: bool,
}

/// Functions of text that have one result for several keys; `true` for those that ignore case.
const MERGING: [(&str, bool); 11] = [
    ("lower", true),
    ("upper", true),
    ("casefold", true),
    ("initcap", true),
    ("trim", false),
    ("ltrim", false),
    ("rtrim", false),
    ("btrim", false),
    ("unaccent", false),
    ("normalize", false),
    ("abs", false),
];

/// Looks at a statement that [`super::translate`] takes.
#[must_use]
pub fn key_use(sql: &str, dialect: Dialect) -> KeyUse {
    let pieces: Vec<Piece<'_>> = Scanner::new(sql, dialect)
        .map_while(Result::ok)
        .filter(|piece| !matches!(piece, Piece::Blank(_)))
        .collect();
    let code = |at: Option<usize>| match at.and_then(|at| pieces.get(at)) {
        Some(Piece::Code(code)) => *code,
        _ => "",
    };
    let mut found = KeyUse::default();
    let keys = pieces.iter().enumerate();
    let keys = keys.filter(|(_, piece)| matches!(piece, Piece::Parameter(Parameter::Key)));
    for (at, _) in keys {
        let before = |by: usize| code(at.checked_sub(by));
        let after = |by: usize| code(Some(at + by));
        let merge = merge(before(2), before(1), after(1), after(2));
        found.merged_by = found.merged_by.or(merge);
        if after(1).eq_ignore_ascii_case("collate") {
            // Which counts more than the column's own.
            continue;
        }
        // SQLite also writes `==`.
        if before(1) == "=" {
            let left = if before(2) == "=" { 3 } else { 2 };
            found.columns.extend(identifier(before(left)));
        }
        if after(1) == "=" {
            let mut right = if after(2) == "=" { 3 } else { 2 };
            while after(right + 1) == "." {
                right += 2;
            }
            if after(right + 1) != "(" {
                found.columns.extend(identifier(after(right)));
            }
        }
    }
    found
}

fn merge(far: &str, near: &str, next: &str, last: &str) -> Option<Merge> {
    let merge = |text, is_case| Some(Merge { text, is_case });
    if near == "(" && next == ")" {
        let (name, is_case) = MERGING.iter().find(|(name, _)| far.eq_ignore_ascii_case(name))?;
        return merge(format!("{name}(:key)"), *is_case);
    }
    if next.eq_ignore_ascii_case("collate") {
        let is_case = last.eq_ignore_ascii_case("nocase");
        let is_exact = last.eq_ignore_ascii_case("binary") || last == "\"C\"";
        return if is_exact { None } else { merge(format!(":key COLLATE {last}"), is_case) };
    }
    let patterns = ["like", "ilike", "glob", "regexp", "similar"];
    let word = patterns.into_iter().find(|word| near.eq_ignore_ascii_case(word))?;
    merge(format!("{} :key", word.to_ascii_uppercase()), word == "ilike")
}

/// An identifier without its quotes; `None` for anything else.
fn identifier(code: &str) -> Option<String> {
    let quotes = [('"', '"'), ('`', '`'), ('[', ']')];
    for (open, close) in quotes {
        if let Some(inner) = code.strip_prefix(open) {
            let inner = inner.strip_suffix(close)?;
            return Some(inner.replace(&format!("{close}{close}"), &close.to_string()));
        }
    }
    let starts_well = |c: char| c.is_alphabetic() || c == '_' || !c.is_ascii();
    code.starts_with(starts_well).then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(sql: &str) -> Vec<String> {
        key_use(sql, Dialect::Sqlite).columns
    }

    #[test]
    fn the_column_that_the_key_is_compared_with_is_found() {
        for sql in [
            "SELECT v FROM t WHERE id = :key",
            "SELECT v FROM t WHERE t.id=:key",
            "SELECT v FROM t WHERE :key = t . id AND v > 1",
            "SELECT v FROM t WHERE \"id\" == :key -- its = :value",
            "SELECT v FROM t WHERE [id] = /* = */ :key",
            "SELECT v FROM t WHERE :key == main.t.`id`",
        ] {
            assert_eq!(columns(sql), ["id"], "{sql}");
        }
        for sql in [
            "SELECT v FROM t WHERE lower(id) = :key",
            "SELECT v FROM t WHERE :key = lower(id)",
            "SELECT f(:key)",
            "SELECT v FROM t WHERE id > :key",
            "SELECT v FROM t WHERE 'id' = :key",
            "SELECT v FROM t WHERE id = :key COLLATE BINARY",
            "INSERT INTO t VALUES (:key, :value)",
        ] {
            assert_eq!(columns(sql), Vec::<String>::new(), "{sql}");
        }
        assert_eq!(columns("SELECT 1 FROM t WHERE a = :key OR \"b\"\"\" = :key"), ["a", "b\""]);
    }

    #[test]
    fn what_makes_one_row_of_several_keys_is_found() {
        let merged = |sql: &str| {
            key_use(sql, Dialect::Postgres).merged_by.map(|merge| (merge.text, merge.is_case))
        };
        let some = |text: &str, is_case| Some((text.to_owned(), is_case));
        assert_eq!(merged("… = LOWER( :key )"), some("lower(:key)", true));
        assert_eq!(merged("… = btrim(:key)"), some("btrim(:key)", false));
        assert_eq!(merged("… ILIKE :key"), some("ILIKE :key", true));
        assert_eq!(merged("… = :key COLLATE nocase"), some(":key COLLATE nocase", true));
        assert_eq!(merged("… = :key COLLATE \"C\""), None);
        assert_eq!(merged("SELECT f(:key)"), None);
        assert_eq!(merged("… = lower('x') AND id = :key"), None);
    }
}
