//! A plan from a seed: a small cluster, a few hundred operations on a handful of keys, and a few
//! faults that overlap. Most plans concentrate on a few things (swarm.rs); some have a little of
//! everything.

use super::swarm::SwarmConfig;
use super::{Act, BEGINS, CLIENTS_MAX, Entry, Forged, Host, Mode, Plan, Setup, What, rare, story};
use crate::clock::{MS, S, Time};
use crate::random::{Random, mix};

/// Creates the plan of a seed. `length` is that of the disturbed phase.
pub(crate) fn generate(seed: u64, mode: Mode, length: Time) -> Plan {
    let mut random = Random::new(seed);
    let mut setup = setup(&mut random, mode, length);
    let mut entries = Vec::new();
    let has_story = random.percent(30);
    if has_story {
        story::set(&mut random, &mut setup);
    }
    clocks(&mut random, &setup, &mut entries);
    let swarm = match random.percent(75) {
        _ if has_story => SwarmConfig::quiet(&mut random),
        true => SwarmConfig::draw(&mut random, &setup),
        false => SwarmConfig::none(&mut random),
    };
    if has_story {
        story::tell(&mut random, &setup, &mut entries);
    }
    faults(&mut random, &setup, &swarm, &mut entries);
    acts(&mut random, &setup, &swarm, &mut entries);
    swarm.asks(&mut random, &setup, &mut entries);
    // A few runs have something more. This is drawn last, so that it does not change the other
    // runs.
    match random.below(400) {
        0..=5 => rare::too_many_keys(&mut random, &mut setup, &mut entries),
        6..=13 => rare::too_many_requests(&mut random, &mut setup, &mut entries),
        14..=23 => rare::half_cut_off(&mut random, &setup, &mut entries),
        24 => rare::surge(&mut random, &mut setup, &mut entries),
        _ => {}
    }
    setup.some_puts_change_nothing = mix(seed, 0xF055).is_multiple_of(8);
    setup.shares_rows = mix(seed, 0x2F01D).is_multiple_of(4);
    setup.is_without_room = mix(seed, 0x0F01).is_multiple_of(8);
    // Not with so many keys that reading all of them takes long anyway, and not with shards that have
    // hardly any room, because they would refuse reads that the limit delays.
    let has_room = setup.keys <= FEW_KEYS && setup.in_flight_max > FEW_REQUESTS;
    if has_room && mix(seed, 0xCE11).is_multiple_of(4) {
        let shards = u64::from(setup.shards) * setup.servers() as u64;
        let drawn = mix(seed, 0xCE12);
        // One limit in four is so small that most reads wait or are refused.
        let reads = match mix(seed, 0xCE13).is_multiple_of(4) {
            true => FEW_READS + drawn % FEW_READS,
            false => shards * (40 + drawn % 40),
        };
        setup.reads_per_second = u32::try_from(reads).ok();
    }
    if mix(seed, 0xCAC4E).is_multiple_of(6) {
        setup.without_database = true;
        (setup.shares_rows, setup.reads_per_second) = (false, None);
    }
    if setup.without_database && mix(seed, 0x7A45AC7).is_multiple_of(2) {
        let mut random = Random::new(mix(seed, 0x7A45AC8));
        setup.has_pairs = true;
        setup.keys = setup.keys.max(2 * setup.servers());
        swarm.transactions(&mut random, &setup, &mut entries);
    }
    setup.hashes_slots = mix(seed, 0xC4C16).is_multiple_of(8);
    if setup.without_database || mix(seed, 0xA5CED).is_multiple_of(8) {
        let mut random = Random::new(mix(seed, 0xA5CEE));
        swarm.asks_without_id(&mut random, &setup, &mut entries);
    }
    // Stable: entries of the same time keep their order.
    entries.sort_by_key(|entry| entry.at);
    Plan { seed, setup, entries }
}

/// The largest number of keys, of all servers together, with which reads may be limited.
const FEW_KEYS: usize = 16;
/// The smallest limit of reads per second. A shard may have a twelfth of three quarters of it,
/// which is enough for one waiting read in time.
const FEW_READS: u64 = 8;
/// The number of requests per shard above which reads may be limited.
const FEW_REQUESTS: u32 = 64;

