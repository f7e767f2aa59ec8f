//! Judging answers whatever the files hold.

use proptest::prelude::*;
use standin_config::{ClusterConfig, OriginConfig};

use super::*;
use crate::facts::{Adaptive, Card, Channels, Clock, Files, Rings, Uring, Way, WayAnswer};

fn card() -> Card {
    Card {
        name: "eth0".to_owned(),
        is_loopback: false,
        rings: Ok(Rings { receive: 256, receive_max: 4_096 }),
        channels: Ok(Channels { used: 2, max: 8 }),
        adaptive: Ok(Adaptive { receive: true, send: true, receive_us: 0 }),
        gro: Ok(false),
        tso: Ok(true),
        lro: Ok(true),
        spread: Ok(vec![0, 0, 0]),
    }
}

fn facts(files: Files) -> Facts {
    Facts {
        files,
        process: "self".to_owned(),
        uring: Ok(Uring { hindrance: None, missing: vec!["SEND"], used: 6 }),
        clock: Ok(Clock { is_synchronised: false, error_max_us: 0 }),
        cards: vec![card()],
        ways: vec![Way { place: "x".to_owned(), answered: Ok(WayAnswer::Writable) }],
    }
}

fn wanted(cores: Vec<usize>) -> Wanted {
    let address = |port: u16| ([127, 0, 0, 1], port).into();
    let origin = OriginConfig::sqlite("/none/x");
    let mut cluster =
        ClusterConfig::new("c", address(1), origin).with_group("g", [("a1", address(2))]);
    cluster.servers[0].shards = 2;
    cluster.servers[0].cores = cores;
    Wanted::of(&cluster, &[0], "cluster.toml")
}

/// Every path that judging looks at, with some of each that a host has several of.
fn paths() -> Vec<String> {
    let fixed = [
        "/proc/cmdline",
        "/proc/interrupts",
        "/proc/meminfo",
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
        "/proc/self/limits",
        "/proc/self/cgroup",
        "/proc/self/mountinfo",
        "/proc/irq/31/effective_affinity_list",
        "/proc/irq/31/smp_affinity_list",
        "/sys/devices/system/clocksource/clocksource0/current_clocksource",
        "/sys/devices/system/cpu/isolated",
        "/sys/devices/system/cpu/nohz_full",
        "/sys/devices/system/cpu/online",
        "/sys/devices/system/cpu/smt/active",
        "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "/sys/devices/system/cpu/cpu0/cpuidle/state0/latency",
        "/sys/devices/system/cpu/cpu0/cpuidle/state0/disable",
        "/sys/devices/system/cpu/vulnerabilities/x",
        "/sys/devices/system/node/online",
        "/sys/devices/system/node/node0/cpulist",
        "/sys/kernel/mm/transparent_hugepage/defrag",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/class/net/eth0/device/numa_node",
        "/sys/class/net/eth0/device/local_cpulist",
        "/sys/class/net/eth0/statistics/rx_missed_errors",
        "/sys/class/net/eth0/statistics/rx_fifo_errors",
        "/sys/class/net/eth0/queues/rx-0/rps_cpus",
        "/sys/class/net/eth0/queues/tx-0/xps_cpus",
        "/sys/fs/cgroup/a/cpu.max",
        "/sys/fs/cgroup/a/memory.max",
        "/sys/fs/cgroup/a/cpuset.cpus.effective",
        "/sys/fs/cgroup/m/a/memory.limit_in_bytes",
        "/sys/fs/cgroup/m/memory.limit_in_bytes",
    ];
    fixed.map(str::to_owned).to_vec()
}

fn folders(files: &mut Files) {
    for (folder, name) in [
        ("/sys/devices/system/cpu/vulnerabilities", "x"),
        ("/sys/devices/system/cpu/cpu0/cpuidle", "state0"),
        ("/sys/devices/system/node", "node0"),
        ("/sys/class/net/eth0/queues", "rx-0"),
        ("/sys/class/net/eth0/queues", "tx-0"),
        ("/sys/class/net/eth0/device/msi_irqs", "31"),
    ] {
        files.folders.entry(folder.to_owned()).or_default().insert(name.to_owned());
    }
}

