//! The table, as text and as Markdown. Pure.

use crate::row::Row;

/// Heads of the columns.
const HEAD: [&str; 11] = [
    "fault",
    "requests",
    "failed",
    "stale beyond",
    "first good ms",
    "silence ms",
    "announced ms",
    "origin reads/s steady → peak",
    "hits % steady → lowest",
    "normal again s",
    "targets",
];

/// The head of the table for a terminal.
pub(crate) fn head() -> String {
    aligned(&HEAD.map(str::to_owned))
}

/// A row for a terminal.
pub(crate) fn line(row: &Row) -> String {
    aligned(&cells(row))
}

/// The remarks below the table.
pub(crate) fn remarks(row: &Row) -> Vec<String> {
    let misses = row.misses.iter().map(|miss| format!("MISSED: {miss}"));
    misses.chain(row.notes.iter().cloned()).collect()
}

/// The whole, with the remarks below, for a document.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = format!("| {} |\n|{}\n", HEAD.join(" | "), "---|".repeat(HEAD.len()));
    for row in rows {
        text += &format!("| {} |\n", cells(row).join(" | "));
    }
    for row in rows {
        for remark in remarks(row) {
            text += &format!("\n- {}: {}", row.fault, remark.replace('\n', " "));
        }
    }
    text.push('\n');
    text
}

/// Returns the spread of the figures of each fault that was run more than once.
pub(crate) fn spreads(rows: &[Row]) -> Vec<String> {
    let played = rows.chunk_by(|row, next| row.fault == next.fault);
    played.filter(|rows| rows.len() > 1).map(spread).collect()
}

fn spread(rows: &[Row]) -> String {
    let of = |figure: fn(&Row) -> Option<f64>, digits: usize| {
        let mut all: Vec<f64> = rows.iter().filter_map(figure).collect();
        all.sort_unstable_by(f64::total_cmp);
        let missing = match rows.len() - all.len() {
            0 => String::new(),
            missing => format!(", {missing} without"),
        };
        match (all.get(all.len().saturating_sub(1) / 2), all.last()) {
            (Some(median), Some(worst)) => {
                format!("{median:.digits$} (worst {worst:.digits$}{missing})")
            }
            _ => "–".to_owned(),
        }
    };
    let sum = |count: fn(&Row) -> u64| rows.iter().map(count).sum::<u64>();
    format!(
        "{}, {} times, medians: first good {} ms, announced {} ms, origin reads {}× at their peak, \
         p99 of reads {} ms; in all {} failed, {} stale beyond the bound",
        rows[0].fault,
        rows.len(),
        of(|row| row.first_good_ms, 0),
        of(|row| row.announced_ms, 0),
        of(Row::origin_peak, 1),
        of(|row| Some(row.reads.p99_ms), 0),
        sum(|row| row.counts.failed),
        sum(|row| row.stale_beyond),
    )
}

fn cells(row: &Row) -> [String; 11] {
    let times = row.origin_peak().map_or_else(String::new, |times| format!(" ({times:.1}×)"));
    [
        row.fault.clone(),
        row.counts.requests.to_string(),
        row.counts.failed.to_string(),
        row.stale_beyond.to_string(),
        shown(row.first_good_ms, 1.0, 0),
        shown(row.silence_ms, 1.0, 0),
        shown(row.announced_ms, 1.0, 0),
        format!("{:.0} → {:.0}{times}", row.origin_reads_steady_per_s, row.origin_reads_peak_per_s),
        format!("{:.1} → {:.1}", row.hit_ratio_steady * 100.0, row.hit_ratio_lowest * 100.0),
        normal(row),
        if row.is_good() { "ok".to_owned() } else { "MISSED".to_owned() },
    ]
}

/// Returns the time to normal since the fault, or since its end if that is later.
fn normal(row: &Row) -> String {
    match (row.normal_ms, row.healed_ms) {
        (None, _) => "not in the run".to_owned(),
        (Some(normal), Some(healed)) if normal > healed => {
            format!("end + {:.1}", (normal - healed) / 1_000.0)
        }
        (Some(normal), _) => format!("{:.1}", normal / 1_000.0),
    }
}

fn shown(number: Option<f64>, factor: f64, digits: usize) -> String {
    number.map_or_else(|| "–".to_owned(), |number| format!("{:.digits$}", number * factor))
}

fn aligned(cells: &[String; 11]) -> String {
    const WIDTHS: [usize; 11] = [26, 9, 7, 13, 14, 11, 13, 29, 23, 15, 7];
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(WIDTHS).enumerate() {
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
        // Names begin their column, figures end it.
        line += &if index == 0 { format!("{cell}{padding}") } else { format!("{padding}{cell} ") };
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            fault: "cut-client-and-master".to_owned(),
            first_good_ms: Some(43.6),
            origin_reads_steady_per_s: 100.0,
            origin_reads_peak_per_s: 181.0,
            hit_ratio_steady: 0.951,
            hit_ratio_lowest: 0.8,
            normal_ms: Some(9_500.0),
            healed_ms: Some(8_000.0),
            ..Row::default()
        }
    }

    #[test]
    fn columns_line_up() {
        let (head, line) = (head(), line(&row()));
        let column = |text: &str, word: &str| {
            text.find(word).map(|at| text[..at].chars().count() + word.chars().count())
        };
        assert_eq!(column(&head, "ms"), column(&line, " 44"));
        assert!(line.contains("100 → 181 (1.8×)"), "{line}");
        assert!(line.contains("end + 1.5"), "{line}");
        assert!(line.ends_with("ok"), "{line}");
    }

    #[test]
    fn the_spread_is_of_faults_that_were_repeated() {
        let other = Row { fault: "kill".to_owned(), ..row() };
        let slow = Row { first_good_ms: Some(100.2), origin_reads_peak_per_s: 220.0, ..row() };
        let never = Row { first_good_ms: None, ..row() };
        let spreads = spreads(&[other, row(), slow, never]);
        assert_eq!(spreads.len(), 1);
        assert!(spreads[0].starts_with("cut-client-and-master, 3 times"), "{spreads:?}");
        assert!(spreads[0].contains("first good 44 (worst 100, 1 without) ms"), "{spreads:?}");
        assert!(spreads[0].contains("1.8 (worst 2.2)×"), "{spreads:?}");
    }

    #[test]
    fn a_miss_is_marked_and_told() {
        let row = Row { misses: vec!["3 requests failed".to_owned()], normal_ms: None, ..row() };
        assert!(line(&row).contains("not in the run") && line(&row).ends_with("MISSED"));
        let text = markdown(&[row]);
        assert!(text.contains("- cut-client-and-master: MISSED: 3 requests failed\n"), "{text}");
        assert_eq!(text.lines().next().unwrap().matches('|').count(), 12);
    }
}
