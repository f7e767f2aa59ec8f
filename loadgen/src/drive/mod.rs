//! Drives requests into a target from several threads.
//!
//! ```text
//! caller ── start(Plan) ──► worker threads ── each: one monoio loop ───────────────┐
//!   │                        supply ─► pacer (timerfd) ─► request ─► link ─► TCP   │
//!   │                                                       │                      │
//!   │ ◄─ Notable (channel) ◄── events of the client, first answers of a server     │
//!   │ ◄─ Live (atomics)    ◄── counts so far          Recorder (the worker's own) ─┘
//!   └── join ◄── Recording of all workers, merged
//! ```
//! Not here: which server is killed when. That is the demo's script, or a test's.

mod aside;
mod asked;
mod database;
mod doubts;
mod effort;
mod judging;
mod link;
mod many;
mod pacer;
mod rechecks;
mod request;
mod shared;
#[cfg(test)]
mod tests;
mod wire;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use standin_client::ClientEvent;
use standin_protocol::time::Micros;

use crate::checker::{Checker, RowsChecker};
use crate::database::{Database, DatabaseError};
use crate::live::Live;
use crate::recorder::{Moments, Recording};
use crate::request::ValueSizes;
use crate::schedule::{Arrivals, Rates};
use crate::targets::Target;
use crate::targets::wire::Refusal;
use crate::value_form::ValueForm;
use crate::workload::{Keys, Supply};

/// The time between "all workers are connected" and the first request.
const LEAD: Duration = Duration::from_millis(2);

/// The pacing: when the next request is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Pacing {
    /// At times fixed beforehand, whatever the cluster does.
    Open {
        /// The rate of all workers together. If it has phases, they are those of the recording.
        rates: Rates,
        /// The distribution of the arrivals.
        arrivals: Arrivals,
    },
    /// When the trace that is replayed has its requests.
    Recorded,
    /// When an earlier request is answered. This finds the highest throughput, but hides every
    /// stall.
    Closed {
        /// Clients, each with connections of its own.
        clients: u32,
        /// Requests that each has under way.
        depth: u32,
    },
}

/// The load threads of this process among those of several machines that make one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The number of the first one.
    pub first: u32,
    /// The number of all; `None`: there are no others.
    pub of: Option<u32>,
}

impl Place {
    /// The number of a thread of this process, which has `count`, and the number of all.
    #[must_use]
    pub fn of_worker(self, number: u32, count: u32) -> (u32, u32) {
        (self.first + number, self.of.unwrap_or(count))
    }

    /// The share of this process, which has `count`, of the whole run: 0 to 1.
    #[must_use]
    pub fn share(self, count: u32) -> f64 {
        self.of.map_or(1.0, |of| f64::from(count) / f64::from(of.max(1)))
    }
}

/// Waits for others before a run begins, and says when it does.
#[derive(Clone)]
pub struct Gate(Arc<dyn Fn() -> io::Result<Micros> + Send + Sync>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate(…)")
    }
}

impl Gate {
    /// A gate that opens when `wait` returns the time of the start.
    #[must_use]
    pub fn new(wait: impl Fn() -> io::Result<Micros> + Send + Sync + 'static) -> Self {
        Self(Arc::new(wait))
    }

    /// Waits, and returns the time of the start.
    ///
    /// # Errors
    /// The others are gone.
    pub fn wait(&self) -> io::Result<Micros> {
        (self.0)()
    }
}

/// A part of a run of several machines.
#[derive(Debug, Clone, Default)]
pub struct Together {
    /// The load threads of this process among all.
    pub place: Place,
    /// Waits for the others, who begin at the same time; `None`: there are none.
    pub gate: Option<Gate>,
}

/// Rows that are not the run's own: what is known of them, and the database that has them.
#[derive(Debug)]
pub struct Rows {
    /// What is known.
    pub checker: RowsChecker,
    /// The database.
    pub database: Database,
}

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the requests are sent to.
    pub target: Target,
    /// Names of the keys.
    pub keys: Keys,
    /// The pacing of the requests.
    pub pacing: Pacing,
    /// Longest time for which requests are sent; `None`: until the supply ends.
    pub duration: Option<Duration>,
    /// Seed of arrivals.
    pub seed: u64,
    /// The number that values of this run carry, which distinguishes them from those of other runs.
    pub run: u32,
    /// The sizes of the values that are written after reads that found nothing, as an application does
    /// that uses a cache without a database behind it; `None`: nothing is written.
    pub fills: Option<ValueSizes>,
    /// The form of the values that are written; a checker has it too.
    pub form: ValueForm,
    /// Judges the reads; without it every value carries sequence 0.
    pub checker: Option<Arc<Checker>>,
    /// Rows that are not the run's own, by which reads are judged instead.
    pub rows: Option<Arc<Rows>>,
    /// Whether the keys are somebody else's, so that nothing may be written.
    pub is_read_only: bool,
    /// Number of phases: those of the schedule, or, if it has none, those that the moments begin.
    pub phases: usize,
    /// Step of the timeline.
    pub slot: Duration,
    /// The moments of a timeline of faults, from the start; what happened after each is told apart.
    pub moments: Arc<Moments>,
}

impl Plan {
    /// A run that sends to the end of its supply, judges nothing, and has one phase and a timeline in seconds. The keys are
    /// [`Keys::Numbered`].
    #[must_use]
    pub fn new(target: Target, pacing: Pacing, seed: u64, run: u32) -> Self {
        Self {
            target,
            keys: Keys::Numbered,
            pacing,
            duration: None,
            seed,
            run,
            fills: None,
            form: ValueForm::default(),
            checker: None,
            rows: None,
            is_read_only: false,
            phases: 1,
            slot: Duration::from_secs(1),
            moments: Arc::default(),
        }
    }
}

