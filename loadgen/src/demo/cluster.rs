//! The demo's cluster: this very program as a master and a few servers, on free ports.

use std::net::SocketAddr;
use std::path::Path;

use standin_config::{ClusterConfig, KeyspaceConfig};

use crate::faults::kinds::StartError;
use crate::faults::kinds::standin::{Cluster, UP_WITHIN};
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
        let names = standin_names(groups, 2).concat();
        let addresses = free_addresses(names.len() + 1, random)
            .map_err(StartError::system("looking for free ports"))?;
        let config = cluster_config(folder, &names, &addresses, origin);
        match Cluster::start(program, folder, config, UP_WITHIN, Some(interrupt)) {
            Err(StartError::Ended { .. }) if attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

fn cluster_config(
    folder: &Path,
    names: &[String],
    addresses: &[SocketAddr],
    origin: Option<&RunOrigin>,
) -> ClusterConfig {
    let mut config = ClusterConfig::new("demo", addresses[0], origin.map(RunOrigin::config));
    for (pair, at) in names.chunks(2).zip(addresses[1..].chunks(2)) {
        let servers = pair.iter().map(String::as_str).zip(at.iter().copied());
        config = config.with_group(&pair[0][..1], servers);
    }
    for server in &mut config.servers {
        server.memory_bytes = MEMORY_BYTES;
        server.huge_pages = false;
    }
    config.limits.value_bytes = VALUE_BYTES_MAX;
    config.master.state_file = folder.join("master.state");
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
        let names = standin_names(2, 2).concat();
        assert_eq!(names, ["a1", "a2", "b1", "b2"]);
        let addresses = free_addresses(5, &mut Random::new(1)).unwrap();
        let origin = RunOrigin::Sqlite { path: scratch.file("origin.sqlite") };
        for origin in [Some(&origin), None] {
            let config = cluster_config(scratch.path(), &names, &addresses, origin);
            config.write_into(scratch.path()).unwrap();
            assert_eq!(ClusterConfig::load(&scratch.file(CONFIG_FILE)).unwrap(), config);
            assert_eq!(config.groups, ["a", "b"]);
        }
    }
}
