//! Tests of the engine against simulated servers, in virtual time.

mod claims;
mod limits;
mod outdated;
mod properties;
mod rules;
mod world;
