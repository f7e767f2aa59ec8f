//! The kernel, its limits for the process, its control group, and its clocks.

use super::{Host, count, needed, size};
use crate::cgroups::{Groups, Limit};
use crate::facts::{Unread, odd};
use crate::parse;
use crate::report::{Area, Finding, Guide, Verdict};

const fn guide(setting: &'static str, why: &'static str, risk: &'static str) -> Guide {
    Guide { area: Area::Kernel, setting, why, risk }
}

const VERSION: Guide = guide(
    "kernel version",
    "the loop on io_uring needs 6.1; on older kernels shards run on epoll, with more CPU time per request",
    "that of a new kernel",
);
const DISABLED: Guide = guide(
    "kernel.io_uring_disabled",
    "with 1 only privileged users and the group kernel.io_uring_group may use io_uring, with 2 nobody",
    "io_uring is a large interface: on a host with untrusted code there are reasons to keep it closed",
);
const RING: Guide = guide(
    "io_uring set-up",
    "each shard sets up a ring with SINGLE_ISSUER, DEFER_TASKRUN, COOP_TASKRUN and registered buffers",
    "as for kernel.io_uring_disabled",
);
const OPERATIONS: Guide =
    guide("io_uring operations", "a shard submits these and no others", "that of a new kernel");
const MEMLOCK: Guide = guide(
    "locked memory limit",
    "kernels before 5.12 counted rings against it; Standin itself locks nothing",
    "none",
);
const DESCRIPTORS: Guide = guide(
    "descriptors",
    "each connection needs one; with fewer a server refuses clients, and with too few it does not start",
    "none",
);
const NR_OPEN: Guide = guide(
    "fs.nr_open",
    "no process may have more descriptors than this, whatever its own limit is",
    "none",
);
const FILE_MAX: Guide =
    guide("fs.file-max", "all processes together may have this many files open", "none");
const CLOCK: Guide = guide(
    "clock source",
    "the time is read several times per wake-up; other sources need a system call and a slow register",
    "tsc=reliable is wrong where the counters really drift apart",
);
const TIME: Guide = guide(
    "time synchronisation",
    "versions of values begin with the time of day, and logs of several hosts are compared by it",
    "none",
);
const MITIGATIONS: Guide = guide(
    "CPU mitigations",
    "they make system calls dearer, and keep programs from reading each other's memory",
    "turning them off is for hosts where nothing but Standin runs; this program does not advise it",
);
const QUOTA: Guide = guide(
    "cgroup cpu.max",
    "a shard that has used up its quota stands still for the rest of the period, and may be taken for dead",
    "none",
);
const CPUSET: Guide = guide(
    "cgroup cpuset",
    "a shard can't be pinned to a core that the process may not use",
    "none",
);
const GROUP_MEMORY: Guide = guide(
    "cgroup memory.max",
    "the kernel kills the server when its cache has grown to the limit, which is a needless failover",
    "none",
);

const TLS: Guide = guide(
    "kernel module tls",
    "with kernel_tls = \"auto\" the kernel encrypts connections with TLS; without the module the server does",
    "docs/SECURITY.md says what is different with it",
);

pub(super) fn judge(host: &Host<'_>, findings: &mut Vec<Finding>) {
    findings.extend([
        version(host),
        disabled(host),
        ring(host),
        operations(host),
        memlock(host),
        descriptors(host),
        of_all(host, &NR_OPEN, "/proc/sys/fs/nr_open", false),
        of_all(host, &FILE_MAX, "/proc/sys/fs/file-max", true),
        quota(host),
        cpuset(host),
        group_memory(host),
        clock(host),
        time(host),
        mitigations(host),
    ]);
    // Nobody else needs it.
    findings.extend(host.wanted.kernel_tls().then(|| tls(host)));
}

