//! A host made of files, as the kernel writes them, which is as the guides say until a test changes it.

use std::path::PathBuf;

use standin_config::{ClusterConfig, OriginConfig};
use standin_doctor::read::{Look, Root, look};
use standin_doctor::{Finding, Report, Verdict, Wanted, judge};
use standin_testkit::Scratch;

/// A host of 8 cores, two threads each, whose card `eth9` has four queues.
pub(crate) struct Host {
    scratch: Scratch,
}

/// What the kernel shows of a host that is as wanted.
const FILES: &[(&str, &str)] = &[
    ("proc/cmdline", "root=/dev/sda1 isolcpus=0-3\n"),
    (
        "proc/meminfo",
        "MemTotal:       65536000 kB\nHugePages_Total:       0\nHugepagesize:       2048 kB\n",
    ),
    ("proc/net/route", "Iface\tDestination\neth9\t00000000\t0\n"),
    ("proc/net/softnet_stat", "00000001 00000000 00000000\n00000001 00000000 00000000\n"),
    ("proc/swaps", "Filename Type Size Used Priority\n"),
    (
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n\
         Max open files            1024                 524288               files     \n\
         Max locked memory         8388608              8388608              bytes     \n",
    ),
    ("proc/self/cgroup", "0::/system.slice/standin.service\n"),
    (
        "proc/self/mountinfo",
        "30 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
    ),
    ("proc/1/comm", "systemd\n"),
    ("proc/sys/fs/file-max", "9223372036854775807\n"),
    ("proc/sys/fs/nr_open", "1048576\n"),
    ("proc/sys/kernel/hostname", "metal1\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    ("proc/sys/kernel/numa_balancing", "1\n"),
    ("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n"),
    ("proc/sys/kernel/random/boot_id", "9d0a6cf6-2a55-4c8c-8c8f-4a9b4a6b0a4e\n"),
    ("proc/sys/net/core/busy_poll", "0\n"),
    ("proc/sys/net/core/busy_read", "0\n"),
    ("proc/sys/net/core/netdev_max_backlog", "1000\n"),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "4096\n"),
    ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
    ("proc/sys/vm/overcommit_memory", "0\n"),
    ("proc/sys/vm/swappiness", "60\n"),
    ("proc/sys/vm/zone_reclaim_mode", "0\n"),
    ("sys/class/net/eth9/device/local_cpulist", "0-3\n"),
    ("sys/class/net/eth9/device/numa_node", "0\n"),
    ("sys/class/net/eth9/statistics/rx_dropped", "0\n"),
    ("sys/class/net/eth9/statistics/rx_fifo_errors", "0\n"),
    ("sys/class/net/eth9/statistics/rx_missed_errors", "0\n"),
    ("sys/class/net/eth9/type", "1\n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("sys/devices/system/cpu/isolated", "0-3\n"),
    ("sys/devices/system/cpu/nohz_full", "(null)\n"),
    ("sys/devices/system/cpu/online", "0-7\n"),
    ("sys/devices/system/cpu/smt/active", "1\n"),
    ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n"),
    ("sys/devices/system/cpu/vulnerabilities/spectre_v1", "Mitigation: usercopy barriers\n"),
    ("sys/devices/system/node/node0/cpulist", "0-7\n"),
    ("sys/devices/system/node/online", "0\n"),
    ("sys/fs/cgroup/system.slice/cpu.max", "max 100000\n"),
    ("sys/fs/cgroup/system.slice/cpuset.cpus.effective", "0-7\n"),
    ("sys/fs/cgroup/system.slice/memory.max", "max\n"),
    ("sys/fs/cgroup/system.slice/standin.service/cpu.max", "max 100000\n"),
    ("sys/fs/cgroup/system.slice/standin.service/memory.max", "51539607552\n"),
    ("sys/kernel/mm/transparent_hugepage/defrag", "always defer defer+madvise [madvise] never\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
];

impl Host {
    pub(crate) fn new() -> Self {
        let host = Self { scratch: Scratch::new("doctor") };
        for (path, text) in FILES {
            host.put(path, text);
        }
        let mut interrupts = "            CPU0       CPU1\n".to_owned();
        for core in 0..8 {
            let of = |name: &str| format!("sys/devices/system/cpu/cpu{core}/{name}");
            let siblings = format!("{},{}\n", core % 4, core % 4 + 4);
            host.put(&of("topology/thread_siblings_list"), &siblings);
            host.put(&of("cpufreq/scaling_governor"), "performance\n");
            host.put(&of("cpufreq/scaling_available_governors"), "performance powersave\n");
            for (state, name, latency) in [(0, "POLL", "0"), (1, "C1", "2")] {
                host.put(&of(&format!("cpuidle/state{state}/name")), &format!("{name}\n"));
                host.put(&of(&format!("cpuidle/state{state}/latency")), &format!("{latency}\n"));
                host.put(&of(&format!("cpuidle/state{state}/disable")), "0\n");
            }
        }
        for queue in 0..4 {
            let irq = 31 + queue;
            interrupts += &format!(" {irq}:   5   6   PCI-MSI 12-edge   eth9-TxRx-{queue}\n");
            host.put(&format!("sys/class/net/eth9/device/msi_irqs/{irq}"), "msix\n");
            host.put(&format!("proc/irq/{irq}/smp_affinity_list"), &format!("{}\n", 4 + queue));
            host.put(&format!("sys/class/net/eth9/queues/rx-{queue}/rps_cpus"), "00\n");
            host.put(
                &format!("sys/class/net/eth9/queues/tx-{queue}/xps_cpus"),
                &format!("{:02x}\n", 1 << queue),
            );
        }
        host.put("proc/interrupts", &interrupts);
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.file(name)
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("not the root")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    pub(crate) fn root(&self) -> Root {
        Root::copy(self.scratch.path().to_owned())
    }

    /// Judges it for a server with these cores.
    pub(crate) fn judged(&self, change: impl FnOnce(&mut ClusterConfig)) -> Report {
        let wanted = wanted(change);
        let looked = Look { root: self.root(), process: None, cards: Vec::new(), origin: None };
        judge(&look(&looked, &wanted), &wanted)
    }
}

pub(crate) fn wanted(change: impl FnOnce(&mut ClusterConfig)) -> Wanted {
    let address = |port: u16| ([127, 0, 0, 1], port).into();
    let origin = OriginConfig::sqlite("/none/x");
    let mut cluster =
        ClusterConfig::new("c", address(1), origin).with_group("g", [("a1", address(2))]);
    cluster.servers[0].shards = 4;
    cluster.servers[0].cores = vec![0, 1, 2, 3];
    change(&mut cluster);
    Wanted::of(&cluster, &[0], "cluster.toml")
}

/// The findings that are to be acted upon.
pub(crate) fn bad(report: &Report) -> Vec<String> {
    let bad = report.findings.iter().filter(|finding| finding.verdict <= Verdict::Advice);
    bad.map(|finding| format!("{}: {}", finding.title(), finding.found)).collect()
}

pub(crate) fn find<'r>(report: &'r Report, setting: &str) -> &'r Finding {
    let found = report.findings.iter().find(|finding| finding.setting == setting);
    found.unwrap_or_else(|| panic!("no {setting}: {report:#?}"))
}
