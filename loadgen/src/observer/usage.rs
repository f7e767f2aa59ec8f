//! The processor time and the memory of the target's processes, by the kernel's own accounts, while a run lasts.
//!
//! ```text
//! --target-pid, --target-unit ─► Processes ─ look ─► /proc/PID: task/*/schedstat, stat, status
//! UsageWatch: a thread that looks once per interval, and notes the generator's own time too
//! ```
//! The time of each thread is exact to nanoseconds (`schedstat`); how much of it was spent in the kernel is known to
//! the kernel's tick only (`stat`). A thread that ends between two looks loses the time since the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use standin_protocol::time::Micros;

use crate::threads;

/// The processes of a target on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// By their numbers.
    pub pids: Vec<u32>,
    /// By systemd's units.
    pub units: Vec<String>,
}

/// Processes that can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// No such process.
    #[error("--target-pid {pid}: {error}; give the number of a process of this machine that runs")]
    Pid {
        /// Its number.
        pid: u32,
        /// The error.
        error: io::Error,
    },
    /// No such unit.
    #[error(
        "--target-unit {0}: there is no such running unit in {CGROUPS}; `systemctl status {0}` shows whether it runs"
    )]
    Unit(String),
    /// No thread.
    #[error("watching the target's processes: {0}")]
    Thread(#[from] io::Error),
}

const CGROUPS: &str = "/sys/fs/cgroup";
/// The depth below which units are not looked for.
const DEPTH_MAX: usize = 5;

/// Sums over all processes and threads that were ever seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Processor time.
    pub cpu: Duration,
    /// Of it in the processes' own code, to the tick.
    pub user: Duration,
    /// Of it in the kernel, to the tick.
    pub system: Duration,
    /// Memory in use now.
    pub resident_bytes: u64,
}

/// One look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The time.
    pub at: Micros,
    /// Processor time of this process, the generator.
    pub generator: Duration,
    /// The target's processes; `None`: none are known.
    pub target: Option<Used>,
}

/// The processes followed.
#[derive(Debug, Default)]
pub struct Processes {
    proc: PathBuf,
    pids: BTreeSet<u32>,
    units: Vec<PathBuf>,
    /// Each incarnation: a number may be given again to another process.
    known: BTreeMap<(u32, u64), Known>,
    tick: Duration,
}

#[derive(Debug, Default)]
struct Known {
    name: String,
    threads: BTreeMap<u32, u64>,
    user_ticks: u64,
    system_ticks: u64,
    resident_bytes: u64,
}

impl Processes {
    /// Finds the processes; `None`: none were asked for.
    ///
    /// # Errors
    /// [`UsageError`].
    pub fn find(chosen: &Chosen) -> Result<Option<Self>, UsageError> {
        if chosen.pids.is_empty() && chosen.units.is_empty() {
            return Ok(None);
        }
        let mut units = Vec::new();
        for unit in &chosen.units {
            let found = unit_folder(Path::new(CGROUPS), unit, DEPTH_MAX);
            units.push(found.ok_or_else(|| UsageError::Unit(unit.clone()))?);
        }
        let per_s = rustix::param::clock_ticks_per_second().max(1);
        let mut processes = Self {
            proc: "/proc".into(),
            pids: chosen.pids.iter().copied().collect(),
            units,
            known: BTreeMap::new(),
            tick: Duration::from_secs_f64(1.0 / per_s as f64),
        };
        for pid in &chosen.pids {
            processes.look_at(*pid).map_err(|error| UsageError::Pid { pid: *pid, error })?;
        }
        for (folder, unit) in processes.units.clone().iter().zip(&chosen.units) {
            if members(folder).is_empty() {
                return Err(UsageError::Unit(unit.clone()));
            }
        }
        Ok(Some(processes))
    }