/// An event of interest to an observer of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notable {
    /// A client's event.
    Client {
        /// When.
        at: Micros,
        /// Which worker's client.
        worker: u32,
        /// The event.
        event: ClientEvent,
    },
    /// The first answer of this kind that a worker has had from a server in a phase.
    FirstAnswer {
        /// When.
        at: Micros,
        /// Which phase.
        phase: usize,
        /// The server that answered.
        server: u16,
        /// Whether it answered for another server.
        is_stand_in: bool,
    },
}

/// The reason why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// A worker could not set up its loop, timer or client.
    #[error("a load thread can't start: {0}; is the limit of open files or locked memory reached?")]
    Setup(#[from] io::Error),
    /// The target should be a Redis Cluster.
    #[error(
        "the slots of the cluster are not known: {0}; use redis:// for servers that are no cluster; \
         the nodes of a cluster must announce IP addresses"
    )]
    NoSlots(String),
    /// A server does not let this client in.
    #[error("{0}")]
    Refused(Refusal),
    /// The database does not let this client in.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The other machines of the run.
    #[error("waiting for the other agents: {0}")]
    Others(io::Error),
    /// The run was ended before it began.
    #[error("interrupted while connections were opened")]
    Interrupted,
    /// A worker has panicked.
    #[error("a load thread stopped because of a bug; please report it")]
    Panicked,
}

impl DriveError {
    /// Whether somebody else ended the run, and nothing of its own is wrong.
    fn is_interrupt(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Database(DatabaseError::Interrupted))
    }
}

/// A run under way. Dropping it lets the run end by itself.
#[derive(Debug)]
pub struct Running {
    /// The time at which the first request was due.
    pub start: Micros,
    /// The events, as they happen. Closed when all workers have ended.
    pub notables: Receiver<Notable>,
    workers: Vec<JoinHandle<Result<(Recording, Supply), DriveError>>>,
}

/// Starts a run with one worker per supply.
///
/// # Errors
/// [`DriveError`]: a worker can't be set up, the target or its database can't be reached or does not let it in, or the run is
/// ended meanwhile.
pub fn start(plan: &Plan, supplies: Vec<Supply>, live: &Arc<Live>) -> Result<Running, DriveError> {
    start_together(plan, supplies, live, &Together::default())
}

/// Starts this process' part of a run of several machines.
///
/// # Errors
/// Those of [`start`], and [`DriveError::Others`] if the others are gone.
pub fn start_together(
    plan: &Plan,
    supplies: Vec<Supply>,
    live: &Arc<Live>,
    together: &Together,
) -> Result<Running, DriveError> {
    let (notables, received) = mpsc::channel();
    let (ready, all_ready) = mpsc::channel();
    let count = u32::try_from(supplies.len()).unwrap_or(u32::MAX);
    let mut workers = Vec::new();
    let mut starts: Vec<Sender<Micros>> = Vec::new();
    for (number, supply) in (0..count).zip(supplies) {
        let (start, started) = mpsc::channel();
        let parameters = worker::WorkerParameters {
            plan: plan.clone(),
            number,
            place: together.place.of_worker(number, count),
            live: Arc::clone(live),
            notables: notables.clone(),
            ready: ready.clone(),
            started,
        };
        let thread = thread::Builder::new().name(format!("load-{number}")).spawn(move || {
            let mut ending = Ending { live: Arc::clone(&parameters.live), is_good: false };
            let ended = worker::run(parameters, supply);
            ending.is_good = ended.is_ok();
            ended
        })?;
        workers.push(thread);
        starts.push(start);
    }
    drop((notables, ready));
    // A worker that fails drops its end without a word, and its whole run then ends.
    if all_ready.iter().take(workers.len()).count() < workers.len() {
        drop(starts);
        return Err(cause(workers.into_iter().map(JoinHandle::join)));
    }
    let start = match &together.gate {
        Some(gate) => gate.wait().map_err(DriveError::Others)?,
        None => Micros::boottime() + LEAD,
    };
    for sender in &starts {
        // Only a worker that has panicked does not receive this; `join` will report it.
        let _ = sender.send(start);
    }
    Ok(Running { start, notables: received, workers })
}

/// Why workers ended before the run began: those that failed have interrupted the others.
fn cause<T>(ended: impl Iterator<Item = thread::Result<Result<T, DriveError>>>) -> DriveError {
    let mut errors = ended.filter_map(|worker| match worker {
        Ok(ended) => ended.err(),
        Err(_) => Some(DriveError::Panicked),
    });
    errors.find(|error| !error.is_interrupt()).unwrap_or(DriveError::Interrupted)
}

/// Ends the whole run with a worker that fails: it would measure something else without it.
struct Ending {
    live: Arc<Live>,
    is_good: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.is_good {
            self.live.stop();
        }
    }
}

impl Running {
    /// Whether all workers have ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    /// Waits for all workers and puts their measurements together.
    ///
    /// # Errors
    /// [`DriveError`].
    pub fn join(self) -> Result<Recording, DriveError> {
        self.join_with_supplies().map(|(recording, _)| recording)
    }

    /// As [`Self::join`], with the supplies as the run has left them: another run can go on with them.
    ///
    /// # Errors
    /// [`DriveError`].
    pub fn join_with_supplies(self) -> Result<(Recording, Vec<Supply>), DriveError> {
        let mut whole: Option<Recording> = None;
        let mut supplies = Vec::with_capacity(self.workers.len());
        for worker in self.workers {
            let (part, supply) = worker.join().map_err(|_| DriveError::Panicked)??;
            supplies.push(supply);
            match &mut whole {
                Some(whole) => whole.merge(part),
                None => whole = Some(part),
            }
        }
        Ok((whole.ok_or(DriveError::Panicked)?, supplies))
    }
}
