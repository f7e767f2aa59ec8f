//! Starting and stopping a proxy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use standin_client::engine::Engine;
use standin_client::{Bootstrap, ClientConfig};
use standin_config::{
    ClusterConfig, HTTP_DESCRIPTORS, ListenAt, ProxyConfig, ServiceConfig, TlsConfig,
};
use standin_protocol::map::MapError;
use standin_protocol::time::Micros;
use standin_server::shard::access::Access;
use standin_server::shard::admission::{Admission, Places};
use standin_server::shard::challenges::Challenges;
use standin_server::shard::link::LinkConfig;
use standin_server::shard::listeners::{Listener, Service};
use standin_server::shard::mailbox::{Mailboxes, Message};
use standin_server::shard::users::UsersError;
use standin_server::shard::{self, LoopError, Outside, ShardContext, kernel_tls};
use standin_server::stats::StatsHub;
use standin_tls::kernel::KernelTls;
use standin_tls::{Acceptor, Connector, InUse, TlsError};
use tracing::{error, info, warn};

use crate::notices::Notices;
use crate::place::Listening;
use crate::scrape::Scrape;
use crate::upstream::Upstream;
use crate::view::Views;

/// The number of descriptors that are not for clients: standard streams, logs, listeners, signals.
const BASE: u64 = 32;
/// The number of descriptors of a thread: its ring and eventfd, its socket to the master, and its
/// connections to the shards of servers.
const PER_THREAD: u64 = 128;
/// The longest time for which the start waits until the cluster is known.
const WAIT_FOR_CLUSTER: Duration = Duration::from_secs(1);
/// The smallest number of client connections with which a proxy can work.
const CLIENTS_MIN: u32 = 8;

/// The reason why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A place where it was to listen is not free, or not allowed.
    #[error("{at}: {error}; free this place, or write another place as `{key}` in [proxy]")]
    Bind {
        /// The place.
        at: ListenAt,
        /// The key of it.
        key: &'static str,
        /// The system's error.
        error: io::Error,
    },
    /// A password file can't be used.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// The process may not open enough files and sockets.
    #[error(
        "this process may open {limit} files and sockets, but this proxy needs at least {needed}; \
         raise the limit (`ulimit -Hn`, or LimitNOFILE= of its systemd unit)"
    )]
    TooFewDescriptors {
        /// The number that the system allows.
        limit: u64,
        /// The smallest number that is needed.
        needed: u64,
    },
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system refused something else.
    #[error("{what}: {error}")]
    System {
        /// The thing that was refused.
        what: &'static str,
        /// The system's error.
        error: io::Error,
    },
    /// Not for a file that has been checked.
    #[error(transparent)]
    Topology(#[from] MapError),
}

/// A running proxy.
pub struct Proxy {
    places: Vec<ListenAt>,
    drain_timeout: Duration,
    mailboxes: Mailboxes,
    hub: Arc<StatsHub>,
    views: Arc<Views>,
    admission: Arc<Admission>,
    shards: Vec<JoinHandle<Result<(), LoopError>>>,
    listening: Vec<Listening>,
    certificates: Certificates,
}

/// The TLS of a proxy in both directions.
struct Certificates {
    tls: Option<Arc<Acceptor>>,
    tls_calls: Option<Arc<Connector>>,
}

impl Certificates {
    /// Reads them. `kernel` is asked for the kernel that takes connections over.
    fn read(
        config: &ProxyConfig,
        kernel: impl Fn(&TlsConfig) -> Option<Arc<KernelTls>>,
    ) -> Result<Self, TlsError> {
        let has_some =
            |tls: &&TlsConfig| config.services.iter().any(|service| tls.is_for(service.protocol));
        let accept = |files| Acceptor::with_kernel(files, kernel(files));
        let tls = config.tls.as_ref().filter(has_some).map(accept).transpose()?;
        let tls_calls = config.tls_calls.as_ref().map(Connector::new).transpose()?;
        Ok(Self { tls: tls.map(Arc::new), tls_calls: tls_calls.map(Arc::new) })
    }
}

