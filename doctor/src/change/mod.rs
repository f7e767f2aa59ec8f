//! `--apply` and `--revert`: writes settings that can be changed while the host runs, and puts them back.
//!
//! The old values are in a record (`record.rs`) before the first setting is written, so that a crash at
//! any moment leaves a record that puts back what was changed. The first old value of a setting is kept,
//! however often `--apply` is repeated.

mod record;

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::parse;
use crate::read::Root;
use crate::report::Change;
use record::{Entry, Record};

/// Why settings could not be changed or put back. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The record can't be read, written or locked.
    #[error("the record {}: {what}: {error}; name another file with --state, or run this as root", .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The operation that failed.
        what: &'static str,
        /// The error.
        error: io::Error,
    },
    /// The record is damaged, or was not written by this program.
    #[error(
        "{} is no record of old values ({why}); move it away, or name another file with --state. \
         Settings that were changed stay as they are until the host restarts", .path.display()
    )]
    NoRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is no record.
    #[error("there is no record {}, so there is nothing to put back; --state names another", .0.display())]
    Nothing(PathBuf),
    /// Settings of the network belong to a network namespace, and the record is of another one.
    #[error(
        "the record {} was written in another network namespace; run this there, or name another \
         file with --state", .0.display()
    )]
    Elsewhere(PathBuf),
    /// Another process works with the record.
    #[error("another process uses the record {}; wait for it", .0.display())]
    Busy(PathBuf),
}

/// What became of one setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The path on the host.
    pub path: String,
    /// What became of it.
    #[serde(flatten)]
    pub done: Done,
}

/// What became of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "done")]
pub enum Done {
    /// It was written.
    Written {
        /// The value before.
        before: String,
        /// The value now.
        after: String,
    },
    /// It already had the value.
    AsWanted {
        /// The value.
        value: String,
    },
    /// It was put back.
    Restored {
        /// The value before.
        before: String,
        /// The value now.
        after: String,
    },
    /// Somebody else has changed it since, and it was left alone.
    ChangedSince {
        /// The value.
        found: String,
        /// The value that `--apply` had written.
        written: String,
        /// The value that it had before that.
        before: String,
    },
    /// It could not be read or written.
    Failed {
        /// Why.
        why: String,
    },
}

impl Done {
    /// Whether the setting is now as it was to be.
    #[must_use]
    pub fn is_done(&self) -> bool {
        !matches!(self, Self::ChangedSince { .. } | Self::Failed { .. })
    }
}

/// Writes settings, and keeps their old values in the record.
///
/// # Errors
/// If there is no usable record; no setting was written then. A setting that can't be written is a step.
pub fn apply(root: &Root, changes: &[Change], record: &Path) -> Result<Vec<Step>, ChangeError> {
    apply_by(root, changes, record, &mut write)
}

/// Puts back the settings of the record, except those that somebody else has changed since. These stay in
/// the record, as do those that could not be written; without any the record is removed.
///
/// # Errors
/// If there is no usable record; no setting was written then.
pub fn revert(root: &Root, record: &Path) -> Result<Vec<Step>, ChangeError> {
    revert_by(root, record, &mut write)
}

/// A write to a setting, which tests replace.
type Write<'w> = &'w mut dyn FnMut(&Path, &str) -> io::Result<()>;

fn write(path: &Path, value: &str) -> io::Result<()> {
    use std::io::Write as _;
    // A single write, without creating the file: the kernel takes the value as a whole.
    let mut file = std::fs::OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(value.as_bytes())
}

