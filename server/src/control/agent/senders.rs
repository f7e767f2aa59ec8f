//! The replay windows, one per incarnation of each sender (scenario 12).

use std::collections::{BTreeMap, VecDeque};

use standin_protocol::control::{Datagram, ReplayWindow};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::queue::Queue;

/// The number of incarnations per sender that are remembered. Beyond it, the one that appeared
/// first is forgotten.
const INCARNATIONS: usize = 4;

/// The windows by sender and incarnation.
#[derive(Debug, Default)]
pub(super) struct Senders {
    windows: BTreeMap<u16, VecDeque<(u64, ReplayWindow)>>,
}

impl Senders {
    /// Returns the number of windows, and its bound for this number of senders.
    pub(super) fn queue(&self, senders: usize) -> Queue {
        let windows = self.windows.values().map(VecDeque::len).sum();
        Queue::new("replay windows", windows, senders * INCARNATIONS)
    }

    /// Returns whether this datagram is new, and remembers it.
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