impl Proxy {
    /// Returns why its TLS could not be set up here.
    #[must_use]
    pub fn check_tls(config: &ProxyConfig) -> Option<TlsError> {
        Certificates::read(config, |_| None).err()
    }

    /// Starts a proxy. When this returns, its sockets accept connections. `log_lines_lost` counts the
    /// lines that the log has lost.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(config: &ProxyConfig, log_lines_lost: Arc<AtomicU64>) -> Result<Self, StartError> {
        let system = |what| move |error| StartError::System { what, error };
        let access = Arc::new(read_access(config)?);
        let certificates = Certificates::read(config, kernel_tls)?;
        let cluster = Arc::new(as_cluster(config));
        let topology = Arc::new(cluster.topology()?);
        let places = places(config, descriptors())?;
        let (mut listening, mut listeners) = (Vec::new(), Vec::new());
        for service in &config.services {
            let (at, key) = (&service.at, service.protocol.key());
            let bound = |error| StartError::Bind { at: at.clone(), key, error };
            let own = Listening::at(at, config.socket_mode).map_err(bound)?;
            let socket = own.socket.try_clone().map_err(system("the listener"))?;
            listeners.push(Listener { socket, service: Service::Other(service.protocol) });
            listening.push(own);
        }
        let mailboxes = Mailboxes::new(config.threads).map_err(system("mailboxes"))?;
        let hub = StatsHub::new("proxy".to_owned(), random()?, config.threads, Micros::boottime());
        let hub = hub.with_config(&cluster, 0).with_log_lines_lost(log_lines_lost);
        let hub = Arc::new(hub);
        let admission = Arc::new(Admission::new(places));
        let context = ShardContext {
            shard: 0,
            shards: config.threads,
            server: 0,
            topology,
            admission: Arc::clone(&admission),
            challenges: Challenges::new([0; 32]),
            access,
            tls: certificates.tls.clone(),
            tls_calls: None,
            link: LinkConfig::new(&cluster, 0),
            cluster: Arc::clone(&cluster),
        };
        let outside = Outside { mailboxes: mailboxes.clone(), hub: Arc::clone(&hub), threads: () };
        let views = Arc::new(Views::new(Micros::boottime(), config.threads));
        let (learned, has_learned) = mpsc::channel();
        let upstreams: Vec<Upstream> = (0..config.threads)
            .map(|shard| {
                let notices = Notices::new(mailboxes.clone(), shard);
                let tls = certificates.tls_calls.clone();
                let of_thread = (shard, Arc::clone(&views));
                upstream(config, (&cluster, tls), of_thread, notices, learned.clone())
            })
            .collect::<Result<_, _>>()?;
        let shards = spawn(config, upstreams, &context, &outside, listeners)
            .map_err(system("a thread could not be started"))?;
        let places: Vec<ListenAt> = config.services.iter().map(|s| s.at.clone()).collect();
        wait_for_cluster(config, &has_learned);
        info!(threads = config.threads, "proxy started");
        Ok(Self {
            places,
            drain_timeout: config.timings.drain_timeout,
            mailboxes,
            hub,
            views,
            admission,
            shards,
            listening,
            certificates,
        })
    }

    /// Returns the places where it listens.
    #[must_use]
    pub fn places(&self) -> &[ListenAt] {
        &self.places
    }

    /// Returns what the metrics are read from.
    #[must_use]
    pub fn scrape(&self) -> Scrape {
        Scrape {
            hub: Arc::clone(&self.hub),
            views: Arc::clone(&self.views),
            admission: Arc::clone(&self.admission),
        }
    }

    /// Takes over the limits and users of a changed file, and reads the password files of its services again.
    ///
    /// # Errors
    /// A password file can't be used. Then nothing has changed.
    pub fn reload(&self, config: &ProxyConfig) -> Result<(), UsersError> {
        let access = Arc::new(read_access(config)?);
        let limits = Arc::new(as_cluster(config));
        match places(config, descriptors()) {
            Ok(places) => self.admission.set_places(places),
            Err(error) => warn!(%error, "the places for connections stay as they were"),
        }
        for mailbox in &*self.mailboxes.0 {
            mailbox.post(Message::Limits(Arc::clone(&limits)));
            mailbox.post(Message::Access(Arc::clone(&access)));
        }
        Ok(())
    }

    /// Reads the files of `[tls]` and `[proxy.tls]` again, for new connections. Returns whether there are
    /// some.
    ///
    /// # Errors
    /// If one of them can't be used; then those of before stay in use.
    pub fn reload_tls(&self) -> Result<bool, TlsError> {
        let Certificates { tls, tls_calls } = &self.certificates;
        if let Some(tls_calls) = tls_calls {
            tls_calls.reload()?;
        }
        if let Some(tls) = tls {
            tls.reload()?;
        }
        Ok(tls.is_some() || tls_calls.is_some())
    }

    /// Returns the certificates that it shows.
    #[must_use]
    pub fn certificates(&self) -> InUse {
        let ports = self.certificates.tls.iter().map(|tls| ("ports", Arc::clone(tls)));
        InUse { ports: ports.collect(), calls: self.certificates.tls_calls.clone() }
    }

    /// Returns the thread that has ended unexpectedly, if there is one.
    #[must_use]
    pub fn failed_thread(&self) -> Option<String> {
        let shard = self.shards.iter().position(JoinHandle::is_finished)?;
        Some(format!("shard-{shard}"))
    }

    /// Stops within `drain_timeout`: accepts no more connections, reads no more requests, answers those
    /// that have been read, and ends all threads.
    ///
    /// # Errors
    /// The first error that a thread ended with.
    pub fn stop(self) -> Result<(), LoopError> {
        info!("leaving");
        let by = Micros::boottime() + self.drain_timeout;
        for mailbox in &*self.mailboxes.0 {
            mailbox.post(Message::Stop { by });
        }
        // Whoever connects from now on is refused, and does not wait for nothing.
        drop(self.listening);
        let mut result = Ok(());
        for thread in self.shards {
            let ended = thread.join().unwrap_or_else(|_| {
                error!("a shard panicked");
                Ok(())
            });
            result = result.and(ended);
        }
        info!("stopped");
        result
    }
}

