//! Starting and stopping a server. Sockets come first, then the origin, the control thread and a
//! thread per shard.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use standin_config::{ClusterConfig, Lifetimes, ServiceConfig};
use standin_protocol::bind::patiently;
use standin_protocol::map::Topology;
use standin_protocol::time::Micros;
use standin_tls::{Acceptor, Connector, InUse, TlsError};
use tracing::{error, info, warn};

use crate::callers;
use crate::check;
use crate::control::agent::AgentConfig;
use crate::control::{self, ControlHandle, ControlOptions};
use crate::descriptors;
use crate::error::ServerError;
use crate::node::{Node, NodeConfig};
use crate::origin::Origin;
use crate::shard::admission::{Admission, Places};
use crate::shard::challenges::Challenges;
use crate::shard::link::LinkConfig;
use crate::shard::listeners::{Listener, Service};
use crate::shard::mailbox::{Mailboxes, Message};
use crate::shard::users::UsersError;
use crate::shard::{self, LoopError, Outside, ServerThreads, ShardContext, kernel_tls};
use crate::slow_log::SlowLog;
use crate::stats::{Scrape, StatsHub};

/// A running server.
pub struct Server {
    address: SocketAddr,
    boot_id: u64,
    drain_timeout: Duration,
    mailboxes: Mailboxes,
    control: ControlHandle,
    origin: Origin,
    hub: Arc<StatsHub>,
    shards: Vec<JoinHandle<Result<(), LoopError>>>,
    control_thread: JoinHandle<io::Result<()>>,
    callers: JoinHandle<()>,
    /// The listening sockets, kept open as long as any part of this server can reach the origin.
    ports: Vec<OwnedFd>,
    admission: Arc<Admission>,
    tls: Option<Arc<Acceptor>>,
    tls_calls: Option<Arc<Connector>>,
}

impl Server {
    /// Starts the server of this name. When this returns, its sockets accept connections.
    ///
    /// # Errors
    /// [`ServerError`]; nothing is left running then.
    pub fn start(cluster: Arc<ClusterConfig>, name: &str) -> Result<Self, ServerError> {
        Self::start_counting(cluster, name, Arc::default())
    }

