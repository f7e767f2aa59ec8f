//! The figures of the process itself, from `/proc`, with the names that all programs' have in
//! Prometheus; and the CPU time of each of its threads.

use procfs::process::{LimitValue, Process};
use standin_protocol::counters::{Sample, samples};

use crate::exposition::Group;
use crate::mishaps;

/// The prefix of [`ProcessFigures`].
pub const PROCESS: &str = "process";
/// The prefix of all others.
pub const PREFIX: &str = "standin";

standin_protocol::counters! {
    /// The figures of the process.
    pub struct ProcessFigures {
        /// CPU time that the process has used, in user and system mode.
        Counter cpu_us,
        /// Memory of the process that is in RAM.
        Gauge resident_memory_bytes,
        /// Address space of the process.
        Gauge virtual_memory_bytes,
        /// Open files and sockets.
        Gauge open_fds,
        /// Largest number of open files and sockets that the system allows.
        Gauge max_fds,
        /// Threads.
        Gauge threads,
        /// Start of the process, since 1970.
        Gauge start_time_ms,
    }
}

standin_protocol::counters! {
    /// The figures of the threads of this name.
    pub struct ThreadFigures by ["thread"] {
        /// CPU time that the threads of this name have used, in user and system mode. For a shard, its
        /// rate is the part of a core that the shard is busy.
        Counter thread_cpu_us,
    }
}

standin_protocol::counters! {
    /// The build of the program.
    pub struct BuildFigures by ["version", "role"] {
        /// 1; the labels say which version runs in which role.
        Gauge build_info,
    }
}

standin_protocol::counters! {
    /// The figures of this process' ports of HTTP.
    pub struct HttpFigures {
        /// Requests to the port of the metrics or of the dashboard that were refused because of a wrong user or
        /// password.
        Counter http_auth_failures,
        /// Connections to the port of the metrics or of the dashboard that were closed because TLS failed on them, or
        /// was spoken where there is none, or was not spoken where it has to be.
        Counter http_tls_failures,
    }
}

/// Returns the figures of this process, which runs in this role. What `/proc` does not tell is left
/// out.
#[must_use]
pub fn groups(role: &str) -> Vec<Group> {
    let build = BuildFigures { build_info: 1 }.values();
    let labels = [env!("CARGO_PKG_VERSION"), role];
    let mut own: Vec<Sample> = samples(BuildFigures::FIGURES, build, &labels).collect();
    let http = HttpFigures {
        http_auth_failures: mishaps::failed_logins(),
        http_tls_failures: mishaps::tls_failures(),
    }
    .values();
    own.extend(samples(HttpFigures::FIGURES, http, &[]));
    let mut of_process = Vec::new();
    if let Ok(process) = Process::myself() {
        of_process.extend(figures(&process));
        own.extend(threads(&process));
    }
    vec![Group { prefix: PREFIX, samples: own }, Group { prefix: PROCESS, samples: of_process }]
}

fn figures(process: &Process) -> impl Iterator<Item = Sample> + use<> {
    let figures = || -> procfs::ProcResult<ProcessFigures> {
        let stat = process.stat()?;
        let per_second = procfs::ticks_per_second();
        let start_ms = procfs::boot_time_secs()? * 1_000 + stat.starttime * 1_000 / per_second;
        let max_fds = match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(most) => most,
            LimitValue::Unlimited => u64::MAX,
        };
        Ok(ProcessFigures {
            cpu_us: cpu_us(stat.utime + stat.stime),
            resident_memory_bytes: stat.rss * procfs::page_size(),
            virtual_memory_bytes: stat.vsize,
            open_fds: process.fd_count()? as u64,
            max_fds,
            threads: u64::try_from(stat.num_threads).unwrap_or(0),
            start_time_ms: start_ms,
        })
    };
    figures().into_iter().flat_map(|f| samples(ProcessFigures::FIGURES, f.values(), &[]))
}

fn threads(process: &Process) -> Vec<Sample> {
    let mut by_name = std::collections::BTreeMap::<String, u64>::new();
    let Ok(tasks) = process.tasks() else { return Vec::new() };
    // A thread may end while it is looked at.
    for stat in tasks.filter_map(|task| task.ok()?.stat().ok()) {
        *by_name.entry(stat.comm).or_default() += cpu_us(stat.utime + stat.stime);
    }
    let figures = |(name, thread_cpu_us): (String, u64)| {
        let values = ThreadFigures { thread_cpu_us }.values();
        samples(ThreadFigures::FIGURES, values, &[&*name]).collect::<Vec<_>>()
    };
    by_name.into_iter().flat_map(figures).collect()
}

fn cpu_us(ticks: u64) -> u64 {
    ticks * 1_000_000 / procfs::ticks_per_second()
}

#[cfg(test)]
mod tests {
    use standin_protocol::counters::SampleValue;

    use super::*;

    const WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

    fn number(groups: &[Group], name: &str, labels: &[&str]) -> Option<u64> {
        let mut samples = groups.iter().flat_map(|group| &group.samples);
        let sample = samples.find(|s| s.figure.name == name && s.labels == labels)?;
        let SampleValue::Number(value) = sample.value else { return None };
        Some(value)
    }

    #[test]
    fn the_figures_are_those_of_this_process() {
        let groups = groups("test");
        let of = |name| number(&groups, name, &[]).unwrap_or_else(|| panic!("{name}: {groups:?}"));
        assert!((1 << 20..1 << 40).contains(&of("resident_memory_bytes")));
        assert!(of("virtual_memory_bytes") >= of("resident_memory_bytes"));
        assert!((3..=of("max_fds")).contains(&of("open_fds")));
        let file = std::fs::File::open("/proc/self/stat").expect("it is there");
        assert!(number(&super::groups("test"), "open_fds", &[]) > Some(3));
        drop(file);
        let scratch = standin_testkit::Scratch::new("process-start");
        std::fs::write(scratch.file("now"), "").expect("the folder is ours");
        let now = std::fs::metadata(scratch.file("now")).and_then(|file| file.modified());
        let now = now.ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let now_ms = u64::try_from(now.expect("after 1970").as_millis()).expect("not so far on");
        // The start is counted from that of the machine, which has whole seconds.
        let started_ms = of("start_time_ms");
        assert!(
            (now_ms - 3_600_000..now_ms + 2_000).contains(&started_ms),
            "{started_ms} {now_ms}"
        );
        assert_eq!(number(&groups, "build_info", &[env!("CARGO_PKG_VERSION"), "test"]), Some(1));
    }

    #[test]
    fn each_thread_has_its_cpu_time() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let body = move || ended.recv();
        let thread = std::thread::Builder::new().name("idle-for-test".to_owned());
        let thread = thread.spawn(body).expect("a thread");
        standin_testkit::wait_until(WITHIN, "the thread has its name", || {
            number(&groups("test"), "thread_cpu_us", &["idle-for-test"]).is_some()
        });
        drop(end);
        assert!(thread.join().expect("it ends").is_err());
    }
}
