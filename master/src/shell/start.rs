//! Starting and stopping a master.

use std::cell::{Cell, RefCell};
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use standin_config::{ClusterConfig, IoKind};
use standin_protocol::hello::cluster_id;
use standin_protocol::map::Topology;
use standin_protocol::time::Micros;
use tracing::{info, warn};

use crate::event::MasterEvent;
use crate::machine::{Input, Machine, Output};
use crate::rules::Rules;
use crate::shell::descriptors::{self, Bounds, TooFewDescriptors};
use crate::shell::guests::GUESTS_MAX;
use crate::shell::ready::{Notify, Permits};
use crate::shell::saver::{self, Saver};
use crate::shell::{STOP_WAIT, Shell};
use crate::state::StateError;

/// Renewals of all servers may arrive at once.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// How long an address may still be that of a master that was killed.
const TAKEN_BY_THE_LAST_LIFE: Duration = Duration::from_secs(1);

/// What a master is started with.
#[derive(Debug, Clone)]
pub struct MasterOptions {
    /// The cluster file.
    pub cluster: ClusterConfig,
    /// [`ClusterConfig::topology`].
    pub topology: Arc<Topology>,
    /// Which event loop it runs on.
    pub io: IoKind,
    /// Lines that the process's log has lost, counted by whoever writes it; for STATS.
    pub log_lines_lost: Arc<AtomicU64>,
}

/// Why a master does not run.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// Another program listens there.
    #[error(
        "the master's address {address} ({protocol}) is in use; is another master running? Stop \
         it, or change `master.address` in the cluster file of all members"
    )]
    AddressTaken {
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        protocol: &'static str,
    },
    /// The address can't be listened on.
    #[error(
        "can't listen on the master's address {address} ({protocol}): {source}. Is \
         `master.address` an address of this machine?"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        protocol: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The system lets this process open too few files and sockets.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The state file is there, but can't be read.
    #[error("can't read the master's state file {path}: {source}")]
    StateRead {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The state file is damaged.
    #[error(
        "the master's state file {path} is damaged: {source}. Move it away and start again: the \
         master then learns the states from the servers before it changes any"
    )]
    StateDamaged {
        /// The file.
        path: PathBuf,
        /// How.
        source: StateError,
    },
    /// The state file belongs to another cluster.
    #[error(
        "the state file {path} belongs to cluster {found:?}, but this is {expected:?}; give each \
         master its own `master.state_file`"
    )]
    StateOfOther {
        /// The file.
        path: PathBuf,
        /// The cluster in the file.
        found: String,
        /// This cluster.
        expected: String,
    },
    /// The state file can't be written.
    #[error(
        "can't write the master's state file {path}: {source}. Without it a restarted master \
         would contradict what this one says; set `master.state_file` to a place that this user \
         may write to"
    )]
    StateWrite {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The event loop could not be set up, or has failed.
    #[error("the master's event loop failed: {0}")]
    Loop(#[from] io::Error),
    /// The master's thread has panicked.
    #[error("the master stopped because of a bug; see its log")]
    Panicked,
}

/// A master that is bound to its address and has its term, and will run.
pub struct Master {
    options: MasterOptions,
    bounds: Bounds,
    machine: Machine,
    tcp: TcpListener,
    udp: UdpSocket,
    wake: UnixStream,
    stopper: Stopper,
}

/// Ends a master from any thread. All clones end the same one.
#[derive(Debug, Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    is_stopped: AtomicBool,
    wake: UnixStream,
}

/// A master that runs on a thread of its own. Dropping it stops the master.
#[derive(Debug)]
pub struct MasterHandle {
    address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), MasterError>>>,
}

impl Master {
    /// What stands in the way of a start, as far as it can be known without taking the address or
    /// writing the state file.
    #[must_use]
    pub fn check(cluster: &ClusterConfig) -> Vec<MasterError> {
        let mut errors: Vec<MasterError> = Vec::new();
        errors.extend(descriptors::divide(descriptors::limit()).err().map(MasterError::from));
        let path = &cluster.master.state_file;
        errors.extend(saver::load(path, &cluster.name).err());
        let writable = saver::may_save(path);
        let refused = |source| MasterError::StateWrite { path: path.clone(), source };
        errors.extend(writable.err().map(refused));
        errors
    }

    /// Why this process can't listen on the master's address, unless another one does so already.
    #[must_use]
    pub fn check_address(cluster: &ClusterConfig) -> Option<MasterError> {
        let address = cluster.master.address;
        let tcp = TcpListener::bind(address).map(drop).map_err(|e| listen_error(address, "TCP", e));
        let udp = UdpSocket::bind(address).map(drop).map_err(|e| listen_error(address, "UDP", e));
        tcp.and(udp).err().filter(|error| !matches!(error, MasterError::AddressTaken { .. }))
    }

