//! A call's ticket, which ensures exactly one answer. The driver that executed the call gives it,
//! or the overdue thread if the call is overdue, or `Drop` if a driver panics or its queue is
//! dropped.
//!
//! ```text
//! Queued ──start──► Started ──finish──► Answered
//!    └──────────expire, drop──────────────┘
//! ```
//!
//! An answer that does not come from the driver depends on the phase: a write that has not started
//! certainly did not happen and never will, because `start` fails from then on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use standin_protocol::time::Micros;

use super::pause::Heartbeat;
use super::{Call, Completions, Done, Failure, Outcome};

const QUEUED: u8 = 0;
const STARTED: u8 = 1;
const ANSWERED: u8 = 2;

/// The ticket that the driver holds while it works on the call.
pub(super) struct Ticket(Arc<CallState>);

/// The overdue thread's view of a ticket.
pub(super) struct Watch(Arc<CallState>);

struct CallState {
    shard: u16,
    token: u64,
    is_write: bool,
    made: Micros,
    due: Micros,
    phase: AtomicU8,
    /// When its last attempt began at the database; zero: never.
    sent: AtomicU64,
    completions: Arc<dyn Completions>,
    heartbeat: Arc<Heartbeat>,
}

impl Ticket {
    pub(super) fn new(
        call: &Call,
        due: Micros,
        completions: &Arc<dyn Completions>,
        heartbeat: &Arc<Heartbeat>,
    ) -> Self {
        Self(Arc::new(CallState {
            shard: call.shard,
            token: call.token,
            is_write: call.operation.is_write(),
            made: call.made,
            due,
            phase: AtomicU8::new(QUEUED),
            sent: AtomicU64::new(0),
            completions: Arc::clone(completions),
            heartbeat: Arc::clone(heartbeat),
        }))
    }

    pub(super) fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.0))
    }

    /// Returns the time by which the call is answered at the latest.
    pub(super) fn due(&self) -> Micros {
        self.0.due
    }

    /// Whether the call has been answered.
    pub(super) fn is_answered(&self) -> bool {
        self.0.is_answered()
    }

    /// Notes that an attempt begins at the database, if only by preparing the statement. Without it, one begins when
    /// the call starts.
    pub(super) fn sent(&self, now: Micros) {
        self.0.sent.store(now.0, Ordering::Relaxed);
    }

    /// Must be called right before the database could execute the call, each time. Returns false if
    /// the call has been answered, in which case it must not be executed. An overdue call, and one
    /// that waited while this process was stopped, is answered here.
    #[must_use]
    pub(super) fn start(&self) -> bool {
        let now = Micros::boottime();
        if now >= self.0.due || !self.0.may_begin(now) {
            self.0.expire();
            return false;
        }
        let _ = self.0.sent.compare_exchange(0, now.0, Ordering::Relaxed, Ordering::Relaxed);
        let swap =
            self.0.phase.compare_exchange(QUEUED, STARTED, Ordering::AcqRel, Ordering::Acquire);
        swap.unwrap_or_else(|phase| phase) != ANSWERED
    }

    /// Answers, unless the call has been answered.
    pub(super) fn finish(self, outcome: Outcome) {
        self.0.answer(|_| outcome);
    }

    /// Answers that the call is overdue.
    pub(super) fn expire(self) {
        self.0.expire();
    }

    /// Withdraws the call: there will be no answer.
    pub(super) fn withdraw(self) {
        self.0.phase.store(ANSWERED, Ordering::Release);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Watch {
    pub(super) fn is_answered(&self) -> bool {
        self.0.is_answered()
    }

    pub(super) fn due(&self) -> Micros {
        self.0.due
    }

    pub(super) fn expire(&self) {
        self.0.expire();
    }

    /// Answers a write that has not started and must not start, because this process was stopped.
    pub(super) fn expire_if_stopped(&self, now: Micros) {
        if self.0.phase.load(Ordering::Acquire) == QUEUED && !self.0.may_begin(now) {
            self.0.answer_if_queued();
        }
    }

    /// Answers that nobody works on the call any more.
    pub(super) fn abandon(&self) {
        self.0.abandon();
    }
}

impl CallState {
    fn is_answered(&self) -> bool {
        self.phase.load(Ordering::Acquire) == ANSWERED
    }

    fn may_begin(&self, now: Micros) -> bool {
        !self.is_write || self.heartbeat.may_begin(now, self.made)
    }

    /// Answers that the call was not executed, unless it has started since.
    fn answer_if_queued(&self) {
        let swap =
            self.phase.compare_exchange(QUEUED, ANSWERED, Ordering::AcqRel, Ordering::Acquire);
        if swap.is_ok() {
            self.deliver(Outcome::Failed(Failure::Unavailable));
        }
    }

    fn expire(&self) {
        self.answer(|phase| {
            Outcome::Failed(match (self.is_write, phase) {
                (false, _) => Failure::Timeout,
                (true, STARTED) => Failure::OutcomeUnknown,
                (true, _) => Failure::Unavailable,
            })
        });
    }

    fn abandon(&self) {
        self.answer(|phase| {
            Outcome::Failed(match phase {
                STARTED if self.is_write => Failure::OutcomeUnknown,
                _ => Failure::Unavailable,
            })
        });
    }

    fn answer(&self, outcome: impl FnOnce(u8) -> Outcome) {
        let phase = self.phase.swap(ANSWERED, Ordering::AcqRel);
        if phase != ANSWERED {
            self.deliver(outcome(phase));
        }
    }

    fn deliver(&self, outcome: Outcome) {
        let sent = self.sent.load(Ordering::Relaxed);
        let sent = (sent != 0).then_some(Micros(sent));
        let done = Done { token: self.token, outcome, sent };
        // A panic of the receiver must not end the driver, which serves others too.
        let delivered =
            catch_unwind(AssertUnwindSafe(|| self.completions.deliver(self.shard, done)));
        if delivered.is_err() {
            tracing::error!(shard = self.shard, "a shard's mailbox panicked; its answer is lost");
        }
    }
}
