//! `standin report`: the results of runs, compared, merged and shown again.
//!
//! ```text
//! files ─► Document (report/document.rs) ─┬─► comparison.rs, with stats.rs ─► shown.rs: table, page; JSON
//!                                         ├─► report/merge.rs ─► JSON, HDR log, CSV, page, percentiles
//!                                         └─► the same files of one run
//! ```

mod comparison;
mod shown;
mod stats;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

pub use comparison::{Comparison, Group, GroupFacts, Row, compare};
pub use stats::Estimate;

use crate::report::FilesError;
use crate::report::document::{Document, DocumentError};
use crate::report::files::{Files, Outputs};
use crate::report::merge::{MergeError, merge};
use crate::report::plots::PlotError;
use crate::report::table::{millis, thousands};

/// `standin report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Compare runs. Those with the same label are repetitions of each other, and others stand for themselves; the first one is
    /// what the others are compared with. The exit code is 1 if they had different loads.
    Compare(CompareArgs),
    /// Merge runs that ran at the same time, on several machines, into one: counts and histograms are added.
    Merge(MergeArgs),
    /// Make the other files of a run from its JSON.
    Show(ShowArgs),
}

#[derive(Debug, Clone, Args)]
struct CompareArgs {
    /// Results of `standin load --json`.
    #[arg(value_name = "FILE", required_unless_present = "a", conflicts_with_all = ["a", "b"])]
    files: Vec<PathBuf>,
    /// Instead, the repetitions of one configuration.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "b")]
    a: Vec<PathBuf>,
    /// And those of the one to compare it with.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "a")]
    b: Vec<PathBuf>,
    /// Write the comparison as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write it as a page to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
struct MergeArgs {
    /// Results of `standin load --json`.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    outputs: OutputArgs,
}

#[derive(Debug, Clone, Args)]
struct ShowArgs {
    /// The result of `standin load --json`.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    outputs: OutputArgs,
}

#[derive(Debug, Clone, Args)]
struct OutputArgs {
    /// Write JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the timeline as CSV to this file.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write an HdrHistogram log to this file.
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Write percentile distributions: NAME.all.hgrm, NAME.read.hgrm and so on.
    #[arg(long, value_name = "NAME")]
    hgrm: Option<PathBuf>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Not enough of them.
    #[error("{0}")]
    Groups(String),
    /// Runs that can't be merged.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A drawing.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// Files of the report.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// Makes the report. Returns the text for the terminal and the exit code.
///
/// # Errors
/// [`ReportError`].
pub fn main(args: &ReportArgs) -> Result<(String, ExitCode), ReportError> {
    match &args.command {
        Command::Compare(args) => compare_files(args),
        Command::Merge(args) => {
            let documents = load(&args.files)?;
            let merged = merge(&documents)?;
            save(&args.outputs, &merged)?;
            Ok((summary(&merged), ExitCode::SUCCESS))
        }
        Command::Show(args) => {
            let document = Document::load(&args.file)?;
            save(&args.outputs, &document)?;
            Ok((summary(&document), ExitCode::SUCCESS))
        }
    }
}

fn load(files: &[PathBuf]) -> Result<Vec<Document>, DocumentError> {
    files.iter().map(|file| Document::load(file)).collect()
}

fn compare_files(args: &CompareArgs) -> Result<(String, ExitCode), ReportError> {
    let groups = match args.a.is_empty() {
        true => by_label(&args.files)?,
        false => vec![
            Group { name: "a".to_owned(), runs: load(&args.a)? },
            Group { name: "b".to_owned(), runs: load(&args.b)? },
        ],
    };
    if groups.len() < 2 {
        let text = "there is one group of runs, and nothing to compare it with; name files with different labels \
                    (--label), or use --a and --b";
        return Err(ReportError::Groups(text.to_owned()));
    }
    let comparison = compare(&groups);
    let mut files = Files::default();
    if let Some(path) = &args.json {
        files.save_json(path, &comparison);
    }
    if let Some(path) = &args.html {
        files.save(path, Ok(shown::page(&comparison, &groups)?));
    }
    files.finish()?;
    let code = if comparison.is_comparable { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok((shown::text(&comparison), code))
}

/// Groups files by their labels, in the order in which they come. A run without a label is a group of its own, with
/// the name of its file.
fn by_label(files: &[PathBuf]) -> Result<Vec<Group>, DocumentError> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for file in files {
        let run = Document::load(file)?;
        let Some(label) = run.label.clone() else {
            let short = file.file_name().map(|name| name.display().to_string());
            let name = short.filter(|short| groups.iter().all(|group| group.name != *short));
            let name = name.unwrap_or_else(|| file.display().to_string());
            groups.push(Group { name, runs: vec![run] });
            continue;
        };
        match places.get(&label) {
            Some(place) => groups[*place].runs.push(run),
            None => {
                places.insert(label.clone(), groups.len());
                groups.push(Group { name: label, runs: vec![run] });
            }
        }
    }
    Ok(groups)
}

fn save(args: &OutputArgs, document: &Document) -> Result<(), FilesError> {
    let OutputArgs { json, html, csv, hdr, hgrm } = args.clone();
    Outputs { json, html, csv, hdr, hgrm }.save(document)
}

fn summary(document: &Document) -> String {
    let total = &document.total;
    let latency = &total.latency_us;
    let mut text = format!(
        "{} requests on {}, {} answers/s; failed {}, stale {}, wrong {}\np50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms",
        thousands(total.requests),
        document.target.name,
        thousands(total.throughput_per_s.round() as u64),
        thousands(total.failed),
        thousands(total.stale),
        thousands(total.wrong),
        millis(latency.p50),
        millis(latency.p99),
        millis(latency.p999),
        millis(latency.max)
    );
    document.warnings.iter().for_each(|warning| text += &format!("\nWARNING: {warning}"));
    text
}
