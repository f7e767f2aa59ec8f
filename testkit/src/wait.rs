//! Waiting for a condition with a deadline.
#![expect(clippy::disallowed_methods, reason = "test shell: this is the one place that waits")]

use std::time::{Duration, Instant};

/// The time between two checks of a condition. Short, because tests wait for events that take
/// milliseconds, but long enough not to use up a small machine's only core.
const PAUSE: Duration = Duration::from_millis(1);

/// Polls `condition` until it holds.
///
/// # Panics
/// When it still does not hold after `within`; the message names `what`.
#[track_caller]
pub fn wait_until(within: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let outcome = poll_for(within, || condition().then_some(()));
    assert!(outcome.is_some(), "timed out after {within:?} waiting for: {what}");
}

/// Polls `look` until it finds something; `None` when `within` has passed.
pub fn poll_for<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() >= within {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        wait_until(Duration::from_secs(60), "three looks", || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
    }

    #[test]
    #[should_panic(expected = "waiting for: pigs to fly")]
    fn says_what_it_waited_for() {
        wait_until(Duration::from_millis(5), "pigs to fly", || false);
    }
}
