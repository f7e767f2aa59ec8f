//! Cores: which of them the shards have, and what disturbs them there.

use std::collections::{BTreeMap, BTreeSet};

use standin_config::counted;

use super::Host;
use crate::facts::Unread;
use crate::parse;
use crate::report::{Area, Finding, Guide, Verdict};

const fn guide(setting: &'static str, why: &'static str, risk: &'static str) -> Guide {
    Guide { area: Area::Cores, setting, why, risk }
}

const CORES: &str = "/sys/devices/system/cpu";
/// A core may take this long to wake up before it is worth a remark.
const WAKE_US: u64 = 50;

const PINNED: Guide = guide(
    "cores of the shards",
    "a shard that the scheduler moves leaves its data behind; one that shares a core waits for the other",
    "a core that is given to a shard is hardly free for anything else",
);
const SIBLINGS: Guide = guide(
    "SMT siblings",
    "two threads of one core share its execution units and first caches: together they do less than two cores",
    "none",
);
const ISOLATED: Guide = guide(
    "isolated cores",
    "pinning keeps a shard on its core, but does not keep other threads off it",
    "an isolated core that no shard uses is lost",
);
const NOHZ: Guide = guide(
    "nohz_full",
    "without the tick each entry into the kernel costs more, and a shard enters it for every batch",
    "none: it is the default",
);
const GOVERNOR: Guide = guide(
    "frequency governor",
    "a core that has slowed down needs time to speed up, and the request that wakes it waits",
    "more power, and on some processors a lower turbo frequency",
);
const IDLE: Guide = guide(
    "idle states",
    "a core in a deep state needs this long to wake up, which shows as latency at low load",
    "more power, and on some processors a lower turbo frequency",
);
const NODES: Guide = guide(
    "NUMA nodes of the shards",
    "memory of another node is slower; one server for each node is simpler than one over all",
    "none",
);

pub(super) fn judge(host: &Host<'_>, findings: &mut Vec<Finding>) {
    findings.extend([
        pinned(host),
        siblings(host),
        isolated(host),
        nohz(host),
        governor(host),
        idle(host),
        nodes(host),
    ]);
}

fn pinned(host: &Host<'_>) -> Finding {
    let wanted = "one of its own for each shard, and one for the rest";
    let online = match host.online() {
        Ok(online) => online,
        Err(unread) => return PINNED.unread(&unread, wanted),
    };
    let (cores, shards) = (host.wanted.cores(), host.wanted.shards());
    let there = counted(online.len(), "core");
    if shards > online.len() {
        let found = format!("{there} for {shards} shards");
        let servers = host.wanted.servers.len();
        // A server has one at least.
        let how = if shards > servers { "fewer `shards`" } else { "fewer servers on this machine" };
        return PINNED.found(Verdict::Warning, found, wanted, how);
    }
    if cores.is_empty() {
        let found = format!("{}, not pinned, on {there}", counted(shards, "shard"));
        let how = "`cores = [...]` for the servers in the cluster file";
        return PINNED.found(Verdict::Advice, found, wanted, how);
    }
    let missing: BTreeSet<usize> = cores.difference(&online).copied().collect();
    let named: usize = host.wanted.servers.iter().map(|server| server.cores.len()).sum();
    let found = parse::list(&cores);
    let wrong = if !missing.is_empty() {
        format!("{found}, but {} are not online", parse::list(&missing))
    } else if named > cores.len() {
        format!("{found}, some of them for two shards")
    } else if cores == online {
        format!("{found}, which leaves none for the rest")
    } else {
        return PINNED.good(found, wanted);
    };
    PINNED.found(Verdict::Warning, wrong, wanted, "other `cores` in the cluster file")
}

