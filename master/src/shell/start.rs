//! Starting and stopping a master.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use standin_config::{ClusterConfig, IoKind, TlsConfig, TlsPort};
use standin_protocol::bind::patiently;
use standin_protocol::hello::cluster_id;
use standin_protocol::map::Topology;
use standin_protocol::time::Micros;
use standin_tls::{Acceptor, Connector, InUse, TlsError};
use tracing::{info, warn};

use crate::event::MasterEvent;
use crate::machine::{Input, Machine, Output};
use crate::rules::Rules;
use crate::shell::access::{Access, Reloader};
use crate::shell::connections::CONNECTIONS_MAX;
use crate::shell::descriptors::{self, Bounds, TooFewDescriptors};
use crate::shell::error::MasterError;
use crate::shell::mishaps::Mishaps;
use crate::shell::ready::{Notify, Permits};
use crate::shell::saver::{self, Saver};
use crate::shell::scrape::{self, Scrape};
use crate::shell::stopper::Stopper;
use crate::shell::{STOP_WAIT, Shell};

/// The size of the receive buffer. The renewals of all servers may arrive at once.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// The options of a master.
#[derive(Debug, Clone)]
pub struct MasterOptions {
    /// The cluster file.
    pub cluster: ClusterConfig,
    /// The cluster's topology ([`ClusterConfig::topology`]).
    pub topology: Arc<Topology>,
    /// The event loop that it runs on.
    pub io: IoKind,
    /// The number of lines that the process's log has lost, counted by the log's writer. STATS
    /// reports it.
    pub log_lines_lost: Arc<AtomicU64>,
}

/// A master that is bound to its address and has saved its term, but does not run yet.
pub struct Master {
    options: MasterOptions,
    bounds: Bounds,
    machine: Machine,
    tcp: TcpListener,
    udp: UdpSocket,
    wake: UnixStream,
    stopper: Stopper,
    reloader: Reloader,
    scraped: Arc<scrape::Shared>,
    certificates: Certificates,
}

/// The TLS of a master in both directions.
#[derive(Debug, Clone)]
pub struct Certificates {
    tls: Option<Arc<Acceptor>>,
    tls_calls: Option<Arc<Connector>>,
}

impl Certificates {
    /// Returns the certificates that the master shows.
    #[must_use]
    pub fn in_use(&self) -> InUse {
        let ports = self.tls.iter().map(|tls| ("ports", Arc::clone(tls)));
        InUse { ports: ports.collect(), calls: self.tls_calls.clone() }
    }

    fn read(cluster: &ClusterConfig) -> Result<Self, TlsError> {
        let is_on = |tls: &&TlsConfig| tls.is_for(TlsPort::Standin);
        let tls = cluster.tls.as_ref().filter(is_on).map(Acceptor::new).transpose()?;
        let tls_calls = cluster.tls_calls.as_ref().map(Connector::new).transpose()?;
        Ok(Self { tls: tls.map(Arc::new), tls_calls: tls_calls.map(Arc::new) })
    }

    /// Reads the files again, for new connections. Returns whether there are some.
    ///
    /// # Errors
    /// If one of them can't be used; then those of before stay in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        if let Some(calls) = &self.tls_calls {
            calls.reload()?;
        }
        self.tls.as_ref().map_or(Ok(false), |tls| tls.reload().map(|()| true))
    }
}

/// A master that runs on its own thread. Dropping this stops the master.
#[derive(Debug)]
pub struct MasterHandle {
    address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), MasterError>>>,
}

impl Master {
    /// Returns the problems that would prevent a start, as far as they can be found without binding
    /// the address or writing the state file.
    #[must_use]
    pub fn check(cluster: &ClusterConfig) -> Vec<MasterError> {
        let bounds = bounds(cluster).err().map(MasterError::from);
        bounds.into_iter().chain(Self::check_files(cluster)).collect()
    }

