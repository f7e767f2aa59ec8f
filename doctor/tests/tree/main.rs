//! Hosts made of files, as the kernel writes them: what is reported of each, and that nothing is reported
//! of a host that is as the guides say.

mod host;

use standin_config::ClusterConfig;
use standin_doctor::read::{Look, Root, look};
use standin_doctor::{Verdict, Wanted, change, judge};
use standin_testkit::Scratch;

use host::{Host, bad, find, wanted};

#[test]
fn a_host_as_in_the_guides_needs_no_change() {
    let report = Host::new().judged(|_| {});
    assert_eq!(bad(&report), [""; 0]);
    assert_eq!(report.changes(), []);
    // What only the host itself could answer is not called good.
    let unread: Vec<&str> = report
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Unread)
        .map(|finding| finding.setting)
        .collect();
    for setting in ["io_uring set-up", "time synchronisation", "ring sizes", "offload GRO"] {
        assert!(unread.contains(&setting), "{unread:?}");
    }
    assert_eq!(report.exit_code(), 1, "something could not be read");
    assert_eq!(report.host, "metal1, Linux 6.1.0-28-amd64, 8 cores, 62 GiB");
    let interrupts = find(&report, "interrupt affinity");
    assert_eq!((interrupts.verdict, &*interrupts.found), (Verdict::Good, "4 queues on cores 4-7"));
}

/// A file, other contents, and the setting that is then reported, with a part of what was found.
const DIFFERENCES: &[(&str, &str, &str, Verdict, &str)] = {
    use Verdict::{Advice, Serious, Warning};
    &[
        ("proc/sys/kernel/osrelease", "5.15.0", "kernel version", Warning, "5.15.0"),
        ("proc/sys/kernel/io_uring_disabled", "2", "kernel.io_uring_disabled", Warning, "2"),
        ("proc/sys/net/core/somaxconn", "128", "net.core.somaxconn", Warning, "128"),
        (
            "proc/sys/net/ipv4/tcp_max_syn_backlog",
            "512",
            "net.ipv4.tcp_max_syn_backlog",
            Warning,
            "512",
        ),
        ("proc/sys/net/ipv4/tcp_syncookies", "0", "net.ipv4.tcp_syncookies", Warning, "0"),
        (
            "proc/sys/net/core/netdev_max_backlog",
            "300",
            "net.core.netdev_max_backlog",
            Warning,
            "300",
        ),
        (
            "proc/net/softnet_stat",
            "00000001 00000011 0",
            "net.core.netdev_max_backlog",
            Warning,
            "17 packets",
        ),
        ("proc/sys/net/core/busy_poll", "50", "net.core.busy_poll", Advice, "50"),
        ("proc/sys/net/core/busy_read", "50", "net.core.busy_read", Advice, "50"),
        ("proc/sys/fs/nr_open", "1024", "fs.nr_open", Warning, "1024"),
        ("proc/sys/fs/file-max", "1024", "fs.file-max", Warning, "1024"),
        ("proc/self/limits", "Max open files 1024 4096 files", "descriptors", Warning, "4096"),
        ("proc/self/limits", "Max open files 64 64 files", "descriptors", Serious, "64"),
        ("proc/meminfo", "MemTotal: 307200 kB", "memory", Serious, "300 MiB"),
        (
            "proc/meminfo",
            "MemTotal: 65536000 kB\nHugePages_Total: 31000\nHugepagesize: 2048 kB",
            "reserved huge pages",
            Advice,
            "60 GiB",
        ),
        ("proc/sys/vm/overcommit_memory", "2", "vm.overcommit_memory", Warning, "2"),
        ("proc/sys/vm/zone_reclaim_mode", "1", "vm.zone_reclaim_mode", Warning, "1"),
        ("proc/swaps", "Filename\n/dev/sda2 partition 1 0 -2\n", "swap", Warning, "swappiness 60"),
        (
            "sys/kernel/mm/transparent_hugepage/enabled",
            "always madvise [never]",
            "transparent huge pages",
            Warning,
            "never",
        ),
        (
            "sys/kernel/mm/transparent_hugepage/defrag",
            "[always] madvise",
            "huge pages: defrag",
            Advice,
            "always",
        ),
        ("sys/devices/system/node/online", "0-1", "kernel.numa_balancing", Warning, "2 nodes"),
        (
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
            "hpet",
            "clock source",
            Warning,
            "hpet",
        ),
        (
            "sys/devices/system/cpu/vulnerabilities/meltdown",
            "Vulnerable",
            "CPU mitigations",
            Advice,
            "meltdown",
        ),
        ("sys/devices/system/cpu/isolated", "", "isolated cores", Advice, "none"),
        ("sys/devices/system/cpu/isolated", "0-5", "isolated cores", Advice, "no shard uses 4-5"),
        ("sys/devices/system/cpu/nohz_full", "0-3", "nohz_full", Advice, "0-3"),
        (
            "sys/devices/system/cpu/online",
            "0-2,4-7",
            "cores of the shards",
            Warning,
            "3 are not online",
        ),
        (
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
            "powersave",
            "frequency governor",
            Warning,
            "powersave on 1",
        ),
        (
            "sys/devices/system/cpu/cpu1/cpuidle/state1/latency",
            "890",
            "idle states",
            Advice,
            "C1, 890 µs",
        ),
        (
            "sys/fs/cgroup/system.slice/cpu.max",
            "150000 100000",
            "cgroup cpu.max",
            Serious,
            "1.50 cores",
        ),
        (
            "sys/fs/cgroup/system.slice/cpu.max",
            "800000 100000",
            "cgroup cpu.max",
            Warning,
            "8.00 cores",
        ),
        (
            "sys/fs/cgroup/system.slice/memory.max",
            "104857600",
            "cgroup memory.max",
            Serious,
            "100 MiB",
        ),
        (
            "sys/fs/cgroup/system.slice/cpuset.cpus.effective",
            "4-7",
            "cgroup cpuset",
            Warning,
            "without 0-3",
        ),
        ("sys/class/net/eth9/queues/rx-1/rps_cpus", "0f", "RPS", Warning, "1 of 4"),
        ("sys/class/net/eth9/queues/tx-1/xps_cpus", "01", "XPS", Warning, "shared"),
        (
            "sys/class/net/eth9/device/local_cpulist",
            "4-7",
            "NUMA node of the card",
            Warning,
            "0-3 are elsewhere",
        ),
        ("proc/irq/32/smp_affinity_list", "4", "interrupt affinity", Warning, "4,6-7 only"),
        ("proc/irq/32/smp_affinity_list", "0", "interrupt affinity", Advice, "1 of them shards'"),
        ("proc/4711/comm", "irqbalance", "irqbalance", Warning, "running"),
    ]
};

