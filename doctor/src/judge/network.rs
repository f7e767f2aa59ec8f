//! The network: queues of connections and packets, and the card that serves clients.

use std::collections::BTreeSet;

use standin_config::counted;

use super::{Host, at_least, sysctl};
use crate::facts::{Card, PROCESSES, Reading, Unread};
use crate::parse;
use crate::report::{Area, Finding, Guide, Verdict};

const fn guide(setting: &'static str, why: &'static str, risk: &'static str) -> Guide {
    Guide { area: Area::Network, setting, why, risk }
}

/// The connections that may wait at a server's listener.
const BACKLOG: u64 = 4_096;
/// The kernel's default for packets that wait for a core.
const PACKETS: u64 = 1_000;
/// The number that is wanted where that was too few. The count of dropped packets never falls, so that
/// more each time would never end.
const PACKETS_DROPPED: u64 = 4_000;

const SOMAXCONN: Guide = guide(
    "net.core.somaxconn",
    "when a server fails its clients connect to the stand-ins at once; beyond this they wait for a second",
    "none",
);
const SYN: Guide = guide(
    "net.ipv4.tcp_max_syn_backlog",
    "bounds the handshakes under way, as somaxconn does those that are complete",
    "none",
);
const COOKIES: Guide = guide(
    "net.ipv4.tcp_syncookies",
    "with a full queue of handshakes the kernel answers with a cookie and does not drop the client",
    "none: it is the default",
);
const PACKET_QUEUE: Guide = guide(
    "net.core.netdev_max_backlog",
    "bounds the packets that wait for a core, where they come over loopback or by RPS",
    "none",
);
const BUSY_POLL: Guide = guide(
    "net.core.busy_poll",
    "the loop on io_uring does not poll the card: this only makes other programs spin",
    "a program that relies on it becomes slower",
);
const BUSY_READ: Guide = guide(
    "net.core.busy_read",
    "the loop on io_uring does not poll the card: this only makes other programs spin",
    "a program that relies on it becomes slower",
);
const CARD: Guide = guide(
    "network card",
    "its queues, interrupts and offloads decide which core receives a packet",
    "none",
);
const QUEUES: Guide = guide(
    "receive queues",
    "each queue is handled by one core; with fewer queues than shards some cores receive for others",
    "a change restarts the card: connections stall for a moment",
);
const SPREAD: Guide = guide(
    "RSS table",
    "a queue that is not in the table receives nothing, and the others receive more",
    "none",
);
const INTERRUPTS: Guide = guide(
    "interrupt affinity",
    "a core that handles several queues, or a queue that moves between cores, delays the packets",
    "this program leaves interrupts alone; irq-affinity.sh keeps the old values",
);
const BALANCER: Guide = guide(
    "irqbalance",
    "it moves interrupts every ten seconds by its own rules, also onto the shards' cores",
    "without it, interrupts stay where they are until somebody moves them",
);
const RINGS: Guide = guide(
    "ring sizes",
    "a failover sends a burst to the stand-ins; what does not fit is dropped, and retransmitted 200 ms later",
    "larger rings do not fit into the processor's cache; a change restarts the card",
);
const COALESCING: Guide = guide(
    "interrupt coalescing",
    "adaptive coalescing follows the load with a lag, which shows as latency that jumps between levels",
    "short fixed times cost a busy core more interrupts",
);
const GRO: Guide = guide(
    "offload GRO",
    "it joins the segments of pipelined requests before the kernel processes each",
    "none",
);
const TSO: Guide = guide("offload TSO", "it splits large replies in the card", "none");
const LRO: Guide = guide(
    "offload LRO",
    "joining in the card breaks forwarding and bridges; GRO does the same in the kernel",
    "none",
);
const RPS: Guide = guide(
    "RPS",
    "it hands packets to other cores by an interrupt between cores, which a card with queues does itself",
    "none; the old masks are kept",
);
const XPS: Guide = guide(
    "XPS",
    "a mask from another number of queues makes cores compete for one queue",
    "none; drivers set it up well by themselves",
);
const NODE: Guide = guide(
    "NUMA node of the card",
    "the card writes packets into memory of its own node; shards of another read them across the link",
    "none",
);

