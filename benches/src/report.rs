//! Medians over rounds, the table, the JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// Median and spread of one figure over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Median.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    ///
    /// # Panics
    /// Without a value.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else {
            panic!("a spread is of at least one value");
        };
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Self { median, min, max }
    }
}

/// One round of one cell.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// CPU time of the serving threads per GET.
    pub cpu_us_per_get: f64,
    /// Right replies per second.
    pub gets_per_s: f64,
    /// Median time of a reply since its batch was made.
    pub p50_us: f64,
    /// 99th percentile of the same.
    pub p99_us: f64,
    /// Share of the time that the serving threads ran.
    pub busy: f64,
}

/// A target at a depth and a number of keys.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// Number of keys.
    pub keys: u32,
    /// Requests per batch and connection.
    pub depth: usize,
    /// Target.
    pub target: &'static str,
    /// In order of time.
    pub rounds: Vec<Round>,
    /// See [`Round::cpu_us_per_get`].
    pub cpu_us_per_get: Spread,
    /// See [`Round::gets_per_s`].
    pub gets_per_s: Spread,
    /// Its cost over the echo's, if that was measured.
    pub cpu_to_echo: Option<f64>,
    /// Its cost over memcached's, if that was measured.
    pub cpu_to_memcached: Option<f64>,
}

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The target and its version.
    pub versions: Vec<(&'static str, String)>,
    /// Cells in the order of the table.
    pub cells: Vec<Cell>,
}

impl Report {
    /// Adds a cell; call [`Self::compare`] when all are there.
    pub fn add(&mut self, keys: u32, depth: usize, target: &'static str, rounds: Vec<Round>) {
        self.cells.push(Cell {
            keys,
            depth,
            target,
            cpu_us_per_get: Spread::of(rounds.iter().map(|round| round.cpu_us_per_get)),
            gets_per_s: Spread::of(rounds.iter().map(|round| round.gets_per_s)),
            rounds,
            cpu_to_echo: None,
            cpu_to_memcached: None,
        });
    }

    /// Computes the ratios within each depth and number of keys.
    pub fn compare(&mut self) {
        let of = |cells: &[Cell], like: &Cell, target: &str| {
            let is = |c: &&Cell| c.target == target && c.keys == like.keys && c.depth == like.depth;
            cells
                .iter()
                .find(is)
                .map(|base| like.cpu_us_per_get.median / base.cpu_us_per_get.median)
        };
        for number in 0..self.cells.len() {
            let cell = &self.cells[number];
            let ratios = (of(&self.cells, cell, "echo"), of(&self.cells, cell, "memcached"));
            (self.cells[number].cpu_to_echo, self.cells[number].cpu_to_memcached) = ratios;
        }
    }

    /// The table, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::from(
            "| keys | depth | target | CPU µs/GET (min–max) | × echo | × memcached | \
             GET/s (min–max) | p50 µs | p99 µs | busy |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        let ratio = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2}"));
        for cell in &self.cells {
            let (cpu, rate) = (cell.cpu_us_per_get, cell.gets_per_s);
            let median = |of: fn(&Round) -> f64| Spread::of(cell.rounds.iter().map(of)).median;
            // Writing to a String can't fail.
            let _ = writeln!(
                out,
                "| {} | {} | {} | {:.3} ({:.3}–{:.3}) | {} | {} | {:.0}k ({:.0}–{:.0}) | {:.0} | {:.0} | {:.0} % |",
                cell.keys,
                cell.depth,
                cell.target,
                cpu.median,
                cpu.min,
                cpu.max,
                ratio(cell.cpu_to_echo),
                ratio(cell.cpu_to_memcached),
                rate.median / 1e3,
                rate.min / 1e3,
                rate.max / 1e3,
                median(|round| round.p50_us),
                median(|round| round.p99_us),
                median(|round| round.busy) * 100.0,
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]).median, 2.5);
    }

    #[test]
    fn ratios_are_within_a_cell() {
        let round = |cpu_us_per_get| Round {
            cpu_us_per_get,
            gets_per_s: 1.0,
            p50_us: 1.0,
            p99_us: 1.0,
            busy: 1.0,
        };
        let mut report = Report { versions: Vec::new(), cells: Vec::new() };
        report.add(10, 1, "echo", vec![round(2.0)]);
        report.add(10, 1, "standin-uring", vec![round(3.0)]);
        report.add(10, 16, "standin-uring", vec![round(3.0)]);
        report.compare();
        assert_eq!(report.cells[1].cpu_to_echo, Some(1.5));
        assert_eq!(report.cells[2].cpu_to_echo, None);
        assert_eq!(report.cells[1].cpu_to_memcached, None);
        assert!(report.table().contains("| 10 | 1 | standin-uring | 3.000 (3.000–3.000) | 1.50 |"));
    }
}
