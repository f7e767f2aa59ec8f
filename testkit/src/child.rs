//! A process under test: its output is kept, and it does not outlive the test.
//!
//! ```text
//! Child::spawn ──► nursery thread ──fork, exec──► process ──stdout, stderr──► 2 reader threads
//!                  (lives as long as               │                            │
//!                   the test process)              └ PDEATHSIG = SIGKILL        └► file, lines in memory
//! ```
//!
//! The kernel sends the parent-death signal when the *thread* that forked ends,
//! and the test harness ends a thread with each test. A process that several
//! tests share must outlive the first of them, so one thread forks for all.
#![expect(clippy::disallowed_methods, reason = "test shell: deadlines need a clock")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::wait::poll_for;

/// Lines of output that a panic message quotes.
const QUOTED_LINES: usize = 30;

/// A running process. Dropping it kills it (SIGKILL) and waits for its end.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    output: Arc<Output>,
    output_file: PathBuf,
    ended: Option<ExitStatus>,
}

/// Lines of stdout and stderr in the order of their arrival.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Child {
    /// Starts `command`, with stdin closed, and writes its output to
    /// `<directory>/<name>.log` (appending, so that a restart keeps the story).
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(name: &str, command: Command, directory: &Path) -> Self {
        Self::spawn_to(name, command, directory, Stdio::piped())
    }

    /// Like [`Self::spawn`], with another standard error, of which only a pipe's lines are kept.
    ///
    /// # Panics
    /// As [`Self::spawn`].
    #[must_use]
    pub fn spawn_to(name: &str, mut command: Command, directory: &Path, stderr: Stdio) -> Self {
        let output_file = directory.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&output_file)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", output_file.display()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        Self::start(name, command, output_file, file)
    }

    /// Starts a command with the outputs that it has been given, of which nothing is kept.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn_as_is(name: &str, command: Command) -> Self {
        let nowhere = PathBuf::from("/dev/null");
        let file = File::options().append(true).open(&nowhere).expect("the null device");
        Self::start(name, command, nowhere, file)
    }

    fn start(name: &str, mut command: Command, output_file: PathBuf, file: File) -> Self {
        die_with_parent(&mut command);
        let described = format!("{command:?}");
        let mut process = fork_in_nursery(command)
            .unwrap_or_else(|error| panic!("cannot start {name} ({described}): {error}"));
        let output = Arc::new(Output::default());
        let file = Arc::new(Mutex::new(file));
        if let Some(stdout) = process.stdout.take() {
            keep_lines(stdout, Arc::clone(&output), Arc::clone(&file));
        }
        if let Some(stderr) = process.stderr.take() {
            keep_lines(stderr, Arc::clone(&output), file);
        }
        Self { name: name.to_owned(), process, output, output_file, ended: None }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The file that holds all its output.
    #[must_use]
    pub fn output_file(&self) -> &Path {
        &self.output_file
    }

    /// All lines it has printed so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.output.lock().clone()
    }

    /// Waits for a line that contains `pattern`, and returns it. Lines printed
    /// before the call count as well.
    ///
    /// # Panics
    /// When there is none after `within`; the message quotes the last output.
    #[track_caller]
    pub fn wait_for_line(&self, pattern: &str, within: Duration) -> String {
        self.wait_for_line_after(0, pattern, within)
    }

    /// Like [`Self::wait_for_line`], but the first `skipped` lines do not count: take `lines().len()`
    /// before the event whose line you want to see.
    ///
    /// # Panics
    /// As [`Self::wait_for_line`].
    #[track_caller]
    pub fn wait_for_line_after(&self, skipped: usize, pattern: &str, within: Duration) -> String {
        let start = Instant::now();
        let mut lines = self.output.lock();
        let mut seen = skipped;
        loop {
            if let Some(line) = lines.iter().skip(seen).find(|line| line.contains(pattern)) {
                return line.clone();
            }
            seen = seen.max(lines.len());
            let left = within.saturating_sub(start.elapsed());
            if left.is_zero() {
                drop(lines);
                panic!("{}: no line with {pattern:?} within {within:?}{}", self.name, self.quote());
            }
            lines = self
                .output
                .grown
                .wait_timeout(lines, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Sends a signal, for example `libc::SIGTERM` or `libc::SIGSTOP`. Nothing
    /// happens when the process has ended.
    pub fn signal(&mut self, signal: i32) {
        if self.try_exit_status().is_none() {
            send_signal(self.pid(), signal);
        }
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            // It fails only for a process that has ended, and then `wait` says so.
            let _ = self.process.kill();
            self.ended = self.process.wait().ok();
        }
    }

    /// The exit status, if it has ended.
    pub fn try_exit_status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.process.try_wait().unwrap_or(None);
        }
        self.ended
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended after `within`; the message quotes the last output.
    #[track_caller]
    pub fn exit_status(&mut self, within: Duration) -> ExitStatus {
        match poll_for(within, || self.try_exit_status()) {
            Some(status) => status,
            None => panic!("{} has not ended within {within:?}{}", self.name, self.quote()),
        }
    }

    /// The last lines of its output, for a message.
    fn quote(&self) -> String {
        let lines = self.output.lock();
        let from = lines.len().saturating_sub(QUOTED_LINES);
        let mut quote = format!("\n--- last output of {} ---\n", self.name);
        for line in &lines[from..] {
            quote.push_str(line);
            quote.push('\n');
        }
        quote
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.quote());
        }
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a process is there. One that has ended and that nobody has waited for is not.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // Its name is in parentheses, and may have some.
    let state = |stat: &str| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    stat.is_ok_and(|stat| !matches!(state(&stat), Some('Z' | 'X')))
}

/// Sends a signal to one process by its id.
pub fn send_signal(pid: u32, signal: i32) {
    let Ok(pid) = i32::try_from(pid) else { return };
    // 0 and negative ids would address whole process groups.
    if pid > 0 {
        // SAFETY: kill takes two integers and touches no memory of ours.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Makes the kernel kill the process when this one ends, however it ends.
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only prctl, getppid and _exit are called; all
    // are async-signal-safe. It runs after std has switched users, which would
    // otherwise clear the setting.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // The parent may have died before the line above.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                libc::_exit(1);
            }
            Ok(())
        });
    }
}

type Birth = (Command, mpsc::Sender<std::io::Result<std::process::Child>>);

/// Forks in the thread that lives as long as this process; see the head of the file.
fn fork_in_nursery(command: Command) -> std::io::Result<std::process::Child> {
    static NURSERY: OnceLock<Mutex<mpsc::Sender<Birth>>> = OnceLock::new();
    let nursery = NURSERY.get_or_init(|| {
        let (sender, births) = mpsc::channel::<Birth>();
        std::thread::spawn(move || {
            for (mut command, reply) in births {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (reply, born) = mpsc::channel();
    let sent = nursery.lock().unwrap_or_else(PoisonError::into_inner).send((command, reply));
    if sent.is_err() {
        return Err(std::io::Error::other("the thread that starts processes has ended"));
    }
    born.recv().map_err(std::io::Error::other)?
}

/// Copies lines to the file and to memory until the process closes its end.
fn keep_lines(source: impl Read + Send + 'static, output: Arc<Output>, file: Arc<Mutex<File>>) {
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while matches!(source.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            // A full disk loses the file, not the lines in memory.
            let _ = file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line);
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            output.lock().push(text);
            output.grown.notify_all();
            line.clear();
        }
    });
}