pub(super) fn judge(host: &Host<'_>, findings: &mut Vec<Finding>) {
    findings.extend([
        at_least(host, &SOMAXCONN, "/proc/sys/net/core/somaxconn", BACKLOG),
        at_least(host, &SYN, "/proc/sys/net/ipv4/tcp_max_syn_backlog", BACKLOG),
        cookies(host),
        packets(host),
        busy(host, &BUSY_POLL, "/proc/sys/net/core/busy_poll"),
        busy(host, &BUSY_READ, "/proc/sys/net/core/busy_read"),
        balancer(host),
    ]);
    if host.facts.cards.is_empty() {
        let why = "no card has the servers' address or the default route; name it with --nic";
        findings.push(CARD.unread(&Unread::Failed(why.to_owned()), "known"));
    }
    for card in &host.facts.cards {
        let of_card = match card.is_loopback {
            true => vec![CARD.good("loopback: clients are on this host", "any")],
            false => of_card(host, card),
        };
        findings.extend(of_card.into_iter().map(|finding| finding.about(&card.name)));
    }
}

fn cookies(host: &Host<'_>) -> Finding {
    let path = "/proc/sys/net/ipv4/tcp_syncookies";
    match host.number(path) {
        Err(unread) => COOKIES.unread(&unread, "1"),
        Ok(0) => COOKIES.found(Verdict::Warning, "0", "1", sysctl(&COOKIES, 1)).writes(path, "1"),
        Ok(found) => COOKIES.good(found.to_string(), "1"),
    }
}

/// More than the default is needed only where packets have been dropped.
fn packets(host: &Host<'_>) -> Finding {
    let path = "/proc/sys/net/core/netdev_max_backlog";
    let drops = host.parsed("/proc/net/softnet_stat", parse::backlog_drops).unwrap_or(0);
    let least = if drops > 0 { PACKETS_DROPPED } else { PACKETS };
    let mut finding = at_least(host, &PACKET_QUEUE, path, least);
    if drops > 0 && finding.verdict != Verdict::Unread && finding.verdict != Verdict::Absent {
        finding.found += &format!(", and {drops} packets dropped since the start");
    }
    finding
}

fn busy(host: &Host<'_>, guide: &Guide, path: &str) -> Finding {
    match host.number(path) {
        Err(unread) => guide.unread(&unread, "0"),
        Ok(0) => guide.good("0", "0"),
        Ok(found) => guide.found(Verdict::Advice, found.to_string(), "0", sysctl(guide, 0)),
    }
}

fn balancer(host: &Host<'_>) -> Finding {
    let wanted = "not running, or kept off the shards' cores";
    let mut names = host.facts.files.names(PROCESSES).peekable();
    if names.peek().is_none() {
        let why = "no process is in /proc".to_owned();
        return BALANCER.unread(&Unread::Failed(why), wanted);
    }
    match names.any(|name| name == "irqbalance") {
        false => BALANCER.good("not running", wanted),
        true if host.wanted.cores().is_empty() => {
            BALANCER.good("running, and no shard is pinned", wanted)
        }
        true => BALANCER.found(
            Verdict::Warning,
            "running",
            wanted,
            "systemctl disable --now irqbalance, or IRQBALANCE_BANNED_CPULIST in /etc/default/irqbalance",
        ),
    }
}

fn of_card(host: &Host<'_>, card: &Card) -> Vec<Finding> {
    let receive = queues(host, card, "rx-");
    vec![
        receive_queues(host, card, receive.len()),
        spread(card, receive.len()),
        interrupts(host, card),
        rings(host, card),
        coalescing(card),
        offload(&GRO, &card.gro, true, &card.name, "gro"),
        offload(&TSO, &card.tso, true, &card.name, "tso"),
        offload(&LRO, &card.lro, false, &card.name, "lro"),
        rps(host, card, &receive),
        xps(host, card),
        node(host, card),
    ]
}

fn queues<'h>(host: &Host<'h>, card: &Card, kind: &str) -> Vec<&'h str> {
    let folder = format!("/sys/class/net/{}/queues", card.name);
    host.facts.files.names(&folder).filter(|name| name.starts_with(kind)).collect()
}

fn receive_queues(host: &Host<'_>, card: &Card, queues: usize) -> Finding {
    let shards = host.wanted.shards();
    let wanted = format!("one for each of {}", counted(shards, "shard"));
    let found = match &card.channels {
        Ok(channels) => format!("{queues} of {}", channels.max),
        Err(_) => queues.to_string(),
    };
    let most = card.channels.as_ref().map_or(queues, |channels| channels.max as usize);
    match () {
        () if queues == 0 => QUEUES.unread(&Unread::Absent, wanted),
        () if queues >= shards => QUEUES.good(found, wanted),
        () if most > queues => QUEUES.found(
            Verdict::Warning,
            found,
            wanted,
            format!("ethtool -L {} combined {}", card.name, most.min(shards)),
        ),
        () => QUEUES.found(
            Verdict::Advice,
            format!("{found}, and it has no more"),
            wanted,
            "RPS over the other cores may help; in a virtual machine, ask for a card with several queues",
        ),
    }
}

