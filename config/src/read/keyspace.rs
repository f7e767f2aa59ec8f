//! `[[keyspace]]`: names, lifetimes, and the parameters of the statements.

use std::collections::HashMap;
use std::time::Duration;

use super::bonds::{self, Named};
use super::cluster::check_name;
use super::origin::ANY_DIALECT;
use super::servers::unique;
use crate::defaults;
use crate::mistake::Report;
use crate::model::{AfterPut, ColumnType, KeyCase, KeyspaceConfig, KeyspaceKind};
use crate::section::{At, Found, Section};
use crate::sql::{Dialect, Parameter, Translated, key_use, translate};

/// The keys that only a keyspace over the database has.
const ONLY_OF_DATABASE: [&str; 6] = ["get", "put", "delete", "after_put", "value", "negative_ttl"];

/// Shortest lifetime.
const TTL_MIN: Duration = Duration::from_millis(1);
/// Longest lifetime.
const TTL_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Longest time from which requests are logged: longer than any operation takes.
const LOG_SLOWER_THAN_MAX: Duration = Duration::from_secs(3_600);

const TYPES: [(&str, ColumnType); 4] = [
    ("text", ColumnType::Text),
    ("bytes", ColumnType::Bytes),
    ("integer", ColumnType::Integer),
    ("uuid", ColumnType::Uuid),
];

/// The keyspaces, sorted by id. In a client's file they have no statements.
pub(super) fn read_all(
    sections: Vec<Section<'_>>,
    for_clients: bool,
    dialects: &[Dialect],
    report: &mut Report<'_>,
) -> Option<Vec<KeyspaceConfig>> {
    if sections.is_empty() {
        let wanted = "there is no keyspace; write `[[keyspace]]` with an id, a name, and a get statement or `kind = \"cache\"`";
        report.mistake(0, "keyspace", wanted);
    }
    let mut id_places = HashMap::new();
    let mut name_places = HashMap::new();
    let mut named = Vec::new();
    let places = (&mut id_places, &mut name_places);
    let read = |section| {
        let reader = match for_clients {
            true => Reader::Client,
            false => Reader::Member(dialects),
        };
        read_one(section, reader, (&mut *places.0, &mut *places.1), &mut named, report)
    };
    // All are read before one that is wrong is given up.
    let keyspaces: Vec<Option<KeyspaceConfig>> = sections.into_iter().map(read).collect();
    let mut keyspaces: Vec<KeyspaceConfig> = keyspaces.into_iter().collect::<Option<_>>()?;
    keyspaces.sort_by_key(|keyspace| keyspace.id);
    bonds::resolve(&mut keyspaces, &named, report)?;
    Some(keyspaces)
}

/// The party that a file is for, which determines what else a keyspace has.
#[derive(Clone, Copy)]
enum Reader<'a> {
    /// A client: how keys are addressed.
    Client,
    /// A server or the master, with the databases that may be meant.
    Member(&'a [Dialect]),
}

fn read_one<'d>(
    mut section: Section<'d>,
    reader: Reader<'_>,
    (id_places, name_places): (&mut HashMap<u8, usize>, &mut HashMap<String, usize>),
    named: &mut Vec<Named<'d>>,
    report: &mut Report<'_>,
) -> Option<KeyspaceConfig> {
    let id = read_id(&mut section, id_places, report);
    let name = section.required_text("name", "items", report);
    let name = name.and_then(|name| check_name(name, &section.key("name"), report));
    if let Some(name) = name {
        unique(name, "keyspace", &section.key("name"), name_places, report);
    }

    let kind = section.choice("kind", &KeyspaceKind::ALL, report);
    let kind = kind.or(KeyspaceKind::default(), section.at());

    let key_type = section.choice("key", &TYPES, report).or(defaults::KEY_TYPE, section.at());
    let dialects = match reader {
        Reader::Client => ANY_DIALECT,
        Reader::Member(dialects) => dialects,
    };
    let key_case = read_case(&mut section, key_type.as_ref(), dialects, report);
    let of_kind = match kind.map(|kind| kind.value) {
        Some(kind) if matches!(reader, Reader::Client) => {
            read_of_client(&mut section, kind, report)
        }
        Some(KeyspaceKind::Cache) => read_of_cache(&mut section, report),
        Some(KeyspaceKind::Database) => {
            let is_text = key_type.as_ref().is_some_and(|found| found.value == ColumnType::Text);
            let text_case = key_case.as_ref().filter(|_| is_text).map(|found| found.value);
            read_of_database(&mut section, text_case, dialects, report)
        }
        None => {
            ONLY_OF_DATABASE.iter().for_each(|key| section.pass_over(key));
            section.pass_over("ttl");
            None
        }
    };
    let jitter = section.whole("ttl_jitter_percent", 0..=90, defaults::TTL_JITTER_PERCENT, report);
    let slow = section.duration(
        "log_slower_than",
        Duration::ZERO..=LOG_SLOWER_THAN_MAX,
        defaults::LOG_SLOWER_THAN,
        report,
    );
    let others = section.text_list("also_invalidates", "[\"item_summaries\"]", report);
    let key = section.key("also_invalidates");
    section.finish(report);

    let (id, others) = (id?, others?);
    named.push(Named { id, key, others });
    Some(KeyspaceConfig {
        id,
        name: name?.value.to_owned(),
        also_invalidates: Vec::new(),
        key_type: key_type?.value,
        key_case: key_case?.value,
        ttl_jitter_percent: jitter?.value,
        log_slower_than: Some(slow?.value).filter(|slow| !slow.is_zero()),
        ..of_kind?
    })
}

