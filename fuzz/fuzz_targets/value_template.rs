//! `cargo +nightly fuzz run value_template`; built without it: replays the files named as arguments.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| standin_fuzz::value_template(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    standin_fuzz::replay(standin_fuzz::value_template, std::env::args_os().skip(1))
}
