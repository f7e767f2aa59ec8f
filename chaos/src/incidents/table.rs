//! The result: after how many seconds each place has named each cause, and by which words. Pure.

use std::time::Duration;

use crate::places::PLACES;

/// An incident, and by place when it was named and how.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) incident: &'static str,
    pub(crate) what: String,
    pub(crate) found: [Option<(Duration, String)>; PLACES.len()],
}

impl Row {
    /// Whether all places have named it in time.
    pub(crate) fn is_good(&self, within: Duration) -> bool {
        self.found.iter().all(|found| found.as_ref().is_some_and(|(after, _)| *after <= within))
    }
}

/// The names of the columns.
pub(crate) fn head() -> String {
    format!("{:<16} {:>9} {:>9} {:>12}", "incident", "alert, s", "page, s", "log line, s")
}

/// An incident: the seconds after which each place has named it.
pub(crate) fn line(row: &Row, within: Duration) -> String {
    let [alert, page, log] = row.found.each_ref().map(|found| match found {
        Some((after, _)) => format!("{:.1}", after.as_secs_f64()),
        None => "never".to_owned(),
    });
    let missed = if row.is_good(within) { "" } else { "  missed" };
    format!("{:<16} {alert:>9} {page:>9} {log:>12}{missed}", row.incident)
}

/// The words by which each place has named each incident.
pub(crate) fn words(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        text.push_str(&format!("\n{}: {}\n", row.incident, row.what));
        for (place, found) in ["alert", "page", "log"].iter().zip(&row.found) {
            let words = found.as_ref().map_or("nothing", |(_, words)| words.as_str());
            text.push_str(&format!("  {place:<6} {words}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_late_or_silent_misses() {
        let within = Duration::from_secs(30);
        let at = |seconds| Some((Duration::from_secs(seconds), "a1 hangs".to_owned()));
        let row = |found| Row { incident: "x", what: "it hangs".to_owned(), found };
        let good = row([at(1), at(30), at(2)]);
        let (late, silent) = (row([at(1), at(31), at(2)]), row([at(1), None, at(2)]));
        assert_eq!([&good, &late, &silent].map(|row| row.is_good(within)), [true, false, false]);
        assert!(!line(&good, within).contains("missed"));
        let silent_line = line(&silent, within);
        assert!(silent_line.contains("never") && silent_line.ends_with("missed"), "{silent_line}");
        assert!(words(&[good, silent]).contains("  page   nothing"));
    }
}