#[test]
fn each_setting_that_differs_is_reported_and_no_other() {
    for (file, contents, setting, verdict, found) in DIFFERENCES {
        let host = Host::new();
        host.put(file, &format!("{contents}\n"));
        let report = host.judged(|_| {});
        let of_it = find(&report, setting);
        assert_eq!(of_it.verdict, *verdict, "{file} = {contents}: {of_it:?}");
        assert!(of_it.found.contains(found), "{file} = {contents}: {of_it:?}");
        assert_eq!(bad(&report).len(), 1, "{file} = {contents}: {:?}", bad(&report));
        let code = match verdict {
            Verdict::Serious => 3,
            _ => 1,
        };
        assert_eq!(report.exit_code(), code, "{file} = {contents}");
    }
}

/// `--apply` writes only what is in this list, and what it writes is then good.
#[test]
fn what_can_be_changed_at_run_time_is_good_afterwards_and_nothing_else_is_written() {
    const SAFE: &[&str] = &[
        "net.core.somaxconn",
        "net.ipv4.tcp_max_syn_backlog",
        "net.ipv4.tcp_syncookies",
        "net.core.netdev_max_backlog",
        "fs.nr_open",
        "fs.file-max",
        "vm.zone_reclaim_mode",
        "swap",
        "transparent huge pages",
        "kernel.numa_balancing",
        "frequency governor",
        "RPS",
        "XPS",
    ];
    for (file, contents, setting, verdict, _) in DIFFERENCES {
        let host = Host::new();
        host.put(file, &format!("{contents}\n"));
        let report = host.judged(|_| {});
        let changes = report.changes();
        let is_safe = SAFE.contains(setting) && *verdict == Verdict::Warning;
        assert_eq!(!changes.is_empty(), is_safe, "{file} = {contents}: {changes:?}");
        if changes.is_empty() {
            continue;
        }
        let record = host.path("state/doctor.json");
        let steps = change::apply(&host.root(), &changes, &record).unwrap();
        assert!(steps.iter().all(|step| step.done.is_done()), "{steps:?}");
        // A plain file does not mark the choice, as the kernel does.
        let is_choice = file.ends_with("transparent_hugepage/enabled");
        let report = host.judged(|_| {});
        assert!(is_choice || bad(&report).is_empty(), "{file}: {:?}", bad(&report));
        change::revert(&host.root(), &record).unwrap();
        if !is_choice {
            let now = std::fs::read_to_string(host.path(file)).unwrap();
            assert_eq!(now.trim(), contents.trim(), "{file}");
        }
    }
}