    /// The names of all that were seen, with their numbers: `memcached[1234]`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.known.iter().map(|((pid, _), known)| format!("{}[{pid}]", known.name)).collect()
    }

    /// Looks at all of them. One that is gone keeps the time that it had used, and uses no memory.
    pub fn look(&mut self) -> Used {
        let mut pids = self.pids.clone();
        self.units.iter().for_each(|unit| pids.extend(members(unit)));
        self.known.values_mut().for_each(|known| known.resident_bytes = 0);
        for pid in pids {
            // It has ended.
            let _ = self.look_at(pid);
        }
        let mut used = Used::default();
        for known in self.known.values() {
            used.cpu += Duration::from_nanos(known.threads.values().sum());
            used.user +=
                self.tick.saturating_mul(u32::try_from(known.user_ticks).unwrap_or(u32::MAX));
            used.system +=
                self.tick.saturating_mul(u32::try_from(known.system_ticks).unwrap_or(u32::MAX));
            used.resident_bytes += known.resident_bytes;
        }
        used
    }

    fn look_at(&mut self, pid: u32) -> io::Result<()> {
        let folder = self.proc.join(pid.to_string());
        let stat = std::fs::read_to_string(folder.join("stat"))?;
        let stat = Stat::read(&stat).ok_or(io::ErrorKind::InvalidData)?;
        let known = self.known.entry((pid, stat.started)).or_default();
        known.name = stat.name;
        (known.user_ticks, known.system_ticks) = (stat.user_ticks, stat.system_ticks);
        for task in std::fs::read_dir(folder.join("task"))? {
            let task = task?;
            // A thread that has just ended keeps its last figure.
            let Ok(text) = std::fs::read_to_string(task.path().join("schedstat")) else { continue };
            let tid = task.file_name().to_str().and_then(|name| name.parse().ok());
            let ns = text.split_whitespace().next().and_then(|ns| ns.parse().ok());
            if let Some((tid, ns)) = tid.zip(ns) {
                known.threads.insert(tid, ns);
            }
        }
        let status = std::fs::read_to_string(folder.join("status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        known.resident_bytes = kib.unwrap_or(0) * 1_024;
        Ok(())
    }
}

struct Stat {
    name: String,
    user_ticks: u64,
    system_ticks: u64,
    started: u64,
}

impl Stat {
    /// Reads `/proc/PID/stat`: the name is in parentheses, and may have any characters.
    fn read(text: &str) -> Option<Self> {
        let (head, rest) = text.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse().ok();
        Some(Self {
            name: name.to_owned(),
            user_ticks: number(14)?,
            system_ticks: number(15)?,
            started: number(22)?,
        })
    }
}

/// The folder of a unit's control group.
fn unit_folder(under: &Path, unit: &str, depth: usize) -> Option<PathBuf> {
    let entries = std::fs::read_dir(under).ok()?;
    let folders: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    let full = if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") };
    let own = folders.iter().find(|folder| folder.file_name().is_some_and(|name| *name == *full));
    own.cloned().or_else(|| {
        let mut below = folders.iter().filter(|_| depth > 0);
        below.find_map(|folder| unit_folder(folder, unit, depth - 1))
    })
}

/// The processes in a control group and below.
fn members(folder: &Path) -> Vec<u32> {
    let own = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<u32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(members(&entry.path()));
        }
    }
    pids
}

/// Time that this process has computed, over all threads.
#[must_use]
pub fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A thread that looks once per interval.
#[derive(Debug)]
pub struct UsageWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    interval: Duration,
}

#[derive(Debug)]
struct Inner {
    processes: Option<Processes>,
    looks: Vec<Look>,
    is_stopped: bool,
}

/// All looks of a watch, and the names of the processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// In order of time.
    pub looks: Vec<Look>,
    /// The target's processes.
    pub names: Vec<String>,
}

