//! The sink for lines that must not delay anything: a queue bounded in bytes, and a thread that
//! writes it to standard error, standard output or a file.
//!
//! ```text
//! any thread ── push ──► queue (1 MiB) ──► writer thread ──► pipe, terminal, file
//!                  │                            │
//!                  └─ full: counted             └─ broken, full disk: counted, retried
//! ```
//! The thread also opens the file. A pipe that nobody reads, or a disk that hangs, even in `open`, stops
//! only the writer thread. Lost lines are counted, and their number is written as soon as a line can
//! be written again.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use standin_protocol::time::Micros;

/// The bytes that may wait for a slow reader.
const QUEUE_BYTES: usize = 1 << 20;
/// The time between two attempts to report lost lines while no new line comes; also the pause after
/// a panic.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The destination of a sink's lines.
pub(crate) enum Target {
    Stderr,
    Stdout,
    /// A file that lines are appended to, once it is open; [`Sink::reopen`] reopens it.
    File(PathBuf, Option<File>),
}

impl Target {
    /// A file to append to. The sink's thread opens it.
    pub(crate) fn file(path: &Path) -> Self {
        Self::File(path.to_owned(), None)
    }

    /// Opens the file unless it is open.
    fn open(&mut self) -> io::Result<()> {
        match self {
            Self::File(path, file @ None) => *file = Some(append_to(path)?),
            Self::Stderr | Self::Stdout | Self::File(_, Some(_)) => {}
        }
        Ok(())
    }

    /// Writes a line. The error has the number of bytes written before it.
    pub(super) fn write(&self, line: &[u8]) -> Result<(), (usize, Errno)> {
        let (stderr, stdout);
        let fd = match self {
            // Without the standard library's locks: a writer that hangs must not hold them.
            Self::Stderr => {
                stderr = io::stderr();
                stderr.as_fd()
            }
            Self::Stdout => {
                stdout = io::stdout();
                stdout.as_fd()
            }
            Self::File(_, Some(file)) => file.as_fd(),
            Self::File(_, None) => return Err((0, Errno::BADF)),
        };
        write_all(fd, line)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write_all(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), (usize, Errno)> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::write(fd, &bytes[written..]) {
            Ok(0) => return Err((written, Errno::IO)),
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&fd, PollFlags::OUT)], None).map_err(|e| (written, e))?;
            }
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

/// A handle to a queue and its thread; clones share them.
#[derive(Clone)]
pub(crate) struct Sink {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    reopens: AtomicBool,
    /// The number of lines lost by all sinks that share this counter.
    lost: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// The number of lines written, or lost in the attempt.
    done: u64,
    /// Whether the last attempt found that the reader is gone.
    is_reader_gone: bool,
    /// The number of lost lines that has not been reported yet.
    untold: u64,
    is_writing: bool,
    /// The outcome of the first attempt to open the target, once it is known and until it is asked
    /// for.
    opened: Option<io::Result<()>>,
}

/// Formats the line that reports the number of lost lines.
type Note = Box<dyn Fn(u64) -> String + Send>;

/// Returns lines that are due although nobody has pushed any. Asked about once a second.
type Rest = Box<dyn Fn(Micros) -> Vec<String> + Send>;

impl Sink {
    /// Starts the thread. `lost` counts the lines that could not be written.
    pub(crate) fn start(
        name: &str,
        target: Target,
        lost: Arc<AtomicU64>,
        note: Note,
    ) -> io::Result<Self> {
        Self::start_with(name, target, lost, note, Box::new(|_| Vec::new()))
    }

