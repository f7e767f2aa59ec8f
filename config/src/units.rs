//! Durations (`"250ms"`) and sizes (`"64MiB"`) as the file writes them.

use std::time::Duration;

/// Each unit with its length in microseconds, longest first.
const DURATION_UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Each unit with its size in bytes, largest first.
const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A whole number directly followed by `d`, `h`, `m`, `s`, `ms` or `us`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, &DURATION_UNITS).map(Duration::from_micros)
}

/// A whole number directly followed by `TiB`, `GiB`, `MiB`, `KiB` or `B`.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    parse(text, &SIZE_UNITS)
}

/// The shortest text that [`parse_duration`] reads as this duration. What is finer
/// than a microsecond is lost.
pub(crate) fn format_duration(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if micros == 0 { "0s".to_owned() } else { format(micros, &DURATION_UNITS) }
}

/// The shortest text that [`parse_size`] reads as this size.
pub(crate) fn format_size(bytes: u64) -> String {
    if bytes == 0 { "0B".to_owned() } else { format(bytes, &SIZE_UNITS) }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn format(amount: u64, units: &[(&str, u64)]) -> String {
    let exact = units.iter().find(|(_, factor)| amount.is_multiple_of(*factor));
    exact.map_or_else(String::new, |(name, factor)| format!("{}{name}", amount / factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let ms = Duration::from_millis;
        let good = [
            ("250ms", ms(250)),
            ("2s", ms(2_000)),
            ("5m", ms(300_000)),
            ("1h", ms(3_600_000)),
            ("7d", ms(7 * 86_400_000)),
            ("0s", ms(0)),
            ("40us", Duration::from_micros(40)),
        ];
        for (text, duration) in good {
            assert_eq!(parse_duration(text), Some(duration), "{text}");
            assert_eq!(format_duration(duration), text);
        }
        for text in
            ["", "s", "2", "2 s", " 2s", "2s ", "-2s", "+2s", "1.5s", "2sec", "2S", "²s", "1_0s"]
        {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
        assert_eq!(parse_duration("99999999999999999999s"), None);
        assert_eq!(parse_duration("18446744073709551615d"), None);
    }

    #[test]
    fn sizes() {
        let good =
            [("64MiB", 64 << 20), ("1GiB", 1 << 30), ("512KiB", 512 << 10), ("7B", 7), ("0B", 0)];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
            assert_eq!(format_size(bytes), text);
        }
        for text in ["", "MiB", "64", "64MB", "64M", "64 MiB", "64mib", "-1B", "99999999TiB"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(amount: u64) {
            let duration = Duration::from_micros(amount);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
            prop_assert_eq!(parse_size(&format_size(amount)), Some(amount));
        }

        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
