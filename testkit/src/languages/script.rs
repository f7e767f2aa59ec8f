//! A running script. The head of `mod.rs` has the lines that it reads and writes.
#![expect(clippy::disallowed_methods, reason = "a shell: waits for a process, with a limit")]

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Library, Service};

/// The longest wait for a line. A client that takes longer for a request has no limit of its own.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// The time in which a script has to end by itself when there are no more commands.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Where a script finds the servers.
#[derive(Debug, Clone)]
pub struct Place {
    /// The protocol.
    pub service: Service,
    /// The address of each server.
    pub addresses: Vec<String>,
    /// A host name and a port that stand for all of them.
    pub name: String,
    /// Variables of the script's process.
    pub variables: Vec<(&'static str, OsString)>,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// The value of each key.
    Values(Vec<Option<String>>),
    /// It has failed.
    Failed(String),
}

/// The outcome of one check of what a cache does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub what: String,
    /// What was wrong, if anything was.
    pub wrong: Option<String>,
}

/// Any line of a script.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    pub(super) client: Option<String>,
    pub(super) version: Option<String>,
    check: Option<String>,
    wrong: Option<String>,
    done: bool,
    ok: bool,
    values: Option<Vec<Option<String>>>,
    error: Option<String>,
}

/// A process that is driven line by line. It ends when it is dropped, or when this process ends, because its
/// input does.
#[derive(Debug)]
pub struct Script {
    process: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Script {
    /// Starts it, and waits until it is ready. What it writes to its standard error goes to a file in this folder.
    ///
    /// # Errors
    /// It does not start, or says something else than its version.
    pub fn start(library: &Library, place: &Place, folder: &Path) -> io::Result<Self> {
        let mut command = library.command();
        command.arg(place.service.word()).arg(place.addresses.join(",")).arg(&place.name);
        command.envs(place.variables.iter().cloned());
        let log = folder.join(format!("{}.log", library.script));
        let log = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn()?;
        let input = process.stdin.take();
        let (sender, lines) = mpsc::channel();
        if let Some(output) = process.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    // An error: nobody waits for lines any more.
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let mut script = Self { process, input, lines };
        match script.line()? {
            Line { client: Some(_), version: Some(_), .. } => Ok(script),
            other => Err(io::Error::other(format!("the script says {other:?} first"))),
        }
    }

    /// Sends a command, and waits for its answer.
    ///
    /// # Errors
    /// The script has ended, hangs, or says what it should not.
    pub fn ask(&mut self, command: &str) -> io::Result<Answer> {
        self.tell(command)?;
        match self.line()? {
            Line { ok: true, .. } => Ok(Answer::Done),
            Line { values: Some(values), .. } => Ok(Answer::Values(values)),
            Line { error: Some(error), .. } => Ok(Answer::Failed(error)),
            other => Err(io::Error::other(format!("{command}: the script says {other:?}"))),
        }
    }

    /// Runs its checks of all that a framework's cache does, with keys that begin with this text.
    ///
    /// # Errors
    /// As above.
    pub fn check(&mut self, prefix: &str) -> io::Result<Vec<Check>> {
        self.tell(&format!("check {prefix}"))?;
        let mut checks = Vec::new();
        loop {
            match self.line()? {
                Line { check: Some(what), wrong, .. } => checks.push(Check { what, wrong }),
                Line { done: true, .. } => return Ok(checks),
                other => return Err(io::Error::other(format!("a script says {other:?}"))),
            }
        }
    }

    fn tell(&mut self, command: &str) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(format!("{command}\n").as_bytes())
    }

    fn line(&mut self) -> io::Result<Line> {
        let line = match self.lines.recv_timeout(ANSWERS_WITHIN) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                return Err(io::Error::other("the script has said nothing for a minute"));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let how = self.end().map_or("hangs".to_owned(), |status| status.to_string());
                return Err(io::Error::other(format!("the script says no more: {how}")));
            }
        };
        serde_json::from_str(&line).map_err(|error| io::Error::other(format!("{line}: {error}")))
    }

    /// Ends its input, and returns how it has ended; `None`: it has not.
    fn end(&mut self) -> Option<ExitStatus> {
        self.input = None;
        let deadline = Instant::now() + ENDS_WITHIN;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if self.end().is_none() {
            // It hangs in a request. An error: it has ended just now.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
