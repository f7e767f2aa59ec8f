//! Zipf-distributed ranks, exact and without a table, for any number of keys.
//!
//! Rejection-inversion after Hörmann and Derflinger, "Rejection-inversion to generate
//! variates from monotone discrete distributions" (1996): a little more than one uniform
//! number per rank, whatever the exponent.

use crate::rng::Random;

/// Draws ranks `0..keys`, rank `r` with a probability proportional to `(r + 1)^-exponent`.
#[derive(Debug, Clone)]
pub struct Zipf {
    keys: f64,
    exponent: f64,
    area_first: f64,
    area_last: f64,
    shortcut: f64,
}

impl Zipf {
    /// A distribution over `keys` ranks. An exponent of 0 gives the uniform distribution.
    ///
    /// # Panics
    /// Without keys, or if the exponent is negative or no number.
    #[must_use]
    pub fn new(keys: u32, exponent: f64) -> Self {
        assert!(keys > 0, "there is nothing to draw from");
        assert!(exponent >= 0.0 && exponent.is_finite(), "a Zipf exponent is 0 or more");
        let mut zipf = Self {
            keys: f64::from(keys),
            exponent,
            area_first: 0.0,
            area_last: 0.0,
            shortcut: 0.0,
        };
        zipf.area_first = zipf.area(1.5) - 1.0;
        zipf.area_last = zipf.area(zipf.keys + 0.5);
        zipf.shortcut = 2.0 - zipf.area_inverse(zipf.area(2.5) - zipf.density(2.0));
        zipf
    }

    /// The next rank.
    pub fn draw(&self, random: &mut Random) -> u32 {
        loop {
            let area = self.area_last + random.unit() * (self.area_first - self.area_last);
            let x = self.area_inverse(area);
            let rank = x.round().clamp(1.0, self.keys);
            if rank - x <= self.shortcut || area >= self.area(rank + 0.5) - self.density(rank) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "in 1..=u32::MAX"
                )]
                return rank as u32 - 1;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The integral of the density, up to a constant.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        let t = (1.0 - self.exponent) * log;
        let factor = if t.abs() > 1e-8 { t.exp_m1() / t } else { 1.0 + t / 2.0 };
        factor * log
    }

    fn area_inverse(&self, area: f64) -> f64 {
        // Rounding may carry it below the pole at -1.
        let t = (area * (1.0 - self.exponent)).max(-1.0);
        let factor = if t.abs() > 1e-8 { t.ln_1p() / t } else { 1.0 - t / 2.0 };
        (factor * area).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u32 = 200_000;

    fn histogram(keys: u32, exponent: f64) -> Vec<f64> {
        let zipf = Zipf::new(keys, exponent);
        let mut random = Random::new(11);
        let mut counts = vec![0.0; keys as usize];
        for _ in 0..DRAWS {
            counts[zipf.draw(&mut random) as usize] += 1.0;
        }
        counts
    }

    #[test]
    fn the_frequencies_are_those_of_the_distribution() {
        for (keys, exponent) in [(1, 1.0), (2, 0.99), (50, 0.0), (50, 0.99), (50, 1.0), (50, 2.5)] {
            let counts = histogram(keys, exponent);
            let weights: Vec<f64> =
                (1..=keys).map(|rank| f64::from(rank).powf(-exponent)).collect();
            let total: f64 = weights.iter().sum();
            let chi_squared: f64 = counts
                .iter()
                .zip(&weights)
                .map(|(count, weight)| {
                    let expected = weight / total * f64::from(DRAWS);
                    (count - expected).powi(2) / expected
                })
                .sum();
            // 49 degrees of freedom: above 95 less often than once in ten thousand seeds.
            assert!(chi_squared < 95.0, "exponent {exponent}, {keys} keys: {chi_squared}");
        }
    }

    #[test]
    fn a_large_set_has_the_right_head() {
        let keys = 200_000;
        let counts = histogram(keys, 0.99);
        let total: f64 = (1..=keys).map(|rank| f64::from(rank).powf(-0.99)).sum();
        let share = counts[0] / f64::from(DRAWS);
        assert!((share - 1.0 / total).abs() < 0.003, "{share} instead of {}", 1.0 / total);
    }

    #[test]
    fn the_last_rank_is_reached_and_never_passed() {
        assert!(histogram(1_000, 0.0).iter().all(|count| *count > 0.0));
        let mut random = Random::new(3);
        let zipf = Zipf::new(u32::MAX, 0.5);
        for _ in 0..1_000 {
            assert!(zipf.draw(&mut random) < u32::MAX);
        }
    }
}