fn spread(card: &Card, queues: usize) -> Finding {
    let wanted = "every receive queue";
    match &card.spread {
        Err(unread) => SPREAD.unread(unread, wanted),
        Ok(table) => {
            let used: BTreeSet<u32> = table.iter().copied().collect();
            let found = format!("{} entries over {} of {queues} queues", table.len(), used.len());
            match used.len() >= queues {
                true => SPREAD.good(found, wanted),
                false => SPREAD.found(
                    Verdict::Warning,
                    found,
                    wanted,
                    format!("ethtool -X {} equal {queues}", card.name),
                ),
            }
        }
    }
}

/// The interrupts of a card's queues, each with its cores.
fn of_queues(host: &Host<'_>, card: &Card) -> Reading<Vec<(u32, BTreeSet<usize>)>> {
    let table = parse::interrupts(host.text("/proc/interrupts")?);
    let own: BTreeSet<&str> = ["device/msi_irqs", "device/../msi_irqs"]
        .iter()
        .flat_map(|folder| {
            host.facts.files.names(&format!("/sys/class/net/{}/{folder}", card.name))
        })
        .collect();
    let of_queues = table
        .iter()
        .filter(|(irq, name)| own.contains(irq.to_string().as_str()) && parse::is_queue(name));
    let cores = of_queues.map(|(irq, _)| {
        let read = |file| host.parsed(&format!("/proc/irq/{irq}/{file}"), parse::cores);
        // The cores that the interrupt really goes to, where the kernel tells.
        match read("effective_affinity_list") {
            Ok(cores) if !cores.is_empty() => Ok((*irq, cores)),
            _ => Ok((*irq, read("smp_affinity_list")?)),
        }
    });
    let found: Vec<_> = cores.collect::<Reading<_>>()?;
    if found.is_empty() { Err(Unread::Absent) } else { Ok(found) }
}

fn interrupts(host: &Host<'_>, card: &Card) -> Finding {
    let wanted = "one core each, spread over several";
    let (found, online) = match (of_queues(host, card), host.online()) {
        (Ok(found), Ok(online)) => (found, online),
        (Err(unread), _) | (_, Err(unread)) => return INTERRUPTS.unread(&unread, wanted),
    };
    let all: BTreeSet<usize> = found.iter().flat_map(|(_, cores)| cores.iter().copied()).collect();
    let shown = format!("{} on cores {}", counted(found.len(), "queue"), parse::list(&all));
    let how = format!("tuning/irq-affinity.sh {} shows how they would be spread", card.name);
    let shards = host.wanted.cores();
    let on_shards = all.intersection(&shards).count();
    if all.len() < found.len().min(online.len()) {
        return INTERRUPTS.found(Verdict::Warning, format!("{shown} only"), wanted, how);
    }
    // All of them on the shards' cores is a choice, and so is none.
    if on_shards > 0 && on_shards < all.len() {
        let found = format!("{shown}, {on_shards} of them shards'");
        return INTERRUPTS.found(
            Verdict::Advice,
            found,
            "apart from the shards, or one with each",
            how,
        );
    }
    INTERRUPTS.good(shown, wanted)
}

fn rings(host: &Host<'_>, card: &Card) -> Finding {
    let wanted = "no packet dropped for lack of room";
    let rings = match &card.rings {
        Ok(rings) => rings,
        Err(unread) => return RINGS.unread(unread, wanted),
    };
    let of = |name| host.number(&format!("/sys/class/net/{}/statistics/{name}", card.name));
    let drops = match (of("rx_missed_errors"), of("rx_fifo_errors")) {
        (Ok(missed), Ok(full)) => missed.max(full),
        (Err(unread), _) | (_, Err(unread)) => return RINGS.unread(&unread, wanted),
    };
    let found = format!("{} of {}, {drops} dropped", rings.receive, rings.receive_max);
    if drops == 0 || rings.receive >= rings.receive_max {
        return RINGS.good(found, wanted);
    }
    let more = rings.receive.saturating_mul(2).min(rings.receive_max);
    let how = format!("ethtool -G {} rx {more}, if the number still rises", card.name);
    RINGS.found(Verdict::Warning, found, wanted, how)
}

fn coalescing(card: &Card) -> Finding {
    let wanted = "fixed, if latency matters more than throughput";
    match &card.adaptive {
        Err(unread) => COALESCING.unread(unread, wanted),
        Ok(found) if found.receive || found.send => COALESCING.found(
            Verdict::Advice,
            "adaptive",
            wanted,
            format!("ethtool -C {} adaptive-rx off adaptive-tx off rx-usecs 8", card.name),
        ),
        Ok(found) => COALESCING.good(format!("fixed, {} µs", found.receive_us), wanted),
    }
}

