//! `cargo +nightly fuzz run redis`; built without it: replays the files named as arguments.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| standin_fuzz::redis(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    standin_fuzz::replay(standin_fuzz::redis, std::env::args_os().skip(1))
}
