//! The bytes of a trace's file, decompressed where it is compressed.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::wish::Wish;
use super::{TraceError, TraceFormat};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// The largest window of zstd data, which is held in memory: what `zstd --long` uses, and what `zstd --decompress` takes
/// without more options.
const WINDOW_BYTES_MAX: u64 = 128 << 20;
/// The number with which a frame begins.
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// A file with a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceFile {
    /// Its path.
    pub path: PathBuf,
    /// Its format, decompressed.
    pub format: TraceFormat,
}

/// Bytes of a trace.
pub(super) type Input = Box<dyn BufRead + Send>;

/// Opens a file from its beginning, to read it as long as somebody wishes.
pub(super) fn open(path: &Path, wish: &Wish) -> Result<Input, TraceError> {
    // Otherwise opening a pipe waits for the one that writes to it. Files know no such waiting.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
    }
    if !about.is_file() {
        return Err(TraceError::NoFile);
    }
    let file = Whole { file, bytes: about.len(), read: 0 };
    // Such a file may begin with a frame that is to be skipped.
    let is_named = path.extension().is_some_and(|extension| extension == "zst");
    of(file, is_named, wish)
}

/// A file that has all the bytes that it had when it was opened. One that somebody cuts may end where a request ends, as if
/// the trace had no more.
struct Whole<R> {
    file: R,
    /// Its length when it was opened.
    bytes: u64,
    read: u64,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(out)?;
        self.read += read as u64;
        if read == 0 && !out.is_empty() && self.read < self.bytes {
            let error = TraceError::Shrunk { before: self.bytes, after: self.read };
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(read)
    }
}

/// Decompresses what begins like zstd data, or is said to be that.
pub(super) fn of(
    bytes: impl Read + Send + 'static,
    is_named: bool,
    wish: &Wish,
) -> Result<Input, TraceError> {
    let mut bytes = BufReader::with_capacity(READ_BYTES, wish.read(bytes));
    let is_compressed = is_named || bytes.fill_buf()?.starts_with(&MAGIC);
    if !is_compressed {
        return Ok(Box::new(bytes));
    }
    // A few bytes may become very many, or none for long.
    let frames = wish.read(Frames::new(bytes));
    Ok(Box::new(BufReader::with_capacity(READ_BYTES, frames)))
}

/// The frames of a compressed file, one after the other: tools that compress with several threads write many.
struct Frames<R> {
    bytes: R,
    decoder: FrameDecoder,
    is_within: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(bytes: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MAX);
        Self { bytes, decoder, is_within: false }
    }

    /// Begins the next frame, or leaves out one that has no data.
    fn begin(&mut self) -> io::Result<()> {
        match self.decoder.init(&mut self.bytes) {
            Ok(()) => {
                self.is_within = true;
                Ok(())
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let skipped =
                    io::copy(&mut self.bytes.by_ref().take(length.into()), &mut io::sink())?;
                match skipped == u64::from(length) {
                    true => Ok(()),
                    false => Err(damaged("it ends within a frame that is to be skipped")),
                }
            }
            Err(FrameDecoderError::WindowSizeTooBig { requested, max }) => {
                let error = TraceError::Window { window_bytes: requested, max_bytes: max };
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
            Err(error) => Err(damaged(error)),
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_within {
                if self.bytes.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin()?;
                continue;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.bytes, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(damaged)?;
            }
            let read = self.decoder.read(out)?;
            if read > 0 || out.is_empty() {
                return Ok(read);
            }
            let written = self.decoder.get_checksum_from_data();
            if written.is_some() && written != self.decoder.get_calculated_checksum() {
                return Err(damaged("its checksum differs"));
            }
            self.is_within = false;
        }
    }
}

fn damaged(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, TraceError::Compressed(what.to_string()))
}

/// The error of a read, or the one that [`Frames`] has put into it.
pub(super) fn failed(error: io::Error) -> TraceError {
    match error.downcast::<TraceError>() {
        Ok(own) => own,
        Err(error) => TraceError::Io(error),
    }
}
