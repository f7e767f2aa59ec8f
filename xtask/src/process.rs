//! Runs one command with its output in a log file and a time limit, so that a test that hangs does
//! not block the checks.
#![expect(clippy::disallowed_methods, reason = "a shell: it waits for processes by the clock")]

use std::collections::HashMap;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use standin_testkit::child::send_signal;

use crate::report::Failed;

/// The time between two checks of a running command.
const PAUSE: Duration = Duration::from_millis(20);
const SIGKILL: i32 = 9;

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Exit code 0, in time.
    pub(crate) success: bool,
    /// Its exit code; `None` when it was killed.
    pub(crate) code: Option<i32>,
    /// Everything it printed, stdout and stderr as they came.
    pub(crate) output: String,
}

/// Whether the time that a command has run is shown on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// At the cursor: the command's line has been begun.
    Shown,
    /// The line belongs to another command.
    Hidden,
}

/// Runs it to its end, or kills it and all its descendants after `limit`.
///
/// # Errors
/// When it cannot be started, or the log not be written.
pub(crate) fn run(
    command: &mut Command,
    log: &Path,
    limit: Duration,
    clock: Clock,
) -> Result<Finished, std::io::Error> {
    let file = File::create(log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut child = command.spawn()?;
    let (status, late) = match wait(&mut child, limit, clock)? {
        Some(status) => (status, false),
        None => {
            kill_tree(child.id());
            (child.wait()?, true)
        }
    };
    let mut output = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
    if late {
        output.push_str(&format!("\nkilled: still running after {} s\n", limit.as_secs()));
    }
    Ok(Finished { success: status.success() && !late, code: status.code(), output })
}

/// Runs a process like [`run`], for a step of a report.
///
/// # Errors
/// When it cannot be started, or the log not be written.
pub(crate) fn run_step(
    command: &mut Command,
    log: &Path,
    limit: Duration,
) -> Result<Finished, Failed> {
    let result = run(command, log, limit, Clock::Shown);
    as_step(command, result)
}

/// What [`run`] returned, for a step of a report.
///
/// # Errors
/// When there is one in it.
pub(crate) fn as_step(
    command: &Command,
    result: Result<Finished, std::io::Error>,
) -> Result<Finished, Failed> {
    result.map_err(|error| {
        Failed::new(format!("{command:?}: {error}"), "check that cargo can be run")
    })
}

fn wait(
    child: &mut Child,
    limit: Duration,
    clock: Clock,
) -> Result<Option<std::process::ExitStatus>, std::io::Error> {
    let start = Instant::now();
    let watched = clock == Clock::Shown && std::io::stdout().is_terminal();
    let mut shown = 0;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let elapsed = start.elapsed();
        if elapsed >= limit {
            return Ok(None);
        }
        // The step's line has been begun; its end is the time so far, overwritten.
        if watched && elapsed.as_secs() != shown {
            shown = elapsed.as_secs();
            let clock = format!("{shown} s");
            print!("{clock}{}", "\u{8}".repeat(clock.len()));
            std::io::stdout().flush()?;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Kills a process and its descendants. A test binary that outlived cargo would keep
/// the log open and its servers running.
fn kill_tree(root: u32) {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut doomed = vec![root];
    let mut next = 0;
    while let Some(&pid) = doomed.get(next) {
        doomed.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    for pid in doomed {
        send_signal(pid, SIGKILL);
    }
}

/// Reads the parent from `stat`: "pid (name) state ppid …", where the name may contain spaces and
/// parentheses.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use standin_testkit::{Scratch, wait_until};

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn keeps_both_streams_and_the_exit_code() {
        let scratch = Scratch::new("process");
        let log = scratch.file("log");
        let limit = Duration::from_secs(60);
        let finished =
            run(&mut shell("echo one; echo two >&2; exit 3"), &log, limit, Clock::Hidden).unwrap();
        assert!(!finished.success);
        assert_eq!(finished.code, Some(3));
        assert_eq!(finished.output, "one\ntwo\n");
    }

    #[test]
    fn kills_the_grandchildren_of_a_command_that_hangs() {
        let scratch = Scratch::new("process");
        let log = scratch.file("log");
        let script = "sleep 1000 & echo $!; wait";
        let finished =
            run(&mut shell(script), &log, Duration::from_millis(300), Clock::Hidden).unwrap();
        assert!(!finished.success);
        assert!(finished.output.contains("killed: still running"));
        let sleeper: u32 = finished.output.lines().next().unwrap().parse().unwrap();
        wait_until(Duration::from_secs(10), "the grandchild's end", || {
            !standin_testkit::is_running(sleeper)
        });
    }
}
