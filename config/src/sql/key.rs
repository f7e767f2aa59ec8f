//! Finds what a statement does with its key, as far as its words show it: the columns that it compares
//! the key with, and the functions, casts and operators that it applies first.

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
    /// Whether it certainly has one result for several keys. Otherwise only its author knows.
    pub is_certain: bool,
}

/// Functions of text that have one result for several keys; `true` for those that ignore case.
const MERGING: [(&str, bool); 14] = [
    ("lower", true),
    ("upper", true),
    ("casefold", true),
    ("initcap", true),
    ("trim", false),
    ("ltrim", false),
    ("rtrim", false),
    ("btrim", false),
    ("substr", false),
    ("substring", false),
    ("left", false),
    ("unaccent", false),
    ("normalize", false),
    ("abs", false),
];

/// The types to which a cast does not make keys equal.
const EXACT_IN_SQLITE: [&str; 2] = ["text", "blob"];
/// Those of PostgreSQL, and those that a server asks it for at its start, and refuses if they do not fit.
const EXACT_IN_POSTGRES: [&str; 10] =
    ["text", "bytea", "uuid", "smallint", "integer", "bigint", "int", "int2", "int4", "int8"];

/// Words before a parenthesis that do not make it the arguments of a function.
const NO_FUNCTION: [&str; 31] = [
    "values",
    "in",
    "any",
    "all",
    "some",
    "exists",
    "and",
    "or",
    "not",
    "on",
    "where",
    "having",
    "when",
    "then",
    "else",
    "case",
    "select",
    "distinct",
    "as",
    "from",
    "join",
    "using",
    "set",
    "returning",
    "by",
    "limit",
    "offset",
    "between",
    "like",
    "is",
    "row",
];

/// Pieces beside the key with which the argument of a function is not the key, but a comparison.
const COMPARING: [&str; 13] =
    ["=", "<", ">", "select", "where", "and", "or", "when", "in", "like", "ilike", "glob", "is"];

/// Looks at a statement that [`super::translate`] takes.
#[must_use]
pub fn key_use(sql: &str, dialect: Dialect) -> KeyUse {
    let pieces: Vec<Piece<'_>> = Scanner::new(sql, dialect)
        .map_while(Result::ok)
        .filter(|piece| !matches!(piece, Piece::Blank(_)))
        .collect();
    let statement = Statement { pieces: &pieces, dialect };
    let mut found = KeyUse::default();
    let keys = pieces.iter().enumerate();
    let keys = keys.filter(|(_, piece)| matches!(piece, Piece::Parameter(Parameter::Key)));
    for (at, _) in keys {
        let before = |by: usize| statement.before(at, by);
        let after = |by: usize| statement.code(at + by);
        let merge = statement.merge(at);
        // A certainty is more worth saying than a doubt.
        if found.merged_by.as_ref().is_none_or(|merge| !merge.is_certain) {
            let certain = merge.filter(|merge| merge.is_certain || found.merged_by.is_none());
            found.merged_by = certain.or(found.merged_by);
        }
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

/// A statement without its blanks.
struct Statement<'s> {
    pieces: &'s [Piece<'s>],
    dialect: Dialect,
}