fn siblings(host: &Host<'_>) -> Finding {
    let wanted = "one shard for each physical core";
    let cores = host.wanted.cores();
    if cores.is_empty() {
        let active = host.text(&format!("{CORES}/smt/active"));
        return match active {
            Err(unread) => SIBLINGS.unread(&unread, wanted),
            Ok("1") => SIBLINGS.good("SMT is on, and no shard is pinned", wanted),
            Ok(_) => SIBLINGS.good("SMT is off", wanted),
        };
    }
    let mut pairs = BTreeSet::new();
    for &core in &cores {
        let path = format!("{CORES}/cpu{core}/topology/thread_siblings_list");
        match host.parsed(&path, parse::cores) {
            Err(unread) => return SIBLINGS.unread(&unread, wanted),
            Ok(threads) => {
                let shared: BTreeSet<usize> = threads.intersection(&cores).copied().collect();
                if shared.len() > 1 {
                    pairs.insert(parse::list(&shared));
                }
            }
        }
    }
    if pairs.is_empty() {
        return SIBLINGS.good("no two shards on one core", wanted);
    }
    let pairs: Vec<String> = pairs.into_iter().collect();
    SIBLINGS.found(
        Verdict::Warning,
        format!("two threads of one core: {}", pairs.join(" and ")),
        wanted,
        "`lscpu --extended=CPU,CORE` shows which belong together; name one of each in `cores`",
    )
}

fn isolated(host: &Host<'_>) -> Finding {
    let wanted = "the shards' cores, or a cpuset for everything else";
    let cores = host.wanted.cores();
    match host.parsed(&format!("{CORES}/isolated"), parse::cores) {
        Err(unread) => ISOLATED.unread(&unread, wanted),
        Ok(isolated) if cores.is_empty() && isolated.is_empty() => {
            ISOLATED.good("none, and no shard is pinned", wanted)
        }
        Ok(isolated) if !cores.is_empty() && cores.is_subset(&isolated) => {
            let lost: BTreeSet<usize> = isolated.difference(&cores).copied().collect();
            let found = parse::list(&isolated);
            match lost.is_empty() {
                true => ISOLATED.good(found, wanted),
                false => ISOLATED.found(
                    Verdict::Advice,
                    format!("{found}, of which no shard uses {}", parse::list(&lost)),
                    wanted,
                    "give them to shards, or take them out of isolcpus",
                ),
            }
        }
        Ok(isolated) if isolated.is_empty() => ISOLATED.found(
            Verdict::Advice,
            "none",
            wanted,
            format!(
                "isolcpus=domain,managed_irq,{} on the kernel's command line, or cpusets: tuning/cpu-pinning.md",
                parse::list(&cores)
            ),
        ),
        Ok(isolated) => ISOLATED.found(
            Verdict::Advice,
            format!("{}, and the shards are on {}", parse::list(&isolated), shown(&cores)),
            wanted,
            "isolate the shards' cores, or pin the shards to isolated ones",
        ),
    }
}

fn shown(cores: &BTreeSet<usize>) -> String {
    if cores.is_empty() { "no particular cores".to_owned() } else { parse::list(cores) }
}

fn nohz(host: &Host<'_>) -> Finding {
    let wanted = "not on the shards' cores, unless measured";
    let cores = host.wanted.cores();
    // The kernel writes "(null)" for none.
    let parse = |text: &str| match text {
        "(null)" => Some(BTreeSet::new()),
        _ => parse::cores(text),
    };
    match host.parsed(&format!("{CORES}/nohz_full"), parse) {
        Err(unread) => NOHZ.unread(&unread, wanted),
        Ok(without) if without.is_disjoint(&cores) => {
            let none = if without.is_empty() { "none".to_owned() } else { parse::list(&without) };
            NOHZ.good(none, wanted)
        }
        Ok(without) => NOHZ.found(
            Verdict::Advice,
            parse::list(&without),
            wanted,
            "compare with a run without nohz_full, and keep it only if it gains something",
        ),
    }
}

/// The cores whose speed matters: the shards', or all if the shards are not pinned.
fn busy(host: &Host<'_>) -> Result<BTreeSet<usize>, Unread> {
    let (cores, online) = (host.wanted.cores(), host.online()?);
    Ok(if cores.is_empty() { online } else { cores.intersection(&online).copied().collect() })
}