    /// Starts the thread of a sink that has lines of its own.
    pub(super) fn start_with(
        name: &str,
        mut target: Target,
        lost: Arc<AtomicU64>,
        note: Note,
        rest: Rest,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            reopens: AtomicBool::new(false),
            lost,
        });
        let sink = Self { shared: Arc::clone(&shared) };
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while catch_unwind(AssertUnwindSafe(|| shared.run(&mut target, &note, &rest))).is_err()
            {
                std::thread::park_timeout(TRY_AGAIN);
            }
        })?;
        Ok(sink)
    }

    /// Waits for the thread to open the target. Returns false if it has not done so within this time.
    /// Its lines wait in the queue then.
    ///
    /// # Errors If it cannot be opened.
    pub(crate) fn wait_open(&self, within: Duration) -> io::Result<bool> {
        let state = self.shared.lock();
        let waited =
            self.shared.changed.wait_timeout_while(state, within, |state| state.opened.is_none());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.opened.take().map_or(Ok(false), |opened| opened.map(|()| true))
    }

    /// Takes a line, including its line break, or counts it as lost. Never waits for a reader or a disk.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut state = self.shared.lock();
        if state.bytes + line.len() > QUEUE_BYTES {
            state.untold += 1;
            drop(state);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line.into());
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Counts a line that was left out on purpose. The caller reports it.
    pub(crate) fn count_left_out(&self) {
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Reopens a file before the next line, because the old one may have been renamed.
    pub(crate) fn reopen(&self) {
        // The lock: the thread must not go to sleep between its look at the flag and this.
        let state = self.shared.lock();
        self.shared.reopens.store(true, Ordering::Release);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits until everything is written, for this long at most.
    pub(crate) fn flush(&self, within: Duration) {
        let until = Micros::boottime() + within;
        let mut state = self.shared.lock();
        while !state.lines.is_empty() || state.is_writing {
            let left = until.since(Micros::boottime());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Sink {
    /// Waits until everything is written, as long as some of it is within `patience`; how many
    /// lines are left.
    pub(crate) fn drain(&self, patience: Duration) -> u64 {
        loop {
            let before = self.shared.lock().done;
            self.flush(patience);
            let state = self.shared.lock();
            let left = state.lines.len() as u64 + u64::from(state.is_writing);
            if left == 0 || state.done == before {
                return left;
            }
        }
    }

    /// Whether the last attempt found that nobody can read any more.
    pub(crate) fn is_reader_gone(&self) -> bool {
        self.shared.lock().is_reader_gone
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, target: &mut Target, note: &Note, rest: &Rest) {
        let mut rest_at = Micros::boottime() + TRY_AGAIN;
        // A line that a failed write has cut off is ended before the next one.
        let mut is_cut = false;
        // It is still set if this thread panicked while it wrote a line.
        self.lock().is_writing = false;
        let opened = target.open();
        self.lock().opened = Some(opened);
        self.changed.notify_all();
        loop {
            standin_protocol::fault::point();
            let (line, untold) = self.next();
            let now = Micros::boottime();
            if now >= rest_at {
                rest_at = now + TRY_AGAIN;
                for line in rest(now) {
                    // What can't be written is lost, as any line.
                    let written = Self::write(target, &mut is_cut, line.as_bytes());
                    self.lost.fetch_add(u64::from(written.is_err()), Ordering::Relaxed);
                }
            }
            if self.reopens.swap(false, Ordering::AcqRel)
                && let Target::File(path, file) = target
            {
                match append_to(path) {
                    Ok(new) => (*file, is_cut) = (Some(new), false),
                    // The old one goes on.
                    Err(error) => tracing::warn!("cannot reopen {}: {error}", path.display()),
                }
            }
            if untold > 0 && Self::write(target, &mut is_cut, note(untold).as_bytes()).is_ok() {
                self.lock().untold -= untold;
            }
            let Some(line) = line else { continue };
            let written = Self::write(target, &mut is_cut, &line);
            let mut state = self.lock();
            state.is_writing = false;
            state.done += 1;
            state.is_reader_gone = written == Err(Errno::PIPE);
            if written.is_err() {
                state.untold += 1;
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    fn write(target: &mut Target, is_cut: &mut bool, line: &[u8]) -> Result<(), Errno> {
        target.open().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        if *is_cut {
            target.write(b"\n").map_err(|(_, error)| error)?;
        }
        *is_cut = false;
        target.write(line).map_err(|(written, error)| {
            *is_cut = written > 0;
            error
        })
    }

    /// Returns the next line, or none if it is only time to report lost lines or to reopen the
    /// file, and the number of lines lost since the last report.
    fn next(&self) -> (Option<Box<[u8]>>, u64) {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.is_writing = true;
                return (Some(line), state.untold);
            }
            if self.reopens.load(Ordering::Acquire) {
                return (None, state.untold);
            }
            let waited = self.changed.wait_timeout(state, TRY_AGAIN);
            let (now, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = now;
            if timeout.timed_out() && state.lines.is_empty() {
                return (None, state.untold);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use standin_testkit::{Scratch, wait_until};

    use super::*;

    const WITHIN: Duration = Duration::from_secs(20);

    fn start(target: Target) -> (Sink, Arc<AtomicU64>) {
        let lost = Arc::new(AtomicU64::new(0));
        let note: Note = Box::new(|count| format!("{count} lost\n"));
        (Sink::start("test-log", target, Arc::clone(&lost), note).unwrap(), lost)
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up_and_what_is_lost_is_said() {
        let (reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let (sink, lost) = start(Target::File("none".into(), Some(file)));
        let line = [b"x".repeat(1_023), b"\n".to_vec()].concat();
        for _ in 0..2_000 {
            sink.push(&line);
        }
        let lost_lines = lost.load(Ordering::Relaxed);
        assert!((500..1_100).contains(&lost_lines), "about 1 MiB is kept: {lost_lines} lost");
        // More than one note if the thread began to write before the last line was lost.
        let read = Arc::new(Mutex::new(String::new()));
        let text = Arc::clone(&read);
        std::thread::spawn(move || {
            for line in io::BufRead::lines(io::BufReader::new(reader)) {
                *text.lock().unwrap() += &(line.unwrap() + "\n");
            }
        });
        wait_until(WITHIN, "notes about all lost lines", || {
            let text = read.lock().unwrap();
            let notes = text.lines().filter_map(|line| line.strip_suffix(" lost"));
            notes.map(|count| count.parse::<u64>().unwrap()).sum::<u64>() == lost_lines
        });
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines_and_nothing_else() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let (sink, lost) = start(Target::File("none".into(), Some(file)));
        sink.push(b"one\n");
        sink.push(b"two\n");
        wait_until(WITHIN, "both to be counted", || lost.load(Ordering::Relaxed) == 2);
    }

    #[test]
    fn a_file_that_hangs_in_its_opening_holds_nobody_up_and_gets_its_lines_afterwards() {
        let scratch = Scratch::new("sink-hangs");
        let path = scratch.file("log");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let (sink, lost) = start(Target::file(&path));
        assert!(!sink.wait_open(Duration::from_millis(20)).unwrap(), "nobody reads it");
        sink.push(b"meanwhile\n");
        let mut seen = String::new();
        let reader = File::open(&path).unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(reader), &mut seen).unwrap();
        assert_eq!(seen, "meanwhile\n");
        assert!(sink.wait_open(WITHIN).unwrap());
        assert_eq!(lost.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_file_that_can_not_be_opened_is_said_and_is_tried_again() {
        let scratch = Scratch::new("sink-folder");
        let folder = scratch.file("later");
        let path = folder.join("log");
        let (sink, lost) = start(Target::file(&path));
        assert_eq!(sink.wait_open(WITHIN).unwrap_err().kind(), io::ErrorKind::NotFound);
        sink.push(b"lost\n");
        wait_until(WITHIN, "the line to be counted", || lost.load(Ordering::Relaxed) == 1);
        std::fs::create_dir(&folder).unwrap();
        wait_until(WITHIN, "the note", || {
            std::fs::read_to_string(&path).is_ok_and(|text| text == "1 lost\n")
        });
    }

    #[test]
    fn a_file_that_was_renamed_is_opened_anew_when_asked() {
        let scratch = Scratch::new("sink");
        let (path, old) = (scratch.file("log"), scratch.file("log.1"));
        let (sink, _) = start(Target::file(&path));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        sink.push(b"before\n");
        sink.flush(WITHIN);
        std::fs::rename(&path, &old).unwrap();
        sink.push(b"still there\n");
        sink.flush(WITHIN);
        sink.reopen();
        sink.push(b"after\n");
        sink.flush(WITHIN);
        assert_eq!((read(&old), read(&path)), ("before\nstill there\n".into(), "after\n".into()));
    }
}
