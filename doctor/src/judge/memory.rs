//! Memory: its size, huge pages, overcommit, swap, and NUMA.

use super::{Host, size, sysctl};
use crate::cgroups::Limit;
use crate::facts::Unread;
use crate::parse;
use crate::report::{Area, Finding, Guide, Verdict};

const fn guide(setting: &'static str, why: &'static str, risk: &'static str) -> Guide {
    Guide { area: Area::Memory, setting, why, risk }
}

const SIZE: Guide = guide(
    "memory",
    "a server that the kernel kills for lack of memory is a needless failover; index and connections come on top",
    "none",
);
const HUGE: Guide = guide(
    "transparent huge pages",
    "a lookup goes to a random place in the cache; with pages of 4 KiB nearly each one misses the TLB",
    "none with madvise: only programs that ask get huge pages",
);
const DEFRAG: Guide = guide(
    "huge pages: defrag",
    "with always each program that grows may wait while the kernel compacts memory",
    "huge pages come later, or not at all where memory is fragmented",
);
const RESERVED: Guide = guide(
    "reserved huge pages",
    "Standin does not use them: reserving only takes memory away",
    "another program on this host may need them",
);
const OVERCOMMIT: Guide = guide(
    "vm.overcommit_memory",
    "the whole cache is mapped at the start; with 2 the kernel counts it against a fixed limit and may refuse",
    "with 0 a database on the same host may be killed where it would have got an error",
);
const SWAP: Guide = guide(
    "swap",
    "a shard that waits for a page from disk answers nobody meanwhile, and may be taken for dead",
    "without swap, the kernel kills a process sooner if memory runs out",
);
const RECLAIM: Guide = guide(
    "vm.zone_reclaim_mode",
    "other than 0, a shard that needs memory of its own node first waits while the kernel frees some there",
    "none",
);
const BALANCING: Guide = guide(
    "kernel.numa_balancing",
    "to find pages to move, the kernel makes some unreadable for a moment; pinned shards gain nothing from it",
    "other programs that are not pinned may lose by it",
);

pub(super) fn judge(host: &Host<'_>, findings: &mut Vec<Finding>) {
    findings.extend([
        memory(host),
        huge(host),
        defrag(host),
        reserved(host),
        overcommit(host),
        swap(host),
        reclaim(host),
        balancing(host),
    ]);
}

fn memory(host: &Host<'_>) -> Finding {
    let needed = host.wanted.memory_bytes();
    let wanted = format!("{} and room for the rest", size(needed));
    let how = "lower `memory` in the cluster file, or give the host more";
    match host.meminfo("MemTotal") {
        Err(unread) => SIZE.unread(&unread, wanted),
        Ok(found) if found < needed => SIZE.found(Verdict::Serious, size(found), wanted, how),
        Ok(found) if found / 8 * 7 < needed => {
            SIZE.found(Verdict::Warning, size(found), wanted, how)
        }
        Ok(found) => SIZE.good(size(found), wanted),
    }
}

fn huge(host: &Host<'_>) -> Finding {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let is_used = host.wanted.servers.iter().any(|server| server.huge_pages);
    let wanted = if is_used { "madvise" } else { "anything: huge_pages = false" };
    match host.parsed(path, parse::chosen) {
        Err(unread) => HUGE.unread(&unread, wanted),
        Ok("never") if is_used => HUGE
            .found(Verdict::Warning, "never", wanted, format!("echo madvise > {path}"))
            .writes(path, "madvise"),
        Ok(found) => HUGE.good(found, wanted),
    }
}

fn defrag(host: &Host<'_>) -> Finding {
    let path = "/sys/kernel/mm/transparent_hugepage/defrag";
    match host.parsed(path, parse::chosen) {
        Err(unread) => DEFRAG.unread(&unread, "madvise or defer"),
        Ok("always") => {
            let how = format!("echo madvise > {path}");
            DEFRAG.found(Verdict::Advice, "always", "madvise or defer", how)
        }
        Ok(found) => DEFRAG.good(found, "madvise or defer"),
    }
}

