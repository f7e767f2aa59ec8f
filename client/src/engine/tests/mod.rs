//! The engine against made-up servers, in virtual time.

mod claims;
mod outdated;
mod properties;
mod rules;
mod world;
