//! The state that the tasks of one load thread share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::{Poll, Waker};

use standin_protocol::time::Micros;

use super::doubts::Rechecks;
use super::{Notable, Pacing, Plan};
use crate::live::Live;
use crate::recorder::Recorder;
use crate::trace::Next;
use crate::workload::Supply;

/// The state that the tasks of a worker share.
pub(super) struct Shared {
    pub(super) plan: Plan,
    /// Whether the schedule says to which phase a request belongs. Otherwise the moments of the run do.
    pub(super) has_phases: bool,
    pub(super) number: u32,
    pub(super) start: Micros,
    pub(super) live: Arc<Live>,
    pub(super) notables: Sender<Notable>,
    pub(super) supply: RefCell<Supply>,
    pub(super) recorder: RefCell<Recorder>,
    /// Asks the database again for rows of which there is a doubt.
    pub(super) rechecks: Option<Rechecks>,
    /// The phases, servers and roles that have answered already.
    seen: RefCell<BTreeSet<(usize, u16, bool)>>,
    /// The number of tasks that have not ended.
    open: Cell<usize>,
    /// Chains of a closed loop that have ended because the trace was not read that far.
    starved: Cell<u32>,
    idle: RefCell<Option<Waker>>,
}

impl Shared {
    /// The state of a worker that has sent nothing yet.
    pub(super) fn new(
        plan: Plan,
        number: u32,
        start: Micros,
        live: Arc<Live>,
        notables: Sender<Notable>,
        supply: Supply,
    ) -> Self {
        let has_phases = match &plan.pacing {
            Pacing::Open { rates, .. } => !rates.spans().is_empty(),
            Pacing::Closed { .. } | Pacing::Recorded => false,
        };
        let recorder = Recorder::new(start, plan.phases, plan.slot);
        let recorder = RefCell::new(recorder.with_moments(Arc::clone(&plan.moments)));
        Self {
            plan,
            has_phases,
            number,
            start,
            live,
            notables,
            supply: RefCell::new(supply),
            recorder,
            rechecks: None,
            seen: RefCell::default(),
            open: Cell::new(0),
            starved: Cell::new(0),
            idle: RefCell::default(),
        }
    }

    /// With what asks the database again for rows of which there is a doubt.
    pub(super) fn with_rechecks(self, rechecks: Option<Rechecks>) -> Self {
        Self { rechecks, ..self }
    }

    /// Counts a chain of a closed loop that ends although the trace goes on: it was not read that far.
    pub(super) fn note_starved(&self) {
        // What has been read since is for it, too.
        if self.supply.borrow_mut().peek() != Next::Ended {
            self.starved.set(self.starved.get() + 1);
        }
    }

    /// Whether there was such a chain; it is then the caller's to begin again.
    pub(super) fn take_starved(&self) -> bool {
        let starved = self.starved.get();
        self.starved.set(starved.saturating_sub(1));
        starved > 0
    }

    /// Whether a request of a closed loop is followed by another one. An open loop has its schedule.
    pub(super) fn goes_on(&self, now: Micros) -> bool {
        let Pacing::Closed { .. } = self.plan.pacing else { return false };
        let end = self.plan.duration.map_or(Micros::NEVER, |duration| self.start + duration);
        !self.live.is_stopped() && now < end
    }

    /// The phase of a request that was due and has ended then: that of the schedule, or of the last moment of the run before
    /// it was due. What is under way when the first thing happens in a run has to do with that.
    pub(super) fn phase(&self, of_schedule: Option<usize>, due: Micros, ended: Micros) -> usize {
        let at = |time: Micros| self.plan.moments.last_at(time.since(self.start));
        match of_schedule {
            Some(phase) => phase,
            None if self.plan.phases == 1 => 0,
            None => match at(due) {
                0 => at(ended).min(1),
                later => later,
            },
        }
    }

    /// Whether this is the worker's first such answer in the phase.
    pub(super) fn is_first(&self, phase: usize, server: u16, is_stand_in: bool) -> bool {
        let key = (phase, server, is_stand_in);
        // Looking first keeps the usual case cheap: the set has a few entries.
        !self.seen.borrow().contains(&key) && self.seen.borrow_mut().insert(key)
    }

    /// What was measured, and the supply as it is, although there are tasks that have not ended: what they record from now on
    /// is in no recording.
    pub(super) fn taken(&self) -> (Recorder, Supply) {
        let other = Recorder::new(self.start, self.plan.phases, self.plan.slot);
        let other = other.with_moments(Arc::clone(&self.plan.moments));
        (self.recorder.replace(other), self.supply.replace(Supply::nothing()))
    }

    /// Counts a task that begins.
    pub(super) fn begin(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// Drops the caller's reference, so that [`Self::all_ended`] leaves its caller the only one.
    pub(super) fn end(self: Rc<Self>) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0
            && let Some(waker) = self.idle.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Drops the reference of the task that asks for rows again, which ends.
    pub(super) fn end_rechecks(self: Rc<Self>) {
        let rechecks = self.rechecks.as_ref().expect("only they have such a task");
        rechecks.waiting.borrow_mut().is_running = false;
        if let Some(waker) = self.idle.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Lets no row be asked for again after this time.
    pub(super) fn close_rechecks(&self, closes: Micros) {
        self.rechecks.iter().for_each(|rechecks| rechecks.closes.set(closes));
    }

    /// Waits until no row is to be asked for again, and the task that asks has ended.
    pub(super) async fn settled(&self) {
        let Some(rechecks) = &self.rechecks else { return };
        poll_fn(|context| {
            if !rechecks.waiting.borrow().is_running {
                return Poll::Ready(());
            }
            *self.idle.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The number of requests that have not ended.
    pub(super) fn open(&self) -> usize {
        self.open.get()
    }

    /// Waits until no request is left.
    pub(super) async fn all_ended(&self) {
        poll_fn(|context| {
            if self.open.get() == 0 {
                return Poll::Ready(());
            }
            *self.idle.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
