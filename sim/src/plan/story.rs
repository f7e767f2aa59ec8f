//! The circumstances that most rare failures have in common: nobody hears the master for about a
//! lease, and meanwhile, or when it is back, one or two servers of a group die, hang or are cut off
//! while one key is written. Faults that are drawn one by one hardly ever coincide like that.

use super::{Act, BEGINS, Entry, Host, Setup, What};
use crate::clock::{MS, Time};
use crate::random::Random;

/// Chooses the cluster: mostly a group of three, in which a server can have the word of a second one
/// while it is cut off from a third.
pub(super) fn set(random: &mut Random, setup: &mut Setup) {
    if random.percent(75) {
        setup.groups = vec![3];
        setup.keys = 3 + random.index(3);
    }
    if random.percent(75) {
        setup.lease = 700 * MS;
    }
    if random.percent(50) {
        setup.log_keys_max = 1;
    }
}

/// Adds one to four such stories.
pub(super) fn tell(random: &mut Random, setup: &Setup, entries: &mut Vec<Entry>) {
    for _ in 0..random.between(1, 4) {
        let begins = BEGINS + random.below(setup.quiet_at - BEGINS);
        Story::new(random, setup, begins).tell(random, entries);
    }
}

struct Story<'a> {
    setup: &'a Setup,
    begins: Time,
    /// How long nobody hears the master.
    away: Time,
    key: usize,
    /// The only client that reaches a server that is cut off.
    writer: usize,
    /// When a fault ends.
    ends: Vec<Time>,
}

impl<'a> Story<'a> {
    fn new(random: &mut Random, setup: &'a Setup, begins: Time) -> Self {
        let away = setup.lease * random.between(40, 260) / 100;
        let (key, writer) = (random.index(setup.keys), random.index(setup.clients));
        Self { setup, begins, away, key, writer, ends: vec![begins + away] }
    }

    fn tell(mut self, random: &mut Random, entries: &mut Vec<Entry>) {
        let (begins, away, lease) = (self.begins, self.away, self.setup.lease);
        let master = match random.below(10) {
            0..=4 => What::CrashMaster { down: away, forgets: random.percent(40) },
            5..=8 => What::Isolate { host: Host::Master(0), lasts: away },
            _ => What::Pause { host: Host::Master(0), lasts: away },
        };
        self.fault(entries, begins, master);
        for _ in 0..random.between(1, 4) {
            let at = match random.percent(50) {
                true => begins + random.below(away + lease),
                false => self.near_an_end(random),
            };
            self.hit(random, entries, at.saturating_sub(lease / 8));
        }
        if random.percent(50) {
            let down = lease * random.between(1, 80) / 100;
            let again = What::CrashMaster { down, forgets: random.percent(25) };
            let at = self.near_an_end(random);
            self.fault(entries, at, again);
        }
        self.act(entries, begins.saturating_sub(random.below(lease / 2)), 0, Act::Get);
        for _ in 0..random.between(1, 5) {
            let at = match random.percent(50) {
                true => begins + random.below(away + lease),
                false => self.near_an_end(random),
            };
            let client = if random.percent(70) { self.writer } else { self.any(random) };
            self.act(entries, at, client, Act::Put);
        }
        for _ in 0..random.between(4, 16) {
            let at = match random.percent(40) {
                true => begins + random.below(away + 2 * lease),
                false => self.near_an_end(random),
            };
            let client = self.any(random);
            self.act(entries, at, client, Act::Get);
        }
    }

    /// Something happens to the key's home, or to another server.
    fn hit(&mut self, random: &mut Random, entries: &mut Vec<Entry>, at: Time) {
        let servers = self.setup.servers();
        let home = self.key % servers;
        let server = if random.percent(50) { home } else { random.index(servers) };
        let (host, master) = (Host::Server(server), Host::Master(0));
        let lasts = self.setup.lease * random.between(10, 300) / 100;
        let what = match random.below(12) {
            0..=2 => {
                let shard = u16::try_from(random.below(self.setup.shards.into())).unwrap_or(0);
                What::StallShard { server, shard, lasts }
            }
            3..=5 => What::Crash { server, down: lasts, silent: random.percent(15) },
            6 => What::Leave { server, down: lasts },
            7 | 8 => What::Pause { host, lasts },
            9 => What::PauseInside { server, lasts },
            10 => {
                self.fault(entries, at, What::Cut { from: host, to: master, lasts });
                What::Cut { from: master, to: host, lasts }
            }
            // From all but the one that writes.
            _ => {
                let servers = (0..servers).filter(|id| *id != server).map(Host::Server);
                let clients = (0..self.setup.clients).filter(|id| *id != self.writer);
                let others: Vec<Host> = servers.chain(clients.map(Host::Client)).collect();
                for other in others {
                    self.fault(entries, at, What::Cut { from: host, to: other, lasts });
                    self.fault(entries, at, What::Cut { from: other, to: host, lasts });
                }
                self.fault(entries, at, What::Cut { from: host, to: master, lasts });
                What::Cut { from: master, to: host, lasts }
            }
        };
        self.fault(entries, at, what);
    }

    fn fault(&mut self, entries: &mut Vec<Entry>, at: Time, what: What) {
        let at = at.clamp(BEGINS, self.setup.quiet_at - 1);
        self.ends.extend(what.lasts().map(|lasts| at + lasts));
        entries.push(Entry { at, what });
    }

    fn act(&self, entries: &mut Vec<Entry>, at: Time, client: usize, act: Act) {
        let at = at.clamp(BEGINS, self.setup.quiet_at - 1);
        entries.push(Entry { at, what: What::Act { client, key: self.key, act } });
    }

    fn any(&self, random: &mut Random) -> usize {
        random.index(self.setup.clients)
    }

    /// Shortly before or after something that was wrong is right again.
    fn near_an_end(&self, random: &mut Random) -> Time {
        let end = self.ends[random.index(self.ends.len())];
        let around = [20 * MS, 100 * MS, self.setup.lease / 2][random.index(3)];
        (end + random.below(2 * around)).saturating_sub(around)
    }
}