    /// Starts a server with the counter of lines that the log has lost, for STATS.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_counting(
        cluster: Arc<ClusterConfig>,
        name: &str,
        log_lines_lost: Arc<AtomicU64>,
    ) -> Result<Self, ServerError> {
        let Some(server) = cluster.server_id(name) else {
            let known: Vec<&str> = cluster.servers.iter().map(|s| s.name.as_str()).collect();
            let known = known.join(", ");
            return Err(ServerError::UnknownServer { name: name.to_owned(), known });
        };
        let refusals = check::of_file(&cluster, server).into_iter();
        if let Some(refusal) = refusals.chain(check::of_machine(&cluster, server)).next() {
            return Err(refusal);
        }
        let system = |what| move |error| ServerError::System { what, error };
        let own = &cluster.servers[usize::from(server)];
        let topology = Arc::new(cluster.topology()?);
        let boot_id = random()?;
        let places = descriptors::divide(&cluster, server, descriptors::raise_limit())?;
        tell_places(places, Places::wanted(&cluster, server));
        let access = Arc::new(check::access(&cluster, server)?);
        let tls = check::tls(&cluster, server, kernel_tls)?.map(Arc::new);
        let tls_calls = check::tls_calls(&cluster)?.map(Arc::new);
        let bound = |what| move |error| ServerError::Bind { what, address: own.address, error };
        let socket = listen(own.address).map_err(bound("TCP"))?;
        let mut listeners = vec![Listener { socket: socket.into(), service: Service::Standin }];
        for service in &own.services {
            let ServiceConfig { protocol, address, .. } = *service;
            let bound = |error| ServerError::BindService { key: protocol.key(), address, error };
            let socket = listen(address).map_err(bound)?.into();
            listeners.push(Listener { socket, service: Service::Other(protocol) });
        }
        let mut node_sockets = Vec::new();
        for shard in 0..own.shards {
            // Without nodes, shards other than the first have no port.
            let Some(address) = cluster.node_address(server, shard) else { break };
            let bound = |error| ServerError::BindService { key: "redis_node_port", address, error };
            let socket = listen(address).map_err(bound)?.into();
            node_sockets.push(Listener { socket, service: Service::Node });
        }
        let udp = UdpSocket::bind(own.address).map_err(bound("UDP"))?;
        let nodes = nodes(&cluster, server, boot_id, &topology)?;
        let mailboxes = Mailboxes::new(own.shards).map_err(system("mailboxes"))?;
        let control = ControlHandle::new().map_err(system("the control thread's inbox"))?;
        let origin = Origin::start(
            cluster.origin.as_ref(),
            &cluster.keyspaces,
            Arc::new(mailboxes.clone()),
            cluster.timings.pause_max(),
        )?;
        let hub = StatsHub::new(name.to_owned(), boot_id, own.shards, Micros::boottime());
        let hub = hub.with_config(&cluster, server).with_log_lines_lost(log_lines_lost);
        hub.set_connections_max(places.clients);
        let hub = Arc::new(hub);
        let admission = Arc::new(Admission::new(places));
        let context = ShardContext {
            shard: 0,
            shards: own.shards,
            server,
            topology: Arc::clone(&topology),
            admission: Arc::clone(&admission),
            challenges: Challenges::new(challenge_secret()?),
            access,
            tls: tls.clone(),
            tls_calls: tls_calls.clone(),
            link: LinkConfig::new(&cluster, boot_id),
            cluster: Arc::clone(&cluster),
        };
        let outside = Outside {
            mailboxes: mailboxes.clone(),
            hub: Arc::clone(&hub),
            threads: ServerThreads {
                origin: origin.clone(),
                control: control.clone(),
                slow_log: Arc::new(SlowLog::new(&cluster)),
            },
        };
        let agent = AgentConfig::new(&cluster, server, boot_id, random()?);
        let options = ControlOptions {
            socket: udp,
            master: cluster.master.address,
            keys: cluster.cluster_keys(),
            topology,
            agent,
            mailboxes: mailboxes.clone(),
            origin: origin.clone(),
            hub: Arc::clone(&hub),
            handle: control.clone(),
        };
        let control_thread =
            spawn("control", move || control::run(options)).map_err(system("control thread"))?;
        let callers = callers::watch(
            &context.admission,
            &hub,
            ports_of(&cluster, server),
            members_of(&cluster),
        )
        .map_err(system("the thread that watches connections"))?;
        // A port that refuses connections tells others that all of this incarnation is dead, so it
        // must stay open until the last shard has ended.
        let ports = listeners.iter().chain(&node_sockets);
        let ports = ports.map(|listener| listener.socket.try_clone());
        let ports = ports.collect::<Result<_, _>>().map_err(system("the listener"))?;
        let shards = spawn_shards(nodes, &context, &outside, (listeners, node_sockets))
            .map_err(system("shard thread"))?;
        info!(name, address = %own.address, shards = own.shards, boot_id, "server started");
        Ok(Self {
            address: own.address,
            boot_id,
            drain_timeout: cluster.timings.drain_timeout,
            mailboxes,
            control,
            origin,
            hub,
            shards,
            control_thread,
            callers,
            ports,
            admission,
            tls,
            tls_calls,
        })
    }

    /// Returns the TCP and UDP address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the incarnation.
    #[must_use]
    pub fn boot_id(&self) -> u64 {
        self.boot_id
    }

    /// Returns what the metrics are read from.
    #[must_use]
    pub fn scrape(&self) -> Scrape {
        Scrape::new(Arc::clone(&self.hub), self.origin.clone())
    }

    /// Reads the files of `[tls]` again, for connections that are accepted from now on. Returns whether there
    /// are some.
    ///
    /// # Errors
    /// If one of them can't be used; then those of before stay in use.
    pub fn reload_tls(&self) -> Result<bool, TlsError> {
        if let Some(calls) = &self.tls_calls {
            calls.reload()?;
        }
        self.tls.as_ref().map_or(Ok(false), |tls| tls.reload().map(|()| true))
    }

    /// Returns the certificates that it shows.
    #[must_use]
    pub fn certificates(&self) -> InUse {
        let ports = self.tls.iter().map(|tls| ("ports", Arc::clone(tls)));
        InUse { ports: ports.collect(), calls: self.tls_calls.clone() }
    }

    /// Takes over what a running server can of a changed file ([`ClusterConfig::reload`]): the lifetimes of
    /// keyspaces, limits, the users, and the password files of its services, which are read again. Shards take them
    /// with their next messages; requests that have arrived before keep the old ones.
    ///
    /// # Errors
    /// A password file can't be used. Then nothing has changed.
    pub fn reload(&self, cluster: &ClusterConfig) -> Result<(), UsersError> {
        let own = cluster.servers.iter().position(|server| server.address == self.address);
        let own = own.and_then(|own| u16::try_from(own).ok());
        let access = own.map(|own| check::access(cluster, own)).transpose()?.map(Arc::new);
        self.control.set_keys(cluster.cluster_keys());
        if let Some(own) = own {
            match descriptors::divide(cluster, own, descriptors::raise_limit()) {
                Ok(places) => {
                    tell_places(places, Places::wanted(cluster, own));
                    self.admission.set_places(places);
                    self.hub.set_connections_max(places.clients);
                }
                Err(error) => warn!(%error, "the places for connections stay as they were"),
            }
        }
        let limits = Arc::new(cluster.clone());
        let lifetimes: Arc<[Lifetimes]> = cluster.keyspaces.iter().map(Lifetimes::of).collect();
        for mailbox in &*self.mailboxes.0 {
            mailbox.post(Message::Limits(Arc::clone(&limits)));
            mailbox.post(Message::Lifetimes(Arc::clone(&lifetimes)));
            if let Some(access) = &access {
                mailbox.post(Message::Access(Arc::clone(access)));
            }
        }
        Ok(())
    }

    /// Returns the thread that has ended unexpectedly, if there is one: a shard, or the control
    /// thread, without which there are no leases and maps. Driver threads of the database restart
    /// by themselves.
    #[must_use]
    pub fn failed_thread(&self) -> Option<String> {
        if self.control_thread.is_finished() {
            return Some("control".to_owned());
        }
        let shard = self.shards.iter().position(JoinHandle::is_finished)?;
        Some(format!("shard-{shard}"))
    }

    /// Leaves the cluster and stops, all within `drain_timeout`: asks the master to mark this
    /// server offline, continues to serve until then, finishes the requests in flight, and ends all
    /// threads. A thread that hangs in the database is left behind. Then the port stays open too,
    /// because it must not refuse connections while a part of this server can still reach the
    /// database, and the process has to end.
    ///
    /// # Errors
    /// The first error that a thread ended with.
    pub fn stop(self) -> Result<(), LoopError> {
        info!("leaving");
        self.control.leave();
        let begin = Micros::boottime();
        let by = begin + self.drain_timeout;
        let leave_by = begin + self.drain_timeout * 3 / 4;
        while !self.control.has_left() && self.failed_thread().is_none() {
            if Micros::boottime() >= leave_by {
                warn!("the master has not acknowledged; stopping anyway");
                break;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        for mailbox in &*self.mailboxes.0 {
            mailbox.post(Message::Stop { by });
        }
        let mut result = Ok(());
        for thread in self.shards {
            let ended = thread.join().unwrap_or_else(|_| {
                error!("a shard panicked");
                Ok(())
            });
            result = result.and(ended);
        }
        match self.origin.shutdown_within(by.since(Micros::boottime()).max(LEAST_SHUTDOWN)) {
            true => drop(self.ports),
            false => std::mem::forget(self.ports),
        }
        // It ends when it sees that there are no more shards.
        self.callers.thread().unpark();
        self.control.end();
        match self.control_thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the control thread"),
            Err(_) => error!("the control thread panicked"),
        }
        info!("stopped");
        result
    }
}

