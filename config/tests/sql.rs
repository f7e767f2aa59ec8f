//! The translation of `:key` and `:value` into each driver's parameters.

use proptest::prelude::*;
use standin_config::sql::{Dialect, Parameter, SqlError, Translated, translate};

use Dialect::{Postgres, Sqlite};
use Parameter::{Key, Value};

fn text(sql: &str, dialect: Dialect) -> String {
    translate(sql, dialect).unwrap_or_else(|error| panic!("{sql:?}: {error}")).text
}

#[test]
fn the_usual_statements() {
    let get = "SELECT v FROM t WHERE k = :key";
    assert_eq!(
        translate(get, Sqlite),
        Ok(Translated { text: "SELECT v FROM t WHERE k = ?1".into(), parameters: vec![Key] })
    );
    assert_eq!(
        translate(get, Postgres),
        Ok(Translated { text: "SELECT v FROM t WHERE k = $1".into(), parameters: vec![Key] })
    );
    let put = "INSERT INTO t VALUES (:key, :value) ON CONFLICT (k) DO UPDATE SET v = :value;";
    assert_eq!(
        text(put, Sqlite),
        "INSERT INTO t VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = ?2;"
    );
    assert_eq!(
        text(put, Postgres),
        "INSERT INTO t VALUES ($1, $2) ON CONFLICT (k) DO UPDATE SET v = $2;"
    );
}

#[test]
fn numbers_are_fixed_and_without_gap() {
    let value_first = translate("UPDATE t SET v = :value WHERE k = :key", Postgres);
    assert_eq!(
        value_first,
        Ok(Translated {
            text: "UPDATE t SET v = $2 WHERE k = $1".into(),
            parameters: vec![Key, Value]
        })
    );
    let value_alone = translate("SELECT f(:value)", Postgres);
    assert_eq!(
        value_alone,
        Ok(Translated { text: "SELECT f($1)".into(), parameters: vec![Value] })
    );
    let none = translate("SELECT 1", Sqlite);
    assert_eq!(none, Ok(Translated { text: "SELECT 1".into(), parameters: vec![] }));
}

#[test]
fn what_looks_like_a_parameter_and_is_none_stays() {
    let both = [
        "SELECT ':key', 'it''s :key', '' FROM t",
        "SELECT \":key\", \"a\"\":key\" FROM t",
        "SELECT 1 -- :key ' \"\n",
        "SELECT 1 -- :key",
        "SELECT /* :key ' */ 1",
        "SELECT a:: text, b ::int, ':'",
        "SELECT a := 1",
        "SELECT \u{fc}: 1",
    ];
    for sql in both {
        assert_eq!(text(sql, Sqlite), sql);
        assert_eq!(text(sql, Postgres), sql);
    }
    let sqlite = [
        "SELECT `:key`, `a``:key`",
        "SELECT [:key]",
        "SELECT /* /* :key */ 1",
        "SELECT E'\\' AS \":key\"",
    ];
    for sql in sqlite {
        assert_eq!(text(sql, Sqlite), sql);
    }
    let postgres = [
        "SELECT /* a /* :key */ :key */ 1",
        "SELECT $$ :key ' $$, $tag$ $$ :key $other$ $tag$",
        "SELECT E'\\':key', e'\\\\', E'a'':key'",
        "SELECT E'a' -- more\n  '\\':key'",
        "SELECT a[1:2], b[:2], j ? 'k', j @> '{}', @ -1, a$1$b FROM t",
        "SELECT U&'\\0041 :key', B'01', X'ff'",
    ];
    for sql in postgres {
        assert_eq!(text(sql, Postgres), sql);
    }
}

