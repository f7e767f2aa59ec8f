//! The counts of the events that the rules are about. A model in which one of these never happens
//! proves nothing about it.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Something worth counting.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Event { $($(#[$doc])* $name,)* }

        impl Event {
            /// All of them, with what they are called.
            pub const ALL: &[(Self, &str)] = &[$((Self::$name, $text),)*];
        }
    };
}

events! {
    /// The home served from its cache again and kept it.
    HomeKept = "home kept its cache";
    /// It dropped it.
    HomeDropped = "home dropped its cache";
    /// A member handed over a log with the key in it.
    KeySettledOnReturn = "key settled on a return";
    /// A write was acknowledged by an owner that had released the key.
    AckedWhileDraining = "acknowledged while draining";
    /// A write was acknowledged after the owner had dropped the key.
    AckedAfterSettle = "acknowledged after a SETTLE";
    /// A write was begun without an owner.
    BegunUnowned = "begun without an owner";
    /// A write was acknowledged without an owner.
    AckedUnowned = "acknowledged without an owner";
    /// A write was begun while nobody heard the master.
    BegunByOrphan = "begun by an orphan";
    /// A key written elsewhere was told to the home.
    OwedKeySettled = "owed key settled";
    /// The master restarted.
    MasterRestarted = "master restarted";
    /// It restarted without its state file.
    MasterForgot = "master restarted without its file";
}

/// The counts.
#[derive(Debug)]
pub struct Tally([AtomicU64; Event::ALL.len()]);

impl Default for Tally {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Tally {
    pub(crate) fn note(&self, event: Event) {
        self.0[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often it happened.
    #[must_use]
    pub fn of(&self, event: Event) -> u64 {
        self.0[event as usize].load(Ordering::Relaxed)
    }
}
