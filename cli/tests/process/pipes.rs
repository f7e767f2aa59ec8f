//! Pipes that nobody reads.

use std::io::{PipeReader, Write as _, pipe};
use std::os::fd::AsRawFd;
use std::process::Stdio;

/// Returns the writing end of a pipe whose reader is gone.
pub(crate) fn broken() -> Stdio {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// Returns the writing end of a full pipe, and its reader, which does not read.
pub(crate) fn full() -> (Stdio, PipeReader) {
    let (reader, mut writer) = pipe().expect("a pipe");
    set_nonblocking(&writer, true);
    while writer.write(&[b'x'; 4_096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    set_nonblocking(&writer, false);
    (writer.into(), reader)
}

fn set_nonblocking(fd: &impl AsRawFd, is_on: bool) {
    let flags = if is_on { libc::O_NONBLOCK } else { 0 };
    // SAFETY: F_SETFL takes an integer and touches no memory of this process.
    let set = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) };
    assert_eq!(set, 0, "a pipe's flags can be set");
}
