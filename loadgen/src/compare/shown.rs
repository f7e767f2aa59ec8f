//! A comparison for a terminal, and as a page.

use std::fmt::Write as _;

use standin_config::counted;

use super::comparison::{Comparison, Group, Row};
use super::stats::Estimate;
use crate::recorder::{add, histogram};
use crate::report::CurvePoint;
use crate::report::figures::curve;
use crate::report::html::Page;
use crate::report::plots::{PlotError, percentiles};

/// Width of the names of figures.
const NAME_WIDTH: usize = 36;
/// Width of a group's column.
const GROUP_WIDTH: usize = 28;

/// The table for a terminal.
pub(super) fn text(comparison: &Comparison) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    for group in named(comparison) {
        let _ = writeln!(text, "{group}");
    }
    for difference in &comparison.differences {
        let _ = writeln!(text, "NOT COMPARABLE: {difference}");
    }
    let _ = write!(text, "\n{:NAME_WIDTH$}", "");
    for cell in head(comparison) {
        let _ = write!(text, "{cell:>GROUP_WIDTH$}");
    }
    text.push('\n');
    for row in &comparison.rows {
        let _ = write!(text, "{:NAME_WIDTH$}", name(row));
        for cell in cells(row) {
            let _ = write!(text, "{cell:>GROUP_WIDTH$}");
        }
        text.push('\n');
    }
    let _ = writeln!(text, "\n{}", comparison.method);
    comparison.notes.iter().for_each(|note| {
        let _ = writeln!(text, "note: {note}");
    });
    text.truncate(text.trim_end().len());
    text
}

/// The page.
///
/// # Errors
/// [`PlotError`].
pub(super) fn page(comparison: &Comparison, groups: &[Group]) -> Result<String, PlotError> {
    let names: Vec<&str> = comparison.groups.iter().map(|group| group.name.as_str()).collect();
    let mut page = Page::new(&format!("Load compared: {}", names.join(", ")));
    for difference in &comparison.differences {
        page.paragraph(&format!("Not comparable: {difference}"), Some(false));
    }
    named(comparison).for_each(|group| page.paragraph(&group, None));
    let mut columns = vec![String::new()];
    columns.extend(head(comparison));
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let row = |row: &Row| [vec![name(row)], cells(row)].concat();
    page.table(&columns, &comparison.rows.iter().map(row).collect::<Vec<_>>(), false);
    page.paragraph(comparison.method, None);
    comparison.notes.iter().for_each(|note| page.paragraph(note, None));
    page.heading("Percentiles, over all runs of each");
    let curves: Vec<(&str, Vec<CurvePoint>)> = groups
        .iter()
        .map(|group| {
            let mut all = histogram();
            group.runs.iter().for_each(|run| add(&mut all, &run.latency()));
            (group.name.as_str(), curve(&all))
        })
        .collect();
    let curves: Vec<(&str, &[CurvePoint])> =
        curves.iter().map(|(name, points)| (*name, points.as_slice())).collect();
    page.drawing(&percentiles("Latency from the scheduled time", &curves)?);
    page.heading("Runs");
    let rows: Vec<Vec<String>> = groups
        .iter()
        .flat_map(|group| {
            group.runs.iter().map(|run| {
                let command = run.command.join(" ");
                vec![group.name.clone(), run.started.clone(), run.target.name.clone(), command]
            })
        })
        .collect();
    page.table(&["", "started", "target", "command"], &rows, true);
    Ok(page.finish())
}

/// Each group with its letter.
fn named(comparison: &Comparison) -> impl Iterator<Item = String> {
    comparison.groups.iter().enumerate().map(|(index, group)| {
        let runs = counted(group.runs, "run");
        format!("{}: {}, {runs} on {}", letter(index), group.name, group.target)
    })
}

fn letter(index: usize) -> String {
    u8::try_from(index)
        .ok()
        .filter(|index| *index < 26)
        .map_or_else(|| format!("#{}", index + 1), |index| char::from(b'A' + index).to_string())
}

/// The columns: each group, and behind it its ratio to the first.
fn head(comparison: &Comparison) -> Vec<String> {
    let mut head = Vec::new();
    for index in 0..comparison.groups.len() {
        head.push(letter(index));
        if index > 0 {
            head.push(format!("{}/{}", letter(index), letter(0)));
        }
    }
    head
}

fn name(row: &Row) -> String {
    match row.unit {
        "" => row.figure.clone(),
        unit => format!("{}, {unit}", row.figure),
    }
}

fn cells(row: &Row) -> Vec<String> {
    let mut cells = Vec::new();
    for (index, median) in row.medians.iter().enumerate() {
        cells.push(cell(*median));
        if index > 0 {
            cells.push(cell(row.ratios[index - 1]));
        }
    }
    cells
}

fn cell(estimate: Option<Estimate>) -> String {
    let Some(Estimate { value, interval }) = estimate else { return "–".to_owned() };
    match interval {
        Some((low, high)) => format!("{} [{}, {}]", number(value), number(low), number(high)),
        None => number(value),
    }
}

/// Three significant digits, and all of those before the point.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        0.0..1.0 => format!("{value:.3}"),
        1.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
