//! One table of a file while it is read: typed getters that report mistakes in values and, at the end,
//! every key that was not read.
//!
//! A getter returns `None` only after it has reported a mistake (or passed over a
//! value that a mistake was reported for), so a reader may go on with the other keys
//! and give up the whole at its end.

mod decimal;
mod lists;

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml_edit::{Item, Table, TableLike, Value};

use crate::mistake::Report;
use crate::suggest::nearest;
use crate::units::{format_duration, format_size, parse_duration, parse_size};

/// A value and its place; a default has the place of its section.
#[derive(Debug, Clone, Copy)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Byte offset in the file.
    pub at: usize,
}

/// The result of looking for an optional key.
#[derive(Debug)]
pub enum Found<T> {
    /// The key is not in the file.
    Absent,
    /// The value is wrong, and was reported.
    Bad,
    /// The value is right.
    Good(At<T>),
}

impl<T> Found<T> {
    /// The value or `default`; `None` if it is bad.
    pub fn or(self, default: T, at: usize) -> Option<At<T>> {
        match self {
            Self::Absent => Some(At { value: default, at }),
            Self::Bad => None,
            Self::Good(found) => Some(found),
        }
    }

    /// Ends the reading of a key without a default: the value, or nothing; `None` if it is invalid.
    pub fn optional(self) -> Option<Option<At<T>>> {
        match self {
            Self::Absent => Some(None),
            Self::Bad => None,
            Self::Good(found) => Some(Some(found)),
        }
    }

    /// The value, if it is in the file and right.
    pub fn good(self) -> Option<T> {
        match self {
            Self::Absent | Self::Bad => None,
            Self::Good(found) => Some(found.value),
        }
    }

    /// Goes on with a good value; `check` gives `None` after reporting it as bad.
    pub fn and_then<U>(self, check: impl FnOnce(At<T>) -> Option<At<U>>) -> Found<U> {
        match self {
            Self::Absent => Found::Absent,
            Self::Bad => Found::Bad,
            Self::Good(found) => check(found).map_or(Found::Bad, Found::Good),
        }
    }
}

/// A table of the file, or the defaults of one that is not there.
pub struct Section<'d> {
    table: Option<&'d dyn TableLike>,
    path: String,
    at: usize,
    /// Keys that are known here.
    asked: Vec<&'static str>,
    /// Keys that were reported by [`Self::misplaced`].
    passed_over: Vec<&'static str>,
}

impl<'d> Section<'d> {
    /// The whole file.
    pub(crate) fn root(table: &'d Table) -> Self {
        Self {
            table: Some(table),
            path: String::new(),
            at: 0,
            asked: Vec::new(),
            passed_over: Vec::new(),
        }
    }

    /// Returns the position at which the section begins.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Whether the section is in the file.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// The dotted name of a key of this section.
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// `[key]`; an absent one reads as if it were empty.
    pub fn section(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Self> {
        let path = self.key(key);
        let Some((item, at)) = self.take(key) else {
            return Some(Self {
                table: None,
                path,
                at: self.at,
                asked: Vec::new(),
                passed_over: Vec::new(),
            });
        };
        if let Some(table) = item.as_table_like() {
            return Some(Self::of(table, path, at));
        }
        let write = format!("`[{path}]` on a line of its own");
        wrong_kind(item, at, &path, "a section", &write, report);
        None
    }

    /// All `[[key]]`, in order.
    pub fn sections(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Vec<Self>> {
        let path = self.key(key);
        let Some((item, at)) = self.take(key) else {
            return Some(Vec::new());
        };
        if let Some(tables) = item.as_array_of_tables() {
            let section =
                |table: &'d Table| Self::of(table, path.clone(), begin(table.span()).unwrap_or(at));
            return Some(tables.iter().map(section).collect());
        }
        // The list may also be written as an array of inline tables.
        if let Some(array) = item.as_array() {
            let section = |value: &'d Value| {
                let table = value.as_inline_table()?;
                Some(Self::of(table, path.clone(), begin(table.span()).unwrap_or(at)))
            };
            let sections: Option<Vec<Self>> = array.iter().map(section).collect();
            if sections.is_some() {
                return sections;
            }
        }
        let wrong = if item.is_table_like() { "a single section" } else { kind_of(item) };
        report.mistake(
            at,
            &path,
            format!(
                "must be a list of sections, not {wrong}; write `[[{path}]]`, with two brackets"
            ),
        );
        None
    }

    /// A whole number; `default` is also the example in a message.
    pub fn whole<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: T,
        report: &mut Report<'_>,
    ) -> Option<At<T>>
    where
        T: TryFrom<u64> + Display,
    {
        let example = default.to_string();
        self.whole_or_absent(key, range, &example, report).or(default, self.at)
    }

