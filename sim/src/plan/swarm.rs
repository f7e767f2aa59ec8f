//! Swarm testing (Groce and others, ISSTA 2012): the things on which a plan concentrates. A plan that
//! draws a little of everything misses failures that need the same kind of fault three times at once. So
//! most plans draw a few kinds of faults, a few kinds of operations, a server to which most faults
//! happen, and a few moments for them, and use those often.

use super::{Act, Ask, BEGINS, Entry, Host, Setup, What, Written};
use crate::clock::{MS, Time};
use crate::random::Random;

/// The kinds of faults, by their numbers in `generate::fault`.
const FAULTS: &[u64] =
    &[0, 4, 7, 10, 12, 14, 16, 17, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28, 29, 30, 32, 33, 34, 35];

/// The usual length of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lengths {
    Any,
    /// A moment.
    Short,
    /// About as long as the timeouts.
    Patience,
    /// About as long as a lease.
    Lease,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct SwarmConfig {
    /// The kinds of faults to draw from; empty: all.
    kinds: Vec<u64>,
    /// The server to which most faults happen.
    victim: Option<usize>,
    /// The moments of faults, within `spread`; empty: any time.
    moments: Vec<Time>,
    spread: Time,
    lengths: Lengths,
    /// The keys of most operations; empty: any.
    keys: Vec<usize>,
    /// The shares of the clients' operations.
    pub(super) acts: Vec<Act>,
    pub(super) write_percent: u64,
    /// The number of requests of other client programs.
    asks: u64,
    /// Whether there are few faults besides those of a story.
    is_quiet: bool,
}

impl SwarmConfig {
    /// Creates a plan's focus on nothing in particular.
    pub(super) fn none(random: &mut Random) -> Self {
        let asks = if random.percent(30) { random.between(1, 12) } else { 0 };
        Self {
            kinds: Vec::new(),
            victim: None,
            moments: Vec::new(),
            spread: 0,
            lengths: Lengths::Any,
            keys: Vec::new(),
            acts: Vec::new(),
            write_percent: random.between(5, 50),
            asks,
            is_quiet: false,
        }
    }

    /// Creates the focus of a plan with a story.
    pub(super) fn quiet(random: &mut Random) -> Self {
        let write_percent = if random.percent(60) { 0 } else { random.below(10) };
        Self { is_quiet: true, write_percent, ..Self::none(random) }
    }

    pub(super) fn draw(random: &mut Random, setup: &Setup) -> Self {
        let mut kinds = Vec::new();
        for _ in 0..random.between(1, 5) {
            kinds.push(FAULTS[random.index(FAULTS.len())]);
        }
        let disturbed = setup.quiet_at - BEGINS;
        let victim = random.percent(60).then(|| random.index(setup.servers()));
        let moments = match random.below(3) {
            0 => Vec::new(),
            _ => (0..random.between(1, 4)).map(|_| BEGINS + random.below(disturbed)).collect(),
        };
        let spread = [20 * MS, 200 * MS, setup.lease][random.index(3)];
        let lengths = [Lengths::Any, Lengths::Short, Lengths::Patience, Lengths::Lease];
        let first = victim.unwrap_or_else(|| random.index(setup.keys));
        let keys = match random.below(3) {
            0 => Vec::new(),
            1 => vec![first],
            _ => vec![first, random.index(setup.keys)],
        };
        let writes = [
            &[][..],
            &[Act::Put],
            &[Act::Put, Act::Cas],
            &[Act::Cas],
            &[Act::Put, Act::Delete],
            &[Act::Put, Act::Invalidate],
            &[Act::Cas, Act::Touch, Act::Delete],
            &[Act::Swap],
            &[Act::Swap, Act::Put],
        ];
        let asks = if random.percent(40) { random.between(5, 60) } else { 0 };
        Self {
            kinds,
            victim,
            moments,
            spread,
            lengths: lengths[random.index(lengths.len())],
            keys,
            acts: writes[random.index(writes.len())].to_vec(),
            write_percent: random.between(3, 80),
            asks,
            is_quiet: false,
        }
    }

    /// Returns the number of faults; `None`: the usual number.
    pub(super) fn faults(&self, random: &mut Random) -> Option<u64> {
        match self.is_quiet {
            true => Some(random.below(8).saturating_sub(5)),
            false => (!self.kinds.is_empty()).then(|| random.between(3, 16)),
        }
    }

    /// Returns the kind of the next fault; `None`: any.
    pub(super) fn kind(&self, random: &mut Random) -> Option<u64> {
        let is_any = self.kinds.is_empty() || random.percent(8);
        (!is_any).then(|| self.kinds[random.index(self.kinds.len())])
    }

    /// Returns the server to which it happens.
    pub(super) fn server(&self, random: &mut Random, setup: &Setup) -> usize {
        match self.victim {
            Some(victim) if random.percent(75) => victim,
            _ => random.index(setup.servers()),
        }
    }

