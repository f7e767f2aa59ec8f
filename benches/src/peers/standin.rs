//! Standin: a master and three servers in one group, read-through and write-through.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use standin_client::blocking::Client;
use standin_client::{Action, Bootstrap, ClientConfig, Operation, Outcome, Target};
use standin_config::{ClusterConfig, OriginConfig};
use standin_loadgen::faults::Process;
use standin_loadgen::origin::RunOrigin;
use standin_protocol::map::Topology;
use standin_testkit::free_ports;
use standin_testkit::wait::poll_for;

use super::database::{Database, KEYSPACE};
use super::{CLIENT_TIMEOUT, Cluster, Failure, NODES, Read, Subject};

const UP_WITHIN: Duration = Duration::from_secs(15);
const MEMORY_BYTES: u64 = 64 << 20;

/// A running cluster.
pub struct StandinCluster {
    config: ClusterConfig,
    topology: Arc<Topology>,
    servers: Vec<Process>,
    /// Kept while it is used.
    _master: Process,
}

impl StandinCluster {
    /// Starts it.
    ///
    /// # Errors
    /// A process does not start or does not answer.
    pub fn start(program: &Path, folder: &Path, database: &Database) -> Result<Self, Failure> {
        let ports = free_ports(NODES + 1);
        let at = |port: u16| ([127, 0, 0, 1], port).into();
        let names: Vec<String> = (1..=NODES).map(|number| format!("s{number}")).collect();
        let origin = OriginConfig::postgres(database.url());
        let mut config = ClusterConfig::new("peers", at(ports[0]), origin).with_group(
            "s",
            names.iter().map(String::as_str).zip(ports[1..].iter().map(|port| at(*port))),
        );
        for server in &mut config.servers {
            server.memory_bytes = MEMORY_BYTES;
            server.huge_pages = false;
        }
        config.timings.attempt_timeout = CLIENT_TIMEOUT;
        config.master.state_file = folder.join("master.state");
        config.keyspaces.push(RunOrigin::keyspace(KEYSPACE));
        let file = config.write_into(folder)?;
        let arguments = |role: &str| vec![role.into(), "--config".into(), file.clone().into()];
        let master = Process::start("master", program, arguments("master"), folder)?;
        let mut servers = Vec::new();
        for name in &names {
            let mut arguments = arguments("server");
            arguments.extend(["--name".into(), name.into()]);
            servers.push(Process::start(name, program, arguments, folder)?);
        }
        let topology = Arc::new(config.topology()?);
        let cluster = Self { config, topology, servers, _master: master };
        let mut client = cluster.connect()?;
        let targets: Vec<Target> =
            (0..).take(NODES).map(Target::Server).chain([Target::Master]).collect();
        poll_for(UP_WITHIN, || {
            targets.iter().all(|target| client.ping(*target, 0).is_ok()).then_some(())
        })
        .ok_or("Standin does not answer")?;
        Ok(cluster)
    }

    fn connect(&self) -> Result<Client, Failure> {
        let bootstrap = Bootstrap::Config(Arc::clone(&self.topology));
        Ok(Client::new(ClientConfig::from(&self.config), bootstrap)?)
    }
}

impl Cluster for StandinCluster {
    fn client(&self) -> Result<Box<dyn Subject>, Failure> {
        Ok(Box::new(StandinSubject(self.connect()?)))
    }

    fn held_by_victim(&self, keys: &[Vec<u8>]) -> Result<BTreeSet<u32>, Failure> {
        let home = |key: &[u8]| self.topology.home(self.topology.partition(KEYSPACE, key));
        Ok((0..).zip(keys).filter(|(_, key)| home(key) == 0).map(|(index, _)| index).collect())
    }

    fn victim(&mut self) -> &mut Process {
        &mut self.servers[0]
    }
}

struct StandinSubject(Client);

impl Subject for StandinSubject {
    fn get(&mut self, key: &[u8]) -> Result<Read, Failure> {
        let (keyspace, key) = (KEYSPACE, key.to_vec());
        let answer = self.0.run(Operation { keyspace, key, action: Action::Get })?;
        let is_hit = answer.is_hit();
        let value = match answer.outcome {
            Outcome::Value(value) => Some(value.bytes),
            _ => None,
        };
        Ok(Read { value, is_hit })
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        self.0.put(KEYSPACE, key, value.to_vec(), 0)?;
        Ok(())
    }
}