    /// A whole number that has no default.
    pub fn whole_or_absent<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        example: &str,
        report: &mut Report<'_>,
    ) -> Found<T> {
        let path = self.key(key);
        let (first, last) = (range.start(), range.end());
        let Some((item, at)) = self.take(key) else { return Found::Absent };
        let Some(number) = item.as_integer() else {
            let write = format!("`{key} = {example}`");
            wrong_kind(item, at, &path, "a whole number", &write, report);
            return Found::Bad;
        };
        let in_range = u64::try_from(number).ok().filter(|number| range.contains(number));
        if let Some(value) = in_range.and_then(|number| T::try_from(number).ok()) {
            return Found::Good(At { value, at });
        }
        report.mistake(
            at,
            &path,
            format!("{number} is out of range; write a whole number from {first} to {last}"),
        );
        Found::Bad
    }

    /// A duration, written as a string with a unit.
    pub fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
        report: &mut Report<'_>,
    ) -> Option<At<Duration>> {
        let example = format_duration(default);
        self.duration_or_absent(key, range, &example, report).or(default, self.at)
    }

    /// A duration that has no default here.
    pub fn duration_or_absent(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        example: &str,
        report: &mut Report<'_>,
    ) -> Found<Duration> {
        self.quoted("a duration in quotes", key, example, report).and_then(|text| {
            let path = self.key(key);
            let shown = text.value;
            let Some(value) = parse_duration(shown) else {
                report.mistake(
                    text.at,
                    &path,
                    format!(
                        "{shown:?} is not a duration; write a whole number and one of us, ms, s, m, h, d, \
                         such as `{key} = \"{example}\"`"
                    ),
                );
                return None;
            };
            if range.contains(&value) {
                return Some(At { value, at: text.at });
            }
            let (first, last) = (format_duration(*range.start()), format_duration(*range.end()));
            report.mistake(
                text.at,
                &path,
                format!("{shown:?} is out of range; write a duration from \"{first}\" to \"{last}\""),
            );
            None
        })
    }

    /// A number of bytes: a whole number, or a string with a unit.
    pub fn size<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        default: T,
        report: &mut Report<'_>,
    ) -> Option<At<T>>
    where
        T: TryFrom<u64> + Into<u64> + Copy,
    {
        let example = format_size(default.into());
        self.size_or_absent(key, range, &example, report).or(default, self.at)
    }

    /// A number of bytes that has no default here.
    pub fn size_or_absent<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        example: &str,
        report: &mut Report<'_>,
    ) -> Found<T> {
        let path = self.key(key);
        let Some((item, at)) = self.take(key) else { return Found::Absent };
        let (bytes, shown) = if let Some(text) = item.as_str() {
            let Some(bytes) = parse_size(text) else {
                report.mistake(
                    at,
                    &path,
                    format!(
                        "{text:?} is not a size; write a whole number and one of B, KiB, MiB, GiB, TiB, \
                         such as `{key} = \"{example}\"`"
                    ),
                );
                return Found::Bad;
            };
            (Some(bytes), format!("{text:?}"))
        } else if let Some(number) = item.as_integer() {
            (u64::try_from(number).ok(), number.to_string())
        } else {
            let write = format!("`{key} = \"{example}\"`");
            wrong_kind(item, at, &path, "a size", &write, report);
            return Found::Bad;
        };
        let in_range = bytes.filter(|bytes| range.contains(bytes));
        if let Some(value) = in_range.and_then(|bytes| T::try_from(bytes).ok()) {
            return Found::Good(At { value, at });
        }
        let (first, last) = (format_size(*range.start()), format_size(*range.end()));
        report.mistake(
            at,
            &path,
            format!("{shown} is out of range; write a size from \"{first}\" to \"{last}\""),
        );
        Found::Bad
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str, report: &mut Report<'_>) -> Found<bool> {
        let path = self.key(key);
        let Some((item, at)) = self.take(key) else { return Found::Absent };
        if let Some(value) = item.as_bool() {
            return Found::Good(At { value, at });
        }
        let write = format!("`{key} = true`, without quotes");
        wrong_kind(item, at, &path, "true or false", &write, report);
        Found::Bad
    }

    /// A string. `example` is what a message shows between quotes.
    pub fn text(
        &mut self,
        key: &'static str,
        example: &str,
        report: &mut Report<'_>,
    ) -> Found<&'d str> {
        self.quoted("a string", key, example, report)
    }

    fn quoted(
        &mut self,
        what: &str,
        key: &'static str,
        example: &str,
        report: &mut Report<'_>,
    ) -> Found<&'d str> {
        let path = self.key(key);
        let Some((item, at)) = self.take(key) else { return Found::Absent };
        let Some(value) = item.as_str() else {
            let write = format!("`{key} = \"{example}\"`");
            wrong_kind(item, at, &path, what, &write, report);
            return Found::Bad;
        };
        if value.trim().is_empty() {
            report.mistake(at, &path, format!("is empty; write `{key} = \"{example}\"`"));
            return Found::Bad;
        }
        Found::Good(At { value, at })
    }

    /// A string that must be there.
    pub fn required_text(
        &mut self,
        key: &'static str,
        example: &str,
        report: &mut Report<'_>,
    ) -> Option<At<&'d str>> {
        match self.text(key, example, report) {
            Found::Absent => {
                self.missing(key, &format!("\"{example}\""), report);
                None
            }
            Found::Bad => None,
            Found::Good(found) => Some(found),
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
        report: &mut Report<'_>,
    ) -> Found<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let path = self.key(key);
        self.text(key, words[0], report).and_then(|text| {
            if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text.value) {
                return Some(At { value: *value, at: text.at });
            }
            let instead = nearest(text.value, &words).map_or_else(
                || words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or "),
                |word| format!("`{key} = {word:?}`"),
            );
            report.mistake(
                text.at,
                &path,
                format!("unknown value {:?}; write {instead}", text.value),
            );
            None
        })
    }

    /// Reports that a key without a default is missing.
    pub fn missing(&self, key: &str, example: &str, report: &mut Report<'_>) {
        report.mistake(self.at, &self.key(key), format!("is missing; write `{key} = {example}`"));
    }

    /// Reports a key that belongs elsewhere, if it is present.
    pub fn misplaced(&mut self, key: &'static str, why: &str, report: &mut Report<'_>) {
        self.passed_over.push(key);
        if let Some(at) = self.key_place(key) {
            report.mistake(at, &self.key(key), why);
        }
    }

    /// Allows a key without reading it, because its place is unknown.
    pub fn pass_over(&mut self, key: &'static str) {
        self.passed_over.push(key);
    }

    /// Reports every key that was not read. To be called last.
    pub fn finish(self, report: &mut Report<'_>) {
        let Some(table) = self.table else { return };
        for (key, _) in table
            .iter()
            .filter(|(key, _)| !self.asked.contains(key) && !self.passed_over.contains(key))
        {
            let instead = nearest(key, &self.asked).map_or_else(
                || format!("remove it, or write one of: {}", self.asked.join(", ")),
                |word| format!("write `{word}`"),
            );
            let at = self.key_place(key).unwrap_or(self.at);
            report.mistake(at, &self.key(key), format!("unknown key; {instead}"));
        }
    }

    fn of(table: &'d dyn TableLike, path: String, at: usize) -> Self {
        Self { table: Some(table), path, at, asked: Vec::new(), passed_over: Vec::new() }
    }

    /// The item of a key, and where its value (or its section) begins.
    fn take(&mut self, key: &'static str) -> Option<(&'d Item, usize)> {
        self.asked.push(key);
        let item = self.table?.get(key)?;
        let at = begin(item.span()).or_else(|| self.key_place(key)).unwrap_or(self.at);
        Some((item, at))
    }

    fn key_place(&self, key: &str) -> Option<usize> {
        begin(self.table?.key(key)?.span())
    }
}

/// A section that exists only through its subsections or dotted keys has an empty
/// span at the file's start, which is not its place.
fn begin(span: Option<Range<usize>>) -> Option<usize> {
    span.filter(|span| !span.is_empty()).map(|span| span.start)
}

/// Reports a value of the wrong kind. `write` is what to write instead.
fn wrong_kind(
    item: &Item,
    at: usize,
    path: &str,
    what: &str,
    write: &str,
    report: &mut Report<'_>,
) {
    let wrong = kind_of(item);
    report.mistake(at, path, format!("must be {what}, not {wrong}; write {write}"));
}

fn kind_of(item: &Item) -> &'static str {
    match item {
        Item::None => "nothing",
        Item::Value(Value::String(_)) => "a string",
        Item::Value(Value::Integer(_)) => "a whole number",
        Item::Value(Value::Float(_)) => "a number with a fraction",
        Item::Value(Value::Boolean(_)) => "true or false",
        Item::Value(Value::Datetime(_)) => "a date",
        Item::Value(Value::Array(_)) => "a list",
        Item::Value(Value::InlineTable(_)) | Item::Table(_) => "a section",
        Item::ArrayOfTables(_) => "a list of sections",
    }
}
