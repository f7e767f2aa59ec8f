//! When everything is normal again after a fault, from the timeline of a run. Pure.

use std::time::Duration;

/// A slot with fewer reads says nothing about a hit ratio.
pub(crate) const READS_MIN: u64 = 20;
/// A hit ratio is normal when it is at most this much under the steady one.
const HIT_RATIO_SLACK: f64 = 0.03;
/// A median latency is normal up to this factor of the steady one, or up to [`QUICK`].
const MEDIAN_FACTOR: u32 = 3;
const QUICK: Duration = Duration::from_millis(5);

/// The figures of a period of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    /// Share of hits among the answered reads, 0 to 1.
    pub(crate) hit_ratio: f64,
    /// Median latency.
    pub(crate) median: Duration,
}

/// What a slot of a timeline says about whether it is normal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotFigures {
    /// Requests that failed, and answers that are none to go on with.
    pub(crate) bad: u64,
    /// Share of hits, if there were reads enough.
    pub(crate) hit_ratio: Option<f64>,
    /// Median latency.
    pub(crate) median: Option<Duration>,
}

/// Returns the number of slots until everything was normal again: the end of the last one in which a request failed, a
/// read was stale beyond the bound, fewer reads were hits, or answers were slow. `None` if that is the last one of all, so
/// that it is not over yet.
pub(crate) fn normal_since(
    slots: impl Iterator<Item = (u32, SlotFigures)>,
    steady: Level,
) -> Option<u32> {
    let slow = (steady.median * MEDIAN_FACTOR).max(QUICK);
    let is_normal = |slot: SlotFigures| {
        let hits = slot.hit_ratio.is_none_or(|r| r >= steady.hit_ratio - HIT_RATIO_SLACK);
        slot.bad == 0 && hits && slot.median.is_none_or(|median| median <= slow)
    };
    let (last, abnormal) = slots.fold((None, None), |(_, abnormal), (index, slot)| {
        (Some(index), if is_normal(slot) { abnormal } else { Some(index) })
    });
    match abnormal {
        None => last.map(|_| 0),
        Some(index) => (Some(index) != last).then_some(index + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_is_behind_the_last_slot_that_was_not() {
        let ms = Duration::from_millis;
        let steady = Level { hit_ratio: 0.95, median: ms(1) };
        let good = SlotFigures { bad: 0, hit_ratio: Some(0.93), median: Some(ms(5)) };
        let normal = |slots: &[SlotFigures]| normal_since((0..).zip(slots.iter().copied()), steady);
        assert_eq!((normal(&[good, good]), normal(&[])), (Some(0), None));
        for bad in [
            SlotFigures { bad: 1, ..good },
            SlotFigures { hit_ratio: Some(0.91), ..good },
            SlotFigures { median: Some(ms(6)), ..good },
        ] {
            assert_eq!(normal(&[bad, good, bad, good]), Some(3), "{bad:?}");
            assert_eq!(normal(&[good, bad]), None, "{bad:?}: it may go on");
        }
    }
}