/// How bad it is that shards can't use io_uring.
fn without_uring(host: &Host<'_>) -> Verdict {
    match host.wanted.uring() {
        (true, _) => Verdict::Serious,
        (false, true) => Verdict::Warning,
        (false, false) => Verdict::Good,
    }
}

fn version(host: &Host<'_>) -> Finding {
    let path = "/proc/sys/kernel/osrelease";
    match needed(host.parsed(path, |text| Some((text, parse::release(text)?)))) {
        Err(unread) => VERSION.unread(&unread, "6.1 or newer"),
        Ok((text, release)) if release >= (6, 1) => VERSION.good(text, "6.1 or newer"),
        Ok((text, _)) => VERSION.found(
            without_uring(host),
            text,
            "6.1 or newer",
            "install a newer kernel, or set io = \"epoll\"",
        ),
    }
}

fn disabled(host: &Host<'_>) -> Finding {
    let how = "sysctl -w kernel.io_uring_disabled=0, or 1 with kernel.io_uring_group for the servers' group";
    match host.number("/proc/sys/kernel/io_uring_disabled") {
        // A kernel before 6.6 has no such switch.
        Err(unread) => DISABLED.unread(&unread, "0"),
        Ok(0) => DISABLED.good("0", "0"),
        Ok(1) if matches!(&host.facts.uring, Ok(uring) if uring.hindrance.is_none()) => DISABLED
            .found(
                Verdict::Advice,
                "1, and this user may use it",
                "0, or the servers' user in the group",
                "make sure that the user of the servers is in the group of kernel.io_uring_group",
            ),
        Ok(found) => DISABLED.found(without_uring(host), found.to_string(), "0", how),
    }
}

fn ring(host: &Host<'_>) -> Finding {
    let wanted = "a ring as a shard's";
    match &host.facts.uring {
        Err(unread) => RING.unread(unread, wanted),
        Ok(uring) => match &uring.hindrance {
            None => RING.good("works for this user", wanted),
            Some(hindrance) => RING.found(
                without_uring(host),
                hindrance.clone(),
                wanted,
                "allow io_uring_setup, io_uring_enter and io_uring_register (sysctl, seccomp profile)",
            ),
        },
    }
}

fn operations(host: &Host<'_>) -> Finding {
    match &host.facts.uring {
        Err(unread) => OPERATIONS.unread(unread, "all that a shard uses"),
        Ok(uring) if uring.missing.is_empty() && uring.hindrance.is_some() => {
            let why = "the kernel does not say, because there is no ring".to_owned();
            OPERATIONS.unread(&Unread::Failed(why), format!("{} operations", uring.used))
        }
        Ok(uring) if uring.missing.is_empty() => {
            let all = format!("all {}", uring.used);
            OPERATIONS.good(all.clone(), all)
        }
        Ok(uring) => OPERATIONS.found(
            without_uring(host),
            format!("without {}", uring.missing.join(", ")),
            format!("all {}", uring.used),
            "install a newer kernel, or set io = \"epoll\"",
        ),
    }
}

fn limit(host: &Host<'_>, name: &str) -> Result<u64, Unread> {
    let path = format!("/proc/{}/limits", host.facts.process);
    needed(host.parsed(&path, |text| parse::hard_limit(text, name)))
}

fn memlock(host: &Host<'_>) -> Finding {
    let wanted = "anything, from kernel 5.12 on";
    let release = host.parsed("/proc/sys/kernel/osrelease", parse::release);
    match (limit(host, "Max locked memory"), release) {
        (Err(unread), _) | (_, Err(unread)) => MEMLOCK.unread(&unread, wanted),
        (Ok(found), Ok(release)) if release >= (5, 12) || found == u64::MAX => {
            MEMLOCK.good(size(found), wanted)
        }
        (Ok(found), Ok(_)) => MEMLOCK.found(
            Verdict::Advice,
            size(found),
            "unlimited",
            "LimitMEMLOCK=infinity in the service's unit, if it runs on io_uring",
        ),
    }
}

