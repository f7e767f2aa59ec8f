//! What a command was asked for, on standard output. A reader that is gone ends the command
//! without a word, as it ends other programs; a text that nobody takes does not hold it for ever.
//!
//! Runs for long (`load`, `demo`) do not stop for their reader: [`Lines`].

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::diagnostics::{self, Sink, Target};

/// Exit code when the reader is gone: that of a program which SIGPIPE has ended.
pub(crate) const READER_GONE: u8 = 128 + 13;

/// How long a reader may take nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// A pipe that has room takes so much at once.
const CHUNK_BYTES: usize = 4_096;

/// Why it could not be written.
#[derive(Debug)]
pub(crate) enum OutError {
    /// Nobody reads it any more.
    ReaderGone,
    /// Somebody could, and does not.
    NotRead,
    Failed(Errno),
}

impl fmt::Display for OutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReaderGone => f.write_str("the reader of standard output is gone"),
            Self::NotRead => write!(
                f,
                "standard output was not read for {} s, and the rest was not written: end its reader",
                PATIENCE.as_secs()
            ),
            Self::Failed(error) => write!(
                f,
                "standard output can't be written: {}; is there room on its disk?",
                io::Error::from(*error)
            ),
        }
    }
}

impl std::error::Error for OutError {}

/// Writes a text and the end of its line.
pub(crate) fn line(text: &str) -> Result<(), OutError> {
    write(format!("{text}\n").as_bytes(), Some(PATIENCE))
}

/// Writes a value and the end of its line. However slow the reader is, it gets all of it.
pub(crate) fn value(bytes: &[u8]) -> Result<(), OutError> {
    write(bytes, None)?;
    write(b"\n", None)
}

fn write(bytes: &[u8], patience: Option<Duration>) -> Result<(), OutError> {
    let stdout = io::stdout();
    let within = patience.and_then(|within| Timespec::try_from(within).ok());
    let mut left = bytes;
    while !left.is_empty() {
        let mut waited_for = [PollFd::new(&stdout, PollFlags::OUT)];
        match poll(&mut waited_for, within.as_ref()) {
            Ok(0) => return Err(OutError::NotRead),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(OutError::Failed(error)),
        }
        match rustix::io::write(stdout.as_fd(), &left[..left.len().min(CHUNK_BYTES)]) {
            Ok(count) => left = &left[count..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::PIPE) => return Err(OutError::ReaderGone),
            Err(error) => return Err(OutError::Failed(error)),
        }
    }
    Ok(())
}

/// Lines of a run that goes on whether somebody reads them or not.
pub(crate) struct Lines {
    sink: Sink,
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// For standard output that is no terminal; at a terminal a progress line is drawn, which
    /// the run does itself.
    pub(crate) fn start() -> io::Result<Option<Self>> {
        if io::stdout().is_terminal() {
            return Ok(None);
        }
        let lost = Arc::default();
        let note = Box::new(|count| format!("{count} lines could not be written\n"));
        Ok(Some(Self {
            sink: Sink::start("stdout", Target::Stdout, Arc::clone(&lost), note)?,
            lost,
        }))
    }

    pub(crate) fn push(&self, text: &str) {
        self.sink.push(format!("{text}\n").as_bytes());
    }

    /// Waits for a reader that reads, and says what was lost otherwise.
    pub(crate) fn finish(&self) {
        let unwritten = self.sink.drain(PATIENCE);
        let lost = self.lost.load(Ordering::Relaxed) + unwritten;
        // A reader that has gone wants to hear no more, and is not told.
        if lost > 0 && !self.sink.is_reader_gone() {
            diagnostics::remark(&format!(
                "standin: {lost} lines of standard output could not be written: it is not read, or \
                 its disk is full"
            ));
        }
    }
}
