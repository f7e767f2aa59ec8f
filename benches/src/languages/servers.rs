//! The servers of a run, and where a script finds them.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use standin_config::{ClusterConfig, KeyspaceConfig, ServiceConfig, ServiceProtocol};
use standin_loadgen::faults::Process;
use standin_loadgen::faults::kinds::standin::layout;
use standin_loadgen::faults::script::standin_names;
use standin_protocol::slots::KeyHash;
use standin_testkit::languages::script::Place;
use standin_testkit::languages::{Service, names};
use standin_testkit::wait::poll_for;
use standin_testkit::{free_ports, free_ports_in_a_row};

use super::standin::{KEYSPACE, StandinCluster};
use super::{Fault, Servers, System, memcached, redis};
use crate::Failure;

/// The name of the keyspace.
const NAME: &str = "cache";
const UP_WITHIN: Duration = Duration::from_secs(10);
const MEMORY_BYTES: u64 = 64 << 20;
/// The shards of each of Standin's servers.
const SHARDS: u16 = 2;

/// Running servers.
pub struct Running {
    servers: Kind,
    /// Where a script finds them.
    pub place: Place,
}

enum Kind {
    Standin {
        cluster: Box<StandinCluster>,
        /// Kept while it is used.
        _proxy: Option<Process>,
    },
    Redis(redis::Nodes),
    Memcached(memcached::Nodes),
}

impl Running {
    /// Starts them. `program` is Standin's.
    ///
    /// # Errors
    /// One of them does not start.
    pub fn start(
        system: System,
        service: Service,
        program: &Path,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let (servers, addresses) = match system {
            System::Standin => {
                let config = config(service);
                let services = config.servers.iter().flat_map(|server| &server.services);
                let addresses: Vec<SocketAddr> = services.map(|service| service.address).collect();
                let cluster = Box::new(StandinCluster::start(program, folder, config)?);
                let place = place(service, &addresses, folder)?;
                return Ok(Self { servers: Kind::Standin { cluster, _proxy: None }, place });
            }
            System::StandinProxy => {
                let config = config(service);
                let port = free_ports(1)[0];
                let file = folder.join("proxy.toml");
                std::fs::write(&file, proxy_file(&config, port, service))?;
                let cluster = Box::new(StandinCluster::start(program, folder, config)?);
                let arguments = vec!["proxy".into(), "--config".into(), file.into()];
                let proxy = Process::start("proxy", program, arguments, folder)?;
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                poll_for(UP_WITHIN, || TcpStream::connect(address).ok())
                    .ok_or("Standin's proxy does not answer")?;
                (Kind::Standin { cluster, _proxy: Some(proxy) }, vec![address.to_string()])
            }
            System::RedisCluster { node_timeout_ms } => {
                let nodes = redis::Nodes::start(node_timeout_ms, folder)?;
                let addresses = nodes.addresses();
                (Kind::Redis(nodes), addresses)
            }
            System::Twemproxy | System::Memcached => {
                let ejects = (system == System::Twemproxy).then_some(true);
                let nodes = memcached::Nodes::start(ejects, folder)?;
                let addresses = nodes.addresses();
                (Kind::Memcached(nodes), addresses)
            }
        };
        let name = addresses[0].clone();
        Ok(Self { servers, place: Place { service, addresses, name, variables: Vec::new() } })
    }

    /// Its servers.
    pub fn servers(&mut self) -> &mut dyn Servers {
        match &mut self.servers {
            Kind::Standin { cluster, .. } => &mut **cluster,
            Kind::Redis(nodes) => nodes,
            Kind::Memcached(nodes) => nodes,
        }
    }

    /// Ends the fault: starts the victim again, or resumes it. Returns when it takes part, if that is for Standin to
    /// say.
    ///
    /// # Errors
    /// It does not start, or does not take part within some seconds.
    pub fn return_victim(&mut self, fault: Fault) -> Result<(), Failure> {
        let victim = self.servers().victim();
        match fault {
            Fault::Kill => victim.restart()?,
            Fault::Pause { .. } => victim.resume(),
        }
        match &self.servers {
            Kind::Standin { cluster, .. } => cluster.wait_until_online(),
            Kind::Redis(_) | Kind::Memcached(_) => Ok(()),
        }
    }
}

/// A cluster without a database. Each server has a loopback address of its own, with the same ports, so that a
/// host name can stand for all of them.
fn config(service: Service) -> ClusterConfig {
    let ports = free_ports(2);
    let at = |number: u8, port: u16| SocketAddr::from(([127, 0, 0, number], port));
    let servers = (1..=4).map(|number| at(number, ports[1]));
    let addresses: Vec<SocketAddr> = [at(1, ports[0])].into_iter().chain(servers).collect();
    let mut config = layout("languages", &standin_names(2, 2), &addresses, MEMORY_BYTES, None);
    config.keyspaces = vec![KeyspaceConfig::cache(KEYSPACE, NAME)];
    config.naming.default_keyspace = Some(KEYSPACE);
    // Of a cluster of nodes, the ports behind it are those of the shards.
    let port = free_ports_in_a_row(1 + SHARDS);
    if service == Service::RedisCluster {
        config.hash = KeyHash::Crc16;
    }
    for (number, server) in (1..).zip(&mut config.servers) {
        server.shards = SHARDS;
        server.services = vec![ServiceConfig {
            protocol: protocol(service),
            address: at(number, port),
            passwords: None,
        }];
    }
    config
}

fn protocol(service: Service) -> ServiceProtocol {
    match service {
        Service::Memcached => ServiceProtocol::Memcached,
        Service::Redis | Service::RedisCluster => ServiceProtocol::Redis,
    }
}

/// The file of a proxy before this cluster, which listens on this port of loopback.
fn proxy_file(config: &ClusterConfig, port: u16, service: Service) -> String {
    let servers: Vec<String> =
        config.servers.iter().map(|s| format!("\"{}\"", s.address)).collect();
    format!(
        "[proxy]\nservers = [{}]\n{} = \"127.0.0.1:{port}\"\ndefault_keyspace = \"{NAME}\"\n\
         [[keyspace]]\nid = {KEYSPACE}\nname = \"{NAME}\"\n",
        servers.join(", "),
        protocol(service).key(),
    )
}

fn place(service: Service, addresses: &[SocketAddr], folder: &Path) -> Result<Place, Failure> {
    let hosts: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    Ok(Place {
        service,
        addresses: addresses.iter().map(ToString::to_string).collect(),
        name: format!("{}:{}", names::HOST, addresses[0].port()),
        variables: names::resolve(folder, hosts)?,
    })
}

#[cfg(test)]
mod tests {
    use standin_config::ProxyConfig;
    use standin_testkit::Scratch;

    use super::*;

    #[test]
    fn the_cluster_file_is_valid_for_every_protocol() {
        let scratch = Scratch::new("languages");
        for service in [Service::Memcached, Service::Redis, Service::RedisCluster] {
            let config = config(service);
            let file = config.write_into(scratch.path()).unwrap();
            let read = ClusterConfig::load(&file).unwrap();
            assert_eq!((read.groups.len(), read.servers.len()), (2, 4));
            let is_node = read.node_address(3, 1).is_some();
            assert_eq!(is_node, service == Service::RedisCluster);
            std::fs::write(&file, proxy_file(&config, 1, service)).unwrap();
            let proxy = ProxyConfig::check_file(&file).config.unwrap();
            assert_eq!((proxy.servers.len(), proxy.services.len()), (4, 1));
        }
    }
}
