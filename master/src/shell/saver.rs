//! The state file. It is read at the start, and replaced as a whole by a separate thread, so that a
//! slow disk does not delay renewals and probes.

use std::cell::RefCell;
use std::collections::VecDeque;
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

/// Reads the state of the previous master. Returns `None` if there was none.
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

/// Checks that this process may create the file, and its folder if it does not exist.
pub(crate) fn may_save(path: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    let folders = path.ancestors().skip(1);
    let folders = folders.map(|folder| match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    });
    // The nearest existing folder counts. The others will be created.
    for folder in folders {
        match access(folder, Access::WRITE_OK | Access::EXEC_OK) {
            Err(rustix::io::Errno::NOENT) => {}
            result => return Ok(result?),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Replaces the file so that a crash at any point leaves either the old or the new state, complete.
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

/// The time after which a disk counts as hanging. The state then counts as not saved, and the
/// master continues.
const PATIENCE: Duration = Duration::from_secs(1);

/// The saving thread.
pub(crate) struct Saver {
    /// The queue to the thread; `None` once the thread has to stop.
    states: RefCell<Option<Sender<State>>>,
    results: Receiver<(MapEpoch, bool)>,
    under_way: RefCell<UnderWay>,
}

/// The states that were given to the thread and have not been answered, in order.
#[derive(Default)]
struct UnderWay {
    saves: VecDeque<(MapEpoch, Micros)>,
    /// The number of states at the front that have been given up, so that their results are
    /// ignored.
    given_up: usize,
}

impl UnderWay {
    /// Returns the time at which the next state is given up.
    fn due(&self) -> Micros {
        self.saves.get(self.given_up).map_or(Micros::NEVER, |(_, since)| *since + PATIENCE)
    }

    fn give_up(&mut self, now: Micros) -> Option<MapEpoch> {
        if self.due() > now {
            return None;
        }
        let (epoch, _) = *self.saves.get(self.given_up)?;
        self.given_up += 1;
        Some(epoch)
    }

    /// Notes that the first state has been answered. Returns whether the master waits for its
    /// result.
    fn ended(&mut self) -> bool {
        self.saves.pop_front();
        let is_waited_for = self.given_up == 0;
        self.given_up = self.given_up.saturating_sub(1);
        is_waited_for
    }
}

impl Saver {
    /// Starts the thread, which wakes the loop through `wake` when there is a result.
    pub(crate) fn start(path: PathBuf, wake: Stopper) -> io::Result<Self> {
        let (states, todo) = channel::<State>();
        let (done, results) = channel();
        std::thread::Builder::new().name("master-state".to_owned()).spawn(move || {
            for state in todo {
                // A panic makes only this save fail.
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
        Ok(Self { states: RefCell::new(Some(states)), results, under_way: RefCell::default() })
    }

    /// Gives a state to the thread. Returns false if the thread has ended or hangs.
    pub(crate) fn save(&self, state: State) -> bool {
        let mut under_way = self.under_way.borrow_mut();
        // The state would only wait behind the one at which the thread hangs.
        if under_way.given_up > 0 {
            return false;
        }
        let epoch = state.epoch;
        let sent = self.states.borrow().as_ref().is_some_and(|states| states.send(state).is_ok());
        if sent {
            under_way.saves.push_back((epoch, Micros::boottime()));
        }
        sent
    }

    /// Returns the time at which [`Self::result`] has a result even if the thread has none.
    pub(crate) fn due(&self) -> Micros {
        self.under_way.borrow().due()
    }

    /// Returns the result for a state: its epoch, and whether it was saved.
    pub(crate) fn result(&self) -> Option<(MapEpoch, bool)> {
        let mut under_way = self.under_way.borrow_mut();
        while let Ok(result) = self.results.try_recv() {
            if under_way.ended() {
                return Some(result);
            }
        }
        let epoch = under_way.give_up(Micros::boottime())?;
        error!(
            "the state file has not been written for {} s; does its disk hang? The master \
             continues without it",
            PATIENCE.as_secs()
        );
        Some((epoch, false))
    }

    /// Lets the states under way be written, but does not wait longer than this for a disk that
    /// hangs.
    pub(crate) fn stop(&self, longest: Duration) {
        self.states.take();
        let until = Micros::boottime() + longest;
        loop {
            match self.results.recv_timeout(until.since(Micros::boottime())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    warn!("stopping while the state file is still being written");
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
    fn a_save_that_takes_too_long_is_given_up_once_and_its_late_result_is_ignored() {
        let epoch = |counter| MapEpoch { term: 1, counter };
        let start = Micros(1_000_000);
        let mut under_way = UnderWay::default();
        assert_eq!((under_way.due(), under_way.give_up(start)), (Micros::NEVER, None));
        under_way.saves.push_back((epoch(1), start));
        under_way.saves.push_back((epoch(2), start + PATIENCE));
        assert_eq!(under_way.give_up(start + PATIENCE / 2), None);
        assert_eq!(under_way.give_up(start + PATIENCE), Some(epoch(1)));
        assert_eq!(under_way.give_up(start + PATIENCE), None, "once");
        assert_eq!(under_way.due(), start + PATIENCE * 2);
        assert!(!under_way.ended(), "the first one is late");
        assert!(under_way.ended(), "the second one is waited for");
        assert_eq!(under_way.due(), Micros::NEVER);
    }

    #[test]
    fn a_missing_folder_is_accepted_unless_it_would_lie_under_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(may_save(&file).is_ok());
        assert!(may_save(&folder.path().join("a/b/state")).is_ok());
        assert!(may_save(Path::new("state")).is_ok());
        assert!(may_save(&file.join("state")).is_err());
    }

    #[test]
    fn states_under_way_are_written_before_the_saver_has_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/state");
        let (stopper, _wakes) = Stopper::new().unwrap();
        let saver = Saver::start(path.clone(), stopper).unwrap();
        let epoch = |counter| MapEpoch { term: 1, counter };
        for counter in 1..=20 {
            let (cluster, known) = ("test".to_owned(), epoch(1));
            let state = State { cluster, epoch: epoch(counter), known, servers: Vec::new() };
            assert!(saver.save(state));
        }
        saver.stop(Duration::from_secs(60));
        let saved = load(&path, "test").unwrap().expect("a state");
        assert_eq!(saved.epoch, epoch(20));
    }
}
