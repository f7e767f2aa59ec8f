//! Steps that run while another leaves processors idle: the release build and the seeds only compute,
//! while the tests wait for timeouts of real processes.
//!
//! They run under the scheduler's idle policy, so that they take only the time that the tests leave.
#![expect(clippy::disallowed_methods, reason = "a shell: it reports how long steps took")]

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::process::{self, Clock, Finished};
use crate::report::{Failed, Outcome, in_words};

/// One of the steps.
pub(crate) type Work<'work> = Box<dyn FnOnce() -> Outcome + Send + 'work>;

/// Steps that are under way.
#[derive(Debug)]
pub(crate) struct Meanwhile {
    ended: Receiver<Outcome>,
}

impl Meanwhile {
    /// Begins the steps, one after the other.
    pub(crate) fn begin<'scope, 'work: 'scope>(
        scope: &'scope Scope<'scope, 'work>,
        steps: Vec<Work<'work>>,
    ) -> Self {
        let (end, ended) = channel();
        scope.spawn(move || {
            for step in steps {
                let start = Instant::now();
                let mut outcome = step();
                if let Ok(passed) = &mut outcome {
                    passed.note = format!("begun before, took {}", in_words(start.elapsed()));
                }
                // Nobody waits any more when the run is over.
                if end.send(outcome).is_err() {
                    return;
                }
            }
        });
        Self { ended }
    }

    /// Waits for the end of the next step.
    pub(crate) fn next(&self) -> Outcome {
        self.ended.recv().unwrap_or_else(|_| {
            Err(Failed::new("the step panicked; its message is above", "mend xtask"))
        })
    }
}

/// Runs a process like [`process::run_step`], in time that others leave idle.
///
/// # Errors
/// When it cannot be started, or the log not be written.
pub(crate) fn run_step(
    command: &mut Command,
    log: &Path,
    limit: Duration,
) -> Result<Finished, Failed> {
    let mut idle = Command::new("chrt");
    idle.args(["--idle", "0"]).arg(command.get_program()).args(command.get_args());
    idle.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        idle.current_dir(folder);
    }
    let mut result = process::run(&mut idle, log, limit, Clock::Hidden);
    if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        // A system without `chrt`.
        result = process::run(command, log, limit, Clock::Hidden);
    }
    process::as_step(command, result)
}
