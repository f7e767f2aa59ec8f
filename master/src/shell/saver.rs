//! The state file: read at the start, and replaced as a whole by a thread of its own, so
//! that a slow disk does not hold up renewals and probes.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use standin_protocol::map::MapEpoch;
use standin_protocol::time::Micros;
use tracing::{error, warn};

use crate::shell::{MasterError, Stopper};
use crate::state::State;

/// Reads the state of the last master; `None` if there was none.
pub(crate) fn load(path: &Path, cluster: &str) -> Result<Option<State>, MasterError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(MasterError::StateRead { path: path.to_owned(), source }),
    };
    let state = State::from_bytes(&bytes)
        .map_err(|source| MasterError::StateDamaged { path: path.to_owned(), source })?;
    if state.cluster != cluster {
        let (path, found) = (path.to_owned(), state.cluster);
        return Err(MasterError::StateOfOther { path, found, expected: cluster.to_owned() });
    }
    Ok(Some(state))
}

/// Whether this process may make the file, and its folder if there is none.
pub(crate) fn may_save(path: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    let folders = path.ancestors().skip(1);
    let folders = folders.map(|folder| match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    });
    // The nearest one that is there: the others are made.
    for folder in folders {
        match access(folder, Access::WRITE_OK | Access::EXEC_OK) {
            Err(rustix::io::Errno::NOENT) => {}
            result => return Ok(result?),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Replaces the file so that after a crash, at any point, either the old or the new state
/// is there, whole.
pub(crate) fn save(path: &Path, state: &State) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new_path = directory.join(name);
    let mut file = File::create(&new_path)?;
    file.write_all(state.to_text().as_bytes())?;
    file.sync_all()?;
    fs::rename(&new_path, path)?;
    File::open(directory)?.sync_all()
}

/// The saving thread.
pub(crate) struct Saver {
    /// `None` once it is to stop.
    states: RefCell<Option<Sender<State>>>,
    results: Receiver<(MapEpoch, bool)>,
}

impl Saver {
    /// Starts the thread; it wakes the loop by `wake` when there is a result.
    pub(crate) fn start(path: PathBuf, wake: Stopper) -> io::Result<Self> {
        let (states, todo) = channel::<State>();
        let (done, results) = channel();
        std::thread::Builder::new().name("master-state".to_owned()).spawn(move || {
            for state in todo {
                // A panic costs this save alone.
                let saved = catch_unwind(AssertUnwindSafe(|| {
                    standin_protocol::fault::point();
                    save(&path, &state)
                }));
                let saved = saved.unwrap_or_else(|_| Err(io::Error::other("a panic")));
                if let Err(error) = &saved {
                    error!(path = %path.display(), %error, "state file not written");
                }
                if done.send((state.epoch, saved.is_ok())).is_err() {
                    return;
                }
                wake.wake();
            }
        })?;
        Ok(Self { states: RefCell::new(Some(states)), results })
    }

    /// Hands a state to the thread; false if it has ended.
    pub(crate) fn save(&self, state: State) -> bool {
        self.states.borrow().as_ref().is_some_and(|states| states.send(state).is_ok())
    }

    pub(crate) fn result(&self) -> Option<(MapEpoch, bool)> {
        self.results.try_recv().ok()
    }

    /// Lets what is in hand be written, but waits for a disk that hangs no longer than this.
    pub(crate) fn stop(&self, longest: Duration) {
        self.states.take();
        let until = Micros::boottime() + longest;
        loop {
            match self.results.recv_timeout(until.since(Micros::boottime())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    warn!("stops while the state file is still being written");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_can_be_made_will_do_and_one_under_a_file_will_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(may_save(&file).is_ok());
        assert!(may_save(&folder.path().join("a/b/state")).is_ok());
        assert!(may_save(Path::new("state")).is_ok());
        assert!(may_save(&file.join("state")).is_err());
    }
}
