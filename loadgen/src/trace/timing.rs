//! When the requests of a trace are due: at their recorded times, or faster or slower.
//!
//! Most traces have times in whole seconds. All requests of a second at once would be bursts that nobody recorded, so
//! requests with the same time are spread evenly over the unit in which times are written. How many they are is known by
//! a second reader, which is one time ahead; so a second may have any number of requests, and none is kept in memory.

use super::wish::Wish;
use super::{Position, Record, Records, TraceError, TraceFile};

pub(super) struct Timing {
    ahead: Records,
    /// The first request that is not counted yet.
    next: Option<Record>,
    /// Why nothing more can be counted.
    failed: Option<TraceError>,
    room: Record,
    group: Group,
    first_us: u64,
    speed: f64,
}

/// Requests with the same time.
struct Group {
    time_us: u64,
    count: u64,
    /// Those that were asked for.
    done: u64,
    /// The time over which they are spread.
    spread_us: u64,
}

impl Timing {
    /// `speed` 2: everything takes half the time.
    pub(super) fn new(file: &TraceFile, speed: f64, wish: &Wish) -> Result<Self, TraceError> {
        let mut ahead = Records::open(file, wish)?;
        let mut first = Record::room();
        let next = ahead.read(&mut first)?.then_some(first);
        let first_us = next.as_ref().map_or(0, |next| next.time_us);
        let group = Group { time_us: 0, count: 0, done: 0, spread_us: 0 };
        Ok(Self { ahead, next, failed: None, room: Record::room(), group, first_us, speed })
    }

    /// The time of the next request, in microseconds since the first one. It must be asked for each request in turn.
    pub(super) fn due_us(&mut self, position: Position) -> Result<u64, TraceError> {
        if self.group.done == self.group.count {
            self.count_next(position)?;
        }
        let Group { time_us, count, done, spread_us } = self.group;
        self.group.done += 1;
        let within = u128::from(spread_us) * u128::from(done) / u128::from(count.max(1));
        let recorded = u128::from(time_us.saturating_sub(self.first_us)) + within;
        Ok((recorded as f64 / self.speed) as u64)
    }

    fn count_next(&mut self, position: Position) -> Result<(), TraceError> {
        let Some(first) = self.next.take() else {
            // Both readers read the same file.
            return Err(self.failed.take().unwrap_or(TraceError::Changed { position }));
        };
        let time_us = first.time_us;
        let (mut count, mut spread_us) = (1, first.unit_us);
        self.room = first;
        loop {
            match self.ahead.read(&mut self.room) {
                Ok(true) => {}
                Ok(false) => break,
                // What is before a mistake is sent.
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
            let Record { time_us: next_us, unit_us, .. } = self.room;
            if next_us != time_us {
                // One that goes backward is refused when it is read.
                spread_us = spread_us.min(next_us.checked_sub(time_us).unwrap_or(spread_us));
                self.next = Some(std::mem::replace(&mut self.room, Record::room()));
                break;
            }
            count += 1;
            spread_us = spread_us.min(unit_us);
        }
        self.group = Group { time_us, count, done: 0, spread_us };
        Ok(())
    }
}
