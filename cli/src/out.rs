//! The results of commands on standard output. If the reader is gone, the command ends silently, as
//! other programs do. A reader that stalls does not block the command forever.
//!
//! Long runs (`load`, `demo`) do not stop for their reader: see [`Lines`].

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::diagnostics::{self, Sink, Target};

/// The exit code when the reader is gone: that of a program killed by SIGPIPE.
pub(crate) const READER_GONE: u8 = 128 + 13;

/// The time for which a reader may stall.
const PATIENCE: Duration = Duration::from_secs(10);

/// The number of bytes that a pipe with any room takes at once.
const CHUNK_BYTES: usize = 4_096;

/// The reason why output could not be written.
#[derive(Debug)]
pub(crate) enum OutError {
    /// The reader is gone.
    ReaderGone,
    /// The reader exists, but does not read.
    NotRead,
    Failed(Errno),
}

impl fmt::Display for OutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReaderGone => f.write_str("the reader of standard output is gone"),
            Self::NotRead => write!(
                f,
                "standard output was not read for {} s, so the rest was not written; end the \
                 program that should read it",
                PATIENCE.as_secs()
            ),
            Self::Failed(error) => write!(
                f,
                "cannot write to standard output: {}; is its disk full?",
                io::Error::from(*error)
            ),
        }
    }
}

impl std::error::Error for OutError {}

/// Writes a text and a line break.
pub(crate) fn line(text: &str) -> Result<(), OutError> {
    write(format!("{text}\n").as_bytes(), Some(PATIENCE))
}

/// Writes a text as it is.
pub(crate) fn text(text: &[u8]) -> Result<(), OutError> {
    write(text, Some(PATIENCE))
}

/// Writes a value and a line break, however slow the reader is.
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

/// The lines of a run that goes on whether or not they are read.
pub(crate) struct Lines {
    sink: Sink,
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// Starts writing lines, unless standard output is a terminal, where the run draws a progress line
    /// itself.
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

    /// Waits while the reader reads, then reports the number of lost lines.
    pub(crate) fn finish(&self) {
        let unwritten = self.sink.drain(PATIENCE);
        let lost = self.lost.load(Ordering::Relaxed) + unwritten;
        // A reader that is gone wanted no more, so this is not reported.
        if lost > 0 && !self.sink.is_reader_gone() {
            diagnostics::remark(&format!(
                "standin: {lost} lines of standard output could not be written because nobody \
                 read it or its disk is full"
            ));
        }
    }
}