fn reserved(host: &Host<'_>) -> Finding {
    let pages = host.meminfo("HugePages_Total").and_then(|pages| {
        if pages == 0 { Ok(0) } else { Ok(pages.saturating_mul(host.meminfo("Hugepagesize")?)) }
    });
    let total = host.meminfo("MemTotal");
    match (pages, total) {
        (Err(unread), _) | (_, Err(unread)) => RESERVED.unread(&unread, "none"),
        (Ok(0), _) => RESERVED.good("none", "none"),
        (Ok(bytes), Ok(total)) => {
            let left = total.saturating_sub(bytes);
            let is_short = left < host.wanted.memory_bytes();
            RESERVED.found(
                if is_short { Verdict::Serious } else { Verdict::Advice },
                format!("{}, which leaves {}", size(bytes), size(left)),
                "none",
                "sysctl -w vm.nr_hugepages=0, if nothing else uses them",
            )
        }
    }
}

fn overcommit(host: &Host<'_>) -> Finding {
    match host.number("/proc/sys/vm/overcommit_memory") {
        Err(unread) => OVERCOMMIT.unread(&unread, "0 or 1"),
        Ok(found @ (0 | 1)) => OVERCOMMIT.good(found.to_string(), "0 or 1"),
        Ok(found) => {
            let needed = host.wanted.memory_bytes();
            let free = host
                .meminfo("CommitLimit")
                .and_then(|limit| Ok(limit.saturating_sub(host.meminfo("Committed_AS")?)));
            match free {
                Ok(free) if free > needed => OVERCOMMIT.good(
                    format!("{found}, with {} left to commit", size(free)),
                    "0 or 1, or room for all caches",
                ),
                _ => OVERCOMMIT.found(
                    Verdict::Warning,
                    found.to_string(),
                    format!("0 or 1, or {} left to commit", size(needed)),
                    sysctl(&OVERCOMMIT, 0) + ", or raise vm.overcommit_ratio",
                ),
            }
        }
    }
}

fn swap(host: &Host<'_>) -> Finding {
    let wanted = "none, or not for the servers";
    let areas = match host.text("/proc/swaps") {
        Err(unread) => return SWAP.unread(&unread, wanted),
        Ok(text) => text.lines().skip(1).filter(|line| !line.trim().is_empty()).count(),
    };
    if areas == 0 {
        return SWAP.good("none", wanted);
    }
    if matches!(host.cgroup_limit(Limit::Swap), Ok(Some((0, _)))) {
        return SWAP.good("not for this control group", wanted);
    }
    let swappiness = host.number("/proc/sys/vm/swappiness");
    let shown = swappiness.as_ref().map_or("?".to_owned(), ToString::to_string);
    let found = format!("{areas} in use, vm.swappiness {shown}");
    match swappiness {
        Ok(0 | 1) => SWAP.good(found, wanted),
        _ => SWAP
            .found(
                Verdict::Warning,
                found,
                wanted,
                "MemorySwapMax=0 in the service's unit, or swapoff -a; sysctl -w vm.swappiness=1 is weaker",
            )
            .writes("/proc/sys/vm/swappiness", "1"),
    }
}

fn reclaim(host: &Host<'_>) -> Finding {
    let path = "/proc/sys/vm/zone_reclaim_mode";
    match host.number(path) {
        Err(unread) => RECLAIM.unread(&unread, "0"),
        Ok(0) => RECLAIM.good("0", "0"),
        Ok(found) => RECLAIM
            .found(Verdict::Warning, found.to_string(), "0", sysctl(&RECLAIM, 0))
            .writes(path, "0"),
    }
}

fn balancing(host: &Host<'_>) -> Finding {
    let path = "/proc/sys/kernel/numa_balancing";
    let nodes = host.parsed("/sys/devices/system/node/online", parse::cores);
    let is_pinned = !host.wanted.cores().is_empty();
    match (host.number(path), nodes) {
        // A kernel without NUMA has neither.
        (_, Err(Unread::Absent)) => BALANCING.unread(&Unread::Absent, "0"),
        (_, Ok(nodes)) if nodes.len() <= 1 => BALANCING.good("one node", "0, or one node"),
        (Err(unread), _) | (_, Err(unread)) => BALANCING.unread(&unread, "0, or one node"),
        (Ok(0), _) => BALANCING.good("0", "0"),
        (Ok(found), Ok(nodes)) if is_pinned => BALANCING
            .found(
                Verdict::Warning,
                format!("{found}, over {} nodes", nodes.len()),
                "0",
                sysctl(&BALANCING, 0),
            )
            .writes(path, "0"),
        (Ok(found), Ok(_)) => BALANCING
            .good(format!("{found}, and shards are not pinned"), "0 where shards are pinned"),
    }
}
