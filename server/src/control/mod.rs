//! The control thread: UDP to and from the master and the group, and messages to and from the
//! shards.

pub mod agent;
mod lease_log;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use standin_config::Mode;
use standin_protocol::auth::ClusterKey;
use standin_protocol::control::{DATAGRAM_BYTES_MAX, Datagram, SENDER_MASTER};
use standin_protocol::map::Topology;
use standin_protocol::time::Micros;
use tracing::{debug, error, info, warn};

use self::agent::{Agent, AgentConfig, Input, Output};
use self::lease_log::{LeaseLog, News};
use crate::inbox::Inbox;
use crate::origin::{Health, Origin};
use crate::shard::mailbox::{Mailboxes, Message};
use crate::stats::StatsHub;

/// The longest wait of the control thread.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// A control thread that has not begun a turn for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(3);

#[derive(Debug)]
struct Shared {
    inbox: Inbox<Input>,
    has_left: AtomicBool,
    ends: AtomicBool,
    /// The time at which the thread began its last turn.
    turned_at: AtomicU64,
    /// Other secrets, until the thread takes them over.
    keys: Mutex<Option<Vec<ClusterKey>>>,
}

/// The inbox through which other threads reach the control thread. They use it rarely: for a report
/// per unreachable server, and once per map.
#[derive(Debug, Clone)]
pub struct ControlHandle {
    shared: Arc<Shared>,
}

impl ControlHandle {
    /// Creates an inbox that no thread reads yet.
    ///
    /// # Errors If no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let (has_left, ends) = (AtomicBool::new(false), AtomicBool::new(false));
        let turned_at = AtomicU64::new(Micros::boottime().0);
        let (inbox, keys) = (Inbox::new()?, Mutex::default());
        Ok(Self { shared: Arc::new(Shared { inbox, has_left, ends, turned_at, keys }) })
    }

    /// Has the thread use other secrets: the first for what it sends, and all for what it believes.
    pub(crate) fn set_keys(&self, keys: Vec<ClusterKey>) {
        *self.shared.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys);
        self.shared.inbox.wake();
    }

    fn new_keys(&self) -> Option<Vec<ClusterKey>> {
        self.shared.keys.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the control thread is running. A server without one gets no leases and no maps,
    /// although its shards may answer.
    #[must_use]
    pub fn runs(&self, now: Micros) -> bool {
        let turned_at = Micros(self.shared.turned_at.load(Ordering::Relaxed));
        now.since(turned_at) < STUCK_AFTER
    }

    /// Takes the shards' messages for the agent, the oldest first.
    #[must_use]
    pub fn take(&self) -> Option<Input> {
        self.shared.inbox.take()
    }

    /// Asks the master to mark this server offline.
    pub fn leave(&self) {
        self.post(Input::Leave);
    }

    /// Whether the master has marked this server offline, and the shards have drained.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.shared.has_left.load(Ordering::Acquire)
    }

    /// Ends the control thread.
    pub fn end(&self) {
        self.shared.ends.store(true, Ordering::Release);
        self.shared.inbox.wake();
    }

    /// Leaves a message of a shard for the agent: a server is unreachable (claim 15), a probe has
    /// ended, or everything that began before a map has ended.
    pub(crate) fn post(&self, input: Input) {
        self.shared.inbox.post(input);
    }
}

/// The options of the control thread.
pub(crate) struct ControlOptions {
    pub(crate) socket: UdpSocket,
    pub(crate) master: SocketAddr,
    /// The cluster's secrets, the one that is used first.
    pub(crate) keys: Vec<ClusterKey>,
    pub(crate) topology: Arc<Topology>,
    pub(crate) agent: AgentConfig,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) origin: Origin,
    pub(crate) hub: Arc<StatsHub>,
    pub(crate) handle: ControlHandle,
}

