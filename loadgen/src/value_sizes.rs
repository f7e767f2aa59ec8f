//! The sizes of values: all equal, even between two bounds, lognormal, or by quantiles.

use std::fmt;
use std::str::FromStr;

use rand_distr::LogNormal;

use crate::rng::Random;
use crate::value::{VALUE_BYTES_MAX, VALUE_BYTES_MIN};

/// The largest number of quantiles.
const QUANTILES_MAX: usize = 8;
/// Parts of a whole, in which shares are counted.
const PARTS: u32 = 1_000_000;
/// The largest value of a lognormal distribution without bounds of its own.
const LOGNORMAL_BYTES_MAX: u32 = 1 << 20;
/// The largest sigma: beyond it, nearly all sizes are at the bounds.
const SIGMA_MAX: f64 = 5.0;

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueSizes {
    /// Smallest.
    pub min_bytes: u32,
    /// Largest.
    pub max_bytes: u32,
    spread: Spread,
}

/// How sizes are spread between the bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Spread {
    /// All alike.
    Even,
    /// The logarithm is normal; what is beyond the bounds is moved to them.
    LogNormal { median_bytes: f64, sigma: f64 },
    /// Sizes at some quantiles, and even between two of them.
    Quantiles([Quantile; QUANTILES_MAX]),
}

/// The share of values that are smaller, in [`PARTS`]. Places that are not used are like the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quantile {
    share: u32,
    bytes: u32,
}

impl ValueSizes {
    /// All of one size.
    #[must_use]
    pub const fn fixed(bytes: u32) -> Self {
        Self::between(bytes, bytes)
    }

    /// All sizes between two bounds alike.
    #[must_use]
    pub const fn between(min_bytes: u32, max_bytes: u32) -> Self {
        Self { min_bytes, max_bytes, spread: Spread::Even }
    }

    /// Whether the sizes are drawn evenly between the bounds, or all are equal.
    #[must_use]
    pub fn is_even(&self) -> bool {
        self.spread == Spread::Even
    }

    /// A random size.
    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        match &self.spread {
            Spread::Even => {
                let span = u64::from(self.max_bytes.saturating_sub(self.min_bytes)) + 1;
                let above = u32::try_from(random.below(span)).unwrap_or(0);
                self.min_bytes.saturating_add(above)
            }
            Spread::LogNormal { median_bytes, sigma } => {
                let bytes = match LogNormal::new(median_bytes.ln(), *sigma) {
                    Ok(distribution) => random.sample::<f64>(&distribution),
                    Err(error) => unreachable!("sigma was checked: {error}"),
                };
                (bytes as u32).clamp(self.min_bytes, self.max_bytes)
            }
            Spread::Quantiles(quantiles) => {
                let share = u32::try_from(random.below(PARTS.into())).unwrap_or(0);
                let above = quantiles.iter().position(|quantile| quantile.share > share);
                let above = above.unwrap_or(QUANTILES_MAX - 1).max(1);
                let (low, high) = (quantiles[above - 1], quantiles[above]);
                let within =
                    f64::from(share - low.share) / f64::from((high.share - low.share).max(1));
                low.bytes + (within * f64::from(high.bytes - low.bytes)).round() as u32
            }
        }
    }
}

/// As it is written.
impl fmt::Display for ValueSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min_bytes, max_bytes, spread } = self;
        match spread {
            Spread::Even if min_bytes == max_bytes => write!(f, "{min_bytes}"),
            Spread::Even => write!(f, "{min_bytes}-{max_bytes}"),
            Spread::LogNormal { median_bytes, sigma } => {
                write!(f, "lognormal:{median_bytes}:{sigma}:{min_bytes}-{max_bytes}")
            }
            Spread::Quantiles(quantiles) => {
                let mut before = None;
                for Quantile { share, bytes } in quantiles {
                    if before == Some(*share) {
                        break;
                    }
                    let comma = if before.is_some() { "," } else { "" };
                    write!(f, "{comma}{}%={bytes}", f64::from(*share) * 100.0 / f64::from(PARTS))?;
                    before = Some(*share);
                }
                Ok(())
            }
        }
    }
}

impl FromStr for ValueSizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("lognormal:") {
            return lognormal(rest);
        }
        if text.contains('%') {
            return quantiles(text);
        }
        bounds(text).map(|(min, max)| Self::between(min, max)).ok_or_else(|| {
            "write a number of bytes, such as 100, a range, such as 64-4096, lognormal:MEDIAN:SIGMA, or quantiles, \
             such as 0%=50,50%=230,90%=1000,100%=10000"
                .to_owned()
        })
    }
}

fn bounds(text: &str) -> Option<(u32, u32)> {
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    let (min, max) = (min.trim().parse().ok()?, max.trim().parse().ok()?);
    (min <= max).then_some((min, max))
}