fn setup(random: &mut Random, mode: Mode, length: Time) -> Setup {
    let groups = match random.below(10) {
        0..=3 => vec![2],
        4..=7 => vec![3],
        8 => vec![2, 1],
        _ => vec![2, 2],
    };
    // Every server must be the home of some key. Otherwise its return would have no effect.
    let keys = groups.iter().sum::<usize>() + random.index(4);
    Setup {
        mode,
        groups,
        shards: if random.percent(30) { 2 } else { 1 },
        clients: 2 + usize::from(random.percent(20)),
        keys,
        origin_concurrency: 8 + random.index(8),
        reads_per_second: None,
        in_flight_max: 65_536,
        value_bytes: 8,
        some_puts_change_nothing: false,
        shares_rows: false,
        without_database: false,
        has_pairs: false,
        hashes_slots: false,
        is_without_room: false,
        log_keys_max: if random.percent(30) { 1 } else { 64 },
        lease: if random.percent(60) { 700 * MS } else { 2 * S },
        ttl_s: if random.percent(30) { 3 } else { 60 },
        reads_at_the_end: true,
        missing: None,
        quiet_at: BEGINS + length,
    }
}

/// Rates within the drift bound of a tenth.
fn clocks(random: &mut Random, setup: &Setup, entries: &mut Vec<Entry>) {
    if random.percent(40) {
        return;
    }
    for host in hosts(setup) {
        if random.percent(50) {
            let rate_ppm = random.between(905_000, 1_095_000);
            entries.push(Entry { at: 0, what: What::ClockRate { host, rate_ppm } });
        }
    }
}

fn hosts(setup: &Setup) -> Vec<Host> {
    let servers = (0..setup.servers()).map(Host::Server);
    let clients = (0..setup.clients.min(CLIENTS_MAX)).map(Host::Client);
    servers.chain(clients).chain([Host::Master(0)]).collect()
}

fn faults(random: &mut Random, setup: &Setup, swarm: &SwarmConfig, entries: &mut Vec<Entry>) {
    let usual = match random.below(20) {
        0 => 0,
        1..=6 => 1 + random.below(2),
        7..=16 => 3 + random.below(4),
        _ => 7 + random.below(7),
    };
    let count = swarm.faults(random).unwrap_or(usual);
    for _ in 0..count {
        let at = swarm.begins(random, setup);
        let kind = swarm.kind(random).unwrap_or_else(|| random.below(KINDS));
        let what = fault(random, setup, swarm, kind);
        entries.push(Entry { at, what });
        if random.percent(60) {
            around_its_end(random, setup, swarm, Entry { at, what }, entries);
        }
    }
}

/// Writes a key while a fault lasts and reads it when it ends, because a wrong state at the end of
/// a fault is often corrected a moment later.
fn around_its_end(
    random: &mut Random,
    setup: &Setup,
    swarm: &SwarmConfig,
    fault: Entry,
    entries: &mut Vec<Entry>,
) {
    let Some(lasts) = fault.what.lasts() else { return };
    let end = (fault.at + lasts).min(setup.quiet_at);
    let key = swarm.key(random, setup);
    let mut act = |random: &mut Random, act, at: Time| {
        let client = random.index(setup.clients);
        let at = at.clamp(BEGINS, setup.quiet_at - 1);
        entries.push(Entry { at, what: What::Act { client, key, act } });
    };
    let early = fault.at.saturating_sub(random.below(50 * MS));
    act(random, Act::Get, early);
    let before = random.between(MS, lasts.max(2 * MS));
    let middle = end.saturating_sub(before);
    if random.percent(20) {
        act(random, Act::Behind, middle.saturating_sub(MS));
        let drop = if random.percent(50) { Act::Flush } else { Act::Invalidate };
        act(random, drop, middle);
    } else {
        act(random, Act::Put, middle);
    }
    for _ in 0..random.between(3, 10) {
        let at = end + random.below(24 * MS);
        act(random, Act::Get, at.saturating_sub(12 * MS));
    }
}

/// The number of kinds of faults. Two masters at once are not among them: neither can wait for the
/// leases that the other grants.
const KINDS: u64 = 36;