impl UsageWatch {
    /// Looks for the first time, and starts looking.
    ///
    /// # Errors
    /// [`UsageError::Thread`].
    pub fn start(processes: Option<Processes>, interval: Duration) -> Result<Self, UsageError> {
        let inner = Inner { processes, looks: Vec::new(), is_stopped: false };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), interval });
        shared.inner().look();
        let own = Arc::clone(&shared);
        let thread = threads::spawn("usage", move || {
            loop {
                standin_protocol::fault::point();
                let mut inner = own.inner();
                if inner.is_stopped {
                    return;
                }
                let next = inner.looks.last().map_or(Micros(0), |look| look.at) + own.interval;
                let left = next.since(Micros::boottime());
                if left.is_zero() {
                    inner.look();
                }
                drop(inner);
                std::thread::park_timeout(left);
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Looks once more, and ends.
    #[must_use]
    pub fn finish(self) -> Watched {
        let mut inner = self.shared.inner();
        inner.look();
        inner.is_stopped = true;
        let names = inner.processes.as_ref().map(Processes::names).unwrap_or_default();
        Watched { looks: std::mem::take(&mut inner.looks), names }
    }
}

impl Drop for UsageWatch {
    fn drop(&mut self) {
        self.shared.inner().is_stopped = true;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn look(&mut self) {
        let target = self.processes.as_mut().map(Processes::look);
        self.looks.push(Look { at: Micros::boottime(), generator: own_cpu(), target });
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use standin_testkit::{Scratch, wait_until};

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    struct Busy(Child);

    impl Busy {
        fn start(script: &str) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null());
            Self(command.spawn().expect("sh"))
        }

        fn chosen(&self) -> Chosen {
            Chosen { pids: vec![self.0.id()], units: Vec::new() }
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_that_computes_is_told_from_one_that_waits() {
        let busy = Busy::start("while :; do :; done");
        let idle = Busy::start("exec sleep 600");
        let mut watched = Processes::find(&busy.chosen()).unwrap().unwrap();
        let enough = Duration::from_millis(200);
        wait_until(SOON, "200 ms of work", || watched.look().cpu > enough);
        let used = watched.look();
        assert!(used.resident_bytes > 0);
        assert!(watched.names()[0].starts_with("sh["), "{:?}", watched.names());
        // The tick may be 10 ms.
        wait_until(SOON, "user time", || watched.look().user > enough / 2);
        let mut waiting = Processes::find(&idle.chosen()).unwrap().unwrap();
        assert!(waiting.look().cpu < enough, "{:?}", waiting.look());
    }

    #[test]
    fn what_an_ended_process_has_used_is_kept() {
        let mut busy = Busy::start("while :; do :; done");
        let mut watched = Processes::find(&busy.chosen()).unwrap().unwrap();
        wait_until(SOON, "some work", || watched.look().cpu > Duration::from_millis(50));
        busy.0.kill().unwrap();
        busy.0.wait().unwrap();
        let after = watched.look();
        assert!(after.cpu > Duration::from_millis(50) && after.resident_bytes == 0, "{after:?}");
        assert_eq!(watched.look(), after, "nothing is added");
    }

    #[test]
    fn what_does_not_run_is_refused() {
        let mut busy = Busy::start("exit 0");
        busy.0.wait().unwrap();
        let error = Processes::find(&busy.chosen()).unwrap_err().to_string();
        assert!(error.starts_with("--target-pid "), "{error}");
        let chosen = Chosen { pids: Vec::new(), units: vec!["no-such-unit".to_owned()] };
        let error = Processes::find(&chosen).unwrap_err().to_string();
        assert!(error.contains("systemctl status no-such-unit"), "{error}");
        assert!(Processes::find(&Chosen::default()).unwrap().is_none());
    }

    #[test]
    fn a_unit_is_found_below_its_slice_with_all_its_processes() {
        let scratch = Scratch::new("usage");
        let unit = scratch.file("system.slice/cache.service");
        std::fs::create_dir_all(unit.join("child")).unwrap();
        std::fs::write(unit.join("cgroup.procs"), "11\n12\n").unwrap();
        std::fs::write(unit.join("child/cgroup.procs"), "13\n").unwrap();
        for name in ["cache", "cache.service"] {
            let found = unit_folder(scratch.path(), name, DEPTH_MAX).unwrap();
            assert_eq!((found.clone(), members(&found)), (unit.clone(), vec![11, 12, 13]));
        }
        assert!(unit_folder(scratch.path(), "cach", DEPTH_MAX).is_none());
    }

    #[test]
    fn a_name_may_have_parentheses() {
        let text = "7 (a) (b) S 1 7 7 0 -1 4194304 1 0 0 0 31 17 0 0 20 0 1 0 99 1 1";
        let stat = Stat::read(text).unwrap();
        assert_eq!((stat.name.as_str(), stat.user_ticks), ("a) (b", 31));
        assert_eq!((stat.system_ticks, stat.started), (17, 99));
        assert!(Stat::read("7 (a").is_none());
    }

    #[test]
    fn the_watch_looks_once_per_interval_and_at_both_ends() {
        let watch = UsageWatch::start(None, Duration::from_millis(100)).unwrap();
        let shared = Arc::clone(&watch.shared);
        wait_until(SOON, "three looks", || shared.inner().looks.len() >= 3);
        let looks = watch.finish().looks;
        assert!(looks.len() >= 4 && looks.is_sorted_by_key(|look| look.at), "{looks:?}");
        assert!(looks.is_sorted_by_key(|look| look.generator));
    }
}