fn lognormal(text: &str) -> Result<ValueSizes, String> {
    let wrong = || {
        format!(
            "write lognormal:MEDIAN:SIGMA, such as lognormal:230:1.2, with a sigma of 0 to {SIGMA_MAX}, and perhaps \
             bounds behind another colon, such as lognormal:230:1.2:32-65536, between which the median is"
        )
    };
    let mut parts = text.split(':');
    let median = parts.next().and_then(|median| median.parse::<u32>().ok());
    let sigma = parts.next().and_then(|sigma| sigma.parse::<f64>().ok());
    let (min_bytes, max_bytes) = match parts.next() {
        Some(text) => bounds(text).ok_or_else(wrong)?,
        None => (VALUE_BYTES_MIN, LOGNORMAL_BYTES_MAX),
    };
    match (median, sigma, parts.next()) {
        (Some(median), Some(sigma), None)
            if (0.0..=SIGMA_MAX).contains(&sigma) && (min_bytes..=max_bytes).contains(&median) =>
        {
            let spread = Spread::LogNormal { median_bytes: f64::from(median), sigma };
            Ok(ValueSizes { min_bytes, max_bytes, spread })
        }
        _ => Err(wrong()),
    }
}

fn quantiles(text: &str) -> Result<ValueSizes, String> {
    let wrong = || {
        format!(
            "write up to {QUANTILES_MAX} quantiles that rise, from 0% to 100%, such as \
             0%=50,50%=230,90%=1000,100%=10000"
        )
    };
    let mut all: Vec<Quantile> = Vec::new();
    for pair in text.split(',') {
        let (percent, bytes) = pair.split_once("%=").ok_or_else(wrong)?;
        let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
        let bytes: u32 = bytes.trim().parse().map_err(|_| wrong())?;
        let share = (percent / 100.0 * f64::from(PARTS)).round();
        if !(0.0..=f64::from(PARTS)).contains(&share) {
            return Err(wrong());
        }
        let quantile = Quantile { share: share as u32, bytes };
        if all.last().is_some_and(|last| last.share >= quantile.share || last.bytes > bytes) {
            return Err(wrong());
        }
        all.push(quantile);
    }
    let (Some(first), Some(last)) = (all.first().copied(), all.last().copied()) else {
        return Err(wrong());
    };
    let is_whole = first.share == 0 && last.share == PARTS && last.bytes <= VALUE_BYTES_MAX;
    if all.len() > QUANTILES_MAX || !is_whole {
        return Err(wrong());
    }
    let mut quantiles = [last; QUANTILES_MAX];
    quantiles[..all.len()].copy_from_slice(&all);
    let spread = Spread::Quantiles(quantiles);
    Ok(ValueSizes { min_bytes: first.bytes, max_bytes: last.bytes, spread })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str) -> Vec<u32> {
        let sizes: ValueSizes = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut random = Random::new(5);
        let mut all: Vec<u32> = (0..100_000).map(|_| sizes.draw(&mut random)).collect();
        all.sort_unstable();
        assert!(all[0] >= sizes.min_bytes && all[all.len() - 1] <= sizes.max_bytes, "{text}");
        all
    }

    #[track_caller]
    fn assert_near(found: u32, expected: f64) {
        let off = (f64::from(found) / expected - 1.0).abs();
        assert!(off < 0.03, "{found} instead of {expected}");
    }

    #[test]
    fn a_lognormal_distribution_has_its_quantiles() {
        let all = drawn("lognormal:230:1");
        assert_near(all[50_000], 230.0);
        // One sigma above the median, and 1.2816 of them.
        assert_near(all[84_134], 230.0 * 1f64.exp());
        assert_near(all[90_000], 230.0 * 1.2816f64.exp());
        let bounded = drawn("lognormal:230:1:100-400");
        assert_eq!((bounded[0], bounded[99_999]), (100, 400), "what is beyond is at the bounds");
        assert_near(bounded[50_000], 230.0);
    }

    #[test]
    fn quantiles_are_kept_and_even_between_them() {
        let all = drawn("0%=50,50%=230,90%=1000,100%=10000");
        assert_near(all[50_000], 230.0);
        assert_near(all[25_000], 140.0);
        assert_near(all[90_000], 1_000.0);
        assert_near(all[95_000], 5_500.0);
        assert!(all[0] < 52 && all[99_999] > 9_900);
    }

    #[test]
    fn what_is_written_is_read_again_and_nonsense_is_refused() {
        for text in
            ["100", "64-4096", "lognormal:230:1.2:32-65536", "0%=50,50%=230,99.9%=1000,100%=10000"]
        {
            let sizes: ValueSizes = text.parse().unwrap();
            assert_eq!(sizes.to_string(), text);
            assert_eq!(sizes.to_string().parse(), Ok(sizes));
        }
        for text in [
            "many",
            "9-3",
            "lognormal:230",
            "lognormal:x:1",
            "lognormal:230:-1",
            "lognormal:230:6",
            "lognormal:230:1:300-400",
            "lognormal:230:1:32-400:5",
            "0%=50",
            "50%=50,100%=60",
            "0%=50,90%=60",
            "0%=50,50%=40,100%=60",
            "0%=50,50%=55,50%=56,100%=60",
            "0%=50,100%=99999999",
            "0%=50,x%=55,100%=60",
        ] {
            assert!(text.parse::<ValueSizes>().is_err(), "{text}");
        }
    }
}