fn fault(random: &mut Random, setup: &Setup, swarm: &SwarmConfig, kind: u64) -> What {
    let length = |random: &mut Random| {
        let any = length(random);
        swarm.lasts(random, setup).unwrap_or(any)
    };
    let lasts = length(random);
    let hosts = hosts(setup);
    let any = |random: &mut Random| hosts[random.index(hosts.len())];
    let pair = |random: &mut Random, hosts: &[Host]| pair(random, swarm, hosts);
    let server = swarm.server(random, setup);
    let host = Host::Server(server);
    match kind {
        0..=3 => What::Pause { host, lasts },
        4..=6 => What::Crash { server, down: length(random), silent: random.percent(30) },
        7..=9 => {
            let (from, to) = pair(random, &hosts);
            What::Cut { from, to, lasts }
        }
        10 | 11 => {
            let to = any(random);
            match to == host {
                true => What::Isolate { host, lasts },
                false => What::Cut { from: host, to, lasts },
            }
        }
        12 => What::Isolate { host, lasts },
        13 => What::Isolate { host: any(random), lasts },
        14 | 15 => {
            let (a, b) = pair(random, &hosts);
            What::Break { a, b }
        }
        16 => {
            let (from, to) = pair(random, &hosts);
            What::Stall { from, to, lasts }
        }
        17 => What::Noise {
            loss: u8::try_from(random.between(2, 40)).unwrap_or(9),
            twice: u8::try_from(random.below(20)).unwrap_or(9),
            late_max: random.between(1, 80) * MS,
            lasts,
        },
        18 => {
            let shard = u16::try_from(random.below(setup.shards.into())).unwrap_or(0);
            What::StallShard { server, shard, lasts }
        }
        19 => What::Leave { server, down: length(random) },
        20 | 21 => What::CrashMaster { down: length(random), forgets: random.percent(30) },
        22 => What::DiskFull { lasts },
        23 => {
            let by = random.between(1, 20_000_000);
            let by_us = i64::try_from(by).unwrap_or(0) - 10_000_000;
            What::WallStep { host, by_us }
        }
        24 => What::OriginSlow {
            server: random.percent(50).then_some(server),
            by: random.between(5, 2_000) * MS,
            lasts,
        },
        25 => What::OriginDown { lasts },
        26 => What::OriginPath { server, hangs: random.percent(50), lasts },
        27 => What::OriginLate {
            percent: u8::try_from(random.between(5, 60)).unwrap_or(9),
            by_max: random.between(1, 1_200) * MS,
            lasts,
        },
        30 | 31 => {
            let (from, to) = pair(random, &hosts);
            What::Mute { from, to, lasts }
        }
        28 => What::Pause { host: any(random), lasts },
        32 | 33 => What::PauseInside { server, lasts },
        34 => What::Pause { host: Host::Master(0), lasts },
        35 => What::Forge { server, forged: Forged::ALL[random.index(Forged::ALL.len())] },
        _ => What::Replay { from: any(random), lasts },
    }
}

fn pair(random: &mut Random, swarm: &SwarmConfig, hosts: &[Host]) -> (Host, Host) {
    let first = swarm.host(random, hosts);
    let a = hosts.iter().position(|host| *host == first).unwrap_or(0);
    let b = (a + 1 + random.index(hosts.len() - 1)) % hosts.len();
    match random.percent(50) {
        true => (hosts[a], hosts[b]),
        false => (hosts[b], hosts[a]),
    }
}

/// Draws a length: mostly medium, sometimes short, sometimes longer than every timeout.
fn length(random: &mut Random) -> Time {
    match random.below(10) {
        0..=2 => random.between(1, 150) * MS,
        3..=5 => random.between(100, 1_500) * MS,
        6..=8 => random.between(1_000, 3_500) * MS,
        _ => random.between(3_000, 6_000) * MS,
    }
}

fn acts(random: &mut Random, setup: &Setup, swarm: &SwarmConfig, entries: &mut Vec<Entry>) {
    let pause_ms = random.between(12, 60);
    let mut at = BEGINS;
    while at < setup.quiet_at {
        // Small gaps between two that belong together, longer ones between such groups.
        at += match random.below(4) {
            0 => random.between(1, 2 * MS),
            _ => random.between(MS, 2 * pause_ms * MS),
        };
        let client = random.index(setup.clients);
        let key = swarm.key(random, setup);
        let act = match random.percent(swarm.write_percent) {
            true if !swarm.acts.is_empty() => swarm.acts[random.index(swarm.acts.len())],
            true => match random.below(12) {
                0 => Act::Delete,
                1 | 2 => Act::Cas,
                3 => Act::Swap,
                _ => Act::Put,
            },
            false => match random.below(40) {
                0 => Act::Touch,
                1 => Act::Invalidate,
                2 => Act::Flush,
                _ => Act::Get,
            },
        };
        if matches!(act, Act::Invalidate | Act::Flush) {
            let before = at.saturating_sub(random.below(20 * MS)).max(BEGINS);
            entries.push(Entry { at: before, what: What::Act { client, key, act: Act::Behind } });
        }
        entries.push(Entry { at, what: What::Act { client, key, act } });
    }
    debug_assert!(at < 3_600 * S, "plans are short");
}
