//! Checks that every queue is bounded at every moment: anything that grows without a bound would use up
//! the memory during a long disturbance.

use standin_protocol::queue::Queue;

/// One turn in this many is checked. Checking all of them would take a tenth of the time, and a queue
/// without a bound is still too long a few turns later.
const EVERY: u64 = 16;

/// Whether this turn is checked.
pub(crate) fn is_looked_at(event: u64) -> bool {
    event.is_multiple_of(EVERY)
}

/// Whether none of them is longer than it may be.
pub(crate) fn bounded(mut queues: impl Iterator<Item = Queue>) -> Result<(), String> {
    match queues.find(|queue| queue.length > queue.bound) {
        None => Ok(()),
        Some(Queue { name, length, bound }) => {
            Err(format!("{name}: {length}, and {bound} are the most that there may be"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_is_too_long_is_named() {
        let queues = |length| [Queue::new("parked", 3, 3), Queue::new("owed", length, 7)];
        assert_eq!(bounded(queues(7).into_iter()), Ok(()));
        let text = bounded(queues(8).into_iter()).unwrap_err();
        assert_eq!(text, "owed: 8, and 7 are the most that there may be");
    }
}
