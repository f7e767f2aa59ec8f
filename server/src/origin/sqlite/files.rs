//! The files of a database: the main file, its log (`-wal`) and the log's index (`-shm`). A process
//! that has one open continues to use it after it is deleted or replaced, and its writes are lost
//! with the file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The identity of the file at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    /// The time of creation, because a new file may get the inode number of a deleted one. `None`:
    /// the file system does not record it.
    born: Option<SystemTime>,
}

/// The files at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Files {
    main: Option<Identity>,
    main_bytes: u64,
    log: Option<Identity>,
    log_bytes: u64,
    index: Option<Identity>,
}

/// A change of the files that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// None: they are still the files at the path.
    None,
    /// The log or its index has been deleted. No process can have begun another log, so the log's
    /// content can still be written to the main file.
    LogGone,
    /// The log or its index has been replaced. The old log's content must not be written to the
    /// main file.
    LogReplaced,
    /// The main file has been deleted or replaced.
    Moved,
    /// The main file has been truncated to nothing, which SQLite considers a new database. It
    /// reports other truncations itself, as a malformed file.
    Cut,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "its files are as they were",
            Self::LogGone => {
                "its -wal or -shm file has been deleted; what it held is written to the main file"
            }
            Self::LogReplaced => {
                "its -wal or -shm file has been replaced; what was committed since the last \
                 checkpoint may be lost: never touch these files while a program has them open"
            }
            Self::Moved => "it has been moved, deleted or replaced",
            Self::Cut => "it has been emptied",
        })
    }
}

impl Files {
    pub(super) fn at(path: &Path) -> Self {
        let look = |path: &Path| std::fs::metadata(path).ok();
        let identity = |path: &Path| {
            let metadata = look(path)?;
            let born = metadata.created().ok();
            Some(Identity { device: metadata.dev(), inode: metadata.ino(), born })
        };
        let bytes = |path: &Path| look(path).map_or(0, |metadata| metadata.len());
        let log = beside(path, "-wal");
        Self {
            main: identity(path),
            main_bytes: bytes(path),
            log: identity(&log),
            log_bytes: bytes(&log),
            index: identity(&beside(path, "-shm")),
        }
    }

    /// Whether the main file exists and is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.main.is_some() && self.main_bytes == 0
    }

    /// Whether the log and its index exist.
    pub(super) fn has_log(&self) -> bool {
        self.log.is_some() && self.index.is_some()
    }

    /// Returns the log of `now`, if it is a different one and still empty.
    pub(super) fn new_log(&self, now: &Self) -> Option<Identity> {
        let is_new = self.main == now.main && self.log.is_some() && self.log != now.log;
        now.log.filter(|_| is_new && now.log_bytes == 0)
    }

    /// Returns the files without this log, if it is still empty.
    pub(super) fn without(self, log: Option<Identity>) -> Self {
        let is_it = log.is_some() && self.log == log && self.log_bytes == 0;
        Self { log: self.log.filter(|_| !is_it), ..self }
    }

    /// Returns the change from these files, which are open, to those of `now`.
    pub(super) fn change(&self, now: &Self) -> Change {
        let same = |before: Option<Identity>, now: Option<Identity>| before == now;
        // If there was no log from the beginning, its identity does not matter.
        let is_other = |before: Option<Identity>, now: Option<Identity>| {
            before.is_some() && now.is_some() && before != now
        };
        let is_gone =
            |before: Option<Identity>, now: Option<Identity>| before.is_some() && now.is_none();
        if !same(self.main, now.main) {
            Change::Moved
        } else if now.main_bytes == 0 && self.main_bytes > 0 {
            Change::Cut
        } else if is_other(self.log, now.log) || is_other(self.index, now.index) {
            Change::LogReplaced
        } else if is_gone(self.log, now.log) || is_gone(self.index, now.index) {
            Change::LogGone
        } else {
            Change::None
        }
    }

    /// Notes that the main file has had content.
    pub(super) fn grow(&mut self, now: &Self) {
        self.main_bytes = self.main_bytes.max(now.main_bytes);
    }

    /// Whether `now` is a different main file beside the log of the old one, which SQLite would use
    /// as its own.
    pub(super) fn is_log_left_behind(&self, now: &Self) -> bool {
        self.main != now.main && self.log.is_some() && self.log == now.log
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn file(inode: u64) -> Option<Identity> {
        Some(Identity { device: 1, inode, born: None })
    }

    const OPEN: Files =
        Files { main: file(1), main_bytes: 100, log: file(2), log_bytes: 50, index: file(3) };

    #[test]
    fn what_has_become_of_the_files() {
        let cases = [
            (OPEN, Change::None),
            (Files { main_bytes: 200, ..OPEN }, Change::None),
            // A checkpoint of another process may shorten it.
            (Files { main_bytes: 99, ..OPEN }, Change::None),
            (Files { main_bytes: 0, ..OPEN }, Change::Cut),
            (Files { main: file(9), ..OPEN }, Change::Moved),
            (
                Files { main: None, main_bytes: 0, log: None, log_bytes: 0, index: None },
                Change::Moved,
            ),
            (Files { log: None, ..OPEN }, Change::LogGone),
            (Files { index: None, ..OPEN }, Change::LogGone),
            (Files { log: None, index: None, ..OPEN }, Change::LogGone),
            (Files { log: file(9), ..OPEN }, Change::LogReplaced),
            (Files { log: None, index: file(9), ..OPEN }, Change::LogReplaced),
        ];
        for (now, change) in cases {
            assert_eq!(OPEN.change(&now), change, "{now:?}");
        }
        let without_log = Files { log: None, index: None, ..OPEN };
        assert_eq!(without_log.change(&OPEN), Change::None);
    }

    #[test]
    fn a_new_log_counts_as_none_while_nothing_is_in_it() {
        let new = Files { log: file(9), log_bytes: 0, index: None, ..OPEN };
        let log = OPEN.new_log(&new);
        assert_eq!(log, file(9));
        assert_eq!(OPEN.change(&new.without(log)), Change::LogGone);
        let used = Files { log_bytes: 32, ..new };
        assert_eq!(OPEN.change(&used.without(log)), Change::LogReplaced);
        assert_eq!(OPEN.change(&new.without(None)), Change::LogReplaced);
        assert_eq!(OPEN.new_log(&used), None);
        assert_eq!(OPEN.new_log(&Files { log_bytes: 0, ..OPEN }), None, "its own");
        assert_eq!(OPEN.new_log(&Files { main: file(8), ..new }), None);
    }

    #[test]
    fn a_log_that_was_left_behind_is_not_the_new_files() {
        assert!(OPEN.is_log_left_behind(&Files { main: file(9), ..OPEN }));
        assert!(!OPEN.is_log_left_behind(&Files { main: file(9), log: None, ..OPEN }));
        assert!(!OPEN.is_log_left_behind(&Files { main: file(9), log: file(8), ..OPEN }));
        assert!(!OPEN.is_log_left_behind(&OPEN));
    }
}
