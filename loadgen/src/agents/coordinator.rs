//! The coordinator: shares a run out among agents, starts them together, and collects what they measured.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc::{Receiver as Queue, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use standin_protocol::time::Micros;

use super::channel::{ChannelError, Receiver, Sender, connect};
use super::clock::Clocks;
use super::message::{PlaceOfAgent, ToAgent, ToCoordinator, Work};
use super::{AgentError, Secret, lost};
use crate::live::Progress;
use crate::report::document::{ClockDifference, Document};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Round trips from which the shortest is taken.
const ROUND_TRIPS: usize = 16;
/// An agent that says nothing for so long is given up. It says something twice a second.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// The time from the last word to the start, beside the longest round trip.
const LEAD: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(100);
/// Messages that wait to be processed.
const QUEUE: usize = 64;

/// The connections to all agents.
#[derive(Debug)]
pub struct Coordinator {
    remotes: Vec<Remote>,
    messages: Queue<(usize, Heard)>,
}

type Heard = Result<ToCoordinator, ChannelError>;

#[derive(Debug)]
struct Remote {
    name: String,
    sender: Sender,
    clock: Option<ClockDifference>,
    is_ready: bool,
    progress: Progress,
    document: Option<Box<Document>>,
}

/// An agent's share of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Shared {
    /// The agent's address.
    pub agent: String,
    /// Its clocks, when the run began.
    pub clock: ClockDifference,
    /// What it has measured.
    pub document: Document,
}

impl Coordinator {
    /// Connects to all agents, at the same time.
    ///
    /// # Errors
    /// [`AgentError`]: the first one that can't be used.
    pub fn connect<'a>(
        agents: &'a [String],
        secret: &Secret,
        is_insecure: bool,
    ) -> Result<Self, AgentError> {
        let connected: Vec<_> = std::thread::scope(|scope| {
            let connect =
                |name: &'a String| scope.spawn(move || connect_to(name, secret, is_insecure));
            let threads: Vec<_> = agents.iter().map(connect).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        });
        let (queue, messages) = sync_channel(QUEUE);
        let mut remotes = Vec::new();
        for (index, (name, connected)) in agents.iter().zip(connected).enumerate() {
            let (sender, receiver) = connected?;
            let queue = queue.clone();
            std::thread::Builder::new()
                .name("agent".to_owned())
                .spawn(move || hear(index, receiver, &queue))
                .map_err(|error| lost(name, &error.into()))?;
            remotes.push(Remote {
                name: name.clone(),
                sender,
                clock: None,
                is_ready: false,
                progress: Progress::default(),
                document: None,
            });
        }
        Ok(Self { remotes, messages })
    }

    /// The number of agents.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.remotes.len()
    }

    /// Has all agents execute their share. `show` gets the sum of what they have done.
    ///
    /// # Errors
    /// [`AgentError`]: the first agent that failed; the others then end too.
    pub fn run(
        mut self,
        work: impl Fn(PlaceOfAgent) -> Work,
        is_interrupted: &dyn Fn() -> bool,
        show: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Shared>, AgentError> {
        let of = u32::try_from(self.remotes.len()).unwrap_or(u32::MAX);
        for (number, remote) in (0..).zip(&mut self.remotes) {
            let work = Box::new(work(PlaceOfAgent { number, of }));
            remote.send(&ToAgent::Prepare(work))?;
        }
        let mut is_stopped = false;
        while self.remotes.iter().any(|remote| remote.document.is_none()) {
            standin_protocol::fault::point();
            self.hear(LOOK)?;
            show(self.progress());
            let is_waiting = self.remotes.iter().any(|remote| remote.is_ready);
            let at_gate = |remote: &Remote| remote.is_ready || remote.document.is_some();
            if is_waiting && self.remotes.iter().all(at_gate) {
                if is_interrupted() {
                    return Err(AgentError::Interrupted);
                }
                self.start()?;
            }
            if is_interrupted() && !is_stopped {
                is_stopped = true;
                for remote in &mut self.remotes {
                    remote.send(&ToAgent::Stop)?;
                }
            }
        }
        let shared = self.remotes.iter_mut().filter_map(|remote| {
            Some(Shared {
                agent: remote.name.clone(),
                clock: remote.clock?,
                document: *remote.document.take()?,
            })
        });
        Ok(shared.collect())
    }

    fn progress(&self) -> Progress {
        let mut sum = Progress::default();
        for remote in &self.remotes {
            let Progress { ended, failed, reads, hits, bad } = remote.progress;
            sum.ended += ended;
            sum.failed += failed;
            sum.reads += reads;
            sum.hits += hits;
            sum.bad += bad;
        }
        sum
    }

    /// Compares the clocks, and starts all agents at the same moment.
    fn start(&mut self) -> Result<(), AgentError> {
        let mut longest = Duration::ZERO;
        let waiting = self.remotes.iter().enumerate().filter(|(_, remote)| remote.is_ready);
        let waiting: Vec<usize> = waiting.map(|(index, _)| index).collect();
        for index in waiting.iter().copied() {
            let clock = self.compare_clocks(index)?;
            longest = longest.max(Duration::from_micros(clock.round_trip_us));
            self.remotes[index].clock = Some(clock);
        }
        let start = Micros::boottime() + LEAD + longest * 4;
        for index in waiting {
            let remote = &mut self.remotes[index];
            remote.is_ready = false;
            let Some(clock) = remote.clock else { unreachable!("it was compared above") };
            remote.send(&ToAgent::Go { start_us: clock.theirs(start).0 })?;
        }
        Ok(())
    }

    fn compare_clocks(&mut self, index: usize) -> Result<ClockDifference, AgentError> {
        let mut best: Option<ClockDifference> = None;
        let deadline = Micros::boottime() + SILENCE_MAX;
        for _ in 0..ROUND_TRIPS {
            let before = Clocks::here();
            self.remotes[index].send(&ToAgent::Clock)?;
            let theirs = loop {
                if let Some((from, clocks)) = self.hear(LOOK)?
                    && from == index
                {
                    break clocks;
                }
                if Micros::boottime() >= deadline {
                    let (agent, why) =
                        (self.remotes[index].name.clone(), "does not tell its clock");
                    return Err(AgentError::Agent { agent, why: why.to_owned() });
                }
            };
            let trip = ClockDifference::of(before, theirs, Clocks::here());
            best = Some(best.map_or(trip, |best| best.better(trip)));
        }
        let Some(best) = best else { unreachable!("there is at least one round trip") };
        Ok(best)
    }

    /// Takes in the next message. Returns the agent and its clocks, if it was about them.
    fn hear(&mut self, within: Duration) -> Result<Option<(usize, Clocks)>, AgentError> {
        let (index, heard) = match self.messages.recv_timeout(within) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(None),
        };
        let remote = &mut self.remotes[index];
        let agent = remote.name.clone();
        let failed = move |why: String| AgentError::Agent { agent, why };
        match heard {
            Ok(ToCoordinator::Clock(clocks)) => return Ok(Some((index, clocks))),
            Ok(ToCoordinator::Ready) => remote.is_ready = true,
            Ok(ToCoordinator::Progress { ended, failed, bad, reads, hits }) => {
                remote.progress = Progress { ended, failed, reads, hits, bad };
            }
            Ok(ToCoordinator::Done { document }) => remote.document = Some(document),
            Ok(ToCoordinator::Failed { why } | ToCoordinator::Refused { why }) => {
                return Err(failed(why));
            }
            Ok(ToCoordinator::Hello { .. } | ToCoordinator::Welcome { .. }) => {
                return Err(failed(ChannelError::Turn("a beginning").to_string()));
            }
            // It has told everything.
            Err(_) if remote.document.is_some() => {}
            Err(error) => return Err(failed(error.to_string())),
        }
        Ok(None)
    }
}

