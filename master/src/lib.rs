//! The master, which hears that servers may be offline, verifies that, and notifies the other
//! servers (claims 1, 7, 19–21).
//!
//! The master handles no data of clients. While it is down, failures are not detected, but requests
//! are served.
//!
//! ```text
//!             notices, renewals, acks (UDP)          probe results (TCP)      saved
//!                          │                                │                  │
//! shell/  udp.rs ──────────┴──────── probe.rs ──────────────┴──── saver.rs ────┘   sockets, time
//!                          ▼ Input                                             ▲
//! machine/     one sans-IO machine ── Output: Send, Probe, Persist, FetchMap ──┘
//!   ├ machine/notices.rs   a datagram of each kind, and leases
//!   ├ machine/probes.rs    a probe's result
//!   ├ machine/relayed.rs   probes through other members of the group
//!   ├ machine/origin.rs    servers that alone can't reach the database
//!   ├ machine/marks.rs     the effects of a decision, and the end of a return
//!   ├ machine/restart.rs   what a master may announce after its start
//!   ├ verify/, phase.rs    one server: the table Online → Verifying → Waiting → Offline → …
//!   ├ registry/            all states → epochs, announcements, acknowledgements
//!   ├ senders.rs           incarnations and replay windows
//!   ├ reporters.rs         which reporter has reported which servers
//!   ├ generations.rs       the bounded map that both use
//!   └ state.rs             what survives a restart
//! ```
//! No module outside `shell/` owns a socket, thread or clock.

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

pub use counters::{Counters, MasterFigures, PortCounters, StateFigures, ViewFigures};
pub use event::{MasterEvent, OfflineReason, Reporter};
pub use machine::{Input, Machine, Output, ProbeFailure, ProbeOrder};
pub use phase::{Attempt, Facts, Mark, Phase, Seen, Step};
pub use registry::Registry;
pub use rules::Rules;
pub use senders::{Senders, Standing};
pub use shell::{
    Certificates, Master, MasterError, MasterHandle, MasterOptions, Reloader, Scrape, Stopper,
    TooFewDescriptors,
};
pub use state::{SavedServer, State, StateError};
pub use verify::Verify;
