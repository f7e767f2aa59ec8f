//! The master's timings and bounds, from the configuration.

use std::time::Duration;

use standin_config::ClusterConfig;

/// Timings and bounds of the pure parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Bound on one probe of all shards of a server, which are probed side by side.
    pub probe_timeout: Duration,
    /// Unsuccessful probes before a server is marked offline; at least 1.
    pub probe_attempts: u32,
    /// Between two checks of a server that is offline (claim 20).
    pub recheck_interval: Duration,
    /// Silence of a server before it is probed unasked; also what a GRANT grants.
    pub lease: Duration,
    /// Before an unacknowledged announcement is sent again.
    pub announce_resend: Duration,
    /// How long a server may take to drain.
    pub drain_timeout: Duration,
    /// Most servers that may be offline by verdict at once.
    pub offline_servers_max: usize,
}

impl Rules {
    /// The rules of a cluster.
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
        }
    }

    /// Least time between two verifications of one server: reports are collected
    /// meanwhile, so that they can't turn the master into a probe amplifier (scenario 12).
    /// A server sees at most `probe_attempts / probe_timeout` probes of each shard a second.
    #[must_use]
    pub fn cool_down(&self) -> Duration {
        self.probe_timeout
    }

    /// A failure within this time after a return is a flap; each such time spent online
    /// forgives one.
    #[must_use]
    pub fn calm(&self) -> Duration {
        self.lease * 10
    }

    /// How long a server that has flapped `flaps` times must answer probes before it
    /// returns: nothing at first, then doubling from the recheck interval to 30 s.
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

    /// How long a master without history listens before it changes an owner: L(1+ρ),
    /// with a drift bound ρ of a tenth.
    #[must_use]
    pub fn learning_time(&self) -> Duration {
        self.lease + self.lease / 10
    }

    /// Silence of a stand-in towards the announcement of a return before it is probed.
    #[must_use]
    pub fn drain_overdue(&self) -> Duration {
        self.drain_timeout * 2
    }
}