fn apply_by(
    root: &Root,
    changes: &[Change],
    path: &Path,
    write: Write<'_>,
) -> Result<Vec<Step>, ChangeError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let folder = record::folder(path)?;
    let _locked = record::lock(path, &folder)?;
    let mut record = match record::load(path)? {
        Some(record) if record.is_of_network(root) => record,
        Some(_) => return Err(ChangeError::Elsewhere(path.to_owned())),
        None => Record::new(root),
    };
    // The settings of an earlier run of the kernel ended with it.
    if !record.is_of_boot(root) {
        record = Record::new(root);
    }
    let mut steps = Vec::new();
    let mut planned = Vec::new();
    for Change { path, value } in changes {
        match current(root, path) {
            Ok(before) if is_same(path, &before, value) => {
                let done = Done::AsWanted { value: before };
                steps.push(Step { path: path.clone(), done });
            }
            Ok(before) => {
                record.plan(path, &before, value);
                planned.push((path, before, value));
            }
            Err(why) => steps.push(Step { path: path.clone(), done: Done::Failed { why } }),
        }
    }
    if !planned.is_empty() {
        record::save(path, &folder, &record)?;
    }
    for (path, before, value) in planned {
        let done = match set(root, path, value, &mut *write) {
            Ok(()) => Done::Written { before, after: value.clone() },
            Err(why) => Done::Failed { why },
        };
        steps.push(Step { path: path.clone(), done });
    }
    Ok(steps)
}

fn revert_by(root: &Root, path: &Path, write: Write<'_>) -> Result<Vec<Step>, ChangeError> {
    // Nothing is created only to find that there is nothing.
    if !path.exists() {
        return Err(ChangeError::Nothing(path.to_owned()));
    }
    let folder = record::folder(path)?;
    let _locked = record::lock(path, &folder)?;
    let Some(mut record) = record::load(path)? else {
        return Err(ChangeError::Nothing(path.to_owned()));
    };
    if !record.is_of_network(root) {
        return Err(ChangeError::Elsewhere(path.to_owned()));
    }
    if !record.is_of_boot(root) {
        record::remove(path, &folder)?;
        return Ok(Vec::new());
    }
    let mut steps = Vec::new();
    let mut left = Vec::new();
    // In the opposite order, as they were written.
    for entry in record.entries.into_iter().rev() {
        let done = restore(root, &entry, &mut *write);
        steps.push(Step { path: entry.path.clone(), done: done.clone() });
        if !done.is_done() {
            left.push(entry);
        }
    }
    left.reverse();
    record.entries = left;
    if record.entries.is_empty() {
        record::remove(path, &folder)?;
    } else {
        record::save(path, &folder, &record)?;
    }
    Ok(steps)
}

fn restore(root: &Root, entry: &Entry, write: Write<'_>) -> Done {
    let Entry { path, before, written } = entry;
    let is_ours = |found: &str| written.iter().any(|value| is_same(path, found, value));
    match current(root, path) {
        Err(why) => Done::Failed { why },
        // It was never written, or was put back already.
        Ok(found) if is_same(path, &found, before) => Done::AsWanted { value: found },
        Ok(found) if is_ours(&found) => match set(root, path, before, write) {
            Ok(()) => Done::Restored { before: found, after: before.clone() },
            Err(why) => Done::Failed { why },
        },
        Ok(found) => Done::ChangedSince {
            found,
            written: written.last().cloned().unwrap_or_default(),
            before: before.clone(),
        },
    }
}

/// The current value of a setting, in the form in which it can be written back.
fn current(root: &Root, path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(root.path(path)).map_err(|error| error.to_string())?;
    let text = text.trim();
    Ok(parse::chosen(text).unwrap_or(text).to_owned())
}

/// Writes a value, and makes sure that the kernel has taken it.
fn set(root: &Root, path: &str, value: &str, write: Write<'_>) -> Result<(), String> {
    write(&root.path(path), value).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => format!("{error}; run this as root"),
        _ => error.to_string(),
    })?;
    let found = current(root, path)?;
    if is_same(path, &found, value) {
        Ok(())
    } else {
        Err(format!("the kernel has not taken {value:?}; it is {found:?}"))
    }
}

/// Whether two texts are the same value. Masks have as many digits as the kernel likes.
fn is_same(path: &str, one: &str, other: &str) -> bool {
    if !path.ends_with("ps_cpus") {
        return one == other;
    }
    let digits = |text: &str| -> String {
        let digits = text.chars().filter(|c| *c != ',').skip_while(|c| *c == '0');
        digits.collect::<String>().to_ascii_lowercase()
    };
    digits(one) == digits(other)
}

#[cfg(test)]
mod tests;
