//! The demo's cluster: this very program as a master and a few servers, on free ports.

use std::net::SocketAddr;
use std::path::Path;

use standin_config::{ClusterConfig, KeyspaceConfig};

use crate::faults::kinds::StartError;
use crate::faults::kinds::standin::{Cluster, UP_WITHIN, layout};
use crate::faults::script::standin_names;
use crate::interrupt::Interrupt;
use crate::origin::RunOrigin;
use crate::ports::free_addresses;
use crate::rng::Random;

/// The demo's keyspace.
pub(super) const KEYSPACE: u8 = 1;
/// The number of attempts: another program may take a port before the server starts.
const ATTEMPTS: u32 = 3;
/// Cache of one server. The rows of a server do not all fit, so that the steady state has
/// misses, as in real use.
const MEMORY_BYTES: u64 = 6 << 20;
/// Largest value: far above the demo's; a small bound keeps the cache's segments small.
const VALUE_BYTES_MAX: u32 = 4_096;

/// Starts a cluster with this many groups of two servers, and waits until all of it answers.
pub(super) fn start(
    program: &Path,
    folder: &Path,
    groups: u16,
    origin: Option<&RunOrigin>,
    random: &mut Random,
    interrupt: &Interrupt,
) -> Result<Cluster, StartError> {
    let mut attempt = 1;
    loop {
        let names = standin_names(groups, 2);
        let addresses = free_addresses(names.concat().len() + 1, random)
            .map_err(StartError::system("looking for free ports"))?;
        let config = cluster_config(&names, &addresses, origin);
        match Cluster::start(program, folder, config, UP_WITHIN, Some(interrupt)) {
            Err(StartError::Ended { .. }) if attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

fn cluster_config(
    groups: &[Vec<String>],
    addresses: &[SocketAddr],
    origin: Option<&RunOrigin>,
) -> ClusterConfig {
    let origin_config = origin.map(RunOrigin::config);
    let mut config = layout("demo", groups, addresses, MEMORY_BYTES, origin_config);
    config.limits.value_bytes = VALUE_BYTES_MAX;
    config.keyspaces.push(match origin {
        Some(_) => RunOrigin::keyspace(KEYSPACE),
        None => KeyspaceConfig::cache(KEYSPACE, "demo"),
    });
    config
}

#[cfg(test)]
mod tests {
    use standin_config::CONFIG_FILE;
    use standin_testkit::Scratch;

    use super::*;

    #[test]
    fn the_cluster_file_is_valid_and_reads_back() {
        let scratch = Scratch::new("demo-cluster");
        let names = standin_names(2, 2);
        assert_eq!(names.concat(), ["a1", "a2", "b1", "b2"]);
        let addresses = free_addresses(5, &mut Random::new(1)).unwrap();
        let origin = RunOrigin::Sqlite { path: scratch.file("origin.sqlite") };
        for origin in [Some(&origin), None] {
            let mut config = cluster_config(&names, &addresses, origin);
            config.write_into(scratch.path()).unwrap();
            config.master.state_file = scratch.path().join(&config.master.state_file);
            assert_eq!(ClusterConfig::load(&scratch.file(CONFIG_FILE)).unwrap(), config);
            assert_eq!(config.groups, ["a", "b"]);
        }
    }
}