#[test]
fn parameters_beside_other_things() {
    let both = [
        ("SELECT :key::text", "SELECT #1::text"),
        ("SELECT (:key)", "SELECT (#1)"),
        ("SELECT ':key' || :key", "SELECT ':key' || #1"),
        ("SELECT 'a':key", "SELECT 'a'#1"),
        ("SELECT v LIMIT:key", "SELECT v LIMIT #1"),
        ("SELECT 1:key", "SELECT 1 #1"),
        ("SELECT :key/**/:key", "SELECT #1/**/#1"),
        ("SELECT '\\' || :key || '\\'", "SELECT '\\' || #1 || '\\'"),
    ];
    for (sql, wanted) in both {
        assert_eq!(text(sql, Sqlite), wanted.replace('#', "?"), "{sql}");
        assert_eq!(text(sql, Postgres), wanted.replace('#', "$"), "{sql}");
    }
    assert_eq!(text("SELECT a[:key]", Postgres), "SELECT a[$1]");
    assert_eq!(
        text("SELECT typee'\\', :key", Postgres),
        "SELECT typee'\\', $1",
        "typee is a word, not E'"
    );
    assert_eq!(
        text("SELECT E'a' 'b\\', :key", Postgres),
        "SELECT E'a' 'b\\', $1",
        "no line break, no continuation"
    );
}

#[test]
fn errors_say_what_to_write() {
    let cases = [
        (Sqlite, "SELECT :id", "`:id` is not a parameter; write `:key`, `:value` or `:flags`"),
        (Sqlite, "SELECT :Key", "`:Key` is not a parameter; write `:key`, `:value` or `:flags`"),
        (
            Postgres,
            "SELECT :keys",
            "`:keys` is not a parameter; write `:key`, `:value` or `:flags`",
        ),
        (
            Postgres,
            "SELECT $1",
            "`$1` is the driver's own way to write a parameter; write `:key`, `:value` or `:flags`",
        ),
        (
            Postgres,
            "SELECT $",
            "`$` is the driver's own way to write a parameter; write `:key`, `:value` or `:flags`",
        ),
        (
            Sqlite,
            "SELECT ?",
            "`?` is the driver's own way to write a parameter; write `:key`, `:value` or `:flags`",
        ),
        (
            Sqlite,
            "SELECT ?12",
            "`?12` is the driver's own way to write a parameter; write `:key`, `:value` or `:flags`",
        ),
        (
            Sqlite,
            "SELECT @key",
            "`@key` is the driver's own way to write a parameter; write `:key`, `:value` or `:flags`",
        ),
        (
            Sqlite,
            "SELECT $key",
            "`$key` is the driver's own way to write a parameter; write `:key`, `:value` or `:flags`",
        ),
        (Sqlite, "SELECT 'a", "the string that begins with `'a` has no end; close it with `'`"),
        (Sqlite, "SELECT [a", "the identifier that begins with `[a` has no end; close it with `]`"),
        (
            Postgres,
            "SELECT \"a",
            "the identifier that begins with `\"a` has no end; close it with `\"`",
        ),
        (
            Postgres,
            "SELECT E'a\\'",
            "the string that begins with `E'a\\'` has no end; close it with `'`",
        ),
        (
            Postgres,
            "SELECT $t$ $$",
            "the string that begins with `$t$ $$` has no end; close it with `$t$`",
        ),
        (
            Postgres,
            "SELECT /* /* */",
            "the comment that begins with `/* /* */` has no end; close it with `*/`",
        ),
        (
            Postgres,
            "SELECT 1; DROP TABLE t",
            "there is a second statement after `;`; write one statement",
        ),
        (Sqlite, " ; -- nothing", "there is no statement; write one"),
        (Sqlite, "", "there is no statement; write one"),
        (Sqlite, "SELECT 1; -- said\n ;", ""),
        (Sqlite, "SELECT '\0'", "there is a NUL character in it; remove it"),
    ];
    for (dialect, sql, wanted) in cases {
        let said =
            translate(sql, dialect).map_or_else(|error| error.to_string(), |_| String::new());
        assert_eq!(said, wanted, "{sql:?}");
    }
}

