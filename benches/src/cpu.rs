//! CPU time of another process's threads, and pinning.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Pins the calling thread.
///
/// # Errors
/// There is no such core, or this process may not use it.
pub fn pin_self(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Allows the calling thread to run on every core again.
///
/// # Errors
/// The kernel refuses.
pub fn unpin_self() -> io::Result<()> {
    let mut set = CpuSet::new();
    for core in 0..CpuSet::MAX_CPU {
        set.set(core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Pins all threads that a process has now.
///
/// # Errors
/// As [`pin_self`], or the process has ended.
pub fn pin_process(pid: u32, core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    for (thread, _) in threads(pid)? {
        sched_setaffinity(i32::try_from(thread).ok().and_then(Pid::from_raw), &set)?;
    }
    Ok(())
}

/// CPU time of the calling thread so far.
#[must_use]
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Ids and names of a process's threads.
fn threads(pid: u32) -> io::Result<Vec<(u32, String)>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let name = fs::read_to_string(entry.path().join("comm"))?;
        threads.push((id, name.trim_end().to_owned()));
    }
    Ok(threads)
}

/// Threads whose CPU time is counted.
#[derive(Debug)]
pub struct Meter {
    files: Vec<String>,
}

impl Meter {
    /// The threads of `pid` whose name begins with `prefix`; all with an empty one.
    ///
    /// # Errors
    /// The process has ended, or has no such thread.
    pub fn new(pid: u32, prefix: &str) -> io::Result<Self> {
        let files: Vec<String> = threads(pid)?
            .into_iter()
            .filter(|(_, name)| name.starts_with(prefix))
            .map(|(thread, _)| format!("/proc/{pid}/task/{thread}/schedstat"))
            .collect();
        if files.is_empty() {
            return Err(io::Error::other(format!("no thread of {pid} is named {prefix}…")));
        }
        Ok(Self { files })
    }

    /// CPU time so far, of user and kernel.
    ///
    /// # Errors
    /// A thread has ended.
    pub fn read(&self) -> io::Result<Duration> {
        let mut total_ns = 0;
        for file in &self.files {
            let text = fs::read_to_string(file)?;
            let field = text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
            total_ns += field.ok_or_else(|| io::Error::other(format!("{file}: {text:?}")))?;
        }
        Ok(Duration::from_nanos(total_ns))
    }
}