/// Reads what only a keyspace over the database has. `text_case`: the `key_case` of text keys, which
/// the statements might not respect.
fn read_of_database(
    section: &mut Section<'_>,
    text_case: Option<KeyCase>,
    dialects: &[Dialect],
    report: &mut Report<'_>,
) -> Option<KeyspaceConfig> {
    let get = section.required_text("get", "SELECT value FROM items WHERE id = :key", report);
    let get = get.and_then(|sql| {
        check_statement(sql, Statement::Get, &section.key("get"), dialects, report)
    });
    let put = section.text("put", "UPDATE items SET value = :value WHERE id = :key", report);
    let put = put.and_then(|sql| {
        check_statement(sql, Statement::Put, &section.key("put"), dialects, report)
    });
    let delete = section.text("delete", "DELETE FROM items WHERE id = :key", report);
    let delete = delete.and_then(|sql| {
        check_statement(sql, Statement::Delete, &section.key("delete"), dialects, report)
    });
    let after_put = section.choice("after_put", &AfterPut::ALL, report);
    let after_put = after_put.or(AfterPut::default(), section.at());
    if let Some(key_case) = text_case {
        let statements = [("get", get.as_ref()), ("put", good(&put)), ("delete", good(&delete))];
        warn_of_merged_keys(section, statements, key_case, dialects, report);
    }
    let value_type = read_value_type(section, report);
    let (ttl, negative_ttl) = read_lifetimes(section, report);
    Some(KeyspaceConfig {
        put: put.optional()?.map(|sql| sql.value.to_owned()),
        delete: delete.optional()?.map(|sql| sql.value.to_owned()),
        after_put: after_put?.value,
        value_type: value_type?.value,
        ttl: Some(ttl?.value),
        negative_ttl: negative_ttl?.value,
        ..KeyspaceConfig::new(0, "", get?.value)
    })
}

