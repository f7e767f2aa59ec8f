//! Whether the control thread runs, as a shard sees it.

/// The number of checks in a row that must find it stuck. A process that was stopped finds it late
/// for a moment when it resumes.
const MISSES_MAX: u8 = 10;

/// The number of times in a row that it was found stuck.
#[derive(Debug, Default)]
pub(super) struct ControlWatch {
    misses: u8,
}

impl ControlWatch {
    /// Takes in a check; returns whether the thread counts as running.
    pub(super) fn look(&mut self, runs: bool) -> bool {
        self.misses = if runs { 0 } else { self.misses.saturating_add(1) };
        self.misses < MISSES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_stuck_when_it_stays_so() {
        let mut watch = ControlWatch::default();
        assert!((1..MISSES_MAX).all(|_| watch.look(false)), "it may only be behind");
        assert!(!watch.look(false) && !watch.look(false));
        assert!(watch.look(true), "it goes on");
        assert!(watch.look(false));
    }
}
