//! The two lanes in which calls reach the driver threads: one for reads, one for writes. A shard
//! that pushes a call waits for no longer than another takes to add one.
//!
//! `fair/` decides whose turn it is, and how much may wait.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::fair::{Bounds, Fair, Waits};
use super::ticket::Ticket;
use super::{Call, Failure, Operation, Outcome};

/// The memory that a call occupies besides its key and value.
const CALL_BYTES: usize = 256;

/// A submitted call.
pub(super) struct Job {
    pub(super) call: Call,
    pub(super) ticket: Ticket,
    /// The number of times that it has been put back.
    pub(super) tries: u32,
    /// Whether it requires a worker for itself.
    pub(super) wants_alone: bool,
}

impl Job {
    /// The size of its key and value.
    pub(super) fn size_bytes(&self) -> usize {
        let value = match &self.call.operation {
            Operation::Put { value, .. } => value.len(),
            Operation::Get | Operation::Delete => 0,
        };
        self.call.key.len() + value
    }
}

impl Waits for Job {
    fn keyspace(&self) -> u8 {
        self.call.keyspace
    }

    fn key(&self) -> &[u8] {
        &self.call.key
    }

    fn bytes(&self) -> usize {
        self.size_bytes() + CALL_BYTES
    }

    fn is_over(&self) -> bool {
        self.ticket.is_answered()
    }

    fn wants_alone(&self) -> bool {
        self.wants_alone
    }
}

/// A call for a worker.
pub(super) struct Handed {
    pub(super) worker: usize,
    pub(super) job: Job,
    /// Whether the worker gets no other call before this one has ended.
    pub(super) is_alone: bool,
}

/// The result of a driver thread's wait for work.
pub(super) enum Next {
    Job(Job),
    /// No call came in time, or all threads have been woken up.
    Nothing,
    /// The thread has to end. Everything pushed before has been taken.
    Stop,
}

/// The reason why a call was not taken.
pub(super) enum NotTaken {
    /// The lane is full.
    Full(Box<Job>),
    /// The database is known to be unreachable, for this reason.
    Refused(Box<Job>, String),
}

/// The calls of one kind.
pub(super) struct Lane {
    state: Mutex<State>,
    came: Condvar,
    /// The notification of an event loop, in addition to `came`.
    wake: Arc<Notify>,
}

struct State {
    fair: Fair<Job>,
    /// A counter that rises whenever all threads are woken up.
    wakes: u64,
    is_stopping: bool,
    /// The reason, while calls are refused at once.
    refusing: Option<String>,
}

impl Lane {
    /// `ids`: the keyspaces that have such calls. `wake` is notified when there may be work.
    pub(super) fn new(
        bounds: Bounds,
        ids: impl IntoIterator<Item = u8>,
        wake: Arc<Notify>,
    ) -> Arc<Self> {
        let fair = Fair::new(bounds, ids);
        let state = Mutex::new(State { fair, wakes: 0, is_stopping: false, refusing: None });
        Arc::new(Self { state, came: Condvar::new(), wake })
    }

    fn push(&self, job: Job) -> Result<(), NotTaken> {
        let mut state = self.lock();
        if let Some(reason) = &state.refusing {
            return Err(NotTaken::Refused(Box::new(job), reason.clone()));
        }
        state.fair.push(job).map_err(|job| NotTaken::Full(Box::new(job)))?;
        drop(state);
        self.came.notify_one();
        self.wake.notify_one();
        Ok(())
    }

    /// Waits for the worker's next call, for this long at most. Without a limit, only a call or the
    /// end ends the wait. `wakes` is the number of [`Self::wake_all`] that the worker has seen;
    /// zero at the beginning.
    pub(super) fn wait(&self, worker: usize, within: Option<Duration>, wakes: &mut u64) -> Next {
        self.wait_for(within, wakes, |fair| fair.take(worker))
    }

    /// Waits like [`Self::wait`], for a single worker that takes all calls.
    pub(super) fn wait_in_turn(&self, within: Option<Duration>, wakes: &mut u64) -> Next {
        self.wait_for(within, wakes, Fair::take_in_turn)
    }

    fn wait_for(
        &self,
        within: Option<Duration>,
        wakes: &mut u64,
        mut take: impl FnMut(&mut Fair<Job>) -> Option<Job>,
    ) -> Next {
        let mut state = self.lock();
        let mut is_late = false;
        loop {
            if let Some(job) = take(&mut state.fair) {
                return Next::Job(job);
            }
            if state.is_stopping && state.fair.is_empty() {
                return Next::Stop;
            }
            if is_late || state.wakes != *wakes {
                *wakes = state.wakes;
                return Next::Nothing;
            }
            state = match within {
                None => self.came.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(limit) => {
                    let waited = self.came.wait_timeout(state, limit);
                    let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    is_late = timeout.timed_out();
                    state
                }
            };
        }
    }

