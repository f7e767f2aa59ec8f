//! A process that somebody else has started. It is held by a descriptor: when it has ended, and another process has
//! its number, the other one gets no signal.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use super::script::PidSource;

/// More than a number and a line's end have.
const FILE_BYTES_MAX: u64 = 4_096;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Foreign {
    descriptor: OwnedFd,
}

impl Foreign {
    /// The number of the process. The error says what to do.
    pub(super) fn number(source: &PidSource) -> Result<u32, String> {
        match source {
            PidSource::Number(number) => Ok(*number),
            PidSource::File(path) => {
                let mut text = String::new();
                // A device may have no end.
                File::open(path)
                    .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                let number = text.trim().parse();
                number.map_err(|_| format!("{}: its text is no process id", path.display()))
            }
        }
    }

    /// Finds the process. The error says what to do.
    pub(super) fn find(source: &PidSource) -> Result<Self, String> {
        let number = Self::number(source)?;
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
        let pid = pid.filter(|pid| !pid.is_init() && *pid != getpid());
        let pid = pid.ok_or_else(|| format!("process {number} may not be stopped"))?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|error| format!("process {number}: {}", io::Error::from(error)))?;
        Ok(Self { descriptor })
    }

    /// SIGSTOP.
    pub(super) fn pause(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.descriptor, Signal::STOP)?)
    }

    /// SIGCONT.
    pub(super) fn resume(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.descriptor, Signal::CONT)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_no_process_id() {
        let said = Foreign::number(&PidSource::File("/dev/zero".into())).unwrap_err();
        assert!(said.contains("no process id"), "{said}");
    }
}