#[test]
fn the_cluster_file_decides_what_is_wanted() {
    let host = Host::new();
    let verdict = |change: fn(&mut ClusterConfig), setting: &str| {
        let report = host.judged(change);
        let found = find(&report, setting);
        (found.verdict, found.found.clone())
    };
    let (of, found) = verdict(|c| c.servers[0].cores = vec![0, 4, 1, 2], "SMT siblings");
    assert_eq!((of, &*found), (Verdict::Warning, "two threads of one core: 0,4"));
    let (of, found) = verdict(|c| c.servers[0].cores = vec![0, 1, 2, 2], "cores of the shards");
    assert!(of == Verdict::Warning && found.contains("two shards"), "{found}");
    let all = |c: &mut ClusterConfig| {
        c.servers[0].shards = 8;
        c.servers[0].cores = (0..8).collect();
    };
    assert!(verdict(all, "cores of the shards").1.contains("leaves none"));
    assert_eq!(verdict(all, "receive queues").0, Verdict::Advice);
    let none = |c: &mut ClusterConfig| c.servers[0].cores.clear();
    assert_eq!(verdict(none, "cores of the shards").0, Verdict::Advice);
    let many = |c: &mut ClusterConfig| c.servers[0].shards = 9;
    assert_eq!(verdict(many, "cores of the shards").0, Verdict::Warning);
    let large = |c: &mut ClusterConfig| c.servers[0].memory_bytes = 100 << 30;
    assert_eq!(verdict(large, "memory").0, Verdict::Serious);
    assert_eq!(verdict(large, "cgroup memory.max").0, Verdict::Serious);
    let clients = |c: &mut ClusterConfig| c.limits.connections = 1_000_000;
    assert_eq!(verdict(clients, "descriptors").0, Verdict::Warning);
}

/// Seen from the host, a container's group is far below the root, and its own mounts lead elsewhere.
#[test]
fn the_limits_of_a_container_are_found_from_the_host() {
    let host = Host::new();
    let group = "/system.slice/docker-8f.scope";
    let file = |group: &str, name: &str| format!("sys/fs/cgroup{group}/{name}");
    host.put(
        "proc/4711/limits",
        &std::fs::read_to_string(host.path("proc/self/limits")).expect("it is there"),
    );
    host.put("proc/4711/cgroup", &format!("0::{group}\n"));
    host.put(
        "proc/4711/mountinfo",
        &format!("700 699 0:27 {group} /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n"),
    );
    host.put(&file(group, "memory.max"), "104857600\n");
    host.put(&file(group, "cpu.max"), "150000 100000\n");
    host.put(&file(group, "cpuset.cpus.effective"), "4-7\n");
    let wanted = wanted(|_| {});
    let look_at = |process| {
        let looked = Look { root: host.root(), process, cards: Vec::new(), origin: None };
        judge(&look(&looked, &wanted), &wanted)
    };
    let report = look_at(Some(4711));
    for (setting, part) in [
        ("cgroup memory.max", "100 MiB"),
        ("cgroup cpu.max", "1.50 cores"),
        ("cgroup cpuset", "without 0-3"),
    ] {
        let finding = find(&report, setting);
        assert!(finding.verdict <= Verdict::Warning, "{setting}: {}", finding.found);
        assert!(finding.found.contains(part), "{setting}: {}", finding.found);
    }
    assert_eq!(find(&look_at(None), "cgroup cpu.max").verdict, Verdict::Good);
}

/// Many systems have the first version of control groups beside the second one, which then has no controllers.
#[test]
fn limits_in_the_first_version_of_control_groups_are_judged_too() {
    let host = Host::new();
    host.put(
        "proc/self/cgroup",
        "9:name=systemd:/\n4:memory:/api\n3:cpuset:/\n1:cpu,cpuacct:/a\n0::/\n",
    );
    host.put(
        "proc/self/mountinfo",
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
         32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
         34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n\
         35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
         41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
    );
    for (file, text) in [
        ("cpu,cpuacct/cpu.cfs_quota_us", "-1"),
        ("cpu,cpuacct/cpu.cfs_period_us", "100000"),
        ("cpu,cpuacct/a/cpu.cfs_quota_us", "-1"),
        ("cpu,cpuacct/a/cpu.cfs_period_us", "100000"),
        ("cpuset/cpuset.effective_cpus", "0-7"),
        ("memory/memory.limit_in_bytes", "9223372036854771712"),
        ("memory/api/memory.limit_in_bytes", "9223372036854771712"),
    ] {
        host.put(&format!("sys/fs/cgroup/{file}"), &format!("{text}\n"));
    }
    let judged = |setting: &str| {
        let report = host.judged(|_| {});
        let found = find(&report, setting);
        (found.verdict, found.found.clone())
    };
    for setting in ["cgroup cpu.max", "cgroup cpuset", "cgroup memory.max"] {
        let (verdict, found) = judged(setting);
        assert_eq!(verdict, Verdict::Good, "{setting}: {found}");
    }
    for (file, text, setting, verdict, part) in [
        (
            "cpu,cpuacct/a/cpu.cfs_quota_us",
            "150000",
            "cgroup cpu.max",
            Verdict::Serious,
            "1.50 cores",
        ),
        ("cpuset/cpuset.effective_cpus", "4-7", "cgroup cpuset", Verdict::Warning, "without 0-3"),
        (
            "memory/memory.limit_in_bytes",
            "104857600",
            "cgroup memory.max",
            Verdict::Serious,
            "100 MiB",
        ),
    ] {
        host.put(&format!("sys/fs/cgroup/{file}"), &format!("{text}\n"));
        let (found, said) = judged(setting);
        assert!(found == verdict && said.contains(part), "{setting}: {found:?} {said}");
    }
    host.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "much\n");
    assert_eq!(judged("cgroup memory.max").0, Verdict::Unread);
}

