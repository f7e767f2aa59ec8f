//! Numbers that may have a fraction.

use std::ops::RangeInclusive;

use super::{At, Found, Section, wrong_kind};
use crate::mistake::Report;

impl Section<'_> {
    /// A number that may have a fraction.
    pub fn decimal(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
        example: &str,
        report: &mut Report<'_>,
    ) -> Found<f64> {
        let path = self.key(key);
        let Some((item, at)) = self.take(key) else { return Found::Absent };
        let number = item.as_float().or_else(|| item.as_integer().map(|whole| whole as f64));
        let Some(value) = number else {
            let write = format!("`{key} = {example}`");
            wrong_kind(item, at, &path, "a number", &write, report);
            return Found::Bad;
        };
        if range.contains(&value) {
            return Found::Good(At { value, at });
        }
        let (first, last) = (range.start(), range.end());
        let wrong = format!("{value} is out of range; write a number from {first} to {last}");
        report.mistake(at, &path, wrong);
        Found::Bad
    }
}
