//! Signals to the processes of a run.

use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use standin_loadgen::faults::Process;
use standin_protocol::time::Micros;

/// The interval of checks whether a process has ended.
const PAUSE: Duration = Duration::from_millis(2);

/// Signals to a process. Nothing happens if it has ended.
pub trait Signals {
    /// Stops it (SIGSTOP): it hangs, with its connections open.
    fn pause(&mut self);

    /// Lets it continue (SIGCONT).
    fn resume(&mut self);

    /// Asks it to end (SIGTERM), and waits until it has. Kills it if that takes longer than `within`.
    fn terminate(&mut self, within: Duration) -> Option<ExitStatus>;
}

impl Signals for Process {
    fn pause(&mut self) {
        signal(self, Signal::STOP);
    }

    fn resume(&mut self) {
        signal(self, Signal::CONT);
    }

    fn terminate(&mut self, within: Duration) -> Option<ExitStatus> {
        signal(self, Signal::TERM);
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
}

fn signal(process: &mut Process, signal: Signal) {
    if process.exit_status().is_some() {
        return;
    }
    if let Some(pid) = i32::try_from(process.pid()).ok().and_then(Pid::from_raw) {
        // It fails only for a process that has ended.
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use standin_testkit::{Scratch, wait_until};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(scratch: &Scratch, script: &str) -> Process {
        let arguments = vec!["-c".into(), script.into()];
        Process::start("child", Path::new("/bin/sh"), arguments, scratch.path()).unwrap()
    }

    fn state(process: &Process) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    #[test]
    fn pausing_and_resuming() {
        let scratch = Scratch::new("signals");
        let mut process = shell(&scratch, "exec sleep 600");
        process.pause();
        wait_until(SOON, "it to stop", || state(&process) == Some('T'));
        process.resume();
        wait_until(SOON, "it to go on", || state(&process) != Some('T'));
    }

    #[test]
    fn terminating_waits_and_then_kills() {
        let scratch = Scratch::new("signals");
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
