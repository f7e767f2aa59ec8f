//! The task that drives an engine without IO: it carries out the engine's outputs, and calls the engine at
//! its deadlines. It knows no protocol, like [`super::connection`], and has the same owners.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use monoio::time::{Instant, Sleep, sleep};
use standin_protocol::time::Micros;

/// The interval at which the task checks whether its owner still exists.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The shortest pause. Timers tick in milliseconds, so a shorter pause would only keep the
/// processor busy.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// The owner of an engine.
pub trait Driven: 'static {
    /// Its handle of the task.
    fn driver(&self) -> &Driver;

    /// The time at which [`Self::tick`] is due, if there is one.
    fn next_deadline(&self) -> Option<Micros>;

    /// Tells the engine that a deadline has passed.
    fn tick(&self, now: Micros);

    /// Carries out the engine's outputs.
    fn carry_out(self: &Rc<Self>);
}

/// An owner's handle of its task.
#[derive(Debug, Default)]
pub struct Driver(RefCell<Option<Waker>>);

impl Driver {
    /// Makes the task run once more: the engine was given an input.
    pub fn wake(&self) {
        if let Some(waker) = &*self.0.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Starts the task on the current runtime. It ends when the owner is dropped.
///
/// # Panics
/// Outside of a monoio runtime with timers.
pub fn start<D: Driven>(owner: &Rc<D>) {
    let sleep = Box::pin(sleep(PAUSE_MIN));
    monoio::spawn(Task { owner: Rc::downgrade(owner), sleep, armed: None });
}

struct Task<D> {
    owner: Weak<D>,
    sleep: Pin<Box<Sleep>>,
    /// The time at which `sleep` ends, if a task is waiting for it.
    armed: Option<Micros>,
}

impl<D: Driven> Future for Task<D> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(owner) = self.owner.upgrade() else { return Poll::Ready(()) };
        *owner.driver().0.borrow_mut() = Some(cx.waker().clone());
        let now = Micros::boottime();
        if owner.next_deadline().is_some_and(|due| due <= now) {
            owner.tick(now);
        }
        owner.carry_out();
        if self.armed.is_some() && self.sleep.as_mut().poll(cx).is_ready() {
            self.armed = None;
        }
        let due = owner.next_deadline().unwrap_or(Micros::NEVER);
        if self.armed.is_none_or(|armed| due < armed) {
            let pause = due.since(now).clamp(PAUSE_MIN, PAUSE_MAX);
            self.sleep.as_mut().reset(Instant::now() + pause);
            self.armed = Some(now + pause);
            if self.sleep.as_mut().poll(cx).is_ready() {
                self.armed = None;
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}
