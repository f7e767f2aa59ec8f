//! The text of a file that is written: sections, keys, and values in TOML's forms.

use std::fmt::Write;
use std::time::Duration;

use crate::units::{format_duration, format_size};

/// The growing text.
#[derive(Default)]
pub(crate) struct Toml(String);

impl Toml {
    pub(crate) fn section(&mut self, header: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.line(format_args!("{gap}{header}"));
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }

    pub(crate) fn plain(&mut self, key: &str, value: impl std::fmt::Display) {
        self.line(format_args!("{key} = {value}"));
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.line(format_args!("{key} = {}", quoted(value)));
    }

    /// A text of many lines, as it is if TOML allows that.
    pub(crate) fn lines(&mut self, key: &str, value: &str) {
        match value.contains(|c: char| c == '\'' || c.is_control() && c != '\n') {
            true => self.text(key, value),
            false => self.line(format_args!("{key} = '''\n{value}'''")),
        }
    }

    pub(crate) fn optional_text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    pub(crate) fn duration(&mut self, key: &str, value: Duration) {
        self.text(key, &format_duration(value));
    }

    pub(crate) fn size(&mut self, key: &str, bytes: u64) {
        self.text(key, &format_size(bytes));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// A TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
