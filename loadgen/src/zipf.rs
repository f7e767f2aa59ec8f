//! Zipf-distributed ranks, for any number of keys.

use rand_distr::Zipf as Distribution;

use crate::rng::Random;

/// Draws ranks `0..keys`, rank `r` with a probability proportional to `(r + 1)^-exponent`.
#[derive(Debug, Clone)]
pub struct Zipf {
    keys: u32,
    distribution: Distribution<f64>,
}

impl Zipf {
    /// A distribution over `keys` ranks. An exponent of 0 gives the uniform distribution.
    ///
    /// # Panics
    /// Without keys, or if the exponent is negative or no number.
    #[must_use]
    pub fn new(keys: u32, exponent: f64) -> Self {
        let distribution = Distribution::new(f64::from(keys), exponent);
        let distribution = distribution.expect("there are keys, and an exponent of 0 or more");
        Self { keys, distribution }
    }

    /// The next rank.
    pub fn draw(&self, random: &mut Random) -> u32 {
        // From one; rounding may carry it beyond the last one.
        let rank = random.sample(&self.distribution).min(f64::from(self.keys));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in 1..=u32::MAX"
        )]
        let rank = rank as u32;
        rank - 1
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
