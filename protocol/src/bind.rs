//! Binding an address that the previous process of the same party may still hold.

use std::io;
use std::time::Duration;

use crate::time::Micros;

/// The time for which an address may still belong to a killed process. The kernel takes the ring
/// down only after the process has ended, and the ring holds the sockets.
const HELD_BY_THE_LAST_PROCESS: Duration = Duration::from_secs(1);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// Binds, and retries for a while if the address is in use. Blocks the thread.
///
/// # Errors
/// The last error of `bind`.
pub fn patiently<T>(mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Micros::boottime() + HELD_BY_THE_LAST_PROCESS;
    loop {
        match bind() {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && Micros::boottime() < deadline =>
            {
                std::thread::park_timeout(PAUSE);
            }
            ended => return ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_tried_again() {
        let mut attempts = 0;
        let bound = patiently(|| {
            attempts += 1;
            if attempts < 3 { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(attempts) }
        });
        assert_eq!(bound.unwrap(), 3);
    }

    #[test]
    fn another_error_is_final_and_patience_ends() {
        let denied = patiently(|| Err::<(), _>(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(denied.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let used = patiently(|| Err::<(), _>(io::ErrorKind::AddrInUse.into()));
        assert_eq!(used.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
