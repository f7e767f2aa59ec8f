//! The files of `/proc` and `/sys` that judging looks at.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::Path;

use super::Root;
use crate::cgroups::{Limit, MOUNTS};
use crate::facts::{Files, PROCESSES, Reading, Unread};
use crate::parse;

/// The largest part of a file that is read.
const FILE_BYTES: u64 = 1 << 20;
/// The largest number of names that are taken from a folder.
const NAMES: usize = 16_384;

/// Files of the whole host.
const FIXED: &[&str] = &[
    "/proc/cmdline",
    "/proc/interrupts",
    "/proc/meminfo",
    "/proc/net/route",
    "/proc/net/softnet_stat",
    "/proc/swaps",
    "/proc/sys/fs/file-max",
    "/proc/sys/fs/nr_open",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/io_uring_disabled",
    "/proc/sys/kernel/numa_balancing",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/net/core/busy_poll",
    "/proc/sys/net/core/busy_read",
    "/proc/sys/net/core/netdev_max_backlog",
    "/proc/sys/net/core/somaxconn",
    "/proc/sys/net/ipv4/tcp_available_ulp",
    "/proc/sys/net/ipv4/tcp_max_syn_backlog",
    "/proc/sys/net/ipv4/tcp_syncookies",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/swappiness",
    "/proc/sys/vm/zone_reclaim_mode",
    "/sys/devices/system/clocksource/clocksource0/available_clocksource",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    "/sys/devices/system/cpu/isolated",
    "/sys/devices/system/cpu/nohz_full",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/smt/active",
    "/sys/devices/system/node/online",
    "/sys/kernel/mm/transparent_hugepage/defrag",
    "/sys/kernel/mm/transparent_hugepage/enabled",
];

const CORES: &str = "/sys/devices/system/cpu";
const NODES: &str = "/sys/devices/system/node";
const VULNERABILITIES: &str = "/sys/devices/system/cpu/vulnerabilities";

/// Collects files.
pub(super) struct Reader<'r> {
    root: &'r Root,
    files: Files,
}

impl<'r> Reader<'r> {
    pub(super) fn new(root: &'r Root) -> Self {
        Self { root, files: Files::default() }
    }

    pub(super) fn finish(self) -> Files {
        self.files
    }

    /// Reads what belongs to the host, and to a process.
    pub(super) fn host(&mut self, process: &str) {
        for path in FIXED {
            self.file(path);
        }
        for name in ["limits", "cgroup"] {
            self.file(&format!("/proc/{process}/{name}"));
        }
        self.file(MOUNTS);
        self.cgroups(process);
        self.cores();
        for node in self.folder(NODES, |name| is_numbered(name, "node")) {
            self.file(&format!("{NODES}/{node}/cpulist"));
        }
        for name in self.folder(VULNERABILITIES, |_| true) {
            self.file(&format!("{VULNERABILITIES}/{name}"));
        }
        self.processes();
    }

    /// The names of all processes. A process may end meanwhile.
    fn processes(&mut self) {
        let all = self.folder("/proc", |name| name.bytes().all(|byte| byte.is_ascii_digit()));
        let names = all.iter().filter_map(|id| self.read(&format!("/proc/{id}/comm")).ok());
        let names: BTreeSet<String> = names.map(|name| name.trim().to_owned()).collect();
        self.files.folders.remove("/proc");
        // A copy of files has no processes, which does not say that the host had none.
        if !names.is_empty() {
            self.files.folders.insert(PROCESSES.to_owned(), names);
        }
    }

    /// The limits of a control group and of all above it.
    fn cgroups(&mut self, process: &str) {
        let own = self.files.text(&format!("/proc/{process}/cgroup")).ok();
        let Some((own, mounts)) = own.zip(self.files.text(MOUNTS).ok()) else { return };
        let mut files = BTreeSet::new();
        for limit in Limit::ALL {
            let Ok(Some(groups)) = limit.groups(own, mounts) else { continue };
            for name in limit.files(groups.version) {
                files.extend(groups.folders.iter().map(|folder| format!("{folder}/{name}")));
            }
        }
        files.iter().for_each(|path| self.file(path));
    }

    fn cores(&mut self) {
        for core in self.folder(CORES, |name| is_numbered(name, "cpu")) {
            for name in [
                "topology/thread_siblings_list",
                "cpufreq/scaling_governor",
                "cpufreq/scaling_available_governors",
            ] {
                self.file(&format!("{CORES}/{core}/{name}"));
            }
            let idle = format!("{CORES}/{core}/cpuidle");
            for state in self.folder(&idle, |name| is_numbered(name, "state")) {
                for name in ["name", "latency", "disable"] {
                    self.file(&format!("{idle}/{state}/{name}"));
                }
            }
        }
    }

    /// The card of the default route.
    pub(super) fn default_card(&self) -> Option<String> {
        let name = self.files.text("/proc/net/route").ok().and_then(parse::default_route)?;
        super::is_card(self.root, name).then(|| name.to_owned())
    }

    /// Reads what belongs to a card. Returns whether it is loopback.
    pub(super) fn card(&mut self, name: &str) -> bool {
        let card = format!("/sys/class/net/{name}");
        for file in [
            "type",
            "operstate",
            "device/numa_node",
            "device/../numa_node",
            "device/local_cpulist",
            "device/../local_cpulist",
            "statistics/rx_missed_errors",
            "statistics/rx_fifo_errors",
            "statistics/rx_dropped",
        ] {
            self.file(&format!("{card}/{file}"));
        }
        let queues = format!("{card}/queues");
        for queue in self.folder(&queues, |_| true) {
            self.file(&format!("{queues}/{queue}/rps_cpus"));
            self.file(&format!("{queues}/{queue}/xps_cpus"));
        }
        // A paravirtual card is a device on its bus, and the interrupts are those of the level above.
        for folder in ["device/msi_irqs", "device/../msi_irqs"] {
            for irq in self.folder(&format!("{card}/{folder}"), |_| true) {
                for file in ["effective_affinity_list", "smp_affinity_list"] {
                    self.file(&format!("/proc/irq/{irq}/{file}"));
                }
            }
        }
        // ARPHRD_LOOPBACK.
        self.files.text(&format!("{card}/type")) == Ok("772")
    }

    fn file(&mut self, path: &str) {
        let text = self.read(path);
        self.files.put(path, text);
    }

    fn read(&self, path: &str) -> Reading<String> {
        read_file(&self.root.path(path)).map_err(unread)
    }

    fn folder(&mut self, path: &str, is_wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let Ok(entries) = std::fs::read_dir(self.root.path(path)) else { return BTreeSet::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let names: BTreeSet<String> = names.filter(|name| is_wanted(name)).take(NAMES).collect();
        self.files.folders.insert(path.to_owned(), names.clone());
        names
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unread(error: io::Error) -> Unread {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unread::Absent,
        io::ErrorKind::PermissionDenied => Unread::Denied,
        // Files of hardware that has not got what they are about.
        _ if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Unread::Absent,
        _ if error.raw_os_error() == Some(libc::ENOENT) => Unread::Absent,
        _ => Unread::Failed(format!("reading it fails: {error}")),
    }
}

/// Whether a name is this word and a number.
fn is_numbered(name: &str, word: &str) -> bool {
    let number = name.strip_prefix(word);
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
}