/// The contents of a file: nothing, something arbitrary, or something that the kernel could have written.
fn content() -> impl Strategy<Value = Reading<String>> {
    let real = prop::sample::select(vec![
        "0",
        "1",
        "4096",
        "18446744073709551615",
        "-1",
        "0-7",
        "0-8191",
        "0,2",
        "max",
        "max 100000",
        "50000 100000",
        "1 1",
        "always [madvise] never",
        "always madvise [never]",
        "[always]",
        "6.1.0",
        "5.4.0",
        "performance",
        "powersave",
        "tsc",
        "hpet",
        "(null)",
        "Vulnerable",
        "Mitigation: x",
        "0::/a",
        "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
        "4:memory:/a",
        "35 31 0:32 / /sys/fs/cgroup/m rw - cgroup cgroup rw,memory",
        "Max open files 1 2 files\nMax locked memory 1 2 bytes",
        "MemTotal: 18446744073709551615 kB",
        "MemTotal: 1024 kB\nHugePages_Total: 9\nHugepagesize: 2048 kB",
        " 31: 5 6 PCI-MSI eth0-TxRx-0",
        "ffffffff,ffffffff",
        "00000000",
        "0000ffff ffffffff",
    ]);
    prop_oneof![
        1 => Just(Err(Unread::Absent)),
        1 => Just(Err(Unread::Denied)),
        2 => "(?s).{0,60}".prop_map(Ok),
        6 => real.prop_map(|text| Ok(text.to_owned())),
    ]
}

proptest! {
    #[test]
    fn any_contents_are_judged_and_none_is_shown_as_fine_unread(
        contents in prop::collection::vec(content(), paths().len()),
        cores in prop::collection::vec(0usize..20_000, 0..3),
    ) {
        let mut files = Files::default();
        for (path, content) in paths().iter().zip(contents) {
            files.put(path, content);
        }
        folders(&mut files);
        let facts = facts(files);
        let wanted = wanted(cores);
        let report = judge(&facts, &wanted);
        prop_assert_eq!(&report, &judge(&facts, &wanted));
        prop_assert!(report.findings.len() > 40);
        for finding in &report.findings {
            let is_unread = matches!(finding.verdict, Verdict::Unread | Verdict::Absent);
            prop_assert!(!finding.found.is_empty() && !finding.why.is_empty(), "{:?}", finding);
            prop_assert!(!is_unread || finding.changes.is_empty(), "{:?}", finding);
            let is_bad = finding.verdict <= Verdict::Advice;
            prop_assert!(!is_bad || !finding.how.is_empty(), "{:?}", finding);
        }
        let _ = (crate::table(&report, true), crate::table(&report, false), crate::as_json(&report));
    }
}

#[test]
fn the_module_for_tls_is_looked_for_where_the_kernel_is_to_encrypt() {
    let judged = |list: &str, kernel_tls| {
        let mut files = Files::default();
        files.put("/proc/sys/net/ipv4/tcp_available_ulp", Ok(list.to_owned()));
        let mut wanted = wanted(Vec::new());
        wanted.servers[0].kernel_tls = kernel_tls;
        let report = judge(&facts(files), &wanted);
        let mut findings = report.findings.into_iter();
        findings.find(|one| one.title().contains("module tls")).map(|one| (one.verdict, one.how))
    };
    assert_eq!(judged("mptcp", false), None);
    assert_eq!(judged("mptcp tls", true).map(|found| found.0), Some(Verdict::Good));
    let (verdict, how) = judged("mptcp", true).expect("it is looked for");
    assert_eq!(verdict, Verdict::Advice);
    assert!(how.contains("modprobe tls"), "{how}");
}

/// A host of which nothing can be read: nothing is called good.
#[test]
fn what_could_not_be_read_is_never_good() {
    for unread in [Unread::Absent, Unread::Denied, Unread::Failed("it hums".to_owned())] {
        let mut files = Files::default();
        for path in paths() {
            files.put(&path, Err(unread.clone()));
        }
        folders(&mut files);
        let mut facts = facts(files);
        facts.uring = Err(unread.clone());
        facts.clock = Err(unread.clone());
        facts.cards = vec![Card {
            rings: Err(unread.clone()),
            channels: Err(unread.clone()),
            adaptive: Err(unread.clone()),
            gro: Err(unread.clone()),
            tso: Err(unread.clone()),
            lro: Err(unread.clone()),
            spread: Err(unread.clone()),
            ..card()
        }];
        facts.ways.clear();
        let report = judge(&facts, &wanted(vec![0, 1]));
        let good: Vec<String> = report
            .findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Good)
            .map(Finding::title)
            .collect();
        assert_eq!(good, [""; 0], "{unread:?}");
        assert_eq!(report.exit_code(), 1, "{unread:?}");
    }
}