    /// Takes the next call of any keyspace, if there is one.
    pub(super) fn take_in_turn(&self) -> Option<Job> {
        self.lock().fair.take_in_turn()
    }

    /// Takes all calls that may begin, with their workers. `depths`: how many calls each worker may
    /// have at once; if empty, as many as the lane's bounds say.
    pub(super) fn hand_out(&self, depths: &[usize]) -> Vec<Handed> {
        let mut state = self.lock();
        for (worker, depth) in depths.iter().enumerate() {
            state.fair.set_depth(worker, *depth);
        }
        let mut handed = Vec::new();
        // Free workers first, then one more call for each worker that has room, as long as one
        // takes a call.
        loop {
            let before = handed.len();
            for worker in state.fair.by_room() {
                if let Some(job) = state.fair.take(worker) {
                    handed.push(Handed { worker, job, is_alone: state.fair.is_alone(worker) });
                }
            }
            if handed.len() == before {
                return handed;
            }
        }
    }

    /// Notes that a call of the worker has ended.
    pub(super) fn done(&self, worker: usize, key: &[u8]) {
        let mut state = self.lock();
        state.fair.done(worker, key);
        let is_last = state.is_stopping && state.fair.is_empty();
        drop(state);
        if is_last {
            self.came.notify_all();
        }
        self.wake.notify_one();
    }

    /// Puts back a call that was taken but certainly not executed, as the next of its keyspace,
    /// unless calls are refused now.
    pub(super) fn put_back(&self, job: Job) {
        let mut state = self.lock();
        if let Some(reason) = state.refusing.clone() {
            drop(state);
            return job.ticket.finish(Outcome::Failed(Failure::Refused(reason)));
        }
        state.fair.put_back(job);
        drop(state);
        self.wake.notify_one();
    }

    /// Notes that nothing of this worker is under way, because its thread starts again.
    pub(super) fn reset(&self, worker: usize) {
        self.lock().fair.reset(worker);
    }

    /// Notes that a worker is available, or no longer is.
    pub(super) fn set_away(&self, worker: usize, is_away: bool) {
        let mut state = self.lock();
        state.fair.set_away(worker, is_away);
        if !is_away {
            state.refusing = None;
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Refuses calls from now on, for this reason, until a worker becomes available. Returns the
    /// waiting calls, which have to be refused as well.
    pub(super) fn refuse(&self, reason: String) -> Vec<Job> {
        let mut state = self.lock();
        state.refusing = Some(reason);
        state.fair.drain()
    }

    /// Wakes all waiting threads with [`Next::Nothing`], so that they check whether there is
    /// something to do.
    pub(super) fn wake_all(&self) {
        self.lock().wakes += 1;
        self.came.notify_all();
        self.wake.notify_one();
    }

    /// Returns the number of waiting calls, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        self.lock().fair.waiting()
    }

    fn stop(&self) {
        self.lock().is_stopping = true;
        self.wake_all();
    }

    fn end(&self) -> End {
        let mut state = self.lock();
        if !state.is_stopping {
            return End::NotAsked;
        }
        state.fair.drop_all_answered();
        if state.fair.is_empty() { End::Reached } else { End::Asked }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The progress of the end that [`Queues::stop`] requests.
pub(super) enum End {
    NotAsked,
    Asked,
    /// No call is waiting.
    Reached,
}

/// Both lanes.
#[derive(Clone)]
pub(super) struct Queues {
    pub(super) reads: Arc<Lane>,
    pub(super) writes: Arc<Lane>,
}

impl Queues {
    pub(super) fn push(&self, job: Job) -> Result<(), NotTaken> {
        match job.call.operation.is_write() {
            true => self.writes.push(job),
            false => self.reads.push(job),
        }
    }

    pub(super) fn end(&self) -> End {
        match (self.reads.end(), self.writes.end()) {
            (End::Reached, End::Reached) => End::Reached,
            (End::NotAsked, _) | (_, End::NotAsked) => End::NotAsked,
            _ => End::Asked,
        }
    }

    /// Tells every driver thread to end.
    pub(super) fn stop(&self) {
        self.reads.stop();
        self.writes.stop();
    }
}
