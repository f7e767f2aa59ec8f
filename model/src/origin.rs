//! The origin: it commits a write at any time after it was begun, one after the other.
//!
//! A write that nobody waits for any more is forgotten, although it may still commit: a later
//! value is never older, and nobody was told of it. (What it may overwrite is closed by
//! fencing in the origin, which is not part of these rules.)

use crate::failover::Failover;
use crate::state::{State, Write};

impl Failover {
    /// Whether a write is on its way to the origin.
    pub(crate) fn may_commit(&self, state: &State, which: usize) -> bool {
        matches!(state.writes[which], Write::Running(write) if write.place == 0)
    }

    /// It takes effect; the answer is under way.
    pub(crate) fn commit(&self, state: &mut State, which: usize) {
        state.commits += 1;
        if let Write::Running(write) = &mut state.writes[which] {
            write.place = state.commits;
        }
    }
}
