//! The kernel's clock.

use crate::facts::{Clock, Reading, Unread};

pub(super) fn read() -> Reading<Clock> {
    // SAFETY: `timex` is made of integers only, for which zero is a value; `modes` 0 changes nothing.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `state` is valid for the call, which writes nothing else.
    let ended = unsafe { libc::adjtimex(&raw mut state) };
    if ended < 0 {
        let error = std::io::Error::last_os_error();
        return Err(match error.raw_os_error() {
            Some(libc::EPERM) => Unread::Denied,
            _ => Unread::Failed(format!("adjtimex fails: {error}")),
        });
    }
    Ok(Clock {
        is_synchronised: state.status & libc::STA_UNSYNC == 0,
        error_max_us: u64::try_from(state.maxerror).unwrap_or(0),
    })
}
