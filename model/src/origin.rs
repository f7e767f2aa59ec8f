//! The origin. It commits a write at any time after the write has begun, one write after another.
//!
//! A write that nobody waits for any more is forgotten, although it may still commit: a value
//! written later is never older, and nobody was told of the forgotten one. (Such a write may
//! overwrite another one. Fencing in the origin prevents that, and is not part of these rules.)

use crate::failover::Failover;
use crate::state::{State, Write};

impl Failover {
    /// Whether a write is on its way to the origin.
    pub(crate) fn may_commit(&self, state: &State, which: usize) -> bool {
        matches!(state.writes[which], Write::Running(write) if write.place == 0)
    }

    /// Makes a write take effect. Its answer is under way from then on.
    pub(crate) fn commit(&self, state: &mut State, which: usize) {
        state.commits += 1;
        if let Write::Running(write) = &mut state.writes[which] {
            write.place = state.commits;
        }
    }
}