/// Reads who may use its ports. Nobody connects to it by the cluster's secret.
fn read_access(config: &ProxyConfig) -> Result<Access, UsersError> {
    let services = config.services.iter().map(|s| (s.protocol, s.passwords.as_deref()));
    Access::read(Vec::new(), &config.security, services)
}

/// What the shards are told of the proxy. To them it is a server without partitions, alone in a cluster
/// of which the engine knows more. Nobody connects to its address.
fn as_cluster(config: &ProxyConfig) -> ClusterConfig {
    let nowhere = ([127, 0, 0, 1], 1).into();
    let mut cluster = ClusterConfig::new("proxy", nowhere, None)
        .with_group("proxy", [("proxy", ([127, 0, 0, 1], 2).into())]);
    cluster.partitions = 1;
    cluster.keyspaces = config.keyspaces.clone();
    cluster.naming = config.naming.clone();
    cluster.timings = config.timings.clone();
    cluster.limits = config.limits.clone();
    cluster.security = config.security.clone();
    cluster.tls.clone_from(&config.tls);
    let own = &mut cluster.servers[0];
    (own.shards, own.io, own.memory_bytes) = (config.threads, config.io, 0);
    own.cores.clone_from(&config.cores);
    own.services = config
        .services
        .iter()
        .map(|service| ServiceConfig {
            protocol: service.protocol,
            address: match &service.at {
                ListenAt::Tcp(address) => *address,
                ListenAt::Unix(_) => nowhere,
            },
            passwords: service.passwords.clone(),
        })
        .collect();
    cluster
}

