//! The time that a load thread has computed, and has waited for a core. More of either than the target leaves it, and
//! the generator measures itself.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Times of a thread since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Effort {
    /// On a core.
    pub(super) computed: Duration,
    /// Ready to run, while other threads had the cores. Zero if the kernel does not tell.
    pub(super) waited: Duration,
}

impl Effort {
    /// Those of the calling thread.
    pub(super) fn own() -> Self {
        std::fs::read_to_string("/proc/thread-self/schedstat")
            .ok()
            .and_then(|text| Self::of_schedstat(&text))
            .unwrap_or_else(|| Self { computed: thread_cpu(), waited: Duration::ZERO })
    }

    /// Nanoseconds on a core, nanoseconds of waiting, and the number of turns. A kernel that does not account for them
    /// writes zeros.
    fn of_schedstat(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(|field| field.parse().ok());
        let (computed, waited) = (numbers.next()??, numbers.next()??);
        if computed == 0 {
            return None;
        }
        Some(Self {
            computed: Duration::from_nanos(computed),
            waited: Duration::from_nanos(waited),
        })
    }

    /// The difference to `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            computed: self.computed.saturating_sub(earlier.computed),
            waited: self.waited.saturating_sub(earlier.waited),
        }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_line_is_read() {
        let effort = Effort::of_schedstat("1500 2500 7\n").unwrap();
        assert_eq!((effort.computed.as_nanos(), effort.waited.as_nanos()), (1_500, 2_500));
        assert_eq!(Effort::of_schedstat("x"), None);
        assert_eq!(Effort::of_schedstat("0 0 0\n"), None, "a thread that reads this has computed");
        assert_eq!(Effort::of_schedstat("1"), None);
    }

    #[test]
    fn a_thread_that_computes_is_seen() {
        let before = Effort::own();
        let mut sum = 0_u64;
        // By its own clock: the machine may be busy.
        while thread_cpu() < before.computed + Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let effort = Effort::own().since(before);
        assert!(effort.computed >= Duration::from_millis(10), "{effort:?}");
    }
}
