//! Which datagrams are new: a replay window per incarnation of each sender (scenario 12).

use std::collections::{BTreeMap, VecDeque};

use standin_protocol::control::{Datagram, ReplayWindow};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::queue::Queue;

/// Incarnations of a sender that are told apart; of more, the one that appeared first is
/// forgotten.
const INCARNATIONS: usize = 4;

/// Windows by sender and incarnation.
#[derive(Debug, Default)]
pub(super) struct Senders {
    windows: BTreeMap<u16, VecDeque<(u64, ReplayWindow)>>,
}

impl Senders {
    /// Windows of all senders, of whom there are so many.
    pub(super) fn queue(&self, senders: usize) -> Queue {
        let windows = self.windows.values().map(VecDeque::len).sum();
        Queue::new("replay windows", windows, senders * INCARNATIONS)
    }

    /// Whether this datagram has not been seen before; remembers it.
    pub(super) fn accept(&mut self, datagram: &Datagram) -> bool {
        let windows = self.windows.entry(datagram.sender).or_default();
        let known = windows.iter().position(|(boot_id, _)| *boot_id == datagram.boot_id);
        let at = known.unwrap_or_else(|| {
            if windows.len() == INCARNATIONS {
                windows.pop_front();
            }
            windows.push_back((datagram.boot_id, ReplayWindow::default()));
            windows.len() - 1
        });
        windows[at].1.accept(datagram.sequence) || mutant::is(Mutant::NoReplayWindow)
    }
}
