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

/// Returns the head of a table in Markdown.
#[must_use]
pub fn markdown_head(names: &[&str]) -> String {
    format!("| {} |\n|{}", names.join(" | "), "---|".repeat(names.len()))
}

/// Returns a row of a table in Markdown.
#[must_use]
pub fn markdown_row(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// The end of the name of a target with TLS.
pub const TLS: &str = "-tls";
/// The end of the name of a target whose TLS the kernel has.
pub const KERNEL_TLS: &str = "-kernel-tls";

/// One round of one cell.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// CPU time of the serving threads for each key.
    pub cpu_us_per_key: f64,
    /// Right replies per second; a multi-get has one for each key.
    pub keys_per_s: f64,
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
    /// The name of the target.
    pub target: String,
    /// The name of the target to compare it with.
    pub peer: Option<String>,
    /// In order of time.
    pub rounds: Vec<Round>,
    /// See [`Round::cpu_us_per_key`].
    pub cpu_us_per_key: Spread,
    /// See [`Round::keys_per_s`].
    pub keys_per_s: Spread,
    /// Its cost over the echo's, if that was measured.
    pub cpu_to_echo: Option<Spread>,
    /// Its cost over that of its peer, if that was measured.
    pub cpu_to_peer: Option<Spread>,
    /// Its cost over its own without TLS, if it has TLS.
    pub cpu_to_plain: Option<Spread>,
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
    pub fn add(
        &mut self,
        keys: u32,
        depth: usize,
        target: &str,
        peer: Option<&str>,
        rounds: Vec<Round>,
    ) {
        self.cells.push(Cell {
            keys,
            depth,
            target: target.to_owned(),
            peer: peer.map(str::to_owned),
            cpu_us_per_key: Spread::of(rounds.iter().map(|round| round.cpu_us_per_key)),
            keys_per_s: Spread::of(rounds.iter().map(|round| round.keys_per_s)),
            rounds,
            cpu_to_echo: None,
            cpu_to_peer: None,
            cpu_to_plain: None,
        });
    }

    /// Computes the ratios within each depth and number of keys. Each round is compared with the same
    /// round of the other target, which came shortly before or after it.
    pub fn compare(&mut self) {
        let of = |cells: &[Cell], like: &Cell, target: &str| {
            let is = |c: &&Cell| c.target == target && c.keys == like.keys && c.depth == like.depth;
            let base = cells.iter().find(is)?;
            let pairs = like.rounds.iter().zip(&base.rounds);
            Some(Spread::of(pairs.map(|(one, other)| one.cpu_us_per_key / other.cpu_us_per_key)))
        };
        for number in 0..self.cells.len() {
            let cell = &self.cells[number];
            let to_peer = cell.peer.as_deref().and_then(|peer| of(&self.cells, cell, peer));
            let to_echo = of(&self.cells, cell, "echo");
            let in_kernel = cell.target.strip_suffix(KERNEL_TLS);
            let plain = in_kernel.or(cell.target.strip_suffix(TLS));
            let to_plain = plain.and_then(|plain| of(&self.cells, cell, plain));
            (self.cells[number].cpu_to_echo, self.cells[number].cpu_to_peer) = (to_echo, to_peer);
            self.cells[number].cpu_to_plain = to_plain;
        }
    }

    /// The table, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::from(
            "| keys | depth | target | CPU µs/key (min–max) | × echo | × peer (min–max) | \
             × without TLS (min–max) | keys/s (min–max) | p50 µs | p99 µs | busy |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        let ratio =
            |ratio: Option<Spread>| ratio.map_or("–".into(), |r| format!("{:.2}", r.median));
        let spread = |ratio: Option<Spread>| {
            let with_spread = |r: Spread| format!("{:.2} ({:.2}–{:.2})", r.median, r.min, r.max);
            ratio.map_or("–".into(), with_spread)
        };
        for cell in &self.cells {
            let (cpu, rate) = (cell.cpu_us_per_key, cell.keys_per_s);
            let median = |of: fn(&Round) -> f64| Spread::of(cell.rounds.iter().map(of)).median;
            // Writing to a String can't fail.
            let _ = writeln!(
                out,
                "| {} | {} | {} | {:.3} ({:.3}–{:.3}) | {} | {} | {} | {:.0}k ({:.0}–{:.0}) | {:.0} | {:.0} | {:.0} % |",
                cell.keys,
                cell.depth,
                cell.target,
                cpu.median,
                cpu.min,
                cpu.max,
                ratio(cell.cpu_to_echo),
                spread(cell.cpu_to_peer),
                spread(cell.cpu_to_plain),
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
        let round = |cpu_us_per_key| Round {
            cpu_us_per_key,
            keys_per_s: 1.0,
            p50_us: 1.0,
            p99_us: 1.0,
            busy: 1.0,
        };
        let mut report = Report { versions: Vec::new(), cells: Vec::new() };
        let peer = Some("memcached");
        report.add(10, 1, "echo", None, vec![round(2.0)]);
        report.add(10, 1, "standin-uring", peer, vec![round(3.0)]);
        report.add(10, 16, "standin-uring", peer, vec![round(3.0), round(9.0)]);
        report.add(10, 16, "memcached", None, vec![round(6.0), round(6.0)]);
        report.add(10, 16, "memcached-tls", None, vec![round(9.0), round(12.0)]);
        report.add(10, 16, "memcached-kernel-tls", None, vec![round(6.0), round(3.0)]);
        report.compare();
        let spread = |median, min, max| Some(Spread { median, min, max });
        assert_eq!(report.cells[1].cpu_to_echo, spread(1.5, 1.5, 1.5));
        assert_eq!(report.cells[1].cpu_to_peer, None);
        assert_eq!(report.cells[2].cpu_to_echo, None);
        assert_eq!(report.cells[2].cpu_to_peer, spread(1.0, 0.5, 1.5), "round by round");
        assert_eq!(report.cells[4].cpu_to_plain, spread(1.75, 1.5, 2.0));
        assert_eq!(report.cells[5].cpu_to_plain, spread(0.75, 0.5, 1.0));
        assert!(report.table().contains("| 10 | 1 | standin-uring | 3.000 (3.000–3.000) | 1.50 |"));
    }
}
