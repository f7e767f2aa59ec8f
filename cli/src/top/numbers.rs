//! Numbers in few columns. Pure.

use std::time::Duration;

/// What is shown for what is not known.
pub(super) const UNKNOWN: &str = "–";

/// A number or a rate, such as `18.2 k`.
pub(super) fn count(value: Option<f64>) -> String {
    match value {
        None => UNKNOWN.to_owned(),
        Some(value) if value >= 1e9 => format!("{:.1} G", value / 1e9),
        Some(value) if value >= 1e6 => format!("{:.1} M", value / 1e6),
        Some(value) if value >= 1e4 => format!("{:.1} k", value / 1e3),
        Some(value) if value >= 10.0 || value.fract() == 0.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
    }
}

/// A ratio, such as `97.3 %`.
pub(super) fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| UNKNOWN.to_owned(), |ratio| format!("{:.1} %", ratio * 100.0))
}

/// A duration, such as `1.2 ms`.
#[expect(clippy::cast_precision_loss, reason = "two digits, for reading")]
pub(super) fn time(us: Option<u64>) -> String {
    match us {
        None => UNKNOWN.to_owned(),
        Some(us) if us < 1_000 => format!("{us} µs"),
        Some(us) if us < 10_000 => format!("{:.1} ms", us as f64 / 1e3),
        Some(us) if us < 1_000_000 => format!("{} ms", us / 1_000),
        Some(us) => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// A size, such as `412 MiB`.
pub(super) fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (0..4).take_while(|unit| bytes >> (10 * unit) >= 1_024).count();
    format!("{} {}", bytes >> (10 * unit), units[unit])
}

/// A longer time, such as `2m 3s`.
pub(super) fn span(ms: u64) -> String {
    let seconds = match ms / 1_000 {
        seconds if seconds < 3_600 => seconds,
        seconds if seconds < 86_400 => seconds - seconds % 60,
        seconds => seconds - seconds % 3_600,
    };
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_their_unit() {
        let counts =
            [None, Some(0.0), Some(0.26), Some(999.6), Some(18_234.0), Some(2.5e6), Some(3e9)];
        let shown = counts.map(count);
        assert_eq!(shown, ["–", "0", "0.3", "1000", "18.2 k", "2.5 M", "3.0 G"]);
        let times = [None, Some(19), Some(1_234), Some(45_000), Some(1_500_000)].map(time);
        assert_eq!(times, ["–", "19 µs", "1.2 ms", "45 ms", "1.5 s"]);
        assert_eq!(
            [0, 1_023, 1_024, 412 << 20, 3 << 40, u64::MAX].map(size),
            ["0 B", "1023 B", "1 KiB", "412 MiB", "3 TiB", "16777215 TiB"]
        );
        assert_eq!(percent(Some(0.9731)), "97.3 %");
        assert_eq!(
            [999, 123_000, 3_700_000, 93_784_000].map(span),
            ["0s", "2m 3s", "1h 1m", "1day 2h"]
        );
    }
}