/// The time that the driver threads get to end even if stopping has used up all its time.
const LEAST_SHUTDOWN: Duration = Duration::from_millis(50);

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// Creates the node of each shard.
fn nodes(
    cluster: &ClusterConfig,
    server: u16,
    boot_id: u64,
    topology: &Arc<Topology>,
) -> Result<Vec<Node>, ServerError> {
    let node = |shard| {
        let config = NodeConfig::new(cluster, server, shard, boot_id, Micros::boottime());
        let node = Node::new(config, Arc::clone(topology));
        node.map_err(|error| ServerError::Store { shard, error })
    };
    (0..cluster.servers[usize::from(server)].shards).map(node).collect()
}

/// Starts the thread of each shard. The first shard accepts connections, except for those to the port of
/// a shard.
fn spawn_shards(
    nodes: Vec<Node>,
    context: &ShardContext,
    outside: &Outside,
    (mut listeners, of_shards): (Vec<Listener>, Vec<Listener>),
) -> io::Result<Vec<JoinHandle<Result<(), LoopError>>>> {
    let own = &context.cluster.servers[usize::from(context.server)];
    let mut of_shards = of_shards.into_iter();
    let thread = |(shard, node)| {
        let (context, outside) = (ShardContext { shard, ..context.clone() }, outside.clone());
        let core = own.cores.get(usize::from(shard)).copied();
        let mut listeners = std::mem::take(&mut listeners);
        listeners.extend(of_shards.next());
        let io = own.io;
        spawn(&format!("shard-{shard}"), move || {
            pin(shard, core);
            shard::run(node, context, outside, listeners, io)
        })
    };
    (0..context.shards).zip(nodes).map(thread).collect()
}