    /// Returns the time at which the next fault begins.
    pub(super) fn begins(&self, random: &mut Random, setup: &Setup) -> Time {
        let any = BEGINS + random.below(setup.quiet_at - BEGINS);
        if self.moments.is_empty() || random.percent(15) {
            return any;
        }
        let moment = self.moments[random.index(self.moments.len())];
        (moment + random.below(self.spread)).min(setup.quiet_at - 1)
    }

    /// Returns how long it lasts; `None`: any time.
    pub(super) fn lasts(&self, random: &mut Random, setup: &Setup) -> Option<Time> {
        match self.lengths {
            _ if random.percent(20) => None,
            Lengths::Any => None,
            Lengths::Short => Some(random.between(1, 150) * MS),
            Lengths::Patience => Some(random.between(80, 700) * MS),
            Lengths::Lease => Some(setup.lease * random.between(30, 160) / 100),
        }
    }

    /// Returns the key of the next operation.
    pub(super) fn key(&self, random: &mut Random, setup: &Setup) -> usize {
        match self.keys.is_empty() || random.percent(25) {
            true => random.index(setup.keys),
            false => self.keys[random.index(self.keys.len())],
        }
    }

    /// Adds requests of other client programs, usually just before a fault begins.
    pub(super) fn asks(&self, random: &mut Random, setup: &Setup, entries: &mut Vec<Entry>) {
        let is_fault = |entry: &&Entry| entry.at >= BEGINS && entry.what.lasts().is_some();
        let begin: Vec<Time> = entries.iter().filter(is_fault).map(|entry| entry.at).collect();
        for _ in 0..self.asks {
            let at = match begin.is_empty() || random.percent(30) {
                true => BEGINS + random.below(setup.quiet_at - BEGINS),
                false => begin[random.index(begin.len())].saturating_sub(random.below(300 * MS)),
            };
            let ask = self.ask(random, setup);
            let act = if random.percent(85) { Act::Put } else { Act::Get };
            let what = What::Ask(Ask { act, ..ask });
            entries.push(Entry { at: at.clamp(BEGINS, setup.quiet_at - 1), what });
        }
    }

    /// Adds requests of programs whose writes have no identity, more of them around the begin and the
    /// end of faults.
    pub(super) fn asks_without_id(
        &self,
        random: &mut Random,
        setup: &Setup,
        entries: &mut Vec<Entry>,
    ) {
        let faults = entries.iter().filter_map(|entry| Some((entry.at, entry.what.lasts()?)));
        let moments: Vec<Time> = faults.flat_map(|(at, lasts)| [at, at + lasts]).collect();
        for _ in 0..random.between(10, 120) {
            let at = match moments.is_empty() || random.percent(40) {
                true => BEGINS + random.below(setup.quiet_at - BEGINS),
                false => {
                    let moment = moments[random.index(moments.len())] + random.below(300 * MS);
                    moment.saturating_sub(200 * MS)
                }
            };
            let ask = self.ask(random, setup);
            let act = match random.below(10) {
                0..=3 => Act::Put,
                4 | 5 => Act::Swap,
                6 => Act::Delete,
                _ => Act::Get,
            };
            let what = What::Ask(Ask { act, has_id: false, ..ask });
            entries.push(Entry { at: at.clamp(BEGINS, setup.quiet_at - 1), what });
        }
    }

    /// Adds transactions of pairs of keys, in groups of several clients that have seen the same.
    pub(super) fn transactions(
        &self,
        random: &mut Random,
        setup: &Setup,
        entries: &mut Vec<Entry>,
    ) {
        for _ in 0..random.between(20, 90) {
            let at = self.begins(random, setup);
            let key = self.key(random, setup) % setup.servers();
            for _ in 0..random.between(2, 8) {
                let written = [Written::First, Written::Second, Written::Both];
                let act = Act::Transact(written[random.index(written.len())]);
                let at = at + random.below(40 * MS);
                let what = What::Act { client: random.index(setup.clients), key, act };
                entries.push(Entry { at: at.clamp(BEGINS, setup.quiet_at - 1), what });
            }
        }
    }

    /// Draws a request of another client program.
    fn ask(&self, random: &mut Random, setup: &Setup) -> Ask {
        let leaves = match random.below(4) {
            0 => Some(0),
            1 => Some(random.between(1, 1_500) * MS),
            _ => None,
        };
        let key = self.key(random, setup);
        // To its home, or to another server that has to forward it.
        let server = match random.percent(50) {
            true => key % setup.servers(),
            false => random.index(setup.servers()),
        };
        let client = random.index(setup.clients);
        Ask { client, server, key, act: Act::Get, leaves, has_id: true }
    }

    /// Returns a host for a fault with two sides: the victim, or another.
    pub(super) fn host(&self, random: &mut Random, hosts: &[Host]) -> Host {
        match self.victim {
            Some(victim) if random.percent(50) => Host::Server(victim),
            _ => hosts[random.index(hosts.len())],
        }
    }
}