fn governor(host: &Host<'_>) -> Finding {
    let wanted = "performance";
    let cores = match busy(host) {
        Ok(cores) => cores,
        Err(unread) => return GOVERNOR.unread(&unread, wanted),
    };
    let mut found: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    let (mut changes, mut is_offered) = (Vec::new(), true);
    for core in cores {
        let path = format!("{CORES}/cpu{core}/cpufreq/scaling_governor");
        let governor = match host.text(&path) {
            Ok(governor) => governor,
            Err(unread) => return GOVERNOR.unread(&unread, wanted),
        };
        found.entry(governor).or_default().insert(core);
        if governor != wanted {
            let offered = format!("{CORES}/cpu{core}/cpufreq/scaling_available_governors");
            let offered = host.text(&offered).unwrap_or_default();
            is_offered &= offered.split_whitespace().any(|name| name == wanted);
            changes.push(path);
        }
    }
    if found.is_empty() {
        return GOVERNOR.unread(&Unread::Absent, wanted);
    }
    if changes.is_empty() {
        return GOVERNOR.good(wanted, wanted);
    }
    let found = found.iter().map(|(name, cores)| format!("{name} on {}", parse::list(cores)));
    let found = found.collect::<Vec<_>>().join(", ");
    let how = "cpupower frequency-set -g performance";
    let finding = GOVERNOR.found(Verdict::Warning, found, wanted, how);
    // A write that the kernel would refuse is not offered.
    let changes = if is_offered { changes } else { Vec::new() };
    changes.iter().fold(finding, |finding, path| finding.writes(path, wanted))
}

fn idle(host: &Host<'_>) -> Finding {
    let wanted = format!("at most {WAKE_US} µs to wake up");
    let cores = match busy(host) {
        Ok(cores) => cores,
        Err(unread) => return IDLE.unread(&unread, wanted),
    };
    let (mut deepest, mut is_any): (Option<(u64, &str)>, bool) = (None, false);
    for core in cores {
        let folder = format!("{CORES}/cpu{core}/cpuidle");
        for state in host.facts.files.names(&folder) {
            let of = |name| format!("{folder}/{state}/{name}");
            is_any = true;
            match (host.number(&of("disable")), host.number(&of("latency"))) {
                (Ok(0), Ok(latency)) if deepest.is_none_or(|(most, _)| latency > most) => {
                    deepest = Some((latency, host.text(&of("name")).unwrap_or("?")));
                }
                (Ok(_), Ok(_)) => {}
                (Err(unread), _) | (_, Err(unread)) => return IDLE.unread(&unread, wanted),
            }
        }
    }
    match deepest {
        None if is_any => IDLE.good("all are off", wanted),
        None => IDLE.unread(&Unread::Absent, wanted),
        Some((latency, name)) if latency <= WAKE_US => {
            IDLE.good(format!("{name}, {latency} µs"), wanted)
        }
        Some((latency, name)) => IDLE.found(
            Verdict::Advice,
            format!("{name}, {latency} µs"),
            wanted,
            format!("cpupower idle-set -D {WAKE_US}"),
        ),
    }
}

fn nodes(host: &Host<'_>) -> Finding {
    let wanted = "those of a server on one node";
    match host.parsed("/sys/devices/system/node/online", parse::cores) {
        Err(unread) => return NODES.unread(&unread, wanted),
        Ok(nodes) if nodes.len() <= 1 => return NODES.good("one node", wanted),
        Ok(_) => {}
    }
    let mut of_nodes: Vec<BTreeSet<usize>> = Vec::new();
    for node in host.facts.files.names("/sys/devices/system/node") {
        match host.parsed(&format!("/sys/devices/system/node/{node}/cpulist"), parse::cores) {
            Ok(cores) => of_nodes.push(cores),
            Err(unread) => return NODES.unread(&unread, wanted),
        }
    }
    let is_over_several = |cores: &[usize]| {
        !cores.is_empty() && !of_nodes.iter().any(|node| cores.iter().all(|c| node.contains(c)))
    };
    let servers = host.wanted.servers.iter().filter(|server| is_over_several(&server.cores));
    let names: Vec<&str> = servers.map(|server| server.name.as_str()).collect();
    match names.as_slice() {
        [] => NODES.good(format!("{} nodes", of_nodes.len()), wanted),
        names => NODES.found(
            Verdict::Warning,
            format!("cores of several nodes: {}", names.join(", ")),
            wanted,
            "`lscpu --extended=CPU,NODE`; give each server `cores` of one node",
        ),
    }
}
