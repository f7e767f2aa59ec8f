//! The master's file descriptors (`ulimit -n`). They are divided before it starts, so that callers
//! can't take those that it needs for the servers.

use standin_config::{ClusterConfig, HTTP_DESCRIPTORS};

use crate::shell::connections::{CLOSING, CONNECTIONS_MAX};
use crate::shell::probe::PROBES_MAX;

/// The number of descriptors for standard streams, sockets, signals, the loop, state and event
/// files, and a few in reserve.
const BASE: u64 = 32;
/// The smallest number of connections to each side with which a master can work.
const LEAST: u64 = 8;

/// The process may open too few descriptors for a master to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may open {limit} files and sockets, but a master needs at least {needed}; raise \
     the limit (`ulimit -Hn 2048`, or LimitNOFILE= of its systemd unit)"
)]
pub struct TooFewDescriptors {
    /// The number that the system allows.
    pub limit: u64,
    /// The smallest number that is needed.
    pub needed: u64,
}

/// The largest numbers of open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The number of connections to servers.
    pub(crate) probes: usize,
    /// The number of connections from callers.
    pub(crate) connections: usize,
}

/// Returns the number of descriptors for the ports that answer over HTTP. Beside its own, the dashboard
/// has a connection to the master and to each server, a loop, and one connection that is about to close.
pub(crate) fn for_http(cluster: &ClusterConfig) -> u64 {
    let metrics = cluster.master.metrics.as_ref().map_or(0, |_| HTTP_DESCRIPTORS);
    let looks = cluster.servers.len() as u64 + 4;
    let dashboard = cluster.master.dashboard.as_ref().map_or(0, |_| HTTP_DESCRIPTORS + looks);
    metrics + dashboard
}

/// Divides the limit between probes and callers, beside what the ports for HTTP need.
pub(crate) fn divide(limit: u64, for_http: u64) -> Result<Bounds, TooFewDescriptors> {
    let reserved = BASE + CLOSING as u64 + for_http;
    let rest = limit.saturating_sub(reserved);
    if rest < 2 * LEAST {
        return Err(TooFewDescriptors { limit, needed: reserved + 2 * LEAST });
    }
    let rest = usize::try_from(rest).unwrap_or(usize::MAX);
    let probes = PROBES_MAX.min(rest / 2);
    Ok(Bounds { probes, connections: CONNECTIONS_MAX.min(rest - probes) })
}

/// Returns the number of descriptors that this process may have.
pub(crate) fn limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_have_descriptors_of_their_own_whatever_the_limit() {
        assert_eq!(divide(55, 0), Err(TooFewDescriptors { limit: 55, needed: 56 }));
        for limit in 56..5_000 {
            let Bounds { probes, connections } = divide(limit, 0).unwrap();
            assert!(probes >= 8 && connections >= 8);
            assert!((probes + connections + CLOSING) as u64 + BASE <= limit, "{limit}");
        }
        assert_eq!(
            divide(u64::MAX, 0),
            Ok(Bounds { probes: PROBES_MAX, connections: CONNECTIONS_MAX })
        );
        assert_eq!(divide(71, 16), Err(TooFewDescriptors { limit: 71, needed: 72 }));
    }
}
