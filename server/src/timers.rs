//! Deadlines, of which the earliest is known without a search.
//!
//! A part of a shard notes here when it has something to do next, and tells each change. Looking at
//! the earliest deadline, which every turn does twice, costs the same however many there are.

use std::collections::BTreeMap;

use standin_protocol::time::Micros;

/// A set of deadlines. Several may have the same time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// The number of deadlines at each time.
    times: BTreeMap<Micros, usize>,
    /// The first of `times`.
    first: Option<Micros>,
}

impl Timers {
    /// The earliest deadline.
    #[inline]
    pub(crate) fn first(&self) -> Option<Micros> {
        self.first
    }

    /// Whether there is a deadline at this time or before it.
    #[inline]
    pub(crate) fn is_due(&self, now: Micros) -> bool {
        self.first.is_some_and(|first| first <= now)
    }

    /// Adds a deadline.
    pub(crate) fn add(&mut self, at: Micros) {
        *self.times.entry(at).or_default() += 1;
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
    }

    /// Removes a deadline.
    ///
    /// # Panics
    /// If there is none at this time: the deadlines here are not those of the part.
    pub(crate) fn remove(&mut self, at: Micros) {
        let count = self.times.get_mut(&at).expect("a deadline is removed at the time that it has");
        *count -= 1;
        if *count == 0 {
            self.times.remove(&at);
            self.first = self.times.first_key_value().map(|(at, _)| *at);
        }
    }

    /// Notes that a deadline has changed. `None`: there is none.
    #[inline]
    pub(crate) fn change(&mut self, before: Option<Micros>, after: Option<Micros>) {
        if before == after {
            return;
        }
        if let Some(at) = before {
            self.remove(at);
        }
        if let Some(at) = after {
            self.add(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_earliest_is_what_a_search_finds(
            changes in prop::collection::vec((0..8_usize, prop::option::of(0..16_u64)), 0..200),
        ) {
            let mut timers = Timers::default();
            let mut plain = [None; 8];
            for (number, at) in changes {
                let at = at.map(Micros);
                timers.change(std::mem::replace(&mut plain[number], at), at);
                let earliest = plain.iter().flatten().min().copied();
                prop_assert_eq!(timers.first(), earliest);
                for now in (0..16).map(Micros) {
                    prop_assert_eq!(timers.is_due(now), earliest.is_some_and(|at| at <= now));
                }
            }
            plain.into_iter().flatten().for_each(|at| timers.remove(at));
            prop_assert!(timers.times.is_empty() && timers.first().is_none());
        }
    }

    #[test]
    #[should_panic(expected = "a deadline is removed at the time that it has")]
    fn removing_a_deadline_that_is_not_there_is_a_bug() {
        let mut timers = Timers::default();
        timers.add(Micros(5));
        timers.remove(Micros(4));
    }
}