/// Reads what only a keyspace without a database has.
fn read_of_cache(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<KeyspaceConfig> {
    for key in ONLY_OF_DATABASE {
        let why = "is for rows of the database; remove it, or write `kind = \"database\"`";
        section.misplaced(key, why, report);
    }
    let ttl = section.duration_or_absent("ttl", TTL_MIN..=TTL_MAX, "1h", report).optional()?;
    Some(KeyspaceConfig { ttl: ttl.map(|ttl| ttl.value), ..KeyspaceConfig::cache(0, "") })
}

/// Reads what a client knows of a keyspace: whether it may be written at all. The statements, which are
/// the servers', are empty.
fn read_of_client(
    section: &mut Section<'_>,
    kind: KeyspaceKind,
    report: &mut Report<'_>,
) -> Option<KeyspaceConfig> {
    for key in ONLY_OF_DATABASE.into_iter().chain(["ttl"]) {
        section.misplaced(key, "is for servers; remove it from a client's file", report);
    }
    let is_writable = section.boolean("writable", report).or(true, section.at());
    let is_deletable = section.boolean("deletable", report).or(true, section.at());
    let (is_writable, is_deletable) = (is_writable?.value, is_deletable?.value);
    Some(KeyspaceConfig {
        kind,
        put: is_writable.then(String::new),
        delete: is_deletable.then(String::new),
        ..KeyspaceConfig::cache(0, "")
    })
}

fn read_value_type(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<At<ColumnType>> {
    let found = section.choice("value", &TYPES, report).and_then(|found| {
        let fits = matches!(found.value, ColumnType::Text | ColumnType::Bytes);
        if !fits {
            let wrong = "a value is text or bytes; write `value = \"text\"`, and cast to text in the statements";
            report.mistake(found.at, &section.key("value"), wrong);
        }
        fits.then_some(found)
    });
    found.or(defaults::VALUE_TYPE, section.at())
}

/// Reads `ttl` and `negative_ttl`.
fn read_lifetimes(
    section: &mut Section<'_>,
    report: &mut Report<'_>,
) -> (Option<At<Duration>>, Option<At<Duration>>) {
    let ttl = section.duration("ttl", TTL_MIN..=TTL_MAX, defaults::TTL, report);
    let negative_ttl =
        section.duration("negative_ttl", Duration::ZERO..=TTL_MAX, defaults::NEGATIVE_TTL, report);
    if let (Some(ttl), Some(negative)) = (ttl, negative_ttl)
        && negative.value > ttl.value
    {
        report.warning(
            negative.at,
            &section.key("negative_ttl"),
            "\"no such row\" is cached for longer than a value; write a duration shorter than the ttl",
        );
    }
    (ttl, negative_ttl)
}

/// `key_case`, as far as it fits the key's type and the database.
fn read_case(
    section: &mut Section<'_>,
    key_type: Option<&At<ColumnType>>,
    dialects: &[Dialect],
    report: &mut Report<'_>,
) -> Option<At<KeyCase>> {
    let found = section.choice("key_case", &KeyCase::ALL, report).and_then(|found| {
        let is_text = key_type.is_none_or(|key_type| key_type.value == ColumnType::Text);
        let wrong = match found.value {
            KeyCase::Exact => None,
            _ if !is_text => Some(
                "only text has upper and lower case; leave this out, or write `key = \"text\"`",
            ),
            KeyCase::Unicode if dialects == [Dialect::Sqlite] => Some(
                "SQLite's NOCASE ignores the case of A to Z only; write `key_case = \"ascii\"`",
            ),
            KeyCase::Ascii | KeyCase::Unicode => None,
        };
        if let Some(wrong) = wrong {
            report.mistake(found.at, &section.key("key_case"), wrong);
        }
        wrong.is_none().then_some(found)
    });
    found.or(KeyCase::default(), section.at())
}

fn good<T>(found: &Found<T>) -> Option<&At<T>> {
    match found {
        Found::Good(good) => Some(good),
        Found::Absent | Found::Bad => None,
    }
}

/// Warns of statements that consider keys equal which are different to the cache. Only the database
/// knows what its tables do.
fn warn_of_merged_keys(
    section: &Section<'_>,
    statements: [(&str, Option<&At<&str>>); 3],
    key_case: KeyCase,
    dialects: &[Dialect],
    report: &mut Report<'_>,
) {
    for (name, sql) in statements {
        let Some((sql, [dialect, ..])) = sql.map(|sql| (sql, dialects)) else { continue };
        let Some(merge) = key_use(sql.value, *dialect).merged_by else { continue };
        if merge.is_case && key_case != KeyCase::Exact {
            continue;
        }
        let remedy = match (merge.is_case, *dialect) {
            (false, _) => "compare the key as it is".to_owned(),
            (true, Dialect::Sqlite) => "write `key_case = \"ascii\"`".to_owned(),
            (true, Dialect::Postgres) => "write `key_case = \"unicode\"`".to_owned(),
        };
        let (text, maps) = (merge.text, if merge.is_certain { "maps" } else { "may map" });
        let wrong = format!(
            "`{text}` {maps} several keys to one row, but the cache keeps them as separate entries, \
             so reads may be stale after a write; {remedy}"
        );
        report.warning(sql.at, &section.key(name), wrong);
    }
}

pub(super) fn read_id(
    section: &mut Section<'_>,
    places: &mut HashMap<u8, usize>,
    report: &mut Report<'_>,
) -> Option<u8> {
    let Some(id) = section.whole_or_absent::<u8>("id", 0..=255, "1", report).optional()? else {
        section.missing("id", "1", report);
        return None;
    };
    if let Some(first) = places.get(&id.value) {
        let line = report.line(*first);
        let free = (1..=u8::MAX).find(|id| !places.contains_key(id)).unwrap_or_default();
        report.mistake(
            id.at,
            &section.key("id"),
            format!("{} is already the id of the keyspace in line {line}; write another, such as `id = {free}`", id.value),
        );
    } else {
        places.insert(id.value, id.at);
    }
    Some(id.value)
}

/// Which statement of a keyspace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Statement {
    Get,
    Put,
    Delete,
}

/// Reports what is wrong with the parameters of a statement.
fn check_statement<'d>(
    sql: At<&'d str>,
    statement: Statement,
    key: &str,
    dialects: &[Dialect],
    report: &mut Report<'_>,
) -> Option<At<&'d str>> {
    let mut wrong = None;
    for dialect in dialects {
        let translated = translate(sql.value, *dialect).map_err(|error| error.to_string());
        match translated.and_then(|translated| check_parameters(&translated, statement)) {
            Ok(()) => return Some(sql),
            Err(error) => wrong = wrong.or(Some(error)),
        }
    }
    report.mistake(sql.at, key, wrong?);
    None
}

fn check_parameters(translated: &Translated, statement: Statement) -> Result<(), String> {
    let has = |parameter| translated.parameters.contains(&parameter);
    let wants_value = statement == Statement::Put;
    let missing = match (has(Parameter::Key), has(Parameter::Value) || !wants_value) {
        (true, true) => "",
        (true, false) => "`:value`",
        (false, true) => "`:key`",
        (false, false) => "`:key` and no `:value`",
    };
    if !missing.is_empty() {
        return Err(format!(
            "the statement has no {missing}; write `:key` for the key{}, outside of quotes and comments",
            if wants_value { " and `:value` for the value" } else { "" }
        ));
    }
    if has(Parameter::Flags) && !wants_value {
        let text = "only `put` has flags for `:flags`; a `get` returns them as its second column";
        return Err(text.to_owned());
    }
    if has(Parameter::Value) && !wants_value {
        return Err(
            "this statement has no value for `:value`; write a statement with `:key` alone"
                .to_owned(),
        );
    }
    Ok(())
}