impl<'s> Statement<'s> {
    /// Returns the code at a place; nothing for parameters and beyond the ends.
    fn code(&self, at: usize) -> &'s str {
        match self.pieces.get(at) {
            Some(Piece::Code(code)) => code,
            _ => "",
        }
    }

    fn before(&self, at: usize, by: usize) -> &'s str {
        at.checked_sub(by).map_or("", |at| self.code(at))
    }

    /// Returns what maps several keys to one before the key at this place is compared. Looks from the
    /// inside to the outside.
    fn merge(&self, key: usize) -> Option<Merge> {
        // The expression that has been looked at so far, and that keeps keys apart.
        let (mut first, mut next) = (key, key + 1);
        loop {
            while self.code(next) == "::" {
                let cast = self.type_at(next + 1);
                if !self.is_exact(&cast) {
                    return Some(may(format!(":key::{cast}")));
                }
                // An exact type is one word.
                next += 2;
            }
            if let Some(merge) = self.beside(first, next) {
                return Some(merge);
            }
            let open = self.opening(first)?;
            let close = self.closing(next)?;
            let (is_first, is_last) = (open + 1 == first, next == close);
            let name = self.before(open, 1);
            first = open;
            if name.eq_ignore_ascii_case("cast") {
                let cast = match self.code(next).eq_ignore_ascii_case("as") {
                    true => self.type_at(next + 1),
                    // The key is only a part of what is cast.
                    false => "…".to_owned(),
                };
                if !self.is_exact(&cast) {
                    return Some(may(format!("CAST(:key AS {cast})")));
                }
                first = open - 1;
            } else if self.is_function(open) {
                return Some(applied(name, is_first, is_last));
            } else if !(is_first && is_last) {
                // A list of values, or a statement within the statement.
                return None;
            }
            next = close + 1;
        }
    }

    /// Returns the operator, collation or pattern before or after an expression that begins at `first`
    /// and ends before `next`.
    fn beside(&self, first: usize, next: usize) -> Option<Merge> {
        let near = self.before(first, 1);
        let (after, last) = (self.code(next), self.code(next + 1));
        if after.eq_ignore_ascii_case("collate") {
            let is_case = last.eq_ignore_ascii_case("nocase");
            let is_exact = last.eq_ignore_ascii_case("binary") || last == "\"C\"";
            let text = format!(":key COLLATE {last}");
            return (!is_exact).then_some(Merge { text, is_case, is_certain: true });
        }
        let patterns = ["like", "ilike", "glob", "regexp", "similar"];
        if let Some(word) = patterns.into_iter().find(|word| near.eq_ignore_ascii_case(word)) {
            let (text, is_case) = (format!("{} :key", word.to_ascii_uppercase()), word == "ilike");
            return Some(Merge { text, is_case, is_certain: true });
        }
        let is_operator = |code: &str| {
            code.len() == 1 && code.starts_with(['+', '-', '*', '/', '%', '&', '^', '~', '#'])
        };
        if is_operator(after) {
            return Some(may(format!(":key {after} …")));
        }
        is_operator(near).then(|| may(format!("… {near} :key")))
    }

    /// Returns the parenthesis that encloses an expression, unless a comparison of it is enclosed.
    fn opening(&self, first: usize) -> Option<usize> {
        let (mut depth, mut is_own) = (0u32, true);
        for at in (0..first).rev() {
            let code = self.code(at);
            match code {
                ")" => depth += 1,
                "(" if depth == 0 => return Some(at),
                "(" => depth -= 1,
                // What comes before belongs to other arguments.
                "," if depth == 0 => is_own = false,
                _ if is_own && depth == 0 && is_comparing(code) => return None,
                _ => {}
            }
        }
        None
    }

    /// Returns the parenthesis that ends what encloses an expression, unless a comparison of it is
    /// enclosed.
    fn closing(&self, next: usize) -> Option<usize> {
        let (mut depth, mut is_own) = (0u32, true);
        for at in next..self.pieces.len() {
            let code = self.code(at);
            match code {
                "(" => depth += 1,
                ")" if depth == 0 => return Some(at),
                ")" => depth -= 1,
                "," if depth == 0 => is_own = false,
                _ if is_own && depth == 0 && is_comparing(code) => return None,
                _ => {}
            }
        }
        None
    }

    /// Whether the parenthesis begins the arguments of a function.
    fn is_function(&self, open: usize) -> bool {
        let name = self.before(open, 1);
        identifier(name).is_some()
            && !NO_FUNCTION.iter().any(|word| name.eq_ignore_ascii_case(word))
    }

    /// Returns the type that begins here, in lower case, with its length or dimensions.
    fn type_at(&self, at: usize) -> String {
        let mut text = self.code(at).to_ascii_lowercase();
        let more = self.code(at + 1);
        if matches!(more, "(" | "[") {
            let end = (at + 1..self.pieces.len()).find(|at| matches!(self.code(*at), ")" | "]"));
            (at + 1..=end.unwrap_or(at)).for_each(|at| text.push_str(self.code(at)));
        } else if more == "." || more.eq_ignore_ascii_case("varying") {
            text.push_str(" …");
        }
        text
    }

    fn is_exact(&self, cast: &str) -> bool {
        match self.dialect {
            Dialect::Sqlite => EXACT_IN_SQLITE.contains(&cast),
            Dialect::Postgres => EXACT_IN_POSTGRES.contains(&cast),
        }
    }
}

fn is_comparing(code: &str) -> bool {
    COMPARING.iter().any(|word| code.eq_ignore_ascii_case(word))
}

fn may(text: String) -> Merge {
    Merge { text, is_case: false, is_certain: false }
}

