//! Checks that all servers together never read more from the origin than `reads_per_second` allows.

use std::collections::VecDeque;

use crate::clock::{S, Time};
use crate::plan::Setup;

/// The reads of the last second, the oldest first.
#[derive(Debug)]
pub(crate) struct Reads {
    /// The largest number of reads in any second; `None`: no limit.
    most: Option<usize>,
    last: VecDeque<Time>,
}

impl Reads {
    /// Computes the limit: the reads of a second on clocks that are a tenth fast, plus what each
    /// shard may have saved up, once for the partitions that it owns and once for the others. That
    /// is a twentieth of a second's reads, at least one.
    pub(crate) fn new(setup: &Setup) -> Self {
        let shards = setup.servers() * usize::from(setup.shards);
        let most = setup.reads_per_second.map(|reads| {
            let reads = usize::try_from(reads).unwrap_or(usize::MAX);
            reads * 112 / 100 + reads / 20 + 2 * shards
        });
        Self { most, last: VecDeque::new() }
    }

    /// Checks a read that a shard makes.
    pub(crate) fn read(&mut self, now: Time) -> Result<(), String> {
        let Some(most) = self.most else { return Ok(()) };
        self.last.push_back(now);
        while self.last.front().is_some_and(|first| first + S <= now) {
            self.last.pop_front();
        }
        match self.last.len() {
            reads if reads > most => {
                Err(format!("{reads} reads of the origin in a second, and {most} are the most"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MS;
    use crate::plan::script;

    #[test]
    fn a_second_may_have_so_many_wherever_it_begins() {
        let setup = script(2).with(|setup| setup.reads_per_second = Some(100)).plan().setup;
        let mut reads = Reads::new(&setup);
        let most = 112 + 5 + 4;
        (0..most).for_each(|at| assert_eq!(reads.read(500 * MS + at), Ok(())));
        assert!(reads.read(1_499 * MS).is_err());
        assert_eq!(reads.read(1_501 * MS), Ok(()));
    }
}