/// All ports on which a server accepts connections.
fn ports_of(cluster: &ClusterConfig, server: u16) -> Vec<u16> {
    let own = &cluster.servers[usize::from(server)];
    let of_services = own.services.iter().map(|service| service.address);
    let of_nodes = (0..own.shards).filter_map(|shard| cluster.node_address(server, shard));
    let all = [own.address].into_iter().chain(of_services).chain(of_nodes);
    all.map(|address| address.port()).collect()
}

/// The addresses of the servers and the master, whose connections are no clients'.
fn members_of(cluster: &ClusterConfig) -> HashSet<IpAddr> {
    let servers = cluster.servers.iter().map(|server| server.address.ip());
    servers.chain([cluster.master.address.ip()]).collect()
}

fn random() -> Result<u64, ServerError> {
    getrandom::u64().map_err(|error| ServerError::System {
        what: "no randomness",
        error: io::Error::other(error.to_string()),
    })
}

fn challenge_secret() -> Result<[u8; 32], ServerError> {
    let mut secret = [0; 32];
    for part in secret.chunks_exact_mut(8) {
        part.copy_from_slice(&random()?.to_ne_bytes());
    }
    Ok(secret)
}

/// Listens without `SO_REUSEPORT`, because a second server on the same address must fail, not share
/// it.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    patiently(|| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(4_096)?;
        Ok(socket.into())
    })
}

fn pin(shard: u16, core: Option<usize>) {
    // The configuration leaves the choice of the core to the kernel.
    let Some(core) = core else { return };
    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        warn!(shard, core, "pinning failed; does this core exist, and may this process use it?");
    }
}

/// Logs if the system does not allow as many places as the cluster file asks for.
fn tell_places(places: Places, wanted: Places) {
    if places != wanted {
        warn!(
            connections = places.clients,
            handshakes = places.handshakes,
            "the limit of open files (ulimit -n) leaves room for only {} client connections, but \
             limits.connections is {}; raise the limit, or lower limits.connections",
            places.clients,
            wanted.clients
        );
    }
}
