//! `docs/METRICS.md` is exactly what the lists of figures say, and what is built on the metrics names no
//! others.
//!
//! After a change of a figure: `STANDIN_METRICS=write cargo test -p standin metrics`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use standin_master::Machine;
use standin_metrics::process::{self, BuildFigures, HttpFigures, ProcessFigures, ThreadFigures};
use standin_metrics::published_name;
use standin_protocol::counters::{Figure, FigureKind};
use standin_server::stats::Scrape;

use super::{CertificateFigures, MASTER, PROXY, SERVER};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/METRICS.md");
const HEAD: &str = include_str!("head.txt");

/// The sections of the document: a title, what it says of them, the prefix of the names, and the figures.
fn sections() -> Vec<(&'static str, &'static str, &'static str, Vec<&'static Figure>)> {
    let of_build =
        BuildFigures::FIGURES.iter().chain(ThreadFigures::FIGURES).chain(HttpFigures::FIGURES);
    let of_build = of_build.chain(CertificateFigures::FIGURES);
    vec![
        (
            "Servers",
            "A server's figures are those of all its shards together, except for those that have a label \
             `shard`.",
            SERVER,
            Scrape::figures().collect(),
        ),
        ("Master", "", MASTER, Machine::figures().collect()),
        (
            "Proxies",
            "A proxy's hits and misses are those of the servers that have answered.",
            PROXY,
            standin_proxy::Scrape::figures().collect(),
        ),
        ("Every process", "", process::PREFIX, of_build.collect()),
        (
            "Every process, as other programs have them",
            "",
            process::PROCESS,
            ProcessFigures::FIGURES.iter().collect(),
        ),
    ]
}

fn kind(kind: FigureKind) -> &'static str {
    match kind {
        FigureKind::Counter => "counter",
        FigureKind::Gauge | FigureKind::Maximum => "gauge",
        FigureKind::Histogram => "histogram",
    }
}

fn document() -> String {
    let mut text = HEAD.to_owned();
    for (title, about, prefix, figures) in sections() {
        let about = if about.is_empty() { String::new() } else { format!("\n{about}\n") };
        write!(
            text,
            "\n## {title}\n{about}\n| name | kind | labels | meaning |\n|---|---|---|---|\n"
        )
        .expect("a string takes everything");
        for figure in figures {
            let labels: Vec<String> =
                figure.labels.iter().map(|label| format!("`{label}`")).collect();
            let (name, kind) = (published_name(prefix, figure), kind(figure.kind));
            let (labels, help) = (labels.join(", "), figure.help);
            writeln!(text, "| `{name}` | {kind} | {labels} | {help} |")
                .expect("a string takes everything");
        }
    }
    text
}

/// All names that a query can have.
fn names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, _, prefix, figures) in sections() {
        for figure in figures {
            let name = published_name(prefix, figure);
            if figure.kind == FigureKind::Histogram {
                names.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
            }
            names.insert(name);
        }
    }
    names
}

#[test]
fn the_document_is_what_the_lists_of_metrics_say() {
    let document = document();
    if std::env::var_os("STANDIN_METRICS").is_some_and(|value| value == "write") {
        std::fs::write(DOCUMENT, &document).expect("docs/ can be written");
    }
    let published = std::fs::read_to_string(DOCUMENT).unwrap_or_default();
    assert!(
        published == document,
        "docs/METRICS.md is out of date: STANDIN_METRICS=write cargo test -p standin metrics"
    );
}

/// The table of what to do for each alert is what the alerts themselves say, to the one who is woken by them.
#[test]
fn the_table_of_alerts_is_what_the_rules_say() {
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/monitoring");
    let rules = std::fs::read_to_string(format!("{FOLDER}/alerts.yml")).expect("alerts.yml");
    let mut table = String::new();
    for rule in rules.split("      - alert: ").skip(1) {
        // A text is in single quotes, and has each of its own twice.
        let text = |key: &str| {
            let line = rule.lines().find_map(|line| line.trim().strip_prefix(key));
            let quoted = line.and_then(|line| line.strip_prefix(": '")?.strip_suffix('\''));
            let text = quoted.unwrap_or_else(|| panic!("no {key} in {rule}")).replace("''", "'");
            assert!(!text.contains('|') && text.ends_with('.'), "{key} of {rule}");
            text
        };
        let name = rule.lines().next().expect("a name");
        let severity = rule.split_once("severity: ").and_then(|(_, rest)| rest.split_once(' '));
        let severity = severity.unwrap_or_else(|| panic!("no severity in {rule}")).0;
        let (cause, action) = (text("cause"), text("action"));
        writeln!(table, "| `{name}` | {severity} | {cause} | {action} |")
            .expect("a string takes everything");
    }
    assert!(table.lines().count() > 30, "{table}");
    let path = format!("{FOLDER}/README.md");
    let document = std::fs::read_to_string(&path).expect("README.md");
    const HEAD: &str = "| alert | severity | cause | what to do |\n|---|---|---|---|\n";
    let (before, _) = document.split_once(HEAD).expect("it has the table, at its end");
    let wanted = format!("{before}{HEAD}{table}");
    if std::env::var_os("STANDIN_METRICS").is_some_and(|value| value == "write") {
        std::fs::write(&path, &wanted).expect("docs/ can be written");
        return;
    }
    assert!(
        document == wanted,
        "docs/monitoring/README.md is out of date: STANDIN_METRICS=write cargo test -p standin metrics"
    );
}

#[test]
fn no_two_metrics_have_one_name_and_each_says_what_it_is() {
    let mut seen = BTreeSet::new();
    for (title, _, prefix, figures) in sections() {
        for figure in figures {
            let name = published_name(prefix, figure);
            assert!(seen.insert(name.clone()), "{title}: {name}");
            let help = figure.help;
            assert!(
                help.ends_with('.') && !help.contains(['\\', '\n', '"', '|']),
                "{name}: {help}"
            );
        }
    }
}

#[test]
fn dashboard_and_alerts_use_metrics_that_exist() {
    let names = names();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/monitoring");
    for file in ["alerts.yml", "alerts_test.yml", "dashboard.json"] {
        let text = std::fs::read_to_string(format!("{folder}/{file}")).expect(file);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = text
            .split(|c| !is_name(c))
            .filter(|word| word.starts_with("standin_") || word.starts_with("process_"));
        let used: BTreeSet<&str> = words.collect();
        assert!(used.len() > 10, "{file}: {used:?}");
        for name in used {
            assert!(names.contains(name), "{file} uses {name}, which is in no list");
        }
    }
    let dashboard =
        std::fs::read_to_string(format!("{folder}/dashboard.json")).expect("read above");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("it is JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 10));
}
