//! The master's timings and bounds, from the configuration.

use std::time::Duration;

use standin_config::{ClusterConfig, Mode};
use standin_protocol::lease;
use standin_protocol::time::Micros;

/// Timings and bounds of the pure parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The limit on the time of one probe of all shards of a server, which are probed in parallel.
    pub probe_timeout: Duration,
    /// The number of unsuccessful probes before a server is marked offline; at least 1.
    pub probe_attempts: u32,
    /// The time between two checks of a server that is offline (claim 20).
    pub recheck_interval: Duration,
    /// The time of silence after which a server is probed without a report. It is also the length
    /// of the lease in a GRANT (L).
    pub lease: Duration,
    /// The time before an unacknowledged announcement is sent again.
    pub announce_resend: Duration,
    /// The time that a server may take to drain.
    pub drain_timeout: Duration,
    /// The largest number of servers that may be marked offline or waiting at once.
    pub offline_servers_max: usize,
    /// The cluster's mode.
    pub mode: Mode,
}

impl Rules {
    /// Returns the rules of a cluster.
    #[must_use]
    pub fn of(cluster: &ClusterConfig) -> Self {
        let t = &cluster.timings;
        let half = cluster.servers.len().div_ceil(2);
        let max = cluster.master.offline_servers_max;
        Self {
            probe_timeout: t.probe_timeout,
            probe_attempts: t.probe_attempts.max(1),
            recheck_interval: t.recheck_interval,
            lease: t.lease,
            announce_resend: t.announce_resend,
            drain_timeout: t.drain_timeout,
            offline_servers_max: max.map_or(half, |max| usize::try_from(max).unwrap_or(half)),
            mode: cluster.mode,
        }
    }

    /// Returns the rules of a small cluster with the default timings, for tests.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let origin = standin_config::OriginConfig::sqlite("origin.sqlite");
        let cluster = ClusterConfig::new("t", ([127, 0, 0, 1], 999).into(), origin);
        Self { offline_servers_max: 2, ..Self::of(&cluster) }
    }

    /// Returns the shortest time between two verifications of one server. Reports are collected
    /// meanwhile, so that they can't turn the master into a probe amplifier (scenario 12). Per
    /// second, each shard sees at most `probe_attempts / probe_timeout` probes from the master, and
    /// as many from each other member of its group that is asked.
    #[must_use]
    pub fn cool_down(&self) -> Duration {
        self.probe_timeout
    }

    /// Returns the shortest time between two verifications that are due to a reporter that has
    /// reported most of a group (see `reporters.rs`).
    #[must_use]
    pub fn discounted_cool_down(&self) -> Duration {
        self.lease / 2
    }

    /// Returns the time after a return within which a failure is a flap. Each such time spent
    /// online forgives one flap.
    #[must_use]
    pub fn calm(&self) -> Duration {
        self.lease * 10
    }

    /// Returns the time for which a server that has flapped `flaps` times has to answer probes
    /// before it returns. It is zero at first, and then doubles from the recheck interval to 30 s.
    #[must_use]
    pub fn hold_down(&self, flaps: u32) -> Duration {
        match flaps {
            0 => Duration::ZERO,
            flaps => {
                let doubled = self.recheck_interval.saturating_mul(1 << (flaps - 1).min(20));
                doubled.min(Duration::from_secs(30))
            }
        }
    }

    /// Returns the time for which a master without history listens before it changes an owner. It
    /// is L(1+ρ), after which all leases of its predecessor have expired.
    #[must_use]
    pub fn learning_time(&self) -> Duration {
        self.lease_over_at(Micros(0)).since(Micros(0))
    }

    /// Returns the time at which a lease that is granted now has certainly expired.
    #[must_use]
    pub fn lease_over_at(&self, granted: Micros) -> Micros {
        lease::over_at(granted, self.lease)
    }

    /// Whether an incarnation counts as dead if its port refuses connections or belongs to another
    /// incarnation now. Its lease need not be waited for then. In mode `strict` it does not count
    /// as dead, because a party in between may have refused, and what the incarnation has begun may
    /// still end.
    #[must_use]
    pub fn refusal_is_death(&self) -> bool {
        self.mode == Mode::Available
    }

    /// Returns the time of silence towards the announcement of a return after which a stand-in is
    /// probed.
    #[must_use]
    pub fn drain_overdue(&self) -> Duration {
        self.drain_timeout * 2
    }
}
