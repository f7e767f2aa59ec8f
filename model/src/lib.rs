//! A model of the failover rules (docs/FAILOVER.md) that is small enough to visit every state, and
//! to check in every state that no read returns a value that is too old.
//!
//! ```text
//! failover.rs    the model and its possible steps   checked.rs     the interface to the checker
//! state.rs       the state                          action.rs      the steps, in words
//! server.rs      maps, caches, logs                 serving.rs     how a server serves requests
//! forgetting.rs  a master that has lost its file
//! master.rs      leases, states, owners             client.rs      writes and their acknowledgement
//! origin.rs      commits, including late ones       clock.rs       time and drift
//! properties.rs  the properties that must hold      healing.rs     a way home from every state
//! rules.rs       the rules, each with a switch      suite.rs       scopes, and where mutants are found
//! normal.rs      equivalent states                  explore.rs     one exploration
//! ownership.rs   the shipped map, as a table        tally.rs       the events of an exploration
//! scope.rs       the size of a world                schedule.rs    a path in words
//! ```
//!
//! # Scope
//!
//! The model has a home H, stand-ins A and B, one key, up to two writes, a master M, and an origin.
//! Time, the number of maps, renewals, delays, losses and the order of messages are unbounded.
//! Faults have budgets, per exploration (`suite.rs`). The faults are servers that fall silent
//! (paused, or cut off from M in one direction or both), crashes and restarts, restarts of M with
//! or without its state file, and servers that are asked to stop.
//!
//! # Abstraction, and why it is sound
//!
//! - **Messages.** A server may at any time learn the newest map, or a map that another server has.
//!   Announcements are full states, and a map that is not newer is dropped. So duplicates, losses
//!   and reordering only change the order in which maps are learned. With `delays` any map ever
//!   published may arrive at any time. A request may reach any server at any time, because clients
//!   and forwarding servers may have any map. A message that never arrives is a step that is not
//!   taken.
//! - **Pauses and cuts.** No step is ever forced. So every server may be paused at any time and for
//!   any time, and then acts on its old knowledge. Only its clock continues.
//! - **Leases.** A server that M hears may hold a lease from that instant on. A GRANT that is lost
//!   or late is a server that does nothing meanwhile, because a lease only permits.
//! - **Clocks.** The countdowns have the lengths of `standin_protocol::lease`, at the worst drift
//!   that it allows (`clock.rs`).
//! - **Verification** is not modelled. M may give up any server that it does not hear, and may find
//!   any server that runs. Mode `available` gives up a server at once if the network shows that it
//!   is dead.
//! - **Caches.** Of the cache and of all fetches under way only the oldest value is kept, which is
//!   the worst that could be read (`server.rs`). Reads have no steps. Instead, in every state every
//!   server that would answer from its cache is read (`client.rs`). The values that the next owner
//!   keeps briefly are modelled as one value per step of age, and it reads the origin at every
//!   instant.
//! - **Ownership** is computed by the shipped `ClusterMap` (`ownership.rs`).
//! - **Symmetry.** Writes are alike and begin in order, and epochs are renumbered (`normal.rs`).
//!
//! # Not covered
//!
//! - Values in the origin that are overwritten by a write that nobody waits for any more (fencing).
//! - Retries and the identity of requests.
//! - The inside of a shard (tokens per key, coalescing, generations), except for what it
//!   guarantees.
//! - Overflow of logs. A handover that fails stands for it.
//! - The cap, hold-downs, and servers that can't reach the database. Such a server is one that is
//!   given up.
//! - A state file that is restored from a backup, or is lost while a master learns.
//! - Budgets of the origin.
//! - The one-hop rule and relays, which only transport requests.
//!
//! The simulator runs the shipped code and covers those.
//!
//! At most one master process may run at a time. The model assumes that, and so do the simulator's
//! random plans. Only its schedule s11 has a second master, which some servers hear in turn with
//! the first.

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
