//! The length of an interval of a timeline.

use std::str::FromStr;
use std::time::Duration;

/// The length of an interval of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(pub Duration);

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = Duration::from_millis(100)..=Duration::from_secs(3_600);
        match humantime::parse_duration(text) {
            Ok(length) if range.contains(&length) && length.subsec_nanos() % 1_000_000 == 0 => {
                Ok(Self(length))
            }
            _ => Err("write a length of 100ms to 1h, in whole milliseconds".to_owned()),
        }
    }
}
