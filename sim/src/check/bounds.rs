//! The times at which no server of a group could hear from the master. In mode `available`,
//! lifetimes then bound how old a read may be.

use crate::clock::{NEVER, Time};

/// The times, by group.
#[derive(Debug)]
pub(crate) struct Lost {
    groups: Vec<Vec<(Time, Time)>>,
}

impl Lost {
    pub(crate) fn new(groups: usize) -> Self {
        Self { groups: vec![Vec::new(); groups] }
    }

    pub(crate) fn update(&mut self, now: Time, lost: &[bool]) {
        for (periods, lost) in self.groups.iter_mut().zip(lost) {
            let open = periods.last_mut().filter(|(_, until)| *until == NEVER);
            match (open, lost) {
                (None, true) => periods.push((now, NEVER)),
                (Some((_, until)), false) => *until = now,
                _ => {}
            }
        }
    }

    /// Whether there was such a time between `from` and `to`.
    pub(crate) fn overlaps(&self, group: usize, from: Time, to: Time) -> bool {
        self.groups[group].iter().any(|(since, until)| *since <= to && *until >= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_and_end() {
        let mut lost = Lost::new(2);
        lost.update(5, &[true, false]);
        assert!(lost.overlaps(0, 6, 7) && !lost.overlaps(1, 6, 7) && !lost.overlaps(0, 1, 4));
        lost.update(9, &[false, false]);
        assert!(lost.overlaps(0, 8, 20) && !lost.overlaps(0, 10, 20));
    }
}
