//! Reporters, and the servers that each of them has reported. A reporter that reports most of a
//! group within a lease can probably not reach any server itself.
//!
//! There is no quorum. Contacting the server decides (claim 19), and one report is enough to cause
//! that. So a bad reporter can only cause probes of healthy servers: at most one probe of each
//! server in every cool-down, regardless of the number of reporters. The cool-down is half a lease
//! for a *discounted* reporter. Such a reporter is answered at once with the current state, and the
//! server is contacted when the cool-down is over. No report is dropped, because a whole group can
//! die, and then its clients rightly report all of it.
//!
//! Memory is bounded: a few thousand reporters, and a few reported servers of each. A reporter of
//! more servers is discounted.

use std::time::Duration;

use standin_protocol::map::Topology;
use standin_protocol::queue::Queue;
use standin_protocol::time::Micros;

use crate::event::Reporter;
use crate::generations::Generations;

/// The number of reporters remembered in each of two generations.
const REPORTERS_MAX: usize = 2_048;
/// The number of servers reported by one reporter that are remembered.
const ACCUSED_MAX: usize = 64;

/// All recent reporters.
#[derive(Debug)]
pub(crate) struct Reporters {
    accused_by: Generations<Reporter, Accused>,
}

impl Default for Reporters {
    fn default() -> Self {
        Self { accused_by: Generations::new(REPORTERS_MAX) }
    }
}

#[derive(Debug, Default)]
struct Accused {
    since: Micros,
    servers: Vec<u16>,
}

impl Reporters {
    /// Returns the number of remembered reporters, and the largest number of servers reported by
    /// one of them.
    pub(crate) fn queues(&self) -> [Queue; 3] {
        let most = self.accused_by.values().map(|accused| accused.servers.len()).max();
        let [newer, older] = self.accused_by.queues("reporters", "older reporters");
        [newer, older, Queue::new("accused by one", most.unwrap_or(0), ACCUSED_MAX)]
    }

    /// Records a report. Returns whether it is discounted: its sender has reported more than one server
    /// and more than half of that group within `lease`.
    pub(crate) fn accuse(
        &mut self,
        now: Micros,
        by: Reporter,
        subject: u16,
        topology: &Topology,
        lease: Duration,
    ) -> bool {
        let new = || Accused { since: now, servers: Vec::new() };
        let accused = self.accused_by.entry(by, new);
        if accused.since + lease <= now {
            *accused = new();
        }
        if !accused.servers.contains(&subject) {
            if accused.servers.len() >= ACCUSED_MAX {
                return true;
            }
            accused.servers.push(subject);
        }
        let group = topology.servers[usize::from(subject)].group;
        let is_of_group = |id: &&u16| topology.servers[usize::from(**id)].group == group;
        let count = accused.servers.iter().filter(is_of_group).count();
        let size = topology.servers.iter().filter(|server| server.group == group).count();
        count > 1 && count * 2 > size
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::map::ServerInfo;

    use super::*;

    const LEASE: Duration = Duration::from_secs(2);

    fn topology() -> Topology {
        let servers = (0..6u16).map(|id| ServerInfo {
            name: format!("s{id}"),
            group: id / 4,
            weight: 1,
            shards: 1,
            address: ([127, 0, 0, 1], 100 + id).into(),
        });
        let master = ([127, 0, 0, 1], 9).into();
        Topology::new("test".to_owned(), master, servers.collect(), 16).expect("sound")
    }

    #[test]
    fn more_than_half_of_a_group_within_a_lease() {
        let topology = topology();
        let mut reporters = Reporters::default();
        let mut accuse = |ms: u64, by: u64, subject: u16| {
            let now = Micros(1_000_000 + ms * 1_000);
            reporters.accuse(now, Reporter::Client(by), subject, &topology, LEASE)
        };
        // The topology has a group of four servers and one of two.
        assert!(!accuse(0, 1, 0) && !accuse(1, 1, 0), "repeated reports of the same server");
        assert!(!accuse(2, 1, 4) && !accuse(3, 1, 1));
        assert!(accuse(4, 1, 2), "three of the four");
        assert!(accuse(5, 1, 0));
        assert!(!accuse(6, 1, 4), "that is only half of the other group");
        assert!(accuse(7, 1, 5));
        assert!(!accuse(8, 2, 2), "another reporter");
        assert!(!accuse(2_000, 1, 2), "a lease later");
    }

    #[test]
    fn reports_of_one_reporter_are_remembered_while_others_report() {
        let topology = topology();
        let mut reporters = Reporters::default();
        let mut accuse = |by: u64, subject: u16| {
            let by = Reporter::Client(by);
            reporters.accuse(Micros(1_000_000), by, subject, &topology, LEASE)
        };
        assert!(!accuse(1, 0) && !accuse(1, 1));
        for other in 2..1_000 {
            assert!(!accuse(other, 0));
        }
        assert!(accuse(1, 2), "three of the four");
    }

    #[test]
    fn the_limit_is_half_of_the_group_but_more_than_one_server() {
        let servers = (0..7u16).map(|id| ServerInfo {
            name: format!("s{id}"),
            group: u16::from(id == 6),
            weight: 1,
            shards: 1,
            address: ([127, 0, 0, 1], 100 + id).into(),
        });
        let master = ([127, 0, 0, 1], 9).into();
        let topology =
            Topology::new("test".to_owned(), master, servers.collect(), 16).expect("sound");
        let mut reporters = Reporters::default();
        let by = Reporter::Client(1);
        let mut accuse = |subject| reporters.accuse(Micros(0), by, subject, &topology, LEASE);
        let discounted: Vec<bool> = (0..6).map(&mut accuse).collect();
        assert_eq!(discounted, [false, false, false, true, true, true]);
        assert!(!accuse(6), "the only one of its group");
    }

    #[test]
    fn reporters_are_remembered_within_bounds() {
        let topology = topology();
        let mut reporters = Reporters::default();
        for by in 0..3 * REPORTERS_MAX as u64 {
            reporters.accuse(Micros(by), Reporter::Client(by), 0, &topology, LEASE);
        }
        assert!(reporters.accused_by.values().count() <= 2 * REPORTERS_MAX);
    }
}
