//! The counts of the events that the rules are about. If one of these events never happens, the
//! model proves nothing about it.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// An event that is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Event { $($(#[$doc])* $name,)* }

        impl Event {
            /// All events, with their descriptions.
            pub const ALL: &[(Self, &str)] = &[$((Self::$name, $text),)*];
        }
    };
}

events! {
    /// The home served from its cache again and kept its values.
    HomeKept = "home kept its cache";
    /// The home served from its cache again and dropped its values.
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
    /// The master restarted without its state file.
    MasterForgot = "master restarted without its file";
}

/// The counts of events.
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

    /// Returns the number of times that an event happened.
    #[must_use]
    pub fn of(&self, event: Event) -> u64 {
        self.0[event as usize].load(Ordering::Relaxed)
    }
}