/// Describes a function that is applied to the key.
fn applied(name: &str, is_first: bool, is_last: bool) -> Merge {
    let known = MERGING.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
    let name = known.map_or(name, |(known, _)| known);
    let before = if is_first { "" } else { "… " };
    let after = if is_last { "" } else { " …" };
    let text = format!("{name}({before}:key{after})");
    let is_case = known.is_some_and(|(_, is_case)| *is_case);
    Merge { text, is_case, is_certain: known.is_some() }
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
        assert_eq!(merged("… = lower('x') AND id = :key"), None);
        assert_eq!(merged("… = lower(:key::text)"), some("lower(:key)", true));
        assert_eq!(merged("… = lower(CAST((:key) AS text))"), some("lower(:key)", true));
        assert_eq!(merged("… = left(:key, 3)"), some("left(:key …)", false));
        assert_eq!(merged("… = f(:key) OR a = lower(:key)"), some("lower(:key)", true));
        assert_eq!(merged("… = trim(both ' ' from :key)"), some("trim(… :key)", false));
    }

    /// What it does with its keys is known to its author alone.
    #[test]
    fn every_other_function_cast_and_operator_may_make_one_row_of_several_keys() {
        let postgres: &[(&str, &str)] = &[
            ("SELECT v FROM t WHERE id = f(:key)", "f(:key)"),
            ("SELECT v FROM t WHERE id = s.f(1, g(2), (:key), 3)", "f(… :key …)"),
            ("SELECT v FROM t WHERE id = :key::varchar(3)", ":key::varchar(3)"),
            ("SELECT v FROM t WHERE id = (:key::text)::character varying(3)", ":key::character …"),
            ("SELECT v FROM t WHERE id = any(:key::text[])", ":key::text[]"),
            ("SELECT v FROM t WHERE id = CAST(:key AS numeric)", "CAST(:key AS numeric)"),
            ("SELECT v FROM t WHERE id = CAST(:key || 'x' AS text)", "CAST(:key AS …)"),
            ("SELECT v FROM t WHERE id = :key::int / 10", ":key / …"),
            ("SELECT v FROM t WHERE id = -:key", "… - :key"),
            ("SELECT v FROM t WHERE id = (0 + :key)", "… + :key"),
            ("SELECT v FROM t WHERE id ~ :key", "… ~ :key"),
            ("INSERT INTO t (id, v) VALUES (md5(:key), :value)", "md5(:key)"),
            ("SELECT v FROM t WHERE id = coalesce(a = 1, f(b), :key)", "coalesce(… :key)"),
        ];
        let sqlite: &[(&str, &str)] = &[
            ("SELECT v FROM t WHERE id = CAST(:key AS INTEGER)", "CAST(:key AS integer)"),
            ("SELECT v FROM t WHERE id = :key + 0", ":key + …"),
            ("SELECT v FROM t WHERE id = hex(:key)", "hex(:key)"),
        ];
        for (dialect, table) in [(Dialect::Postgres, postgres), (Dialect::Sqlite, sqlite)] {
            for (sql, text) in table {
                let merge = key_use(sql, dialect).merged_by;
                assert_eq!(merge, Some(may((*text).to_owned())), "{sql}");
            }
        }
    }

    #[test]
    fn a_statement_that_keeps_keys_apart_is_not_doubted() {
        let postgres: &[&str] = &[
            "SELECT v FROM t WHERE id = :key",
            "SELECT v FROM t WHERE id = :key::text AND lower(v) > 'a'",
            "SELECT v FROM t WHERE id = :key::uuid",
            "SELECT v FROM t WHERE id::text = CAST(:key AS bigint)::text",
            "SELECT v FROM t WHERE id = decode('00', 'hex') || :key::bytea",
            "SELECT max(v) FROM t WHERE id IN (:key) AND (n > 1 AND (id = :key OR :key = id))",
            "SELECT count(*) FILTER (WHERE id = :key) FROM t",
            "SELECT coalesce((SELECT v FROM t WHERE id = :key), 'none')",
            "SELECT f(id = :key, :key = id) FROM t WHERE (id) = (:key)",
            "SELECT v FROM t WHERE id = ANY(ARRAY[:key]) OR (id, n) = ROW(:key, 1)",
            "SELECT CASE WHEN id = :key THEN v END FROM t WHERE EXISTS (SELECT 1 WHERE id = :key)",
            "INSERT INTO t (id, v) VALUES (:key, upper(:value)), (now(), :key) ON CONFLICT (id) \
             DO UPDATE SET v = excluded.v RETURNING *",
            "INSERT INTO t SELECT :key, (SELECT max(n) FROM u)",
            "WITH x AS (DELETE FROM t WHERE id = :key RETURNING id) SELECT count(*) FROM x",
            "SELECT v FROM t WHERE name = 'user:' || :key -- lower(:key)",
        ];
        let sqlite: &[&str] = &[
            "SELECT v FROM t WHERE id = CAST(:key AS TEXT)",
            "SELECT v FROM t WHERE id == CAST(:key AS BLOB)",
            "REPLACE INTO t VALUES (:key, :value)",
        ];
        for (dialect, table) in [(Dialect::Postgres, postgres), (Dialect::Sqlite, sqlite)] {
            for sql in table {
                assert_eq!(key_use(sql, dialect).merged_by, None, "{sql}");
            }
        }
    }

    #[test]
    fn a_statement_that_is_cut_off_anywhere_is_looked_at_as_far_as_it_goes() {
        let sql =
            "SELECT f(CAST((:key::varchar(3)) AS t.u), (x)) COLLATE c FROM a WHERE -:key = (b";
        for end in (0..=sql.len()).filter(|end| sql.is_char_boundary(*end)) {
            let _ = key_use(&sql[..end], Dialect::Postgres);
            let _ = key_use(&sql[end..], Dialect::Sqlite);
        }
    }
}
