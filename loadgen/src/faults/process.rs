//! Processes that a run starts, kills and restarts.
//!
//! They do not outlive the load generator (`PR_SET_PDEATHSIG`), nor does what they start
//! (`watchdog.rs`). They are in process groups of their own (an interrupt at the terminal reaches
//! only the load generator, which then ends them itself), and write their output into a file each.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;
use standin_protocol::time::Micros;

use super::child::{Rest, User, has_ended, signal_group, spawn, wait};
use crate::net::Network;

/// Lines of a log that a message quotes.
const QUOTED_LINES: usize = 12;
/// The interval of checks whether a process has ended.
const PAUSE: Duration = Duration::from_millis(2);

/// A process that can't be started.
#[derive(Debug, thiserror::Error)]
#[error("{name} can't be started ({program}): {error}")]
pub struct SpawnError {
    name: String,
    program: PathBuf,
    error: io::Error,
}

/// A child process. Dropping it kills it and waits for its end.
///
/// The kernel ends it when the *thread* that started it ends, so start it on a thread that
/// lives as long as the run.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    network: Option<Network>,
    user: Option<User>,
    rest: Rest,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `program`; its output goes to `<folder>/<name>.log`.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn start(
        name: &str,
        program: &Path,
        arguments: Vec<OsString>,
        folder: &Path,
    ) -> Result<Self, SpawnError> {
        Self::start_in(None, name, program, arguments, folder)
    }

    /// Starts it in its own network namespace, from which it sees nothing else.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn start_in(
        network: Option<Network>,
        name: &str,
        program: &Path,
        arguments: Vec<OsString>,
        folder: &Path,
    ) -> Result<Self, SpawnError> {
        Self::start_as(None, network, name, program, arguments, folder)
    }

    /// Starts it as another user, and in its own network namespace.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn start_as(
        user: Option<User>,
        network: Option<Network>,
        name: &str,
        program: &Path,
        arguments: Vec<OsString>,
        folder: &Path,
    ) -> Result<Self, SpawnError> {
        Self::launch(Rest::Ends, user, network, name, program, arguments, folder)
    }

    /// Starts a command of the user's, which ends by itself. What it leaves behind stays.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub(super) fn command(
        name: &str,
        program: &Path,
        arguments: Vec<OsString>,
        folder: &Path,
    ) -> Result<Self, SpawnError> {
        Self::launch(Rest::Stays, None, None, name, program, arguments, folder)
    }

    fn launch(
        rest: Rest,
        user: Option<User>,
        network: Option<Network>,
        name: &str,
        program: &Path,
        arguments: Vec<OsString>,
        folder: &Path,
    ) -> Result<Self, SpawnError> {
        let log = folder.join(format!("{name}.log"));
        let child = spawn(program, &arguments, &log, network.as_ref(), user, rest);
        let child = child.map_err(|error| {
            let (name, program) = (name.to_owned(), program.to_owned());
            SpawnError { name, program, error }
        })?;
        let (name, program) = (name.to_owned(), program.to_owned());
        Ok(Self { name, program, arguments, log, network, user, rest, child, ended: None })
    }

    /// The name it was started under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if the process has ended. What it has left behind then ends too.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() && has_ended(&self.child) {
            if self.rest == Rest::Ends {
                signal_group(&self.child, Signal::KILL);
            }
            self.ended = wait(&mut self.child);
        }
        self.ended
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        if self.exit_status().is_none() {
            signal_group(&self.child, Signal::KILL);
            self.ended = wait(&mut self.child);
        }
    }

    /// Stops it (SIGSTOP): it hangs, with its connections open.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it continue (SIGCONT).
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end (SIGTERM).
    pub fn ask_to_end(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to end (SIGTERM), and waits until it has. Kills it if that takes longer than `within`.
    pub fn terminate(&mut self, within: Duration) -> Option<ExitStatus> {
        self.end_by(Signal::TERM, within)
    }

    /// Asks a command to end, and kills it and all that it has started if that takes longer than `within`.
    pub(super) fn end_all(&mut self, within: Duration) {
        self.rest = Rest::Ends;
        self.terminate(within);
    }

    /// The same by another signal.
    pub(super) fn end_by(&mut self, signal: Signal, within: Duration) -> Option<ExitStatus> {
        self.signal(signal);
        let deadline = Micros::boottime() + within;
        while self.exit_status().is_none() {
            if Micros::boottime() >= deadline {
                self.kill();
                break;
            }
            std::thread::park_timeout(PAUSE);
        }
        self.exit_status()
    }

    /// Signals it, and what it has started in its process group, as a shell does. Nothing happens if it has ended.
    fn signal(&mut self, signal: Signal) {
        if self.exit_status().is_none() {
            signal_group(&self.child, signal);
        }
    }

    /// Kills it if it still runs, and starts it again as it was started.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn restart(&mut self) -> Result<(), SpawnError> {
        self.kill();
        let network = self.network.as_ref();
        let child = spawn(&self.program, &self.arguments, &self.log, network, self.user, self.rest);
        self.child = child.map_err(|error| SpawnError {
            name: self.name.clone(),
            program: self.program.clone(),
            error,
        })?;
        self.ended = None;
        Ok(())
    }

    /// Everything that it has printed.
    #[must_use]
    pub fn output(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The last lines of it.
    #[must_use]
    pub fn last_output(&self) -> String {
        let text = self.output();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, kill_process};
    use standin_testkit::{Scratch, is_running, wait_until};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(scratch: &Scratch, script: &str) -> Process {
        let arguments = vec!["-c".into(), script.into()];
        Process::start("child", Path::new("/bin/sh"), arguments, scratch.path()).unwrap()
    }

    #[test]
    fn output_is_kept_over_a_restart() {
        let scratch = Scratch::new("faults");
        let mut process = shell(&scratch, "echo hello; echo oops >&2; exec sleep 600");
        wait_until(SOON, "both lines", || process.last_output().lines().count() == 2);
        let first = process.pid();
        process.restart().unwrap();
        assert_ne!(process.pid(), first);
        wait_until(SOON, "four lines", || process.last_output().lines().count() == 4);
        process.kill();
        assert!(process.exit_status().is_some());
    }

    #[test]
    fn says_what_can_not_be_started() {
        let scratch = Scratch::new("faults");
        let nowhere = Path::new("/nowhere/standin");
        let error = Process::start("a1", nowhere, Vec::new(), scratch.path()).unwrap_err();
        assert!(error.to_string().contains("a1 can't be started (/nowhere/standin)"), "{error}");
    }

    fn state(process: &Process) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    #[test]
    fn pausing_and_resuming() {
        let scratch = Scratch::new("faults");
        let mut process = shell(&scratch, "exec sleep 600");
        process.pause();
        wait_until(SOON, "it to stop", || state(&process) == Some('T'));
        process.resume();
        wait_until(SOON, "it to go on", || state(&process) != Some('T'));
    }

    #[test]
    fn what_a_shell_has_started_ends_with_it() {
        let scratch = Scratch::new("faults");
        let mut process = shell(&scratch, "sleep 600 & echo $!; wait");
        wait_until(SOON, "its child", || !process.last_output().is_empty());
        let child = process.last_output().parse::<u32>().expect("a pid");
        assert!(is_running(child));
        process.kill();
        wait_until(SOON, "its end", || !is_running(child));
    }

    #[test]
    fn what_a_process_leaves_behind_ends_too_but_not_that_of_a_command() {
        let scratch = Scratch::new("faults");
        let script = "sleep 30 & echo $!";
        let mut process = shell(&scratch, script);
        wait_until(SOON, "its end", || process.exit_status().is_some());
        let left = process.last_output().parse().expect("a process id");
        wait_until(SOON, "the end of what it left", || !is_running(left));
        let arguments = vec!["-c".into(), script.into()];
        let shell = Path::new("/bin/sh");
        let mut command = Process::command("command", shell, arguments, scratch.path()).unwrap();
        wait_until(SOON, "its end", || command.exit_status().is_some());
        let left: i32 = command.last_output().parse().expect("a process id");
        drop(command);
        assert!(is_running(left.unsigned_abs()), "a command may start a service");
        let left = Pid::from_raw(left).unwrap();
        kill_process(left, Signal::KILL).unwrap();
    }

    #[test]
    fn terminating_waits_and_then_kills() {
        let scratch = Scratch::new("faults");
        let mut polite =
            shell(&scratch, "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done");
        wait_until(SOON, "the trap", || polite.last_output().contains("up"));
        assert_eq!(polite.terminate(SOON).and_then(|status| status.code()), Some(3));
        let mut stubborn = shell(&scratch, "trap '' TERM; echo up; while :; do sleep 0.01; done");
        wait_until(SOON, "the trap", || stubborn.last_output().contains("up"));
        let status = stubborn.terminate(Duration::from_millis(20)).unwrap();
        assert_eq!(status.code(), None, "killed");
    }
}