impl Drop for Coordinator {
    /// Ends what the agents still do.
    fn drop(&mut self) {
        self.remotes.iter().for_each(|remote| remote.sender.close());
    }
}

impl Remote {
    fn send(&mut self, message: &ToAgent) -> Result<(), AgentError> {
        self.sender.send(message).map_err(|error| lost(&self.name, &error))
    }
}

/// Connects to one agent, and proves the secret.
fn connect_to(
    name: &str,
    secret: &Secret,
    is_insecure: bool,
) -> Result<(Sender, Receiver), AgentError> {
    let failed = |error: ChannelError| lost(name, &error);
    let address = resolve(name).map_err(failed)?;
    secret.check(address, is_insecure)?;
    let stream = TcpStream::connect_timeout(&address, CONNECT_WITHIN)
        .map_err(|error| failed(error.into()))?;
    let (sender, mut receiver) = connect(stream, secret).map_err(failed)?;
    receiver.patience(Some(SILENCE_MAX)).map_err(failed)?;
    Ok((sender, receiver))
}

fn resolve(name: &str) -> Result<SocketAddr, ChannelError> {
    let mut addresses: Vec<SocketAddr> = name.to_socket_addrs()?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let none = || std::io::Error::other("the name has no address").into();
    addresses.first().copied().ok_or_else(none)
}

/// Hands on what an agent says, until it has nothing more to say.
fn hear(index: usize, mut receiver: Receiver, queue: &SyncSender<(usize, Heard)>) {
    loop {
        standin_protocol::fault::point();
        let heard = receiver.receive();
        let is_last = heard.is_err() || matches!(heard, Ok(ToCoordinator::Done { .. }));
        // Nobody listens any more.
        if queue.send((index, heard)).is_err() || is_last {
            return;
        }
    }
}
