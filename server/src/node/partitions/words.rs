//! The words that this server gives its group: that it has lost the master (mode `available`).
//!
//! By such a word members go on as orphans, under the map that the word was given under: they
//! write what nobody owns by that map, or another that they can't reach. A map that comes
//! afterwards ends that where it is known, and not before. So until the word is over this server
//! does not know of all that is written: what it comes to own meanwhile it keeps only briefly
//! ([`Early`](super::serving::Serving::Early)), and what it was told before it gave the word was
//! not all.
//!
//! A closed port is such a word, too: it says that nobody is there who could hear the master, and
//! the process that is started behind it has given it. It matters while a member is not online by
//! the map that makes this server an owner: members that are have acknowledged that it is back.

use standin_protocol::map::MapEpoch;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use crate::node::Word;

/// The words that this server has given.
#[derive(Debug, Default)]
pub(super) struct Words {
    last: Option<Word>,
    /// The time when the words given under maps before the one that is held are over.
    open_until: Option<Micros>,
    /// A member may rely until then on this server's port having been closed.
    port_was_closed: Micros,
    /// That time, if a member may rely on the closed port by this server's map.
    closed_until: Option<Micros>,
}

impl Words {
    /// None was given yet, but the port was closed until this process was started.
    pub(super) fn new(port_was_closed: Micros) -> Self {
        Self { port_was_closed, ..Self::default() }
    }

    pub(super) fn give(&mut self, word: Word) {
        self.last = Some(word);
    }

    /// A newer map is held, by which some member of the group is an orphan perhaps.
    pub(super) fn map_applied(&mut self, now: Micros, epoch: MapEpoch, may_be_orphan: bool) {
        let is_open = may_be_orphan && now < self.port_was_closed;
        let is_open = is_open && !mutant::is(Mutant::ClosedPortForgotten);
        self.closed_until = is_open.then_some(self.port_was_closed);
        let is_older = |word: &Word| word.epoch < epoch;
        self.open_until = self.last.filter(is_older).map(|word| word.until).max(self.open_until);
    }

    /// Whether a member may act on one that was given under an older map.
    pub(super) fn is_open(&self, now: Micros) -> bool {
        [self.open_until, self.closed_until].into_iter().flatten().any(|until| now < until)
    }

    /// Whether one was given under this map, or a later one.
    pub(super) fn is_since(&self, epoch: MapEpoch) -> bool {
        self.last.is_some_and(|word| word.epoch >= epoch)
    }

    /// The time at which [`Self::end`] has something to do.
    pub(super) fn ends(&self) -> Option<Micros> {
        [self.open_until, self.closed_until].into_iter().flatten().min()
    }

    /// Forgets the words that are over; whether there were any.
    pub(super) fn end(&mut self, now: Micros) -> bool {
        let is_over = self.ends().is_some_and(|until| now >= until);
        self.open_until = self.open_until.filter(|until| now < *until);
        self.closed_until = self.closed_until.filter(|until| now < *until);
        is_over
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
        let mut words = Words::default();
        words.give(word(3, 100));
        assert!(!words.is_open(Micros(50)), "orphans have the same map");
        words.map_applied(Micros(0), epoch(4), false);
        assert!(words.is_open(Micros(99)) && !words.is_open(Micros(100)));
        // Under this map another is given: that does not prolong it.
        words.give(word(4, 200));
        assert!(!words.is_open(Micros(100)));
        words.map_applied(Micros(0), epoch(5), false);
        assert!(words.is_open(Micros(199)));
    }

    #[test]
    fn a_closed_port_is_a_word_while_a_member_is_away() {
        let mut words = Words::new(Micros(100));
        assert!(!words.is_open(Micros(0)), "there is no map");
        words.map_applied(Micros(10), epoch(1), true);
        assert!(words.is_open(Micros(99)) && !words.is_open(Micros(100)));
        words.map_applied(Micros(20), epoch(2), false);
        assert!(!words.is_open(Micros(20)), "all know that it is back");
        words.map_applied(Micros(30), epoch(3), true);
        assert_eq!((words.end(Micros(99)), words.ends()), (false, Some(Micros(100))));
        assert_eq!((words.end(Micros(100)), words.ends()), (true, None));
        words.map_applied(Micros(100), epoch(4), true);
        assert_eq!(words.ends(), None);
    }

    #[test]
    fn words_end_once() {
        let mut words = Words::default();
        words.give(word(3, 100));
        words.map_applied(Micros(0), epoch(4), false);
        assert_eq!((words.end(Micros(99)), words.ends()), (false, Some(Micros(100))));
        assert!(words.end(Micros(100)) && !words.end(Micros(100)));
        assert_eq!(words.ends(), None);
    }

    #[test]
    fn a_word_makes_doubtful_what_was_told_before_it_under_the_same_map() {
        let mut words = Words::default();
        assert!(!words.is_since(epoch(0)));
        words.give(word(3, 100));
        assert!(words.is_since(epoch(2)) && words.is_since(epoch(3)) && !words.is_since(epoch(4)));
    }
}
