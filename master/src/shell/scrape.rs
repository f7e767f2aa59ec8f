//! The way of another thread to the master's figures. It asks the event loop, which gives them when it has
//! nothing more urgent to do; if the loop hangs, the last ones are given, with their age.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use standin_protocol::counters::{Sample, SampleValue};
use standin_protocol::time::Micros;

use crate::shell::stopper::Stopper;

/// The longest time for which the event loop is waited for.
const WAIT: Duration = Duration::from_secs(1);

/// What the metrics of a master are read from.
#[derive(Clone)]
pub struct Scrape {
    shared: Arc<Shared>,
    stopper: Stopper,
}

#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    given: Condvar,
}

#[derive(Default)]
struct State {
    is_asked: bool,
    samples: Vec<Sample>,
    at: Micros,
}

impl Scrape {
    pub(super) fn new(shared: Arc<Shared>, stopper: Stopper) -> Self {
        Self { shared, stopper }
    }

    /// The figures of the master now, or the last ones that its event loop has given.
    #[must_use]
    pub fn samples(&self, now: Micros) -> Vec<Sample> {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_asked = true;
        self.stopper.wake();
        let waited = self.shared.given.wait_timeout_while(state, WAIT, |state| state.is_asked);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let mut samples = state.samples.clone();
        let age = samples.iter_mut().find(|sample| sample.figure.name == "loop_age_us");
        if let Some(age) = age {
            age.value = SampleValue::Number(now.0.saturating_sub(state.at.0));
        }
        samples
    }
}

impl Shared {
    /// Gives the figures if they were asked for.
    pub(super) fn give(&self, now: Micros, samples: impl FnOnce() -> Vec<Sample>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.is_asked) {
            (state.samples, state.at) = (samples(), now);
            self.given.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::counters::{Figure, FigureKind};

    use super::*;

    const AGE: Figure =
        Figure { name: "loop_age_us", kind: FigureKind::Gauge, labels: &[], help: "Age." };

    #[test]
    fn a_loop_that_hangs_shows_by_the_age_of_its_figures() {
        let shared = Arc::new(Shared::default());
        let (stopper, _wake) = Stopper::new().unwrap();
        let scrape = Scrape::new(Arc::clone(&shared), stopper);
        let asking = {
            let scrape = scrape.clone();
            std::thread::spawn(move || scrape.samples(Micros(5_000)))
        };
        let mut is_given = false;
        standin_testkit::wait_until(Duration::from_secs(60), "figures are asked for", || {
            shared.give(Micros(5_000), || {
                is_given = true;
                vec![Sample::new(AGE, 0)]
            });
            is_given
        });
        assert_eq!(asking.join().unwrap(), [Sample::new(AGE, 0)]);
        assert_eq!(scrape.samples(Micros(9_000)), [Sample::new(AGE, 4_000)], "nobody gives any");
    }
}