/// Pieces of a statement with what each becomes; `#` stands for the sigil.
fn pieces(dialect: Dialect) -> impl Strategy<Value = (String, String)> {
    let mut pieces = vec![
        (":key", "#K"),
        (":value", "#V"),
        ("SELECT", "SELECT"),
        ("v1_$x", "v1_$x"),
        ("42", "42"),
        ("= (", "= ("),
        (")", ")"),
        ("::text", "::text"),
        ("'lit :key'", "'lit :key'"),
        ("'it''s :value'", "'it''s :value'"),
        ("\":key\"", "\":key\""),
        ("-- :key '\n", "-- :key '\n"),
        ("/* :value \" */", "/* :value \" */"),
        ("ü", "ü"),
    ];
    match dialect {
        Sqlite => pieces.extend([("`:key`", "`:key`"), ("[:key '\"]", "[:key '\"]")]),
        Postgres => pieces.extend([
            ("$$ :key '$$", "$$ :key '$$"),
            ("$q$ :key $$ $q$", "$q$ :key $$ $q$"),
            ("E'\\' :key'", "E'\\' :key'"),
            ("/* /* */ :key */", "/* /* */ :key */"),
            ("? @> #", "? @> #"),
        ]),
    }
    proptest::collection::vec(proptest::sample::select(pieces), 0..20).prop_map(|list| {
        let join = |side: fn(&(&'static str, &'static str)) -> &'static str| {
            // Each piece stands apart, or two strings side by side would be one.
            list.iter().map(side).collect::<Vec<_>>().join(" + ")
        };
        (format!("SELECT {}", join(|piece| piece.0)), format!("SELECT {}", join(|piece| piece.1)))
    })
}

fn check_pieces(
    dialect: Dialect,
    sigil: &str,
    sql: &str,
    pattern: &str,
) -> Result<(), TestCaseError> {
    let (has_key, has_value) = (pattern.contains("#K"), pattern.contains("#V"));
    let value_number = if has_key { 2 } else { 1 };
    let wanted = pattern
        .replace("#K", &format!("{sigil}1"))
        .replace("#V", &format!("{sigil}{value_number}"));
    let translated =
        translate(sql, dialect).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(translated.text, wanted);
    let wanted: Vec<_> =
        [(Key, has_key), (Value, has_value)].into_iter().filter(|p| p.1).map(|p| p.0).collect();
    prop_assert_eq!(translated.parameters, wanted);
    Ok(())
}

proptest! {
    #[test]
    fn sqlite_statements_made_of_known_pieces((sql, pattern) in pieces(Sqlite)) {
        check_pieces(Sqlite, "?", &sql, &pattern)?;
    }

    #[test]
    fn postgres_statements_made_of_known_pieces((sql, pattern) in pieces(Postgres)) {
        check_pieces(Postgres, "$", &sql, &pattern)?;
    }

    /// What passes is unchanged outside of its parameters, and has none left.
    #[test]
    fn any_text_is_translated_or_refused(sql in "[-a-zA-Z:'\"`\\[\\]$?@/*;\\\\\n eE1ü(]{0,60}|(:key|:value|'|E'|\\$\\$|/\\*|\\*/|--|\n| |a|::|\\\\){0,40}|.*") {
        for dialect in [Sqlite, Postgres] {
            match translate(&sql, dialect) {
                Ok(Translated { text, parameters }) if parameters.is_empty() => prop_assert_eq!(text, sql.clone()),
                Ok(Translated { text, parameters }) => {
                    prop_assert!(sql.contains(":key") || sql.contains(":value"));
                    prop_assert!(parameters.len() <= 2);
                    // Its own output has driver parameters, which a user may not write.
                    prop_assert!(matches!(translate(&text, dialect), Err(SqlError::DriverParameter(_))), "{}", text);
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn the_word_that_a_statement_begins_with() {
    use standin_config::sql::first_word;
    for (sql, word) in [
        ("call f(:key)", "CALL"),
        ("-- CALL\n /* x */ Insert INTO t", "INSERT"),
        ("callee(:key)", "CALLEE"),
        ("(SELECT 1)", ""),
        ("'CALL'", ""),
        ("", ""),
    ] {
        assert_eq!(first_word(sql, Postgres), word, "{sql}");
    }
}
