//! SIGINT, SIGTERM and SIGHUP ask a run to end. One that comes more than two seconds later
//! ends the program at once (its children die with it): a run that hangs can still be ended,
//! and a signal that is sent twice, as `timeout` does, leaves nothing behind.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::threads;

/// The interval between two checks of the flag, and the number of them in two seconds.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u32 = 20;

/// Notes interrupts while it lives.
#[derive(Debug)]
pub struct Interrupt {
    is_set: Arc<AtomicBool>,
    registered: Vec<SigId>,
}

impl Interrupt {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system refuses a handler or a thread.
    pub fn listen() -> io::Result<Self> {
        let is_set = Arc::new(AtomicBool::new(false));
        let is_urgent = Arc::new(AtomicBool::new(false));
        let mut interrupt = Self { is_set, registered: Vec::new() };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let id = flag::register_conditional_default(signal, Arc::clone(&is_urgent))?;
            interrupt.registered.push(id);
            let id = flag::register(signal, Arc::clone(&interrupt.is_set))?;
            interrupt.registered.push(id);
        }
        let is_set = Arc::downgrade(&interrupt.is_set);
        threads::spawn("interrupt", move || grow_urgent(&is_set, &is_urgent))?;
        Ok(interrupt)
    }

    /// An interrupt that is somebody else's decision: no signal sets it, only this flag.
    pub(crate) fn of_flag(is_set: Arc<AtomicBool>) -> Self {
        Self { is_set, registered: Vec::new() }
    }

    /// What is set when the run is to end, for those that this can't be lent to.
    #[must_use]
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_set)
    }

    /// Whether the run is to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

fn grow_urgent(is_set: &Weak<AtomicBool>, is_urgent: &AtomicBool) {
    let mut looks = 0;
    while let Some(flag) = is_set.upgrade() {
        standin_protocol::fault::point();
        looks += u32::from(flag.load(Ordering::Acquire));
        drop(flag);
        if looks > LOOKS {
            is_urgent.store(true, Ordering::Release);
            return;
        }
        std::thread::park_timeout(LOOK);
    }
}
