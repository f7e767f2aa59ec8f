//! The run as an HdrHistogram interval log (version 2), which the usual tools read.
//!
//! One line per slot and operation, tagged `read` or `write`; values are microseconds, the
//! readable maximum in each line milliseconds.

use std::io::Write;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use standin_protocol::time::Micros;

use super::{OpKind, Recording};

/// The log could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the HDR log can't be written: {0}; is there room on the disk?")]
pub struct HdrLogError(String);

/// The wall-clock time at `at`, for the time stamps in files.
#[must_use]
pub fn wall_time(at: Micros) -> SystemTime {
    let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let nanos = u32::try_from(wall.tv_nsec).unwrap_or(0);
    let now = SystemTime::UNIX_EPOCH + Duration::new(wall.tv_sec.unsigned_abs(), nanos);
    now - Micros::boottime().since(at)
}

/// A line of the log: the latencies of the requests of one operation that were due in one interval.
#[derive(Debug)]
pub struct LogLine<'a> {
    /// The operation.
    pub tag: &'a str,
    /// The beginning of the interval, since the start of the run.
    pub begin: Duration,
    /// Its length.
    pub length: Duration,
    /// The latencies.
    pub latency: &'a Histogram<u64>,
}

/// Writes the log of a recording. `started` is the run's start by the wall clock; `comment` is one line.
///
/// # Errors
/// [`HdrLogError`].
pub fn write_hdr_log(
    recording: &Recording,
    started: SystemTime,
    comment: &str,
    out: impl Write,
) -> Result<(), HdrLogError> {
    let length = recording.slot();
    write_hdr_lines(started, comment, out, |write| {
        recording.slots().try_for_each(|slot| {
            OpKind::ALL.iter().try_for_each(|op| {
                let latency = &slot.latency[*op as usize];
                write(&LogLine { tag: op.name(), begin: slot.begin, length, latency })
            })
        })
    })
}

/// Writes the log of the lines that `each` hands on. Empty ones are left out.
///
/// # Errors
/// [`HdrLogError`].
pub fn write_hdr_lines(
    started: SystemTime,
    comment: &str,
    mut out: impl Write,
    each: impl FnOnce(
        &mut dyn FnMut(&LogLine<'_>) -> Result<(), HdrLogError>,
    ) -> Result<(), HdrLogError>,
) -> Result<(), HdrLogError> {
    let failed = |error: &dyn std::fmt::Display| HdrLogError(error.to_string());
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Standin load generator, latencies in microseconds from the scheduled time]")
        .add_comment(comment)
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(1_000.0)
        .begin_log_with(&mut out, &mut serializer)
        .map_err(|error| failed(&error))?;
    each(&mut |line| {
        let LogLine { tag, begin, length, latency } = *line;
        // A tag ends at a comma or a space.
        let Some(tag) = Tag::new(tag).filter(|_| !latency.is_empty()) else { return Ok(()) };
        log.write_histogram(latency, begin, length, Some(tag)).map_err(|error| failed(&error))
    })?;
    drop(log);
    out.flush().map_err(|error| failed(&error))
}
