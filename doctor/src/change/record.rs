//! The file with the old values of settings. It is replaced as a whole, and is on the disk before the
//! settings that it is about are written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::ChangeError;
use crate::read::Root;

const VERSION: u32 = 1;
/// The largest record that is read.
const RECORD_BYTES: u64 = 16 << 20;

/// The old values of settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// The run of the kernel in which the settings were changed, which is also how long they last.
    boot_id: String,
    /// The network namespace that settings of the network belong to.
    network: String,
    pub(super) entries: Vec<Entry>,
}

/// A setting that was changed, or was about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) before: String,
    /// The values that were written or about to be, the latest last. After a crash it may have any of them.
    pub(super) written: Vec<String>,
}

impl Record {
    pub(super) fn new(root: &Root) -> Self {
        let (boot_id, network) = (boot_id(root), network(root));
        Self { version: VERSION, boot_id, network, entries: Vec::new() }
    }

    pub(super) fn is_of_boot(&self, root: &Root) -> bool {
        self.boot_id == boot_id(root)
    }

    pub(super) fn is_of_network(&self, root: &Root) -> bool {
        // Namespaces end with the kernel's run, and their numbers are used again.
        !self.is_of_boot(root) || self.network == network(root)
    }

    /// Adds a setting that is going to be written. The first old value stays.
    pub(super) fn plan(&mut self, path: &str, before: &str, value: &str) {
        match self.entries.iter_mut().find(|entry| entry.path == path) {
            Some(entry) => {
                entry.written.retain(|earlier| earlier != value);
                entry.written.push(value.to_owned());
            }
            None => self.entries.push(Entry {
                path: path.to_owned(),
                before: before.to_owned(),
                written: vec![value.to_owned()],
            }),
        }
    }

    /// Why it must not be used, if so.
    fn hindrance(&self) -> Option<String> {
        if self.version != VERSION {
            return Some(format!("version {}, and this program knows {VERSION}", self.version));
        }
        // Whoever could write the record must not be able to have root write elsewhere.
        let is_setting = |path: &str| {
            (path.starts_with("/proc/sys/") || path.starts_with("/sys/"))
                && !path.split('/').any(|part| part == "..")
        };
        let foreign = self.entries.iter().find(|entry| !is_setting(&entry.path))?;
        Some(format!("{:?} is no setting of the kernel", foreign.path))
    }
}

fn boot_id(root: &Root) -> String {
    let id = std::fs::read_to_string(root.path("/proc/sys/kernel/random/boot_id"));
    id.unwrap_or_default().trim().to_owned()
}

fn network(root: &Root) -> String {
    // That of this thread, as for the files in /proc/sys/net.
    let id = std::fs::read_link(root.path("/proc/thread-self/ns/net"));
    id.unwrap_or_default().to_string_lossy().into_owned()
}

fn failed<'p>(path: &'p Path, what: &'static str) -> impl FnOnce(io::Error) -> ChangeError + 'p {
    move |error| ChangeError::Record { path: path.to_owned(), what, error }
}

/// Returns the folder of the record, and makes it if necessary.
pub(super) fn folder(path: &Path) -> Result<PathBuf, ChangeError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).to_owned();
    std::fs::create_dir_all(&folder).map_err(failed(path, "its folder can't be made"))?;
    Ok(folder)
}

/// Keeps other processes from the record until it is dropped.
pub(super) fn lock(path: &Path, folder: &Path) -> Result<File, ChangeError> {
    let locked = File::open(folder).map_err(failed(path, "its folder can't be opened"))?;
    match flock(locked.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(locked),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ChangeError::Busy(path.to_owned())),
        Err(error) => Err(failed(path, "its folder can't be locked")(error.into())),
    }
}

/// Reads the record; `None` if there is none.
pub(super) fn load(path: &Path) -> Result<Option<Record>, ChangeError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| {
        use std::io::Read as _;
        file.take(RECORD_BYTES).read_to_string(&mut text)
    });
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, "it can't be read")(error)),
    }
    let no_record = |why| ChangeError::NoRecord { path: path.to_owned(), why };
    let record: Record =
        serde_json::from_str(&text).map_err(|error| no_record(error.to_string()))?;
    match record.hindrance() {
        Some(why) => Err(no_record(why)),
        None => Ok(Some(record)),
    }
}

/// Replaces the record. After this it is on the disk.
pub(super) fn save(path: &Path, folder: &Path, record: &Record) -> Result<(), ChangeError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = (|| {
        let mut text = serde_json::to_vec_pretty(record)?;
        text.push(b'\n');
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(folder)?.sync_all()
    })();
    written.map_err(failed(path, "it can't be written"))
}

/// Removes the record.
pub(super) fn remove(path: &Path, folder: &Path) -> Result<(), ChangeError> {
    let removed = std::fs::remove_file(path).and_then(|()| File::open(folder)?.sync_all());
    removed.map_err(failed(path, "it can't be removed"))
}
