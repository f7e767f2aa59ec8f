//! The word that this server gives its group: that it has lost the master (mode `available`).
//!
//! By such words members go on as orphans, under the map that the word was given under: they
//! write what nobody owns by that map, or another that they can't reach. A map that comes
//! afterwards ends that where it is known, and not before. So until the word is over the server
//! does not know of all that is written: what it comes to own meanwhile it keeps only briefly
//! ([`Serving::Early`]), and what it was told before it gave the word was not all.

use standin_protocol::map::MapEpoch;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::serving::Serving;
use super::{Node, Now, Word};

/// The words that were given.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// The last one.
    last: Option<Word>,
    /// Words under maps before the one that is held are over then.
    early_until: Option<Micros>,
}

impl Given {
    fn give(&mut self, word: Word) {
        self.last = Some(word);
    }

    /// A newer map is held.
    fn applied(&mut self, epoch: MapEpoch) {
        let is_older = |word: &Word| word.epoch < epoch;
        self.early_until = self.last.filter(is_older).map(|word| word.until).max(self.early_until);
    }

    /// Whether a member may act on one that was given under an older map.
    fn is_open(&self, now: Micros) -> bool {
        self.early_until.is_some_and(|until| now < until)
    }

    /// Whether one was given under this map, or a later one.
    fn is_since(&self, epoch: MapEpoch) -> bool {
        self.last.is_some_and(|word| word.epoch >= epoch)
    }
}

impl Node {
    /// The agent is about to tell a member of the group that it has lost the master.
    pub fn word(&mut self, word: Word) {
        self.given.give(word);
    }

    pub(super) fn word_applied(&mut self, epoch: MapEpoch) {
        self.given.applied(epoch);
    }

    /// Whether a partition that is this server's by a map of this ownership epoch has to be taken
    /// for one of which another may write.
    pub(super) fn is_early(&self, now: Now, at: usize, epoch: Option<MapEpoch>) -> bool {
        let is_same = self.owned[at].is_some() && self.owned[at] == epoch;
        !is_same && self.given.is_open(now.mono) && !mutant::is(Mutant::WordForgotten)
    }

    /// Whether a member may have written since it said that it has told this server all, for a
    /// return as of this epoch.
    pub(super) fn doubts_since(&self, returning: MapEpoch) -> bool {
        self.given.is_since(returning) && !mutant::is(Mutant::HandbackOutlivesWord)
    }

    /// Partitions that were this server's too early are its own once the word is over.
    pub(super) fn end_early(&mut self, now: Now) {
        if self.given.early_until.is_none_or(|until| now.mono < until) {
            return;
        }
        self.given.early_until = None;
        if self.partitions.iter().any(|partition| partition.serving == Serving::Early) {
            self.refresh_serving(now, self.map.clone().as_deref());
        }
    }

    pub(super) fn next_end_early(&self) -> Option<Micros> {
        self.given.early_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(counter: u32, until: u64) -> Word {
        Word { epoch: MapEpoch { term: 1, counter }, until: Micros(until) }
    }

    fn epoch(counter: u32) -> MapEpoch {
        MapEpoch { term: 1, counter }
    }

    #[test]
    fn a_word_is_open_only_under_a_later_map_and_until_it_is_over() {
        let mut given = Given::default();
        given.give(word(3, 100));
        assert!(!given.is_open(Micros(50)), "orphans have the same map");
        given.applied(epoch(4));
        assert!(given.is_open(Micros(99)) && !given.is_open(Micros(100)));
        // Under this map another is given: that does not prolong it.
        given.give(word(4, 200));
        assert!(!given.is_open(Micros(100)));
        given.applied(epoch(5));
        assert!(given.is_open(Micros(199)));
    }

    #[test]
    fn a_word_makes_doubtful_what_was_told_before_it_under_the_same_map() {
        let mut given = Given::default();
        assert!(!given.is_since(epoch(0)));
        given.give(word(3, 100));
        assert!(given.is_since(epoch(2)) && given.is_since(epoch(3)) && !given.is_since(epoch(4)));
    }
}
