//! `cargo +nightly fuzz run trace`; built without it: replays the files named as arguments.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| standin_fuzz::trace(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    standin_fuzz::replay(standin_fuzz::trace, std::env::args_os().skip(1))
}
