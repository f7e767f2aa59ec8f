//! The length of an interval of a timeline.

use std::str::FromStr;
use std::time::Duration;

/// The length of an interval of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(pub Duration);

impl Interval {
    /// A second.
    const USUAL: Duration = Duration::from_secs(1);

    /// The length of an interval. Those of a search divide a measurement, because what ends after it is not in time.
    pub(super) fn of(given: Option<Self>, is_search: bool, measured: Option<Duration>) -> Duration {
        match (given, measured) {
            (None, Some(measured)) if is_search => (measured / 10).min(Self::USUAL),
            (given, _) => given.map_or(Self::USUAL, |given| given.0),
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_of_a_search_has_whole_intervals() {
        let of_search = |seconds| Interval::of(None, true, Some(Duration::from_secs(seconds)));
        assert_eq!(of_search(1), Duration::from_millis(100));
        assert_eq!(of_search(7), Duration::from_millis(700));
        assert_eq!([of_search(10), of_search(3_600)], [Duration::from_secs(1); 2]);
        assert_eq!(Interval::of(None, false, Some(Duration::from_secs(1))), Interval::USUAL);
        let given = Some(Interval(Duration::from_millis(250)));
        assert_eq!(Interval::of(given, false, None), Duration::from_millis(250));
    }
}