/// Waits for a while until all threads know the cluster, so that even the first requests find it.
fn wait_for_cluster(config: &ProxyConfig, has_learned: &Receiver<()>) {
    let by = Micros::boottime() + WAIT_FOR_CLUSTER;
    for _ in 0..config.threads {
        let left = by.since(Micros::boottime());
        if has_learned.recv_timeout(left).is_err() {
            let servers = &config.servers;
            return warn!(
                ?servers,
                "no server of the cluster answers yet; the proxy goes on asking them"
            );
        }
    }
}

/// The client of one thread.
fn upstream(
    config: &ProxyConfig,
    (cluster, tls): (&ClusterConfig, Option<Arc<Connector>>),
    views: (u16, Arc<Views>),
    notices: Notices,
    learned: Sender<()>,
) -> Result<Upstream, StartError> {
    let client = ClientConfig {
        operations_max: config.limits.in_flight_per_shard as usize,
        ..ClientConfig::from(cluster)
    };
    let seeds = Bootstrap::Seeds(config.servers.clone());
    let engine = Engine::new(client, seeds, random()?, random()?).with_tls(tls);
    let keyspaces = config.keyspaces.iter().map(|keyspace| keyspace.id).collect();
    Ok(Upstream::new(engine, views, notices, keyspaces, learned))
}

/// Starts the threads. The first accepts connections.
fn spawn(
    config: &ProxyConfig,
    upstreams: Vec<Upstream>,
    context: &ShardContext,
    outside: &Outside<Upstream>,
    mut listeners: Vec<Listener>,
) -> io::Result<Vec<JoinHandle<Result<(), LoopError>>>> {
    let thread = |(shard, upstream): (u16, Upstream)| {
        let (context, outside) = (ShardContext { shard, ..context.clone() }, outside.clone());
        let core = config.cores.get(usize::from(shard)).copied();
        let (listeners, io) = (std::mem::take(&mut listeners), config.io);
        std::thread::Builder::new().name(format!("shard-{shard}")).spawn(move || {
            if let Some(core) = core
                && !core_affinity::set_for_current(core_affinity::CoreId { id: core })
            {
                warn!(shard, core, "pinning failed; does this core exist, and may it be used?");
            }
            shard::run(upstream, context, outside, listeners, io)
        })
    };
    (0..config.threads).zip(upstreams).map(thread).collect()
}

/// Divides the limit of descriptors into places for clients.
fn places(config: &ProxyConfig, limit: u64) -> Result<Places, StartError> {
    let metrics = config.metrics.as_ref().map_or(0, |_| HTTP_DESCRIPTORS);
    let reserved = BASE + PER_THREAD * u64::from(config.threads) + metrics;
    let needed = reserved + u64::from(2 * CLIENTS_MIN);
    if limit < needed {
        return Err(StartError::TooFewDescriptors { limit, needed });
    }
    let rest = u32::try_from(limit - reserved).unwrap_or(u32::MAX);
    let handshakes = config.limits.handshakes.min((rest / 4).max(CLIENTS_MIN));
    let clients = config.limits.connections.min(rest - handshakes);
    if clients < config.limits.connections {
        warn!(
            connections = clients,
            "the limit of open files (ulimit -n) leaves room for fewer client connections than \
             limits.connections; raise the limit, or lower limits.connections"
        );
    }
    Ok(Places { clients, handshakes, peers: 0, masters: 0, observers: 0 })
}

/// The number of descriptors that this process may open.
fn descriptors() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn random() -> Result<u64, StartError> {
    getrandom::u64().map_err(|error| StartError::System {
        what: "no randomness",
        error: io::Error::other(error.to_string()),
    })
}