/// The largest number of descriptors that one of the servers needs, and without which one can't start.
fn most(host: &Host<'_>) -> (u64, u64) {
    let servers = host.wanted.servers.iter();
    let most = servers.clone().map(|server| server.descriptors).max().unwrap_or(0);
    (most, servers.map(|server| server.descriptors_least).max().unwrap_or(0))
}

fn descriptors(host: &Host<'_>) -> Finding {
    let (most, least) = most(host);
    let wanted = format!("at least {most}");
    let how = format!(
        "LimitNOFILE={} in the service's unit, or `ulimit -Hn` in its shell",
        most.next_power_of_two()
    );
    match limit(host, "Max open files") {
        Err(unread) => DESCRIPTORS.unread(&unread, wanted),
        Ok(found) if found >= most => DESCRIPTORS.good(count(found), wanted),
        Ok(found) => {
            let verdict = if found < least { Verdict::Serious } else { Verdict::Warning };
            DESCRIPTORS.found(verdict, format!("{found}, hard limit"), wanted, how)
        }
    }
}

/// A limit of the kernel for one process, or for all together.
fn of_all(host: &Host<'_>, guide: &Guide, path: &str, is_sum: bool) -> Finding {
    let servers = host.wanted.servers.iter().map(|server| server.descriptors);
    let least = if is_sum { servers.sum() } else { most(host).0 };
    super::at_least(host, guide, path, least)
}

fn quota(host: &Host<'_>) -> Finding {
    let shards = host.wanted.shards() as u64;
    match host.cgroup_limit(Limit::Quota) {
        Err(unread) => QUOTA.unread(&unread, "none"),
        Ok(None) => QUOTA.unread(&Unread::Absent, "none"),
        Ok(Some((u64::MAX, _))) => QUOTA.good("none", "none"),
        Ok(Some((hundredths, group))) => {
            let is_too_little = hundredths < shards * 100;
            QUOTA.found(
                if is_too_little { Verdict::Serious } else { Verdict::Warning },
                format!("{}.{:02} cores for {shards} shards", hundredths / 100, hundredths % 100),
                "none",
                format!("CPUQuota= (empty) in the service's unit; the quota is in {group}"),
            )
        }
    }
}

fn cpuset(host: &Host<'_>) -> Finding {
    let wanted = "the shards' cores among them";
    let Groups { version, folders } = match host.cgroups(Limit::Cores) {
        Ok(Some(groups)) => groups,
        Ok(None) => return CPUSET.unread(&Unread::Absent, wanted),
        Err(unread) => return CPUSET.unread(&unread, wanted),
    };
    let some = |text: &str| parse::cores(text).filter(|cores| !cores.is_empty());
    let files = Limit::Cores.files(version);
    let files =
        folders.iter().flat_map(|group| files.iter().map(move |name| format!("{group}/{name}")));
    let mut found = files.map(|file| host.parsed(&file, some));
    match found.find(|cores| *cores != Err(Unread::Absent)) {
        None => CPUSET.unread(&Unread::Absent, wanted),
        Some(Err(unread)) => CPUSET.unread(&unread, wanted),
        Some(Ok(allowed)) => {
            let missing = host.wanted.cores().difference(&allowed).copied().collect();
            let found = parse::list(&allowed);
            match parse::list(&missing) {
                none if none.is_empty() => CPUSET.good(found, wanted),
                missing => CPUSET.found(
                    Verdict::Warning,
                    format!("{found}, without {missing}"),
                    wanted,
                    "AllowedCPUs= in the service's unit, or other `cores` in the cluster file",
                ),
            }
        }
    }
}

