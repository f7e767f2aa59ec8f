//! The two lanes in which calls reach the driver threads: one for reads, one for writes. A shard
//! that pushes never waits for longer than it takes to note a call.
//!
//! Whose turn it is, and how much may wait, is decided by `fair.rs`.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::fair::{Bounds, Fair, Waits};
use super::ticket::Ticket;
use super::{Call, Failure, Operation, Outcome};

/// What a call takes besides its key and value.
const CALL_BYTES: usize = 256;

/// A call on its way.
pub(super) struct Job {
    pub(super) call: Call,
    pub(super) ticket: Ticket,
    /// How often it has been put back.
    pub(super) tries: u32,
    /// It is to have a worker for itself.
    pub(super) wants_alone: bool,
}

impl Job {
    /// Of its key and value.
    pub(super) fn size_bytes(&self) -> usize {
        let value = match &self.call.operation {
            Operation::Put { value } => value.len(),
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
    /// The worker gets no other call before this one is done.
    pub(super) is_alone: bool,
}

/// What a driver thread finds when it looks for work.
pub(super) enum Next {
    Job(Job),
    /// Nothing has come in the time that it wanted to wait, or all have been woken up.
    Nothing,
    /// The thread is to end: everything pushed before has been taken.
    Stop,
}

/// Why a call was not taken.
pub(super) enum NotTaken {
    /// As many wait as may.
    Full(Box<Job>),
    /// The database is known to be out of reach; for which reason.
    Refused(Box<Job>, String),
}

/// Calls of one kind.
pub(super) struct Lane {
    state: Mutex<State>,
    came: Condvar,
    /// The same as `came`, for an event loop.
    wake: Arc<Notify>,
}

struct State {
    fair: Fair<Job>,
    /// Counts up whenever all threads are to look up.
    wakes: u64,
    is_stopping: bool,
    /// While calls are refused at once: why.
    refusing: Option<String>,
}

impl Lane {
    /// `ids`: the keyspaces that have such calls. `wake` is told when something may have to be done.
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

    /// Waits for the worker's next call, at most for so long. Without a limit, only a call or the
    /// end ends the wait.
    /// `wakes` is what the worker has heard of [`Self::wake_all`]; zero in the beginning.
    pub(super) fn wait(&self, worker: usize, within: Option<Duration>, wakes: &mut u64) -> Next {
        self.wait_for(within, wakes, |fair| fair.take(worker))
    }

    /// The same for the one worker that takes whatever there is.
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

    /// The next call of any keyspace, if it is there already.
    pub(super) fn take_in_turn(&self) -> Option<Job> {
        self.lock().fair.take_in_turn()
    }

    /// Calls for workers, as many as are there and may begin. `depths`: how many calls each worker
    /// may have at once; without, as many as the lane's bounds say.
    pub(super) fn hand_out(&self, depths: &[usize]) -> Vec<Handed> {
        let mut state = self.lock();
        for (worker, depth) in depths.iter().enumerate() {
            state.fair.set_depth(worker, *depth);
        }
        let mut handed = Vec::new();
        // The free ones first, then one more for each that has room, as long as one takes some.
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

    /// A call that the worker took has ended.
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

    /// A call that was taken and certainly not executed is the next of its keyspace, unless
    /// calls are refused now.
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

    /// Nothing of this worker is under way any more: its thread begins anew.
    pub(super) fn reset(&self, worker: usize) {
        self.lock().fair.reset(worker);
    }

    /// A worker comes, and takes calls; or goes away.
    pub(super) fn set_away(&self, worker: usize, is_away: bool) {
        let mut state = self.lock();
        state.fair.set_away(worker, is_away);
        if !is_away {
            state.refusing = None;
        }
        drop(state);
        self.wake.notify_one();
    }

    /// From now on calls are refused, for this reason, until a worker comes. What waits is given
    /// back, to be refused too.
    pub(super) fn refuse(&self, reason: String) -> Vec<Job> {
        let mut state = self.lock();
        state.refusing = Some(reason);
        state.fair.drain()
    }

    /// Threads that wait find [`Next::Nothing`], and look whether there is anything to do.
    pub(super) fn wake_all(&self) {
        self.lock().wakes += 1;
        self.came.notify_all();
        self.wake.notify_one();
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

/// How far the end is that [`Queues::stop`] asks for.
pub(super) enum End {
    NotAsked,
    Asked,
    /// Nothing waits any more.
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
