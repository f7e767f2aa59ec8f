//! `cargo xtask demo-seeds N`: the demo with one seed after the other, as a table.

use std::time::Duration;

use standin_testkit::Postgres;

use crate::demo::{self, Demo, Figures};
use crate::process::{self, Clock};
use crate::workspace::Workspace;

const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// Runs them; whether all were clean.
pub(crate) fn run(
    workspace: &Workspace,
    count: u32,
    seconds: u32,
    origin: &str,
) -> Result<bool, String> {
    // Held until the end: dropping it stops the database.
    let postgres = match origin {
        "sqlite" => None,
        "postgres" => {
            Postgres::available()?;
            Some(Postgres::start())
        }
        other => return Err(format!("--origin takes sqlite or postgres, not {other:?}")),
    };
    let mut build = workspace.cargo(&["build", "--release"]);
    let log = workspace.logs().join("release-build.log");
    let built = process::run(&mut build, &log, BUILD_LIMIT, Clock::Shown)
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !built.success {
        return Err(format!("the release build failed:\n{}", built.output));
    }
    println!("demo on {origin}, {seconds} s each; reports in {}", workspace.logs().display());
    println!(
        "{:>4} {:>9} {:>6} {:>5} {:>6} {:>8} {:>8} {:>8} {:>8} {:>9} {:>7} {:>9} {:>7}  ",
        "seed",
        "requests",
        "failed",
        "stale",
        "hits",
        "origin",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "max us",
        "detect",
        "announce",
        "return"
    );
    let mut clean = 0;
    for seed in 1..=count {
        let demo = Demo {
            seconds,
            seed: Some(seed),
            origin: postgres.as_ref().map(Postgres::url),
            ..Demo::new(format!("demo-{origin}-seed-{seed}"))
        };
        let run = demo::run(workspace, &demo).map_err(|failed| failed.output)?;
        match &run.figures {
            Ok(figures) => {
                let good = run.success && figures.is_clean();
                clean += u32::from(good);
                println!("{seed:>4} {}  {}", row(figures), if good { "ok" } else { "FAILED" });
            }
            Err(message) => {
                println!("{seed:>4} FAILED with exit code {:?}: {message}", run.code);
                println!("{}", run.output);
            }
        }
    }
    println!("{clean} of {count} clean (times of detect, announce and return in ms)");
    Ok(clean == count)
}

fn row(figures: &Figures) -> String {
    let Figures { requests, failed, stale, origin_reads, .. } = figures;
    format!(
        "{requests:>9} {failed:>6} {stale:>5} {:>5.1}% {origin_reads:>8} {:>8.0} {:>8.0} {:>8.0} \
         {:>9.0} {:>7.0} {:>9.0} {:>7.0}",
        figures.hit_ratio * 100.0,
        figures.p50_us,
        figures.p99_us,
        figures.p999_us,
        figures.max_us,
        figures.detect_ms,
        figures.announce_ms,
        figures.return_ms
    )
}
