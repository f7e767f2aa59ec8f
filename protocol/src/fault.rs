//! Panics of threads on a test's demand, to show how a server handles them. Only in builds with
//! debug assertions; release builds contain none of it.
//!
//! `STANDIN_FAULT_PANIC=THREAD:FILE` makes the thread of that name panic, once, at its next
//! [`point`] after the file has been created. The file is removed.

/// A place at which the calling thread may be made to panic.
///
/// # Panics
/// When the environment asks for it, in builds with debug assertions.
#[cfg(debug_assertions)]
pub fn point() {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    static FAULT: OnceLock<Option<(String, PathBuf)>> = OnceLock::new();
    let fault = FAULT.get_or_init(|| {
        let asked = std::env::var("STANDIN_FAULT_PANIC").ok()?;
        let (thread, file) = asked.split_once(':')?;
        Some((thread.to_owned(), file.into()))
    });
    let Some((thread, file)) = fault else { return };
    let is_meant = std::thread::current().name() == Some(thread);
    assert!(!is_meant || std::fs::remove_file(file).is_err(), "a fault that the test asked for");
}

/// A place at which the calling thread may be made to panic; not in this build.
#[cfg(not(debug_assertions))]
#[inline]
pub fn point() {}
