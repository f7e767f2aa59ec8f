//! Whether the database was in reach when it was last tried: one atomic, because
//! every deep ping reads it.

use std::sync::atomic::{AtomicU64, Ordering};

use standin_protocol::time::Micros;

/// The state of the database as seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// In reach.
    Up,
    /// Out of reach.
    Down {
        /// Since when.
        since: Micros,
    },
}

/// The time since when it is down; 0 while it is up.
#[derive(Debug, Default)]
pub(super) struct HealthCell(AtomicU64);

impl HealthCell {
    pub(super) fn get(&self) -> Health {
        match self.0.load(Ordering::Acquire) {
            0 => Health::Up,
            since => Health::Down { since: Micros(since) },
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.get() != Health::Up
    }

    /// Logs the change, once.
    pub(super) fn mark_down(&self, reason: &dyn std::fmt::Display) {
        let now = Micros::boottime().0.max(1);
        if self.0.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            tracing::error!("the origin is down: {reason}");
        }
    }

    /// Logs the change, once. Called after every success, so it only reads as a rule.
    pub(super) fn mark_up(&self) {
        if self.is_down() {
            let since = self.0.swap(0, Ordering::AcqRel);
            if since != 0 {
                let down = Micros::boottime().since(Micros(since));
                tracing::info!("the origin is up again after {down:.1?}");
            }
        }
    }
}