    /// Returns those that are with files: certificates, and the state.
    #[must_use]
    pub fn check_files(cluster: &ClusterConfig) -> Vec<MasterError> {
        let mut errors: Vec<MasterError> = Vec::new();
        errors.extend(Certificates::read(cluster).err().map(MasterError::from));
        let path = &cluster.master.state_file;
        errors.extend(saver::load(path, &cluster.name).err());
        let writable = saver::may_save(path);
        let refused = |source| MasterError::StateWrite { path: path.clone(), source };
        errors.extend(writable.err().map(refused));
        errors
    }

    /// Returns the reason why this process can't listen on the master's address, if there is one.
    /// It is no such reason that another process listens on it.
    #[must_use]
    pub fn check_address(cluster: &ClusterConfig) -> Option<MasterError> {
        let address = cluster.master.address;
        let tcp = TcpListener::bind(address)
            .map(drop)
            .map_err(|e| MasterError::listening(address, "TCP", e));
        let udp = UdpSocket::bind(address)
            .map(drop)
            .map_err(|e| MasterError::listening(address, "UDP", e));
        tcp.and(udp).err().filter(|error| !matches!(error, MasterError::AddressTaken { .. }))
    }

    /// Binds the address, reads the state file and saves a new term. Everything that can prevent a
    /// start fails here.
    ///
    /// # Errors
    /// [`MasterError`].
    pub fn bind(options: MasterOptions) -> Result<Self, MasterError> {
        if let Some(refusal) = Self::check(&options.cluster).into_iter().next() {
            return Err(refusal);
        }
        let bounds = bounds(&options.cluster)?;
        if bounds.connections < CONNECTIONS_MAX {
            warn!(
                probes = bounds.probes,
                connections = bounds.connections,
                "the limit of open files (ulimit -n) leaves room for few connections: raise it"
            );
        }
        let certificates = Certificates::read(&options.cluster)?;
        let address = options.topology.master;
        let tcp = patiently(|| TcpListener::bind(address))
            .map_err(|e| MasterError::listening(address, "TCP", e))?;
        let udp = patiently(|| UdpSocket::bind(address))
            .map_err(|e| MasterError::listening(address, "UDP", e))?;
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        // A smaller buffer only loses datagrams that are sent again.
        let _ = socket2::SockRef::from(&udp).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);

        let path = &options.cluster.master.state_file;
        let saved = saver::load(path, &options.topology.name)?;
        let rules = Rules::of(&options.cluster);
        let now = Micros::boottime();
        let mut machine = Machine::new(now, rules, options.topology.clone(), saved.as_ref());
        save_term(&mut machine, path)?;

