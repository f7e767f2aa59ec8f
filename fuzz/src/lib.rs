//! The properties that must hold for any bytes that reach a parser. Each function takes an input
//! and panics if a rule is broken; the fuzzer calls them (`fuzz_targets/`), and so does `cargo
//! test` on a stable toolchain, with the inputs in `seeds/` and variations of them.
//!
//! ```text
//! cargo test --workspace --test seeds
//! cargo +nightly fuzz run map fuzz/corpus/map fuzz/seeds/map -- -max_total_time=60
//! cargo run --package standin-fuzz --bin map -- fuzz/artifacts/map/crash-…
//! ```

mod memory;
mod services;
mod tcp;
mod template;
mod text;
mod trace;
mod udp;
mod upstream;
mod world;

pub use services::{memcached, redis};
pub use tcp::{request_frame, response_frame};
pub use template::value_template;
pub use text::config;
pub use trace::trace;
pub use udp::datagram;
pub use upstream::upstream;
pub use world::map;

/// Runs a target on the files named: how a finding is looked at without the fuzzer.
///
/// # Errors
/// If a file can't be read.
pub fn replay(
    target: fn(&[u8]),
    files: impl Iterator<Item = std::ffi::OsString>,
) -> std::io::Result<()> {
    for file in files {
        target(&std::fs::read(&file)?);
        println!("{}: nothing broken", file.display());
    }
    Ok(())
}
