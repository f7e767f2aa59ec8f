//! Percentile distributions as HdrHistogram's tools write and plot them (`.hgrm`). Values are milliseconds.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Lines for each halving of the distance to 100 %, as in HdrHistogram's own tools.
const TICKS_PER_HALF: u32 = 5;

/// Returns the text of the file for latencies in microseconds.
#[must_use]
pub fn percentile_file(latency: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0;
    for value in latency.iter_quantiles(TICKS_PER_HALF) {
        total += value.count_since_last_iteration();
        let ms = value.value_iterated_to() as f64 / 1_000.0;
        let quantile = value.quantile_iterated_to();
        // Writing to a String can't fail.
        let _ = match quantile < 1.0 {
            true => {
                let inverse = 1.0 / (1.0 - quantile);
                writeln!(text, "{ms:>12.3} {quantile:>2.12} {total:>10} {inverse:>14.2}")
            }
            false => writeln!(text, "{ms:>12.3} {quantile:>2.12} {total:>10}"),
        };
    }
    let (mean, deviation) = (latency.mean() / 1_000.0, latency.stdev() / 1_000.0);
    let max = latency.max() as f64 / 1_000.0;
    let count = latency.len();
    let _ = writeln!(text, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]");
    let _ = writeln!(text, "#[Max     = {max:>12.3}, Total count    = {count:>12}]");
    let (buckets, sub_buckets) = shape(latency);
    let _ = writeln!(text, "#[Buckets = {buckets:>12}, SubBuckets     = {sub_buckets:>12}]");
    text
}

/// The histogram's numbers of buckets and of their parts, as HdrHistogram defines them.
fn shape(latency: &Histogram<u64>) -> (u32, u64) {
    let resolution = 2 * 10u64.pow(latency.sigfig().into());
    let sub_buckets = resolution.next_power_of_two();
    let (mut buckets, mut covered) = (1, sub_buckets);
    while covered <= latency.high() {
        covered = covered.saturating_mul(2);
        buckets += 1;
    }
    (buckets, sub_buckets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;

    #[test]
    fn the_file_has_the_form_that_plotters_read() {
        let mut latency = histogram();
        for us in 1..=10_000u64 {
            latency.record(us).unwrap();
        }
        let text = percentile_file(&latency);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].split_whitespace().count(), 4);
        assert_eq!(lines[1], "");
        let rows: Vec<Vec<f64>> = lines[2..]
            .iter()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|cell| cell.parse().unwrap()).collect())
            .collect();
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]));
        let median = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!((4.99..5.01).contains(&median[0]), "{median:?}");
        assert!((4_990.0..5_010.0).contains(&median[2]), "{median:?}");
        let last = rows.last().unwrap();
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 10_000.0), "100 % has no inverse");
        assert!(text.contains("Total count    =        10000]"), "{text}");
        assert!(text.contains("SubBuckets     =         2048]"), "{text}");
    }

    #[test]
    fn nothing_recorded_is_no_error() {
        assert!(percentile_file(&histogram()).contains("Total count    =            0]"));
    }
}
