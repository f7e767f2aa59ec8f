//! The files of `standin load` and `standin report`: the page in a real browser, and logs and percentiles as another
//! library reads them.

use std::path::{Path, PathBuf};
use std::process::Output;

use standin_testkit::Browser;

use crate::common::scripts::Python;
use crate::common::{Cluster, PAIR};
use crate::dashboard::{OVERFLOWS, pictures};

/// Phases whose marks are so close together that their labels would overlap in one row.
const PHASES: &str =
    "first=1s@200,the second=0.1s@400,the third=0.1s@200,the fourth=0.1s@400,the last=1s@300";

fn load(cluster: &Cluster, more: &[&str]) -> Output {
    let mut command = cluster.role("load");
    command.args(["--keys", "200", "--fill", "--check"]).args(more);
    command.output().expect("the program can be run")
}

fn file(cluster: &Cluster, name: &str) -> (PathBuf, String) {
    let path = cluster.directory().join(name);
    let text = path.to_str().expect("UTF-8").to_owned();
    (path, text)
}

fn run_report(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_standin"))
        .arg("report")
        .args(arguments)
        .current_dir(cluster.directory())
        .output()
        .expect("the program can be run");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said.into_owned())
}

/// The labels of marks that are drawn over each other, or outside of their drawing.
const OVERLAPS: &str = "(() => { const wrong = []; \
    const names = ['the second', 'the third', 'the fourth', 'the last']; \
    for (const svg of document.querySelectorAll('svg')) { \
        const outer = svg.getBoundingClientRect(); \
        const boxes = [...svg.querySelectorAll('text')] \
            .filter(text => names.includes(text.textContent.trim())) \
            .map(text => [text.textContent.trim(), text.getBoundingClientRect()]); \
        boxes.forEach(([a, x], index) => { \
            if (x.left < outer.left - 1 || x.right > outer.right + 1) wrong.push(a + ' is outside'); \
            for (const [b, y] of boxes.slice(0, index)) \
                if (x.left < y.right && y.left < x.right && x.top + 1 < y.bottom && y.top + 1 < x.bottom) \
                    wrong.push(a + ' over ' + b); \
        }); \
    } return wrong.join(', '); })()";
/// The number of drawings that are shown, and of labels in them.
const SHOWN: &str = "(() => { const shown = [...document.querySelectorAll('svg')] \
    .filter(svg => svg.getBoundingClientRect().width > 0); \
    return [shown.length, shown.filter(svg => svg.textContent.includes('the last')).length].join(' '); })()";

fn assert_readable(browser: &Browser, page: &Path, name: &str) {
    browser.open(&format!("file://{}", page.display()), 1440, 900);
    browser.wait("the page", "document.title.startsWith('Load')");
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for width in [1440, 1000, 800, 390, 320] {
            browser.resize(width, 900);
            assert_eq!(browser.value(OVERFLOWS), false, "{name} at {width} pixels");
            assert_eq!(browser.value(OVERLAPS), "", "{name} at {width} pixels");
        }
    }
    pictures(browser, name);
    let colour = "getComputedStyle(document.body).backgroundColor";
    let colours = ["light", "dark"].map(|scheme| {
        browser.prefer(scheme);
        browser.value(colour)
    });
    assert_ne!(colours[0], colours[1], "the dark page is another");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_page_of_a_run_is_readable_at_every_width_in_both_schemes() {
    let test = "the page of a run in a browser";
    let Some(browser) = Browser::start_or_skip(test) else { return };
    let mut cluster = Cluster::with("report-page", PAIR, |_| {});
    cluster.start();
    let (page, html) = file(&cluster, "run.html");
    let (_, json) = file(&cluster, "run.json");
    let more = ["--phases", PHASES, "--interval", "100ms", "--html", &html, "--json", &json];
    let output = load(&cluster, &more);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_readable(&browser, &page, "run");
    browser.resize(1440, 900);
    let shown = browser.value(SHOWN);
    let shown = shown.as_str().expect("two numbers");
    assert_eq!(shown, "7 6", "drawings, and those over time with the marks");

    let (_, other) = file(&cluster, "other.json");
    let output = load(&cluster, &["--phases", PHASES, "--reads", "50", "--json", &other]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (page, html) = file(&cluster, "compared.html");
    let (code, said) = run_report(&cluster, &["compare", &json, &other, "--html", &html]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("NOT COMPARABLE: mix.reads: 95"), "{said}");
    assert_readable(&browser, &page, "compared");
}

#[test]
fn another_library_reads_the_same_latencies_from_every_file() {
    let test = "another_library_reads_the_same_latencies_from_every_file";
    let Some(python) = Python::with(test, &["hdrh.log"]) else { return };
    let mut cluster = Cluster::with("report-hdr", PAIR, |_| {});
    cluster.start();
    let (json, log) = (file(&cluster, "r.json").1, file(&cluster, "r.hlog").1);
    let name = file(&cluster, "r").1;
    let more = ["--rate", "1000", "--seconds", "2", "--interval", "100ms", "--reads", "80"];
    let files = ["--json", &json, "--hdr", &log, "--hgrm", &name];
    let output = load(&cluster, &[&more[..], &files].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let percentiles = format!("{name}.read.hgrm");
    python.check("process/histograms.py", &[&json, &log, &percentiles], "percentiles agree");

    // So it does from the files of merged runs.
    let (merged, merged_log) = (file(&cluster, "m.json").1, file(&cluster, "m.hlog").1);
    let name = file(&cluster, "m").1;
    let outputs = ["--json", &merged, "--hdr", &merged_log, "--hgrm", &name];
    let (code, said) = run_report(&cluster, &[&["merge", &json, &json][..], &outputs].concat());
    assert_eq!(code, Some(0), "{said}");
    let percentiles = format!("{name}.read.hgrm");
    let arguments = [&*merged, &merged_log, &percentiles];
    python.check("process/histograms.py", &arguments, "percentiles agree");
}
