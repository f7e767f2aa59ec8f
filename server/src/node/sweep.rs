//! Values that were dropped all at once, because their floor has risen, still have their room in the
//! cache. A sweep looks at all values and frees it, a few at a time, so that no request waits for it.
//! Otherwise a server that has handed partitions back, or has flushed keyspaces, would keep less than its
//! memory holds, until eviction has passed over everything.

use std::time::Duration;

use standin_protocol::time::Micros;

use super::{Node, Now};

/// The time between two steps.
const PAUSE: Duration = Duration::from_millis(2);
/// The smallest and the largest number of values that a step looks at; the last part may exceed it. With
/// 100 ns for each, a sweep takes 1 to 5 % of a processor, and delays no request by more than 0.1 ms.
const VALUES: (usize, usize) = (128, 1_024);
/// The number of steps in which a sweep ends, if steps need not be larger for that: a minute.
const STEPS: usize = 30_000;
/// The largest number of parts that a step looks at, for caches with few values.
const PARTS: u32 = 64;

/// The progress of a sweep.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The part of the cache that is next.
    part: u32,
    /// The number of parts that have not been swept since a floor has risen.
    left: u32,
    /// The time of the next step; `None` if nothing is left.
    at: Option<Micros>,
}

impl Sweep {
    /// Notes that a floor has risen in a cache of this many parts. A sweep that is under way goes on
    /// where it is, and around, so that it ends even if floors rise all the time.
    fn begin(&mut self, now: Micros, parts: u32) {
        self.left = parts;
        self.at.get_or_insert(now + PAUSE);
    }

    /// Returns the time of the next step.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        self.at
    }

    /// Returns the next part, of this many.
    fn next(&mut self, parts: u32) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let part = self.part;
        self.part = (part + 1) % parts;
        Some(part)
    }
}

impl Node {
    /// Begins a sweep, because a floor has risen.
    pub(super) fn begin_sweep(&mut self, now: Now) {
        if self.cache.counts().items > 0 {
            self.sweep.begin(now.mono, self.cache.parts());
        }
    }

    /// Sweeps a few parts, if it is time.
    pub(super) fn sweep_dropped(&mut self, now: Now) {
        if self.sweep.at.is_none_or(|at| now.mono < at) {
            return;
        }
        let Self { sweep, cache, partitions, topology, .. } = self;
        let parts = cache.parts();
        let values_max = (cache.counts().items as usize / STEPS).clamp(VALUES.0, VALUES.1);
        let (mut values, mut swept) = (0, 0);
        while values < values_max
            && swept < PARTS
            && let Some(part) = sweep.next(parts)
        {
            values += cache.sweep(part, now, |item| {
                let (_, partition) = topology.place(item.keyspace, item.key);
                item.version < partitions.read_floor(item.keyspace, partition)
            });
            swept += 1;
        }
        sweep.at = (sweep.left > 0).then_some(now.mono + PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_passes_over_all_parts_once_more_after_each_rise() {
        let mut sweep = Sweep::default();
        assert_eq!((sweep.next(4), sweep.next_deadline()), (None, None));
        sweep.begin(Micros(7), 4);
        assert_eq!([sweep.next(4), sweep.next(4), sweep.next(4)], [Some(0), Some(1), Some(2)]);
        sweep.begin(Micros(9), 4);
        assert_eq!(sweep.next_deadline(), Some(Micros(7) + PAUSE));
        let rest: Vec<_> = std::iter::from_fn(|| sweep.next(4)).collect();
        assert_eq!(rest, [3, 0, 1, 2]);
    }
}
