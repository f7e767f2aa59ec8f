//! Programs that prepare something, such as `initdb`: they run to their end, within a limit.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use standin_protocol::time::Micros;

use super::child::{Rest, ends_with_us, has_ended, signal_group, wait};
use crate::interrupt::Interrupt;

/// The interval of checks whether it has ended.
const PAUSE: Duration = Duration::from_millis(2);
/// The most that is read of what it said.
const SAID_BYTES_MAX: u64 = 1 << 20;

/// A program that did not do what it was to prepare.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolError {
    /// It can't be started.
    #[error("{program} can't be started: {error}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// It has failed.
    #[error("{program} has failed ({status}):\n{output}")]
    Failed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        output: String,
    },
    /// It did not end.
    #[error("{program} has not ended within {within:?}; it said:\n{output}")]
    Slow {
        /// The program.
        program: PathBuf,
        /// The limit.
        within: Duration,
        /// What it said.
        output: String,
    },
    /// The user has interrupted it.
    #[error("interrupted")]
    Interrupted,
}

/// Runs a program to its end, and returns what it said. It is killed when that takes too long, or when the user
/// interrupts, and it ends with this program.
pub(super) fn run(
    mut command: Command,
    within: Duration,
    interrupt: Option<&Interrupt>,
) -> Result<String, ToolError> {
    let program = PathBuf::from(command.get_program());
    let failed = |error| ToolError::Start { program: program.clone(), error };
    // Not a pipe, for which what it leaves behind would have to be waited for.
    let said = tempfile::tempfile().map_err(failed)?;
    let (out, err) = (said.try_clone().map_err(failed)?, said.try_clone().map_err(failed)?);
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    ends_with_us(&mut command, Rest::Ends).map_err(failed)?;
    let mut child = command.spawn().map_err(failed)?;
    let deadline = Micros::boottime() + within;
    let why = loop {
        if has_ended(&child) {
            break None;
        }
        if interrupt.is_some_and(Interrupt::is_set) {
            break Some(Early::Interrupted);
        }
        if Micros::boottime() >= deadline {
            break Some(Early::Slow);
        }
        std::thread::park_timeout(PAUSE);
    };
    signal_group(&child, Signal::KILL);
    let status = wait(&mut child);
    let output = read(said).map_err(failed)?;
    match (why, status) {
        (Some(Early::Interrupted), _) => Err(ToolError::Interrupted),
        (Some(Early::Slow), _) => Err(ToolError::Slow { program, within, output }),
        (None, Some(status)) if status.success() => Ok(output),
        (None, Some(status)) => Err(ToolError::Failed { program, status, output }),
        (None, None) => Err(failed(io::Error::other("somebody else has waited for its end"))),
    }
}

/// Why a program was killed.
enum Early {
    Interrupted,
    Slow,
}

fn read(mut said: File) -> io::Result<String> {
    said.rewind()?;
    let mut bytes = Vec::new();
    said.take(SAID_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use standin_testkit::{is_running, wait_until};

    use super::*;

    fn shell(script: &str, within: Duration) -> Result<String, ToolError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        run(command, within, None)
    }

    #[test]
    fn what_it_says_is_returned_however_it_ends() {
        const LONG: Duration = Duration::from_secs(60);
        assert_eq!(shell("echo a; echo b >&2", LONG).unwrap(), "a\nb");
        let failed = shell("echo no room; exit 3", LONG).unwrap_err().to_string();
        assert!(failed.contains("/bin/sh") && failed.contains("3"), "{failed}");
        assert!(failed.ends_with("no room"), "{failed}");
        let command = Command::new("/no/such");
        let missing = run(command, LONG, None).unwrap_err().to_string();
        assert!(missing.contains("/no/such can't be started"), "{missing}");
    }

    #[test]
    fn one_that_does_not_end_is_killed_with_what_it_has_started() {
        let begin = Micros::boottime();
        let script = "sleep 600 & echo $!; sleep 600";
        let slow = shell(script, Duration::from_millis(300)).unwrap_err();
        assert!(Micros::boottime().since(begin) < Duration::from_secs(300));
        let ToolError::Slow { output, .. } = slow else { panic!("{slow}") };
        let child: u32 = output.parse().expect("a process id");
        let soon = Duration::from_secs(20);
        wait_until(soon, "the end of what it started", || !is_running(child));
    }
}
