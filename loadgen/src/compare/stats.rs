//! Medians of repeated measurements, and how far they can be trusted: percentile bootstrap intervals.
//!
//! Source: B. Efron and R. J. Tibshirani, *An Introduction to the Bootstrap* (1993), chapters 2, 6 and 13. The
//! measurements are drawn again, with replacement, as many times as there are of them; the median is taken; and this is
//! repeated. The interval is where the middle 95 % of these medians are. It assumes no distribution, unlike Student's,
//! which latencies do not have; but it never leaves the range of the measurements, and is too narrow for few of them.

use serde::{Deserialize, Serialize};

use crate::rng::Random;

/// The times that measurements are drawn again.
const DRAWS: usize = 10_000;
/// The share of the medians outside the interval.
const OUTSIDE: f64 = 0.05;
/// The number of measurements below which an interval is too narrow to be trusted.
pub(super) const ENOUGH: usize = 5;
/// The same numbers for the same measurements.
const SEED: u64 = 0xB007;

/// An estimate with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The median, or the ratio of two medians.
    pub value: f64,
    /// The interval; `None`: a single measurement has none.
    pub interval: Option<(f64, f64)>,
}

/// The median; `None`: there are no measurements.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[half]),
        _ => Some(f64::midpoint(sorted[half - 1], sorted[half])),
    }
}

/// The median of measurements.
pub(super) fn estimate(values: &[f64]) -> Option<Estimate> {
    let value = median(values)?;
    let interval = (values.len() > 1).then(|| middle(medians(values, 0)));
    Some(Estimate { value, interval })
}

/// The ratio of the medians of independent measurements, `b` to `a`; `None`: one has none, or `a`'s is zero. It has no
/// interval if `a`'s median may as well have been zero, because then nothing bounds the ratio.
pub(super) fn ratio(a: &[f64], b: &[f64]) -> Option<Estimate> {
    let (below, above) = (median(a)?, median(b)?);
    if below == 0.0 {
        return None;
    }
    let drawn = (a.len() > 1 && b.len() > 1).then(|| (medians(a, 1), medians(b, 2)));
    let interval = drawn.filter(|(below, _)| !below.contains(&0.0)).map(|(below, above)| {
        middle(below.iter().zip(&above).map(|(below, above)| above / below).collect())
    });
    Some(Estimate { value: above / below, interval })
}

/// The medians of measurements that are drawn again.
fn medians(values: &[f64], stream: u64) -> Vec<f64> {
    let mut random = Random::stream(SEED, stream);
    let draw = |_| {
        let index = |random: &mut Random| random.below(values.len() as u64) as usize;
        let again: Vec<f64> = values.iter().map(|_| values[index(&mut random)]).collect();
        median(&again).unwrap_or(f64::NAN)
    };
    (0..DRAWS).map(draw).collect()
}

/// The bounds of the middle of many numbers.
fn middle(mut numbers: Vec<f64>) -> (f64, f64) {
    numbers.sort_by(f64::total_cmp);
    let last = numbers.len().saturating_sub(1);
    let at = |share: f64| numbers.get((share * last as f64).round() as usize).copied();
    (at(OUTSIDE / 2.0).unwrap_or(f64::NAN), at(1.0 - OUTSIDE / 2.0).unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The survival times of mice in Efron and Tibshirani's table 2.1.
    const TREATED: [f64; 7] = [94.0, 197.0, 16.0, 38.0, 99.0, 141.0, 23.0];
    const CONTROL: [f64; 9] = [52.0, 104.0, 146.0, 10.0, 50.0, 31.0, 40.0, 27.0, 46.0];

    fn spread(medians: &[f64]) -> f64 {
        let mean = medians.iter().sum::<f64>() / medians.len() as f64;
        let variance = medians.iter().map(|m| (m - mean).powi(2)).sum::<f64>();
        (variance / (medians.len() - 1) as f64).sqrt()
    }

    #[test]
    fn medians_are_those_of_the_book() {
        assert_eq!(median(&TREATED), Some(94.0));
        assert_eq!(median(&CONTROL), Some(46.0));
        assert_eq!(median(&[1.0, 4.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_ratio_to_what_may_be_zero_has_no_interval() {
        let some = ratio(&[0.0, 0.0, 1.0, 1.0, 1.0], &[2.0; 5]).expect("the median is 1");
        assert_eq!((some.value, some.interval), (2.0, None));
        assert!(ratio(&[1.0, 1.0, 2.0], &[2.0; 3]).expect("a ratio").interval.is_some());
        assert_eq!(ratio(&[0.0, 0.0, 1.0], &[2.0; 3]), None);
    }

    /// The standard error of the median over infinitely many draws is 37.83 for the treated mice in the book, and
    /// 12.86 for the others, by the binomial distribution of the order of what is drawn.
    #[test]
    fn the_bootstrap_has_the_known_standard_errors() {
        let treated = spread(&medians(&TREATED, 0));
        assert!((treated - 37.83).abs() < 0.8, "{treated}");
        let control = spread(&medians(&CONTROL, 0));
        assert!((control - 12.86).abs() < 0.4, "{control}");
    }

    /// A median of draws from seven values is the smallest with a probability of 1.02 %, and one of the two smallest
    /// with 10.8 %; so 2.5 % of the medians are at the second smallest, and as many at the second largest.
    #[test]
    fn intervals_are_those_of_the_exact_distribution() {
        let estimate = estimate(&TREATED).unwrap();
        assert_eq!((estimate.value, estimate.interval), (94.0, Some((23.0, 141.0))));
        // Of nine values: 0.14 %, then 3.0 % with the second.
        let estimate = super::estimate(&CONTROL).unwrap();
        assert_eq!((estimate.value, estimate.interval), (46.0, Some((27.0, 104.0))));
    }

    #[test]
    fn a_ratio_has_the_interval_of_its_parts() {
        let ratio = ratio(&CONTROL, &TREATED).unwrap();
        assert!((ratio.value - 94.0 / 46.0).abs() < 1e-9);
        // From 200,000 draws by another program: 0.442 and 3.788.
        let (low, high) = ratio.interval.unwrap();
        assert!((0.38..0.50).contains(&low) && (3.5..4.1).contains(&high), "{low} {high}");
        let same = super::ratio(&[5.0, 5.0, 5.0], &[10.0, 10.0]).unwrap();
        assert_eq!((same.value, same.interval), (2.0, Some((2.0, 2.0))));
        assert!(super::ratio(&[0.0], &[1.0]).is_none() && super::ratio(&[], &[1.0]).is_none());
    }

    #[test]
    fn one_measurement_has_no_interval() {
        assert_eq!(estimate(&[3.0]), Some(Estimate { value: 3.0, interval: None }));
        assert_eq!(ratio(&[2.0], &[3.0, 3.0]).unwrap().interval, None);
    }
}
