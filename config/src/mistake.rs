//! The mistakes in a file and their places: [`Mistake`], the list of them, and the
//! [`Report`] that gathers them while a file is read.

use std::fmt;

use crate::names::{self, Names};
use crate::permissions::TooOpen;

/// One thing that is wrong in a configuration file, or one warning.
///
/// Shown as `file:line:column: key: what is wrong; write this instead`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as it was named to the reader.
    pub file: String,
    /// The place in the file; `None` if the file itself could not be read.
    pub place: Option<Place>,
    /// The key in dotted form, such as `group.server.address`.
    pub key: String,
    /// The mistake, and what to write instead.
    pub text: String,
}

/// A place in a file. Both count from one; a column is a character, not a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.file)?;
        if let Some(place) = self.place {
            write!(out, "{}:{}:", place.line, place.column)?;
        }
        if !self.key.is_empty() {
            write!(out, " {}:", self.key)?;
        }
        write!(out, " {}", self.text)
    }
}

/// All mistakes in one file, in the order of the file. Never empty.
///
/// Shown as one line per mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.mistakes))]
pub struct ConfigErrors {
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Collects mistakes and warnings. It knows the text, so a byte offset is enough to name a place.
pub struct Report<'t> {
    file: &'t str,
    /// The permissions of the file, if the text is from one.
    too_open: Option<TooOpen>,
    text: &'t str,
    line_starts: Vec<usize>,
    mistakes: Vec<(usize, Mistake)>,
    warnings: Vec<(usize, Mistake)>,
    /// The names of hosts in the file. It is here because whatever reads an address has a report.
    pub(crate) names: Names,
    /// The file of users is not read, which may not be there yet.
    pub(crate) ignores_users: bool,
}

impl<'t> Report<'t> {
    pub(crate) fn new(file: &'t str, text: &'t str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_newlines).collect();
        let (mistakes, warnings) = (Vec::new(), Vec::new());
        let names = Names::new(names::none);
        let (too_open, ignores_users) = (None, false);
        Self { file, too_open, text, line_starts, mistakes, warnings, names, ignores_users }
    }

    /// Adds the means to look up names of hosts.
    pub(crate) fn with_names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// Adds why the file must hold no secret, if it must not.
    pub(crate) fn with_access(self, too_open: Option<TooOpen>) -> Self {
        Self { too_open, ..self }
    }

    /// The text that is read.
    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    /// Returns why the file must hold no secret, if it must not.
    pub(crate) fn too_open(&self) -> Option<TooOpen> {
        self.too_open
    }

    /// Something that must be put right before anything starts.
    pub fn mistake(&mut self, at: usize, key: &str, text: impl Into<String>) {
        let mistake = self.at(at, key, text.into());
        self.mistakes.push((at, mistake));
    }

    /// Something that works, but most likely not as meant.
    pub fn warning(&mut self, at: usize, key: &str, text: impl Into<String>) {
        let warning = self.at(at, key, text.into());
        self.warnings.push((at, warning));
    }

    /// The line of a byte offset, for "already used in line …".
    pub fn line(&self, at: usize) -> usize {
        self.place(at).line
    }

    /// Mistakes, then warnings, each in the order of the file.
    pub(crate) fn finish(mut self) -> (Vec<Mistake>, Vec<Mistake>) {
        let in_order = |list: &mut Vec<(usize, Mistake)>| {
            list.sort_by_key(|(at, _)| *at);
            list.drain(..).map(|(_, mistake)| mistake).collect()
        };
        (in_order(&mut self.mistakes), in_order(&mut self.warnings))
    }

    fn at(&self, at: usize, key: &str, text: String) -> Mistake {
        Mistake {
            file: self.file.to_owned(),
            place: Some(self.place(at)),
            key: key.to_owned(),
            text,
        }
    }

    fn place(&self, at: usize) -> Place {
        // A parser's span may point into a character; the character's start is meant.
        let at = self.text.floor_char_boundary(at);
        let line = self.line_starts.partition_point(|start| *start <= at);
        let start = self.line_starts[line - 1];
        Place { line, column: self.text[start..at].chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let report = Report::new("f", "ab\näöü\n\nz");
        let place = |at| {
            let place = report.place(at);
            (place.line, place.column)
        };
        assert_eq!(place(0), (1, 1));
        assert_eq!(place(2), (1, 3));
        assert_eq!(place(3), (2, 1));
        assert_eq!(place(4), (2, 1), "inside a character");
        assert_eq!(place(7), (2, 3));
        assert_eq!(place(10), (3, 1));
        assert_eq!(place(11), (4, 1));
        assert_eq!(place(999), (4, 2), "past the end");
    }
}