    /// Takes the address, reads the state file and saves a term of its own: whatever can be
    /// wrong with a start is wrong here.
    ///
    /// # Errors
    /// [`MasterError`].
    pub fn bind(options: MasterOptions) -> Result<Self, MasterError> {
        if let Some(refusal) = Self::check(&options.cluster).into_iter().next() {
            return Err(refusal);
        }
        let bounds = descriptors::divide(descriptors::limit())?;
        if bounds.guests < GUESTS_MAX {
            warn!(
                probes = bounds.probes,
                connections = bounds.guests,
                "the limit of open files (ulimit -n) leaves room for few connections: raise it"
            );
        }
        let address = options.topology.master;
        let tcp = patiently(|| TcpListener::bind(address))
            .map_err(|e| listen_error(address, "TCP", e))?;
        let udp =
            patiently(|| UdpSocket::bind(address)).map_err(|e| listen_error(address, "UDP", e))?;
        tcp.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        // A smaller buffer only loses what is sent again.
        let _ = socket2::SockRef::from(&udp).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);

        let path = &options.cluster.master.state_file;
        let saved = saver::load(path, &options.topology.name)?;
        let rules = Rules::of(&options.cluster);
        let now = Micros::boottime();
        let mut machine = Machine::new(now, rules, options.topology.clone(), saved.as_ref());
        save_term(&mut machine, path)?;

        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        let shared = Shared { is_stopped: AtomicBool::new(false), wake: sender };
        let stopper = Stopper { shared: Arc::new(shared) };
        Ok(Self { options, bounds, machine, tcp, udp, wake, stopper })
    }

    /// Ends the master.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The UDP and TCP address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.options.topology.master
    }

    /// Runs on this thread until it is stopped. `events` is called on it for each event and
    /// must not block.
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

    /// Binds, and runs on a thread of its own.
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
        let Self { options, bounds, machine, tcp, udp, wake, stopper } = self;
        let cluster = &options.cluster;
        let saver = Saver::start(cluster.master.state_file.clone(), stopper.clone())?;
        let shell = Rc::new(Shell {
            machine: RefCell::new(machine),
            cluster_id: cluster_id(&options.topology.name),
            topology: options.topology,
            log_lines_lost: options.log_lines_lost,
            key: cluster.cluster_key(),
            udp,
            saver,
            probe_permits: Permits::new(bounds.probes),
            guests_max: bounds.guests,
            events,
            handshake_timeout: cluster.limits.handshake_timeout,
            fetch_timeout: cluster.timings.lease,
            started_at: Micros::boottime(),
            timer_at: Cell::new(Micros::NEVER),
            timer: Notify::default(),
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

impl Stopper {
    /// The master ends mostly at once, and within two seconds at most.
    pub fn stop(&self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.is_stopped.load(Ordering::SeqCst)
    }

    pub(crate) fn wake(&self) {
        // If the pipe is full the master has enough to wake up for.
        let _ = (&self.shared.wake).write(&[1]);
    }
}

impl MasterHandle {
    /// The UDP and TCP address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks the master to end; [`Self::join`] waits for it.
    pub fn stop(&self) {
        self.stopper.stop();
    }

    /// Ends the master from elsewhere.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Waits until the master has ended.
    ///
    /// # Errors
    /// As [`Master::run`]; [`MasterError::Panicked`].
    pub fn join(mut self) -> Result<(), MasterError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or(Err(MasterError::Panicked))
    }
}

impl Drop for MasterHandle {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // What it ended with is for join().
            let _ = thread.join();
        }
    }
}

type UringRuntime = monoio::Runtime<monoio::time::TimeDriver<monoio::IoUringDriver>>;

fn uring() -> io::Result<UringRuntime> {
    if !monoio::utils::detect_uring() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().enable_timer().build()
}

/// The kernel takes a killed process's ring down after the process has ended, and the ring
/// holds its sockets: a master that is restarted at once finds its own address taken.
fn patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let deadline = Micros::boottime() + TAKEN_BY_THE_LAST_LIFE;
    loop {
        match bind() {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && Micros::boottime() < deadline =>
            {
                std::thread::park_timeout(Duration::from_millis(10));
            }
            ended => return ended,
        }
    }
}

fn listen_error(address: SocketAddr, protocol: &'static str, source: io::Error) -> MasterError {
    match source.kind() {
        io::ErrorKind::AddrInUse => MasterError::AddressTaken { address, protocol },
        _ => MasterError::Listen { address, protocol, source },
    }
}

/// Does the machine's first save here: a master without a term of its own must not start.
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