#[test]
fn io_decides_how_bad_a_kernel_without_io_uring_is() {
    use standin_config::IoKind::{Auto, Epoll, Uring};
    let host = Host::new();
    host.put("proc/sys/kernel/osrelease", "5.4.0\n");
    for (io, verdict) in
        [(Uring, Verdict::Serious), (Auto, Verdict::Warning), (Epoll, Verdict::Good)]
    {
        let report = host.judged(|cluster| cluster.servers[0].io = io);
        assert_eq!(find(&report, "kernel version").verdict, verdict, "{io:?}");
    }
}

#[test]
fn a_paravirtual_card_has_its_interrupts_and_its_node_one_level_up() {
    let host = Host::new();
    let pci = host.path("sys/devices/pci0/0000:00:04.0");
    std::fs::create_dir_all(pci.join("virtio1")).unwrap();
    std::fs::create_dir_all(host.path("sys/class/net/eth8")).unwrap();
    std::os::unix::fs::symlink(pci.join("virtio1"), host.path("sys/class/net/eth8/device"))
        .unwrap();
    host.put("sys/devices/pci0/0000:00:04.0/numa_node", "-1\n");
    let mut interrupts = String::new();
    for (irq, name) in [(40, "virtio1-config"), (41, "virtio1-input.0"), (42, "virtio1-output.0")] {
        host.put(&format!("sys/devices/pci0/0000:00:04.0/msi_irqs/{irq}"), "msix\n");
        host.put(&format!("proc/irq/{irq}/smp_affinity_list"), &format!("{}\n", irq - 36));
        interrupts += &format!(" {irq}:   5   PCI-MSIX-0000:00:04.0 1-edge   {name}\n");
    }
    host.put("proc/interrupts", &interrupts);
    let wanted = wanted(|_| {});
    let cards = vec!["eth8".to_owned()];
    let looked = Look { root: host.root(), process: None, cards, origin: None };
    let report = judge(&look(&looked, &wanted), &wanted);
    assert_eq!(find(&report, "interrupt affinity").found, "2 queues on cores 5-6");
    assert_eq!(find(&report, "NUMA node of the card").verdict, Verdict::Good);
}

#[test]
fn a_folder_with_nothing_in_it_is_judged_and_nothing_is_called_good() {
    let empty = Scratch::new("doctor-empty");
    let root = Root::copy(empty.path().to_owned());
    let wanted = wanted(|_| {});
    let looked = Look { root, process: None, cards: Vec::new(), origin: None };
    let report = judge(&look(&looked, &wanted), &wanted);
    assert_eq!((report.count(Verdict::Good), report.exit_code()), (0, 1), "{report:#?}");
}

/// This host, whatever it is like.
#[test]
fn this_host_is_judged() {
    let wanted = Wanted::defaults("a test");
    let looked = Look { root: Root::host(), process: None, cards: Vec::new(), origin: None };
    let report = judge(&look(&looked, &wanted), &wanted);
    for setting in ["kernel version", "memory", "descriptors", "net.core.somaxconn"] {
        let finding = find(&report, setting);
        assert!(finding.verdict != Verdict::Unread, "{finding:?}");
    }
    // Those that no copy of files can answer.
    for setting in ["io_uring set-up", "time synchronisation"] {
        assert!(!find(&report, setting).found.contains("not asked"), "{setting}");
    }
}

/// The table in tuning/ has a line for each setting, and none for another.
#[test]
fn the_comparison_with_other_tuners_names_every_setting() {
    let report = Host::new().judged(|_| {});
    let mut settings: Vec<&str> = report.findings.iter().map(|f| f.setting).collect();
    // This host has a card, and no database.
    settings.extend(["network card", "way to the database"]);
    let document = include_str!("../../../tuning/comparison.md");
    let (_, table) = document.split_once("`standin doctor`'s name |").expect("the table");
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut named: Vec<&str> =
        lines.filter_map(|line| line.split('|').nth(1)).map(str::trim).collect();
    settings.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, settings);
}
