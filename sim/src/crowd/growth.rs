//! What the control plane costs as a cluster grows: `cargo sim --growth 4,64,1024`.

use std::fmt;
use std::time::Duration;

use super::{Crowd, Flow, LEASE, LOSS_PERCENT, Traffic};

/// The largest cluster.
pub(crate) const SERVERS_MAX: u16 = 1_024;
/// The smallest: the server that dies has to leave others in its group.
pub(crate) const SERVERS_MIN: u16 = 2;
/// Virtual time for which a cluster is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(60);
/// Virtual time within which all servers have to know what has happened.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);
/// The server that dies.
const VICTIM: u16 = 1;

/// The cost of one cluster.
pub(crate) struct Growth {
    servers: u16,
    map_bytes: usize,
    /// In a second, while nothing happens.
    idle: Traffic,
    /// Because of a server that dies silently, until the others all know, beside what is sent in any case.
    death: Traffic,
    /// From the death until the last server knows.
    told_after: Duration,
}

impl Growth {
    /// Runs a cluster of so many servers.
    pub(crate) fn measure(servers: u16) -> Self {
        let mut crowd = Crowd::new(servers);
        crowd.settles(SETTLES_WITHIN, &[]);
        let before = crowd.traffic;
        crowd.runs_for(IDLE);
        let idle = crowd.traffic.less(&before).over(IDLE);
        let map = crowd.agents[0].as_ref().and_then(|agent| agent.map()).map(|map| map.to_bytes());

        let before = crowd.traffic;
        crowd.agents[usize::from(VICTIM)] = None;
        let told_after = crowd.settles(SETTLES_WITHIN, &[VICTIM]);
        let death = crowd.traffic.less(&before).less(&idle.during(told_after));
        let map_bytes = map.map_or(0, |bytes| bytes.len());
        Self { servers, map_bytes, idle, death, told_after }
    }
}

/// The heading of the table of [`Growth`]s.
pub(crate) struct Heading;

impl fmt::Display for Heading {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "leases of {LEASE:?}; {LOSS_PERCENT} % of the datagrams are lost; bytes are those of the datagrams, \
             without headers of IP and UDP\n"
        )?;
        writeln!(
            out,
            "| servers | map, bytes | to the master, per s | from the master, per s | between servers, per s \
             | a death: from the master | between servers | probes | all know after |"
        )?;
        write!(out, "|---|---|---|---|---|---|---|---|---|")
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { servers, map_bytes, idle, death, told_after } = self;
        write!(
            out,
            "| {servers} | {map_bytes} | {} | {} | {} | {} | {} | {} | {} ms |",
            idle.to_master,
            idle.from_master,
            idle.between_servers,
            death.from_master,
            death.between_servers,
            death.probes,
            told_after.as_millis()
        )
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {:.1} KB", self.datagrams, self.bytes as f64 / 1e3)
    }
}

impl Flow {
    fn map(self, with: impl Fn(u64) -> u64) -> Self {
        Self { datagrams: with(self.datagrams), bytes: with(self.bytes) }
    }

    fn less(self, other: Self) -> Self {
        Self {
            datagrams: self.datagrams.saturating_sub(other.datagrams),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

impl Traffic {
    fn map(self, with: impl Fn(u64) -> u64) -> Self {
        Self {
            to_master: self.to_master.map(&with),
            from_master: self.from_master.map(&with),
            between_servers: self.between_servers.map(&with),
            probes: with(self.probes),
        }
    }

    fn less(self, other: &Self) -> Self {
        Self {
            to_master: self.to_master.less(other.to_master),
            from_master: self.from_master.less(other.from_master),
            between_servers: self.between_servers.less(other.between_servers),
            probes: self.probes.saturating_sub(other.probes),
        }
    }

    /// The mean of a second.
    fn over(self, time: Duration) -> Self {
        self.map(|count| count / time.as_secs())
    }

    /// What this mean of a second comes to in a time.
    fn during(self, time: Duration) -> Self {
        self.map(|count| (count as f64 * time.as_secs_f64()) as u64)
    }
}
