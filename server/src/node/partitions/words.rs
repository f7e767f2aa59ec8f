//! The words that this server gives its group, which say that it has lost the master (mode
//! `available`).
//!
//! Because of such a word members go on as orphans, under the map under which the word was given.
//! They write in partitions that nobody owns by that map, or whose owner they can't reach. A later
//! map ends this only at the servers that know it. So until the word is over, this server does not
//! know of all writes. It keeps values of partitions that it begins to own meanwhile only briefly
//! ([`Early`](super::serving::Serving::Early)), and it does not rely on others having told it of
//! all keys before it gave the word.
//!
//! A closed port counts as such a word too. It says that no process is there that could hear the
//! master, so the process that is started later has given that word. The word matters only while
//! some member is not online by the map that makes this server an owner. Members that are online
//! have acknowledged that this server is back.

use standin_protocol::map::MapEpoch;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use crate::node::Word;

/// The words that this server has given.
#[derive(Debug, Default)]
pub(super) struct Words {
    last: Option<Word>,
    /// The time at which the words that were given under maps older than the current one are over.
    open_until: Option<Micros>,
    /// The time until which a member may rely on this server's port having been closed.
    port_was_closed: Micros,
    /// The same time, if a member may rely on the closed port under this server's map.
    closed_until: Option<Micros>,
}

impl Words {
    /// Creates the state of a process that has given no word. Its port was closed until it was
    /// started.
    pub(super) fn new(port_was_closed: Micros) -> Self {
        Self { port_was_closed, ..Self::default() }
    }

    pub(super) fn give(&mut self, word: Word) {
        self.last = Some(word);
    }

    /// Notes that a newer map has been applied. `may_be_orphan` says that some member of the group
    /// may be an orphan under it.
    pub(super) fn map_applied(&mut self, now: Micros, epoch: MapEpoch, may_be_orphan: bool) {
        let is_open = may_be_orphan && now < self.port_was_closed;
        let is_open = is_open && !mutant::is(Mutant::ClosedPortForgotten);
        self.closed_until = is_open.then_some(self.port_was_closed);
        let is_older = |word: &Word| word.epoch < epoch;
        self.open_until = self.last.filter(is_older).map(|word| word.until).max(self.open_until);
    }

    /// Whether a member may act on a word that was given under an older map.
    pub(super) fn is_open(&self, now: Micros) -> bool {
        [self.open_until, self.closed_until].into_iter().flatten().any(|until| now < until)
    }

    /// Whether a word was given under this map, or a later one.
    pub(super) fn is_since(&self, epoch: MapEpoch) -> bool {
        self.last.is_some_and(|word| word.epoch >= epoch)
    }

    /// Returns the time at which [`Self::end`] has something to do.
    pub(super) fn ends(&self) -> Option<Micros> {
        [self.open_until, self.closed_until].into_iter().flatten().min()
    }

    /// Forgets the words that are over. Returns whether there were any.
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
        // A word that is given under the current map does not prolong the earlier one.
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
        assert!(!words.is_open(Micros(20)), "every member knows that this server is back");
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
    fn keys_told_before_a_word_under_the_same_map_are_doubtful() {
        let mut words = Words::default();
        assert!(!words.is_since(epoch(0)));
        words.give(word(3, 100));
        assert!(words.is_since(epoch(2)) && words.is_since(epoch(3)) && !words.is_since(epoch(4)));
    }
}
