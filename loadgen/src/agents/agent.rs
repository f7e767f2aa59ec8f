//! An agent: takes runs from coordinators, one at a time, and tells what they measured.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver as Queue};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use standin_protocol::time::Micros;

use super::channel::{ChannelError, Receiver, Sender, accept};
use super::clock::Clocks;
use super::message::{ToAgent, ToCoordinator, Work};
use super::{AgentError, Secret, WORKERS};
use crate::drive::Gate;
use crate::live::Live;
use crate::report::document::Document;

/// Connections of coordinators at a time that have proven the secret: that of a run, and others that are refused.
const COORDINATORS_MAX: usize = 8;
/// Callers at a time that have not proven it. One more takes the place of the one that has been there for longest.
const CALLERS_MAX: usize = 64;
/// The interval of messages that say that the agent is there.
const BEAT: Duration = Duration::from_millis(500);
/// The interval at which it looks for a new connection, and whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// The longest wait for a run that is to end with the agent.
const END_WITHIN: Duration = Duration::from_secs(10);
/// The longest wait for the run: the coordinator first connects to all agents.
const WORK_WITHIN: Duration = Duration::from_secs(60);
/// The longest wait until the coordinator closes when it has been told everything.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// Executes a run, whose parts begin when the gate opens.
pub type Execute<'r> = dyn Fn(&Work, &Arc<Live>, &Gate) -> Result<Document, String> + Sync + 'r;

/// An agent that listens.
#[derive(Debug)]
pub struct Agent {
    listener: TcpListener,
    address: SocketAddr,
    secret: Secret,
}

/// The state that its connections share.
struct State<'r> {
    execute: &'r Execute<'r>,
    /// What is to be said, by the thread that serves.
    lines: Mutex<Vec<String>>,
    is_over: AtomicBool,
    /// The run, if there is one.
    running: Mutex<Option<Arc<Live>>>,
    crowd: Mutex<Crowd>,
}

/// All connections by their number, to end them.
#[derive(Default)]
struct Crowd {
    /// Those that have not proven the secret yet.
    callers: BTreeMap<u64, TcpStream>,
    coordinators: BTreeMap<u64, TcpStream>,
}

impl Crowd {
    fn add(&mut self, number: u64, caller: TcpStream) {
        if self.callers.len() >= CALLERS_MAX
            && let Some((_, oldest)) = self.callers.pop_first()
        {
            end(&oldest);
        }
        self.callers.insert(number, caller);
    }

    /// The caller has proven the secret. Returns whether there is a place for it.
    fn prove(&mut self, number: u64) -> bool {
        if self.coordinators.len() >= COORDINATORS_MAX {
            return false;
        }
        self.coordinators.extend(self.callers.remove_entry(&number));
        true
    }

    fn remove(&mut self, number: u64) {
        self.callers.remove(&number);
        self.coordinators.remove(&number);
    }
}

fn end(stream: &TcpStream) {
    // It may have ended already.
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

impl Agent {
    /// Listens at an address.
    ///
    /// # Errors
    /// [`AgentError::Listen`] and [`AgentError::Open`].
    pub fn listen(address: &str, secret: Secret, is_insecure: bool) -> Result<Self, AgentError> {
        let failed = |error| AgentError::Listen { address: address.to_owned(), error };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        secret.check(bound, is_insecure)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self { listener, address: bound, secret })
    }

    /// The address, with the port that the system has chosen for 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `is_over`; a run that is under way then ends early.
    pub fn serve(&self, is_over: &dyn Fn() -> bool, say: &dyn Fn(&str), execute: &Execute<'_>) {
        let state = State {
            execute,
            lines: Mutex::default(),
            is_over: AtomicBool::new(false),
            running: Mutex::new(None),
            crowd: Mutex::default(),
        };
        let state = &state;
        std::thread::scope(|scope| {
            let mut numbers = 0..;
            while !is_over() {
                standin_protocol::fault::point();
                state.lines().drain(..).for_each(|line| say(&line));
                let Ok((stream, from)) = self.listener.accept() else {
                    std::thread::park_timeout(LOOK);
                    continue;
                };
                // Without a second descriptor there is no way to end it.
                let (Ok(handle), Some(number)) = (stream.try_clone(), numbers.next()) else {
                    continue;
                };
                state.crowd().add(number, handle);
                scope.spawn(move || {
                    if let Err(error) = self.connection(state, stream, number, from) {
                        state.say(format!("coordinator at {from}: {error}"));
                    }
                    state.crowd().remove(number);
                });
            }
            state.end();
        });
    }

    fn connection(
        &self,
        state: &State<'_>,
        stream: TcpStream,
        number: u64,
        from: SocketAddr,
    ) -> Result<(), ChannelError> {
        stream.set_nonblocking(false)?;
        let (mut sender, mut receiver) = accept(stream, &self.secret)?;
        if !state.crowd().prove(number) {
            let why = format!("the agent has {COORDINATORS_MAX} coordinators already");
            return sender.send(&ToCoordinator::Refused { why });
        }
        receiver.all_within(WORK_WITHIN);
        let work = loop {
            match receiver.receive()? {
                ToAgent::Clock => sender.send(&ToCoordinator::Clock(Clocks::here()))?,
                ToAgent::Prepare(work) => break work,
                ToAgent::Begin { .. } | ToAgent::Go { .. } | ToAgent::Stop => {
                    return Err(ChannelError::Turn("something else than a run"));
                }
            }
        };
        // It decides what is allocated.
        if !WORKERS.contains(&work.workers) {
            let why =
                format!("{} load threads are asked for: 1 to 1024 are possible", work.workers);
            return sender.send(&ToCoordinator::Refused { why });
        }
        let live = Arc::new(Live::new(work.workers));
        if !state.begin(&live) {
            let why = "the agent is busy with another coordinator's run".to_owned();
            return sender.send(&ToCoordinator::Refused { why });
        }
        state.say(format!("run of {from} begins"));
        let ended = run(state, &work, &live, sender, receiver);
        state.say(format!("run of {from} has ended"));
        ended
    }
}

