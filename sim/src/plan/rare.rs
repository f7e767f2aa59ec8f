//! Additions that only a few plans have, because they take long or need many things at once. Each
//! exists to raise a coverage counter.

use super::{Act, BEGINS, Entry, Host, Setup, What};
use crate::clock::{MS, S, Time};
use crate::random::Random;

fn act(entries: &mut Vec<Entry>, at: Time, client: usize, key: usize, act: Act) {
    entries.push(Entry { at, what: What::Act { client, key, act } });
}

/// More keys than fit into the caches, so that items are evicted.
pub(super) fn too_many_keys(random: &mut Random, setup: &mut Setup, entries: &mut Vec<Entry>) {
    (setup.keys, setup.value_bytes) = (60 * setup.servers(), 1_000);
    let begin = BEGINS + random.below(2 * S);
    for number in 0..2 * setup.keys {
        let (client, key) = (random.index(setup.clients), number * 7 % setup.keys);
        let what = if random.percent(80) { Act::Get } else { Act::Put };
        act(entries, begin + number as Time * 20 * MS, client, key, what);
    }
}

/// More requests at once than a shard has room for, so that some are refused as overload.
pub(super) fn too_many_requests(random: &mut Random, setup: &mut Setup, entries: &mut Vec<Entry>) {
    setup.in_flight_max = u32::try_from(random.between(4, 8)).unwrap_or(4);
    for _ in 0..random.between(1, 4) {
        let at = BEGINS + random.below(setup.quiet_at - BEGINS - S);
        let by = random.between(20, 300) * MS;
        entries.push(Entry { at, what: What::OriginSlow { server: None, by, lasts: S } });
        for _ in 0..random.between(10, 60) {
            let (client, key) = (random.index(setup.clients), random.index(setup.keys));
            let what = if random.percent(60) { Act::Get } else { Act::Put };
            act(entries, at + random.below(300 * MS), client, key, what);
        }
    }
}

/// A server reaches only one client, which continues to read from its cache, while another client
/// writes at the next owner. The reads are stale, for no longer than the lease lasts.
pub(super) fn half_cut_off(random: &mut Random, setup: &Setup, entries: &mut Vec<Entry>) {
    let servers = setup.servers();
    let server = random.index(servers);
    let (home, reader) = (Host::Server(server), random.index(setup.clients));
    let (at, lasts) = (BEGINS + random.below(setup.quiet_at - BEGINS - 2 * S), 2 * setup.lease);
    let others = (0..servers).filter(|id| *id != server).map(Host::Server);
    let clients = (0..setup.clients).filter(|id| *id != reader).map(Host::Client);
    for other in others.chain(clients).chain([Host::Master(0)]) {
        entries.push(Entry { at, what: What::Cut { from: home, to: other, lasts } });
        entries.push(Entry { at, what: What::Cut { from: other, to: home, lasts } });
    }
    let writer = (reader + 1) % setup.clients;
    act(entries, at.saturating_sub(30 * MS).max(BEGINS), reader, server, Act::Get);
    for step in 0..6 {
        act(entries, at + MS + step * 150 * MS, writer, server, Act::Put);
    }
    for step in 0..setup.lease * 3 / 2 / (25 * MS) {
        act(entries, at + step * 25 * MS, reader, server, Act::Get);
    }
}

/// A server has measured its usual rate for some seconds, then takes over the partitions of
/// another, of which more keys are requested at once than it usually fetches.
pub(super) fn surge(random: &mut Random, setup: &mut Setup, entries: &mut Vec<Entry>) {
    let servers = setup.servers();
    setup.keys = KEYS * servers;
    setup.origin_concurrency = 256;
    // Everything that matters comes before. Other faults would only disturb it.
    setup.reads_at_the_end = false;
    entries.retain(|entry| matches!(entry.what, What::Act { .. } | What::ClockRate { .. }));
    let measured = 14 * S;
    for step in 0..measured / (20 * MS) {
        let (client, key) = (random.index(setup.clients), random.index(setup.keys));
        act(entries, BEGINS + step * 20 * MS, client, key, Act::Get);
    }
    let server = random.index(servers);
    let at = BEGINS + measured;
    let down = 8 * S;
    entries.push(Entry { at, what: What::Crash { server, down, silent: random.percent(30) } });
    let wanted = at + random.between(1_500, 3_500) * MS;
    for number in 0..KEYS {
        let key = server + number * servers;
        act(entries, wanted + number as Time * 500, number % setup.clients, key, Act::Get);
    }
    setup.quiet_at = setup.quiet_at.max(at + 10 * S);
}

/// The number of keys per server: more than a shard with the smallest rate can fetch in the time
/// that a read may wait.
const KEYS: usize = 900;
