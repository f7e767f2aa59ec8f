//! The master: hears which servers may be offline, verifies that, and notifies the other servers (claims 1,
//! 7, 19–21).
//!
//! Not here: any data of clients. A master that is down costs detection, not requests.
//!
//! ```text
//!             notices, renewals, acks (UDP)          probe results (TCP)      saved
//!                          │                                │                  │
//! shell/  udp.rs ──────────┴──────── probe.rs ──────────────┴──── saver.rs ────┘   sockets, time
//!                          ▼ Input                                             ▲
//! machine.rs   one sans-IO machine ── Output: Send, Probe, Persist, FetchMap ──┘
//!   ├ machine/notices.rs   a datagram of each kind, and leases
//!   ├ machine/probes.rs    a probe's result
//!   ├ machine/relayed.rs   the same through others of the group
//!   ├ machine/origin.rs    who alone has lost its way to the database
//!   ├ machine/marks.rs     what follows from a decision, and the end of a return
//!   ├ machine/restart.rs   what a master may say before it knows
//!   ├ verify.rs, phase.rs  one server: the table Online → Verifying → Waiting → Offline → …
//!   ├ registry.rs          all states → epochs, announcements, acknowledgements
//!   ├ senders.rs           incarnations and replay windows
//!   ├ reporters.rs         who accuses whom
//!   ├ generations.rs       the map of both, which forgets
//!   └ state.rs             what survives a restart
//! ```
//! Everything above the line `shell/` owns no socket, thread or clock.

mod counters;
mod event;
mod generations;
mod machine;
mod phase;
mod registry;
mod reporters;
mod rules;
mod senders;
mod shell;
mod state;
mod verify;

pub use counters::Counters;
pub use event::{MasterEvent, OfflineReason, Reporter};
pub use machine::{Input, Machine, Output, ProbeFailure, ProbeOrder};
pub use phase::{Attempt, Facts, Mark, Phase, Seen, Step};
pub use registry::Registry;
pub use rules::Rules;
pub use senders::{Senders, Standing};
pub use shell::{Master, MasterError, MasterHandle, MasterOptions, Stopper, TooFewDescriptors};
pub use state::{SavedServer, State, StateError};
pub use verify::Verify;