/// Runs on the calling thread until [`ControlHandle::end`].
///
/// # Errors If waiting for the socket fails.
pub(crate) fn run(mut options: ControlOptions) -> io::Result<()> {
    options.socket.set_nonblocking(true)?;
    let shared = &Arc::clone(&options.handle.shared);
    let topology = Arc::clone(&options.topology);
    let mut agent = Agent::new(options.agent.clone(), topology, Micros::boottime());
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let (mut is_master_lost, mut lease_log) = (false, LeaseLog::default());
    loop {
        standin_protocol::fault::point();
        // The clock is read before the inputs are, because leases count from this time.
        let now = Micros::boottime();
        shared.turned_at.store(now.0, Ordering::Relaxed);
        if let Some(keys) = options.handle.new_keys() {
            options.keys = keys;
        }
        agent.handle(now, Input::OriginDown(options.origin.health() != Health::Up));
        options.receive(now, &mut agent, &mut buffer);
        shared.inbox.clear_wake();
        while let Some(input) = options.handle.take() {
            agent.handle(now, input);
        }
        while let Some(output) = agent.poll() {
            options.carry_out(output);
        }
        options.hub.publish_agent(now, &agent.counters, agent.since());
        options.hub.sample(now);
        if std::mem::replace(&mut is_master_lost, agent.is_master_lost()) != is_master_lost {
            match is_master_lost {
                true => warn!("nothing heard from the master for half a lease; is it running?"),
                false => info!("heard from the master again"),
            }
        }
        // A server that is alone in its group is an orphan whenever it has no lease.
        let is_alone = agent.is_orphan() && is_master_lost;
        if let Some(news) = lease_log.look(now, is_alone, agent.is_lease_lost()) {
            log_lease(options.agent.mode, news);
        }
        if shared.ends.load(Ordering::Acquire) {
            return Ok(());
        }
        let wait = match shared.inbox.fall_asleep() {
            true => agent.next_deadline().since(Micros::boottime()).min(WAIT_MAX),
            false => Duration::ZERO,
        };
        // Nanoseconds, so that the thread does not wake up to a millisecond late.
        let timeout = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        let wake = shared.inbox.wake_fd();
        let mut waited_for =
            [PollFd::new(&options.socket, PollFlags::IN), PollFd::new(&wake, PollFlags::IN)];
        let polled = poll(&mut waited_for, Some(&timeout));
        shared.inbox.awake();
        match polled {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Logs that this server's lease has expired, or that it holds one again, or does without. In `available`, other
/// servers take its place as soon as the master or the group allows it; in `strict` nobody does.
fn log_lease(mode: Mode, news: News) {
    const LOST: &str = "the lease has expired and the master does not renew it: until it does, this \
                        server caches nothing, reads go to the database, and writes wait and are \
                        refused; is the master running, and do UDP datagrams pass between them?";
    match (news, mode) {
        (News::Lost, Mode::Strict) => error!("{LOST}"),
        (News::Lost, Mode::Available) => warn!("{LOST}"),
        (News::Again, _) => info!("this server may act as an owner again"),
        (News::GoesOnAlone, _) => warn!(
            "this server goes on without the master, as the owner of its keys: no other server of its group can have \
             taken its place. Until the master is back, nobody stands in for a server that fails; start the master, \
             or see whether UDP datagrams pass between them"
        ),
        (News::IsAloneNoMore, _) => info!("this server no longer goes on without the master"),
    }
}

/// The largest number of datagrams that are read in one turn, so that a flood of them can't delay
/// everything else.
const DATAGRAMS_PER_TURN: usize = 64;

impl ControlOptions {
    /// Gives the agent the datagrams that have arrived.
    fn receive(&self, now: Micros, agent: &mut Agent, buffer: &mut [u8]) {
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.socket.recv_from(buffer) {
                Ok((length, from)) => {
                    let (bytes, topology) = (&buffer[..length], Some(self.topology.id));
                    match Datagram::parse_by_any(bytes, &self.keys, topology) {
                        Ok(datagram) => agent.handle(now, Input::Datagram { from, datagram }),
                        Err(error) => debug!(%from, %error, "datagram dropped"),
                    }
                }
                // An earlier datagram found no master. The next renewal will try again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => break,
            }
        }
    }

    fn carry_out(&self, output: Output) {
        let servers = &self.topology.servers;
        match output {
            Output::Send { to, datagram } => {
                let address = match to {
                    SENDER_MASTER => self.master,
                    server => servers[usize::from(server)].address,
                };
                // A failure is like a lost datagram: everything is repeated.
                let _ = self.socket.send_to(&datagram.to_bytes(self.keys.first()), address);
            }
            Output::Map(map) => {
                info!(epoch = %map.epoch, states = %states(&map), "map applied");
                tell_all(&self.mailboxes, || Message::Map(Arc::clone(&map)));
            }
            Output::Lease(lease) => {
                debug!(?lease, "lease");
                tell_all(&self.mailboxes, || Message::Lease(lease));
            }
            Output::Word(word) => tell_all(&self.mailboxes, || Message::Word(word)),
            Output::Verdict { server, state } => {
                info!(server = %servers[usize::from(server)].name, %state, "verdict");
                tell_all(&self.mailboxes, || Message::Verdict { server, state });
            }
            Output::AskProbe { nonce, server } => {
                self.mailboxes.post(0, Message::AskProbe { nonce, server });
            }
            Output::Distrust { from, sender, epoch } => warn!(
                %from, sender, %epoch,
                "dropped a datagram that does not come from its sender's address in the cluster \
                 file, or whose epoch is far beyond the cluster's. Unless it is forged, check that \
                 all members use the same cluster file and that no address is translated between \
                 them"
            ),
            Output::Left => self.handle.shared.has_left.store(true, Ordering::Release),
        }
    }
}

fn tell_all(mailboxes: &Mailboxes, message: impl Fn() -> Message) {
    mailboxes.0.iter().for_each(|mailbox| mailbox.post(message()));
}

fn states(map: &standin_protocol::map::ClusterMap) -> String {
    let servers = map.topology.servers.iter().zip(map.statuses());
    let states = servers.map(|(info, status)| format!("{} {}", info.name, status.state));
    states.collect::<Vec<_>>().join(", ")
}