impl State<'_> {
    fn running(&self) -> MutexGuard<'_, Option<Arc<Live>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, line: String) {
        self.lines().push(line);
    }

    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the run, if there is one, lets it tell what it has measured, and closes all connections.
    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(live) = &*self.running() {
            live.stop();
        }
        let deadline = Micros::boottime() + END_WITHIN;
        while self.running().is_some() && Micros::boottime() < deadline {
            standin_protocol::fault::point();
            std::thread::park_timeout(LOOK);
        }
        let crowd = self.crowd();
        crowd.callers.values().chain(crowd.coordinators.values()).for_each(end);
    }

    /// Begins a run, unless there is one, or the agent ends.
    fn begin(&self, live: &Arc<Live>) -> bool {
        let mut running = self.running();
        if running.is_some() || self.is_over.load(Ordering::Relaxed) {
            return false;
        }
        *running = Some(Arc::clone(live));
        true
    }
}

type SharedSender = Arc<Mutex<Sender>>;

fn send(sender: &SharedSender, message: &ToCoordinator) -> Result<(), ChannelError> {
    sender.lock().unwrap_or_else(PoisonError::into_inner).send(message)
}

fn run(
    state: &State<'_>,
    work: &Work,
    live: &Arc<Live>,
    sender: Sender,
    mut receiver: Receiver,
) -> Result<(), ChannelError> {
    receiver.patience(None)?;
    let sender: SharedSender = Arc::new(Mutex::new(sender));
    let (starts, started) = mpsc::channel();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (hearing, beating) = (Arc::clone(&sender), Arc::clone(&sender));
        let hears = scope.spawn(move || hear(receiver, &hearing, live, &starts));
        let done = &is_done;
        let beat = scope.spawn(move || beat(&beating, live, done));
        let gate = gate(Arc::clone(&sender), started);
        let ended = match (state.execute)(work, live, &gate) {
            Ok(document) => ToCoordinator::Done { document: Box::new(document) },
            Err(why) => ToCoordinator::Failed { why },
        };
        done.store(true, Ordering::Relaxed);
        beat.thread().unpark();
        let sent = send(&sender, &ended);
        // Another coordinator may come, also if this one takes its time.
        *state.running() = None;
        // The one that hears ends when the coordinator, who now has everything, closes.
        let deadline = Micros::boottime() + CLOSED_WITHIN;
        while sent.is_ok() && !hears.is_finished() && Micros::boottime() < deadline {
            standin_protocol::fault::point();
            std::thread::park_timeout(LOOK);
        }
        sender.lock().unwrap_or_else(PoisonError::into_inner).close();
        sent
    })
}

/// Waits for the others: tells the coordinator that this agent is ready, and returns when it is to start.
fn gate(sender: SharedSender, started: Queue<Micros>) -> Gate {
    let started = Mutex::new(started);
    Gate::new(move || {
        let failed = |error: ChannelError| io::Error::other(error.to_string());
        send(&sender, &ToCoordinator::Ready).map_err(failed)?;
        let started = started.lock().unwrap_or_else(PoisonError::into_inner);
        let start = started.recv().map_err(|_| failed(ChannelError::Ended))?;
        if start <= Micros::boottime() {
            let text = "the coordinator's start came too late; is the network that slow?";
            return Err(io::Error::other(text));
        }
        Ok(start)
    })
}

/// Hears the coordinator until it closes. Without it, the run is over.
fn hear(mut receiver: Receiver, sender: &SharedSender, live: &Live, starts: &mpsc::Sender<Micros>) {
    while let Ok(message) = receiver.receive() {
        standin_protocol::fault::point();
        let heard = match message {
            ToAgent::Clock => send(sender, &ToCoordinator::Clock(Clocks::here())).is_ok(),
            ToAgent::Go { start_us } => starts.send(Micros(start_us)).is_ok(),
            ToAgent::Stop => {
                live.stop();
                true
            }
            ToAgent::Begin { .. } | ToAgent::Prepare(_) => false,
        };
        if !heard {
            break;
        }
    }
    live.stop();
}

fn beat(sender: &SharedSender, live: &Live, is_done: &AtomicBool) {
    while !is_done.load(Ordering::Relaxed) {
        standin_protocol::fault::point();
        let progress = live.progress();
        let message = ToCoordinator::Progress {
            ended: progress.ended,
            failed: progress.failed,
            bad: progress.bad,
            reads: progress.reads,
            hits: progress.hits,
        };
        if send(sender, &message).is_err() {
            live.stop();
            return;
        }
        std::thread::park_timeout(BEAT);
    }
}
