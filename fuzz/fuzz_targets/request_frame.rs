//! `cargo +nightly fuzz run request_frame`; built without it: replays the files named as arguments.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| standin_fuzz::request_frame(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    standin_fuzz::replay(standin_fuzz::request_frame, std::env::args_os().skip(1))
}
