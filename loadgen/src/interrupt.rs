//! SIGINT, SIGTERM and SIGHUP ask a run to end; a second one ends the program at once (its
//! children die with it).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

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
    /// The system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        let is_set = Arc::new(AtomicBool::new(false));
        let mut registered = Vec::new();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // The order matters: the second signal finds the flag set.
            registered.push(flag::register_conditional_default(signal, Arc::clone(&is_set))?);
            registered.push(flag::register(signal, Arc::clone(&is_set))?);
        }
        Ok(Self { is_set, registered })
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