fn group_memory(host: &Host<'_>) -> Finding {
    let least = host.wanted.memory_bytes();
    let wanted = format!("above {}", size(least));
    match host.cgroup_limit(Limit::Memory) {
        Err(unread) => GROUP_MEMORY.unread(&unread, wanted),
        Ok(None) => GROUP_MEMORY.unread(&Unread::Absent, wanted),
        Ok(Some((found, _))) if found > least => GROUP_MEMORY.good(size(found), wanted),
        Ok(Some((found, group))) => GROUP_MEMORY.found(
            Verdict::Serious,
            size(found),
            wanted,
            format!(
                "raise MemoryMax= of the service's unit, or lower `memory`; the limit is in {group}"
            ),
        ),
    }
}

fn clock(host: &Host<'_>) -> Finding {
    let wanted = "tsc, or the hypervisor's own";
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    match host.text(path) {
        Err(unread) => CLOCK.unread(&unread, wanted),
        Ok("") => CLOCK.unread(&odd(""), wanted),
        Ok(found @ ("tsc" | "arch_sys_counter" | "kvm-clock")) => CLOCK.good(found, wanted),
        Ok(found) if found.starts_with("hyperv_clocksource") => CLOCK.good(found, wanted),
        Ok(found) => CLOCK.found(
            Verdict::Warning,
            found,
            wanted,
            "`dmesg | grep -i tsc` says why the kernel rejected tsc; firmware updates fix most cases",
        ),
    }
}

fn time(host: &Host<'_>) -> Finding {
    let wanted = "synchronised";
    match host.facts.clock {
        Err(ref unread) => TIME.unread(unread, wanted),
        Ok(clock) if clock.is_synchronised => {
            let error_ms = clock.error_max_us.div_ceil(1_000);
            TIME.good(format!("synchronised, within {error_ms} ms"), wanted)
        }
        Ok(_) => TIME.found(
            Verdict::Warning,
            "not synchronised, or only by the hypervisor",
            wanted,
            "run chrony or systemd-timesyncd",
        ),
    }
}

fn tls(host: &Host<'_>) -> Finding {
    let wanted = "loaded before the server starts";
    match host.text("/proc/sys/net/ipv4/tcp_available_ulp") {
        Err(unread) => TLS.unread(&unread, wanted),
        Ok(list) if list.split_whitespace().any(|name| name == "tls") => TLS.good("loaded", wanted),
        Ok(_) => TLS.found(
            Verdict::Advice,
            "not loaded",
            wanted,
            "`modprobe tls`, and a line `tls` in a file of /etc/modules-load.d; or kernel_tls = \"off\"",
        ),
    }
}

fn mitigations(host: &Host<'_>) -> Finding {
    let wanted = "no vulnerability left open";
    let folder = "/sys/devices/system/cpu/vulnerabilities";
    let (mut mitigated, mut open) = (0, Vec::new());
    let mut names = host.facts.files.names(folder).peekable();
    if names.peek().is_none() {
        return MITIGATIONS.unread(&Unread::Absent, wanted);
    }
    for name in names {
        match host.text(&format!("{folder}/{name}")) {
            Err(unread) => return MITIGATIONS.unread(&unread, wanted),
            Ok(text) if text.starts_with("Mitigation") => mitigated += 1,
            Ok(text) if text.starts_with("Vulnerable") => open.push(name),
            Ok(_) => {}
        }
    }
    let off = host
        .text("/proc/cmdline")
        .is_ok_and(|line| line.split_whitespace().any(|word| word == "mitigations=off"));
    match (open.as_slice(), off) {
        ([], _) => MITIGATIONS.good(format!("{mitigated} active, none open"), wanted),
        (_, true) => MITIGATIONS.found(
            Verdict::Advice,
            format!("mitigations=off: {} open", open.len()),
            wanted,
            "fine only where nothing but Standin runs; otherwise remove it from the kernel's command line",
        ),
        (open, false) => MITIGATIONS.found(
            Verdict::Advice,
            format!("open: {}", open.join(", ")),
            wanted,
            "update the processor's microcode and the kernel",
        ),
    }
}
