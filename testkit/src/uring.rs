//! Tests on io_uring, which a kernel may lack or forbid.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use crate::skip;

/// If this variable is set to 1, a test that needs io_uring fails if it is unavailable.
pub const REQUIRE: &str = "STANDIN_REQUIRE_URING";

/// Whether a test can use io_uring, as servers do; if not, prints why.
///
/// # Panics
/// If it is unavailable although [`REQUIRE`] is 1.
#[must_use]
pub fn is_available() -> bool {
    let Err(error) = set_up() else { return true };
    let missing = format!(
        "io_uring is unavailable ({error}); allow it (sysctl kernel.io_uring_disabled=0, and the \
         container's seccomp profile; Linux 6.1 or newer)"
    );
    skip("a test of io_uring", REQUIRE, &missing);
    false
}

/// `ring` where a test can use io_uring; `epoll` where it is unavailable and need not be available.
///
/// # Panics
/// As [`is_available`].
pub fn or<T>(ring: T, epoll: T) -> T {
    if is_available() { ring } else { epoll }
}

/// A ring with the flags that a shard's has.
fn set_up() -> io::Result<()> {
    const ENTRIES: libc::c_long = 8;
    const SINGLE_ISSUER_AND_DEFER_TASKRUN: u32 = 1 << 12 | 1 << 13;
    // `struct io_uring_params`: 120 bytes, of which the third word is the flags.
    let mut params = [0u32; 30];
    params[2] = SINGLE_ISSUER_AND_DEFER_TASKRUN;
    // SAFETY: the kernel reads and writes 120 bytes, which `params` has.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, params.as_mut_ptr()) };
    match i32::try_from(ring) {
        Ok(ring @ 0..) => {
            // SAFETY: the descriptor is new, and nobody else has it.
            drop(unsafe { OwnedFd::from_raw_fd(ring) });
            Ok(())
        }
        _ => Err(io::Error::last_os_error()),
    }
}
