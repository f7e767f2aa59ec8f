//! How long the turns of a shard's loop take.

use standin_protocol::time::Micros;

/// The longest turn of a loop within the last second or two.
#[derive(Debug, Default)]
pub(super) struct LoopLag {
    current_us: u64,
    previous_us: u64,
    window_start: Micros,
}

impl LoopLag {
    /// A turn that began at `start` has ended at `end`; the figure to publish.
    pub(super) fn turn(&mut self, start: Micros, end: Micros) -> u64 {
        if end.0 >= self.window_start.0 + 1_000_000 {
            self.previous_us = std::mem::take(&mut self.current_us);
            self.window_start = end;
        }
        self.current_us = self.current_us.max(end.0.saturating_sub(start.0));
        self.current_us.max(self.previous_us)
    }
}
