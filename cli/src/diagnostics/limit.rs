//! Rate-limits repeated log lines: each place in the code has an allowance of lines, so that a
//! lasting fault does not fill the disk. What is left out is said with the next line of the place, or when no more come.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use standin_protocol::time::Micros;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::sink::Sink;
use super::style::Style;

/// The number of lines that a place may write at once, and the number it regains per second.
const BURST: u64 = 100;
const PER_SECOND: u64 = 5;
/// The time without a line of a place after which a burst of it has ended.
const QUIET: Duration = Duration::from_secs(1);

/// The allowance of one place in the code.
#[derive(Debug)]
struct Allowance {
    /// The lines that may still be written, in millionths of a line.
    left: u64,
    at: Micros,
    left_out: u64,
}

impl Allowance {
    fn new(now: Micros) -> Self {
        Self { left: BURST * 1_000_000, at: now, left_out: 0 }
    }

    /// Takes one line from the allowance. Returns the number of lines suppressed before it, or
    /// `None` if this line must be suppressed too.
    fn take(&mut self, now: Micros) -> Option<u64> {
        let passed_us = now.0.saturating_sub(self.at.0);
        self.at = self.at.max(now);
        let back = passed_us.saturating_mul(PER_SECOND);
        self.left = self.left.saturating_add(back).min(BURST * 1_000_000);
        if self.left < 1_000_000 {
            self.left_out += 1;
            return None;
        }
        self.left -= 1_000_000;
        Some(std::mem::take(&mut self.left_out))
    }

    /// Returns the number of lines suppressed at the end of a burst, once that has ended.
    fn rest(&mut self, now: Micros) -> Option<u64> {
        let is_over = self.left_out > 0 && now >= self.at + QUIET;
        is_over.then(|| std::mem::take(&mut self.left_out))
    }
}

/// The allowances of all places.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<OfPlaces>>);

type OfPlaces = HashMap<Identifier, (&'static Metadata<'static>, Allowance)>;

impl Places {
    fn lock(&self) -> MutexGuard<'_, OfPlaces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says of each place whose burst has ended how many lines were suppressed. [`Micros::NEVER`]: all have ended.
    pub(super) fn rest(&self, now: Micros, style: &Style) -> Vec<String> {
        let mut places = self.lock();
        let rests = places
            .values_mut()
            .filter_map(|(about, allowance)| Some((about, allowance.rest(now)?)));
        let said = rests.map(|(about, left_out)| {
            let (file, line) = (about.file().unwrap_or("?"), about.line().unwrap_or(0));
            let text = format!("{left_out} more lines of {file}:{line} were suppressed");
            style.line(Level::WARN, &text)
        });
        said.collect()
    }
}

/// The `tracing` layer that suppresses lines.
pub(super) struct Limit {
    places: Places,
    sink: Sink,
    style: Style,
}

impl Limit {
    pub(super) fn new(places: Places, sink: Sink, style: Style) -> Self {
        Self { places, sink, style }
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        // These limit themselves, by keyspace, and have a count of what they leave out.
        if event.metadata().target() == standin_server::slow_log::TARGET {
            return true;
        }
        let now = Micros::boottime();
        let mut places = self.places.lock();
        let place = places.entry(event.metadata().callsite());
        let place = place.or_insert_with(|| (event.metadata(), Allowance::new(now)));
        let taken = place.1.take(now);
        drop(places);
        match taken {
            None => {
                self.sink.count_left_out();
                false
            }
            Some(0) => true,
            Some(left_out) => {
                let text = format!("{left_out} lines like the next one were suppressed");
                self.sink.push(self.style.line(Level::WARN, &text).as_bytes());
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_a_few_a_second_and_what_was_left_out_is_known() {
        let start = Micros(1_000_000);
        let mut place = Allowance::new(start);
        let passed = (0..1_000).filter(|_| place.take(start) == Some(0)).count();
        assert_eq!(passed, 100);
        let later = Micros(start.0 + 1_000_000);
        assert_eq!(place.take(later), Some(900));
        assert_eq!((0..100).filter(|_| place.take(later).is_some()).count(), 4);
        // The 96 are said although no more lines come, but not while they might.
        assert_eq!(place.rest(Micros(later.0 + 999_999)), None);
        assert_eq!(place.rest(Micros(later.0 + 1_000_000)), Some(96));
        assert_eq!(place.rest(Micros::NEVER), None);
    }
}
