//! The run as an HdrHistogram interval log (version 2), which the usual tools read.
//!
//! One line per slot and operation, tagged `read` or `write`; values are microseconds, the
//! readable maximum in each line milliseconds.

use std::io::Write;
use std::time::{Duration, SystemTime};

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

/// Writes the log. `started` is the run's start by the wall clock; `comment` is one line.
///
/// # Errors
/// [`HdrLogError`].
pub fn write_hdr_log(
    recording: &Recording,
    started: SystemTime,
    comment: &str,
    mut out: impl Write,
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
    let slot: Duration = recording.slot();
    for interval in recording.slots() {
        for op in OpKind::ALL {
            let latency = &interval.latency[op as usize];
            if !latency.is_empty() {
                log.write_histogram(latency, interval.begin, slot, Tag::new(op.name()))
                    .map_err(|error| failed(&error))?;
            }
        }
    }
    drop(log);
    out.flush().map_err(|error| failed(&error))
}
