//! A model of the failover rules (docs/FAILOVER.md), small enough to visit every state, and to check in
//! every state that no read returns a value that is too old.
//!
//! ```text
//! failover.rs    the model and its possible steps    checked.rs     as the checker sees it
//! state.rs       what there is                    action.rs      what can happen, in words
//! server.rs      maps, caches, logs               serving.rs     what a server does with a request
//! forgetting.rs  a master that has lost its file
//! master.rs      leases, states, who may own      client.rs      writes, and when they are acknowledged
//! origin.rs      commits, late ones too           clock.rs       time and drift
//! properties.rs  what must hold                   healing.rs     a way home from everywhere
//! rules.rs       the rules, each with a switch    suite.rs       scopes, and where mutants are found
//! normal.rs      states that are the same         explore.rs     one exploration
//! ownership.rs   the shipped map, as a table      tally.rs       what the exploration met
//! scope.rs       how large a world is             schedule.rs    a path in words
//! ```
//!
//! # Scope
//! A home H, stand-ins A and B, one key, up to two writes, a master M, an origin. Time, the
//! number of maps, renewals, delays, losses and the order of messages are unbounded. Faults
//! have budgets, per exploration (`suite.rs`): servers that fall silent (paused, cut off from M,
//! by one way or both), crashes and restarts, restarts of M with its state file or without, servers
//! that are asked to stop.
//!
//! # Abstraction, and why it is sound
//! - **Messages.** A server may at any time learn the newest map, or one that another holds:
//!   announcements are full states, and whatever is not newer is dropped, so duplicates,
//!   losses and reordering are nothing but the order in which maps are learned. With
//!   `delays` any map ever published may arrive at any time. A request reaches any server at any
//!   time, because clients and forwarders may hold any map. That nothing arrives is a step that
//!   is not taken.
//! - **Pauses and cuts.** No step is ever forced, so every server is paused at any time for any
//!   while, and acts on what it knew then; only its clock goes on.
//! - **Leases.** A server that M hears may hold a lease from that instant on. A GRANT that is
//!   lost or late is a server that does nothing meanwhile, because a lease only permits.
//! - **Clocks.** Countdowns with the lengths of `standin_protocol::lease`, at the worst drift
//!   that it allows (`clock.rs`).
//! - **Verification** is not modelled: M may give up any server that it does not hear, and may find any
//!   server that runs. Mode `available` gives up a server at once if the network shows that it is dead.
//! - **Caches.** Of the cache and of all fetches under way only the oldest value is kept, which
//!   is the worst that could be read (`server.rs`). Reads have no steps: in every state every
//!   server that would answer from its cache is read (`client.rs`). What the next owner keeps
//!   briefly is one value by step of age: it is read from the origin at every instant.
//! - **Ownership** is asked of the shipped `ClusterMap` (`ownership.rs`).
//! - **Symmetry.** Writes are alike and begin in order; epochs are renumbered (`normal.rs`).
//!
//! # Not covered
//! What a write that nobody waits for overwrites in the origin (fencing); retries and request
//! identity; the inner of a shard (tokens per key, coalescing, generations) beyond what it
//! promises; overflow of logs (a hand-over that fails stands for it); the cap, hold-downs, gray
//! homes (a server whose origin is down is one that is given up); a state file that is restored from
//! a backup, or is lost while a master learns; budgets of the origin; one-hop rule and relays, which only carry requests. The simulator
//! runs the shipped code and covers those.
//!
//! At most one master process may run at a time. The model assumes it, and so do the simulator's
//! random plans; only its schedule s11 has a second one, which some servers hear in turn with the
//! first.

pub mod action;
pub mod clock;
pub mod explore;
pub mod failover;
pub mod ownership;
pub mod properties;
pub mod rules;
pub mod scope;
pub mod serving;
pub mod state;
pub mod suite;
pub mod tally;

mod checked;
mod client;
mod forgetting;
mod healing;
mod master;
mod normal;
mod origin;
mod schedule;
mod server;
