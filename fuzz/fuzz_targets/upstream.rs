//! `cargo +nightly fuzz run upstream`; built without it: replays the files named as arguments.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| standin_fuzz::upstream(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    standin_fuzz::replay(standin_fuzz::upstream, std::env::args_os().skip(1))
}
