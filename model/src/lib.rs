//! draft
pub mod action;
mod client;
pub mod clock;
pub mod failover;
mod healing;
mod master;
mod normal;
mod origin;
pub mod ownership;
pub mod properties;
pub mod rules;
pub mod scope;
mod server;
mod serving;
pub mod state;
pub mod suite;
pub mod tally;