fn offload(guide: &Guide, is_on: &Reading<bool>, wanted: bool, card: &str, name: &str) -> Finding {
    let word = |is_on| if is_on { "on" } else { "off" };
    match is_on {
        Err(unread) => guide.unread(unread, word(wanted)),
        Ok(is_on) if *is_on == wanted => guide.good(word(*is_on), word(wanted)),
        Ok(is_on) => guide.found(
            Verdict::Warning,
            word(*is_on),
            word(wanted),
            format!("ethtool -K {card} {name} {}", word(wanted)),
        ),
    }
}

/// The files of queues whose masks name a core.
fn masked(host: &Host<'_>, card: &Card, queues: &[&str], file: &str) -> Reading<Vec<String>> {
    let mut masked = Vec::new();
    for queue in queues {
        let path = format!("/sys/class/net/{}/queues/{queue}/{file}", card.name);
        if host.parsed(&path, parse::is_any_in_mask)? {
            masked.push(path);
        }
    }
    if queues.is_empty() { Err(Unread::Absent) } else { Ok(masked) }
}

fn rps(host: &Host<'_>, card: &Card, queues: &[&str]) -> Finding {
    let wanted = "off, on a card with several queues";
    match masked(host, card, queues, "rps_cpus") {
        Err(unread) => RPS.unread(&unread, wanted),
        Ok(masked) if masked.is_empty() => RPS.good("off", wanted),
        Ok(_) if queues.len() == 1 => RPS.good("on, and the card has one queue", wanted),
        Ok(masked) => {
            let found = format!("on for {} of {} queues", masked.len(), queues.len());
            let how = format!("echo 0 > each /sys/class/net/{}/queues/rx-*/rps_cpus", card.name);
            let finding = RPS.found(Verdict::Warning, found, wanted, how);
            masked.iter().fold(finding, |finding, path| finding.writes(path, "0"))
        }
    }
}

fn xps(host: &Host<'_>, card: &Card) -> Finding {
    let wanted = "off, or a core of its own for each queue";
    let queues = queues(host, card, "tx-");
    let mut masks = Vec::new();
    for queue in &queues {
        let path = format!("/sys/class/net/{}/queues/{queue}/xps_cpus", card.name);
        match host.parsed(&path, |text| Some((parse::is_any_in_mask(text)?, text))) {
            Ok((true, mask)) => masks.push((path, mask.trim_start_matches(['0', ',']))),
            Ok((false, _)) => {}
            Err(unread) => return XPS.unread(&unread, wanted),
        }
    }
    let different: BTreeSet<&str> = masks.iter().map(|(_, mask)| *mask).collect();
    let found = format!("on for {} of {} queues", masks.len(), queues.len());
    match () {
        () if queues.is_empty() => XPS.unread(&Unread::Absent, wanted),
        () if masks.is_empty() => XPS.good("off", wanted),
        () if masks.len() == queues.len() && different.len() == masks.len() => {
            XPS.good(found, wanted)
        }
        () => {
            let how = format!("echo 0 > each /sys/class/net/{}/queues/tx-*/xps_cpus", card.name);
            let finding = XPS.found(Verdict::Warning, format!("{found}, shared"), wanted, how);
            masks.iter().fold(finding, |finding, (path, _)| finding.writes(path, "0"))
        }
    }
}

fn node(host: &Host<'_>, card: &Card) -> Finding {
    let wanted = "that of the shards";
    let of = |name: &str| {
        let path = format!("/sys/class/net/{}/device/{name}", card.name);
        let above = format!("/sys/class/net/{}/device/../{name}", card.name);
        // A paravirtual card is a device on its bus, and the node is that of the level above.
        if host.text(&path) == Err(Unread::Absent) { above } else { path }
    };
    let node = match host.parsed(&of("numa_node"), |text| text.parse::<i32>().ok()) {
        Ok(..0) => return NODE.good("none: one node, or unknown to the firmware", wanted),
        Ok(node) => node,
        Err(unread) => return NODE.unread(&unread, wanted),
    };
    match host.parsed(&of("local_cpulist"), parse::cores) {
        Err(unread) => NODE.unread(&unread, wanted),
        Ok(near) => {
            let far: BTreeSet<usize> = host.wanted.cores().difference(&near).copied().collect();
            match far.is_empty() {
                true => NODE.good(node.to_string(), wanted),
                false => NODE.found(
                    Verdict::Warning,
                    format!("{node}, but cores {} are elsewhere", parse::list(&far)),
                    wanted,
                    format!("`cores` among {}", parse::list(&near)),
                ),
            }
        }
    }
}