        let (stopper, wake) = Stopper::new()?;
        let scraped = Arc::default();
        let reloader = Reloader::new(stopper.clone());
        Ok(Self {
            options,
            bounds,
            machine,
            tcp,
            udp,
            wake,
            stopper,
            reloader,
            scraped,
            certificates,
        })
    }

    /// Returns a handle with which the master can be stopped.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Returns its certificates, which can be read again.
    #[must_use]
    pub fn certificates(&self) -> Certificates {
        self.certificates.clone()
    }

    /// Returns a handle by which the master takes over other secrets and users.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Returns what the metrics are read from, on any thread.
    #[must_use]
    pub fn scrape(&self) -> Scrape {
        Scrape::new(Arc::clone(&self.scraped), self.stopper.clone())
    }

    /// Returns the UDP and TCP address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.options.topology.master
    }

    /// Runs on this thread until the master is stopped. `events` is called on this thread for each
    /// event and must not block.
    ///
    /// # Errors
    /// [`MasterError::Loop`].
    pub fn run(self, events: impl Fn(MasterEvent) + 'static) -> Result<(), MasterError> {
        match self.options.io {
            IoKind::Epoll => self.run_on_epoll(events),
            IoKind::Uring => {
                let mut runtime = uring()?;
                runtime.block_on(self.serve(Box::new(events)))
            }
            IoKind::Auto => match uring() {
                Ok(mut runtime) => runtime.block_on(self.serve(Box::new(events))),
                Err(error) => {
                    info!(%error, "io_uring is unavailable; the master runs on epoll");
                    self.run_on_epoll(events)
                }
            },
        }
    }

    /// Binds the address, and runs on a thread of its own.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn start(
        options: MasterOptions,
        events: impl Fn(MasterEvent) + Send + 'static,
    ) -> Result<MasterHandle, MasterError> {
        let master = Self::bind(options)?;
        let (address, stopper) = (master.address(), master.stopper());
        let builder = std::thread::Builder::new().name("master".to_owned());
        let thread = builder.spawn(move || master.run(events))?;
        Ok(MasterHandle { address, stopper, thread: Some(thread) })
    }

    fn run_on_epoll(self, events: impl Fn(MasterEvent) + 'static) -> Result<(), MasterError> {
        let mut runtime =
            monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build()?;
        runtime.block_on(self.serve(Box::new(events)))
    }

    async fn serve(self, events: Box<dyn Fn(MasterEvent)>) -> Result<(), MasterError> {
        let Self {
            options,
            bounds,
            machine,
            tcp,
            udp,
            wake,
            stopper,
            reloader,
            scraped,
            certificates,
        } = self;
        let Certificates { tls, tls_calls } = certificates;
        let cluster = &options.cluster;
        let saver = Saver::start(cluster.master.state_file.clone(), stopper.clone())?;
        let shell = Rc::new(Shell {
            machine: RefCell::new(machine),
            cluster_id: cluster_id(&options.topology.name),
            topology: options.topology,
            log_lines_lost: options.log_lines_lost,
            lets_clients_in: cluster.tls.as_ref().is_some_and(TlsConfig::lets_clients_in),
            tls,
            tls_calls,
            mishaps: Mishaps::default(),
            access: RefCell::new(Rc::new(Access::new(cluster))),
            reloader,
            udp,
            saver,
            probe_permits: Permits::new(bounds.probes),
            connections_max: bounds.connections,
            events,
            handshake_timeout: cluster.limits.handshake_timeout,
            fetch_timeout: cluster.timings.lease,
            started_at: Micros::boottime(),
            timer_at: Cell::new(Micros::NEVER),
            timer: Notify::default(),
            scraped,
            groups: cluster.groups.clone(),
            streams: Rc::default(),
            tasks: Cell::new(0),
            task_ended: Notify::default(),
            is_stopping: Cell::new(false),
        });
        shell.run(tcp, wake, &stopper).await?;
        shell.saver.stop(STOP_WAIT);
        Ok(())
    }
}

impl MasterHandle {
    /// Returns the UDP and TCP address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks the master to stop. [`Self::join`] waits for that.
    pub fn stop(&self) {
        self.stopper.stop();
    }

    /// Returns a handle with which the master can be stopped from elsewhere.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until the master has stopped.
    ///
    /// # Errors
    /// As [`Master::run`]; [`MasterError::Panicked`].
    pub fn join(mut self) -> Result<(), MasterError> {
        let thread = self.thread.take().expect("only this function and `drop` take the thread");
        thread.join().unwrap_or(Err(MasterError::Panicked))
    }
}

impl Drop for MasterHandle {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // Only `join` returns the thread's result.
            let _ = thread.join();
        }
    }
}

fn bounds(cluster: &ClusterConfig) -> Result<Bounds, TooFewDescriptors> {
    descriptors::divide(descriptors::limit(), descriptors::for_http(cluster))
}

type UringRuntime = monoio::Runtime<monoio::time::TimeDriver<monoio::IoUringDriver>>;

fn uring() -> io::Result<UringRuntime> {
    if !monoio::utils::detect_uring() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().enable_timer().build()
}

/// Carries out the machine's first save, because a master must not start without a new term.
fn save_term(machine: &mut Machine, path: &std::path::Path) -> Result<(), MasterError> {
    let mut later = Vec::new();
    while let Some(output) = machine.poll() {
        let Output::Persist(state) = output else {
            later.push(output);
            continue;
        };
        saver::save(path, &state)
            .map_err(|source| MasterError::StateWrite { path: path.to_owned(), source })?;
        machine.handle(Micros::boottime(), Input::Persisted { epoch: state.epoch, ok: true });
        break;
    }
    machine.put_back(later);
    Ok(())
}
