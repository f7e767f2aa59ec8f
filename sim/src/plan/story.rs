//! The circumstances that most rare failures have in common: no server hears the master for about a
//! lease, and meanwhile, or when it is back, the home of a key and another server of its group die,
//! hang or are cut off while that key is written. Faults that are drawn one by one hardly ever
//! coincide like that. Little else is written, because the next write would correct a wrong state.

use super::{Act, BEGINS, Entry, Host, Setup, What};
use crate::clock::{MS, Time};
use crate::random::Random;

/// Chooses the cluster: mostly a group of three, in which a server can have the word of a second one
/// while it is cut off from a third.
pub(super) fn set(random: &mut Random, setup: &mut Setup) {
    if random.percent(80) {
        setup.groups = vec![3];
        setup.keys = if random.percent(50) { 3 } else { 6 };
    }
    if random.percent(75) {
        setup.lease = 700 * MS;
    }
    if random.percent(50) {
        setup.log_keys_max = 1;
    }
}

/// Adds one to three such stories.
pub(super) fn tell(random: &mut Random, setup: &Setup, entries: &mut Vec<Entry>) {
    for _ in 0..random.between(1, 3) {
        let begins = BEGINS + random.below((setup.quiet_at - BEGINS) * 2 / 3 + 1);
        Story::new(random, setup, begins, entries).tell(random);
    }
}

struct Story<'a> {
    setup: &'a Setup,
    entries: &'a mut Vec<Entry>,
    begins: Time,
    /// The time for which no server hears the master.
    away: Time,
    key: usize,
    /// The client that writes the key, and is cut off together with a server.
    writer: usize,
    /// The times at which faults end.
    ends: Vec<Time>,
}

impl<'a> Story<'a> {
    fn new(
        random: &mut Random,
        setup: &'a Setup,
        begins: Time,
        entries: &'a mut Vec<Entry>,
    ) -> Self {
        let away = setup.lease * random.between(40, 300) / 100;
        let (key, writer) = (random.index(setup.keys), random.index(setup.clients));
        Self { setup, entries, begins, away, key, writer, ends: vec![begins + away] }
    }

    fn tell(mut self, random: &mut Random) {
        let (begins, away, lease) = (self.begins, self.away, self.setup.lease);
        let master = match random.below(10) {
            0..=4 => What::CrashMaster { down: away, forgets: random.percent(50) },
            5..=8 => What::Isolate { host: Host::Master(0), lasts: away },
            _ => What::Pause { host: Host::Master(0), lasts: away },
        };
        self.act(begins.saturating_sub(random.below(lease / 2)), self.key, 0, Act::Get);
        self.fault(begins, master);
        let servers = self.setup.servers();
        let home = self.key % servers;
        let other = (home + 1 + random.index((servers - 1).max(1))) % servers;
        if random.percent(85) {
            // Mostly until the master is about to be back: it finds nothing wrong with the home.
            let (at, lasts) = match random.percent(60) {
                true => (begins + random.below(lease / 4), away.saturating_sub(lease / 4)),
                false => {
                    let at = (begins + random.below(away)).saturating_sub(lease / 4);
                    (at, away * random.between(20, 150) / 100)
                }
            };
            self.hit(random, home, at, lasts.max(10 * MS));
        }
        // A write waits for up to half a lease before an orphan carries it out.
        let written = match random.below(6) {
            0 | 1 => self.near_an_end(random),
            2 => (begins + away).saturating_sub(random.below(lease / 2)),
            _ => begins + lease / 4 + random.below(away),
        };
        for _ in 0..random.between(1, 3) {
            let (act, by) = if random.percent(80) { (Act::Put, 0) } else { (Act::Cas, 1) };
            let at = written + random.below(100 * MS);
            self.act(at, self.another_key(random), (self.writer + by) % self.setup.clients, act);
        }
        let lasts = lease * random.between(50, 600) / 100;
        match random.below(10) {
            0..=1 => {
                let at = self.near_an_end(random);
                self.hit(random, other, at, lasts);
            }
            2 => {
                let at = begins + random.below(200 * MS);
                self.hit(random, other, at, lasts);
            }
            3..=4 => {
                let at = (begins + away).saturating_sub(random.below(150 * MS));
                self.split(other, at, lasts);
            }
            // It ends soon after it has acknowledged.
            5..=7 => {
                let at = written + 200 * MS + lease / 2 + random.below(lease / 2);
                let silent = random.percent(10);
                self.fault(at, What::Crash { server: other, down: lasts, silent });
            }
            _ => {
                let at = written + random.below(lease * 3 / 2);
                self.hit(random, other, at, lasts);
            }
        }
        if random.percent(40) {
            let down = lease * random.between(1, 80) / 100;
            let again = What::CrashMaster { down, forgets: random.percent(25) };
            let at = self.near_an_end(random);
            self.fault(at, again);
        }
        for _ in 0..random.between(6, 20) {
            let at = match random.percent(50) {
                true => begins + away + random.below(lease),
                false => self.near_an_end(random),
            };
            let reader = self.writer + 1 + random.index((self.setup.clients - 1).max(1));
            self.act(at, self.key, reader % self.setup.clients, Act::Get);
        }
    }

    /// Adds a fault of a server.
    fn hit(&mut self, random: &mut Random, server: usize, at: Time, lasts: Time) {
        let host = Host::Server(server);
        let what = match random.below(10) {
            0..=2 => {
                let shard = u16::try_from(random.below(self.setup.shards.into())).unwrap_or(0);
                What::StallShard { server, shard, lasts }
            }
            3..=5 => What::Crash { server, down: lasts, silent: random.percent(10) },
            6 => What::Leave { server, down: lasts },
            7 if random.percent(50) => What::PauseInside { server, lasts },
            7 | 8 => What::Pause { host, lasts },
            _ => return self.split(server, at, lasts),
        };
        self.fault(at, what);
    }

    /// Cuts a server and the writing client off from all others.
    fn split(&mut self, server: usize, at: Time, lasts: Time) {
        let own = [Host::Server(server), Host::Client(self.writer)];
        let servers = (0..self.setup.servers()).map(Host::Server);
        let clients = (0..self.setup.clients).map(Host::Client);
        let all: Vec<Host> = servers.chain(clients).chain([Host::Master(0)]).collect();
        for other in all.into_iter().filter(|other| !own.contains(other)) {
            for one in own {
                self.fault(at, What::Cut { from: one, to: other, lasts });
                self.fault(at, What::Cut { from: other, to: one, lasts });
            }
        }
    }

    fn fault(&mut self, at: Time, what: What) {
        let at = at.clamp(BEGINS, self.setup.quiet_at - 1);
        self.ends.extend(what.lasts().map(|lasts| at + lasts));
        self.entries.push(Entry { at, what });
    }

    fn act(&mut self, at: Time, key: usize, client: usize, act: Act) {
        let at = at.clamp(BEGINS, self.setup.quiet_at - 1);
        self.entries.push(Entry { at, what: What::Act { client, key, act } });
    }

    /// Returns the key, or another one with the same home.
    fn another_key(&self, random: &mut Random) -> usize {
        let other = self.key + self.setup.servers();
        if random.percent(30) && other < self.setup.keys { other } else { self.key }
    }

    /// Draws a time shortly before or after the end of a fault.
    fn near_an_end(&self, random: &mut Random) -> Time {
        let end = self.ends[random.index(self.ends.len())];
        let around = [20 * MS, 100 * MS, self.setup.lease / 2][random.index(3)];
        (end + random.below(2 * around)).saturating_sub(around)
    }
}
