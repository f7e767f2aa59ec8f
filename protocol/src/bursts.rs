//! Events that may come in bursts, for the log: the first of them is told at once, and those that follow are told
//! together, with the last of them, when the interval is over. Nothing is left out without being counted: the owner of
//! such events asks for what is due also when no more come, and at the end with [`Micros::NEVER`] for all that is left.

use std::time::Duration;

use crate::time::Micros;

/// The interval between two lines about events of one kind.
pub const EVERY: Duration = Duration::from_secs(10);

/// The events of one kind that have not been told. `L` is what is told of the last one.
#[derive(Debug, Clone)]
pub struct Bursts<L> {
    untold: Option<(u64, L)>,
    told: Option<Micros>,
}

impl<L> Default for Bursts<L> {
    fn default() -> Self {
        Self { untold: None, told: None }
    }
}

impl<L> Bursts<L> {
    /// Takes in this many events, of which this was the last.
    pub fn add(&mut self, count: u64, last: L) {
        let before = self.untold.take().map_or(0, |(count, _)| count);
        self.untold = Some((before.saturating_add(count), last));
    }

    /// The last event that has not been told.
    pub fn last(&mut self) -> Option<&mut L> {
        self.untold.as_mut().map(|(_, last)| last)
    }

    /// The time at which a line is due, if no other event comes.
    #[must_use]
    pub fn due_at(&self) -> Option<Micros> {
        self.untold.as_ref()?;
        Some(self.told.map_or(Micros(0), |told| told + EVERY))
    }

    /// Returns the number of events since the last line and the last of them, if a line is due.
    pub fn due(&mut self, now: Micros) -> Option<(u64, L)> {
        if self.due_at().is_none_or(|at| now < at) {
            return None;
        }
        self.told = Some(now);
        self.untold.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_together_even_if_no_more_come() {
        let mut bursts = Bursts::default();
        assert_eq!((bursts.due_at(), bursts.due(Micros(0))), (None, None));
        bursts.add(1, "a");
        assert_eq!(bursts.due(Micros(0)), Some((1, "a")));
        bursts.add(2, "b");
        bursts.add(1, "c");
        assert_eq!(bursts.due_at(), Some(Micros(10_000_000)));
        assert_eq!(bursts.due(Micros(9_999_999)), None);
        assert_eq!(bursts.due(Micros(10_000_000)), Some((3, "c")), "the end of the burst");
        assert_eq!((bursts.due_at(), bursts.due(Micros(30_000_000))), (None, None));
        bursts.add(1, "d");
        assert_eq!(bursts.due(Micros(30_000_000)), Some((1, "d")), "at once again");
    }

    #[test]
    fn at_the_end_nothing_is_left_out() {
        let mut bursts = Bursts::default();
        bursts.add(1, "a");
        assert_eq!(bursts.due(Micros(5)), Some((1, "a")));
        bursts.add(u64::MAX, "b");
        bursts.add(1, "c");
        assert_eq!(bursts.due(Micros(6)), None);
        if let Some(last) = bursts.last() {
            *last = "d";
        }
        assert_eq!(bursts.due(Micros::NEVER), Some((u64::MAX, "d")));
        assert_eq!(bursts.due(Micros::NEVER), None);
        bursts.add(1, "e");
        assert_eq!(bursts.due(Micros::NEVER), Some((1, "e")), "while it ends");
    }
}
