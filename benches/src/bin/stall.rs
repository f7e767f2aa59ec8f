//! Whether load generators tell the truth about a stall: memcached and Redis are stopped for two seconds at a known
//! moment, and the percentiles are compared with those that follow from the schedule; and with what redis-benchmark and
//! memtier_benchmark say of the same stall, if they are installed. Run by `cargo xtask bench stall`.
#![expect(clippy::disallowed_methods, reason = "a shell: it sleeps until the stall")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use standin_benches::Failure;
use standin_loadgen::checker::{Checker, Initial};
use standin_loadgen::drive::{self, Pacing, Plan};
use standin_loadgen::faults::Process;
use standin_loadgen::faults::kinds::{Asked, Ground, Site, StartError, memcached, redis};
use standin_loadgen::live::Live;
use standin_loadgen::popularity::Popularity;
use standin_loadgen::recorder::{Recording, TimelinePoint};
use standin_loadgen::report::figures::curve;
use standin_loadgen::report::plots::{self, Line};
use standin_loadgen::report::table::thousands;
use standin_loadgen::report::{CurvePoint, Mark};
use standin_loadgen::request::ValueSizes;
use standin_loadgen::rng::Random;
use standin_loadgen::schedule::{Arrivals, Schedule};
use standin_loadgen::targets::Target;
use standin_loadgen::targets::wire::codec::Protocol;
use standin_loadgen::targets::wire::settings::{Server, Settings};
use standin_loadgen::workload::{Cold, Mix, Others, Supply, SweepAccess};
use standin_protocol::time::Micros;

const RATE_PER_S: u32 = 1_000;
const KEYS: u32 = 1_000;
const VALUE_BYTES: u32 = 100;
const UP_WITHIN: Duration = Duration::from_secs(10);
/// The time before the stall.
const BEFORE: Duration = Duration::from_secs(4);
const STALL: Duration = Duration::from_secs(2);
const WHOLE: Duration = Duration::from_secs(10);
const QUANTILES: [f64; 3] = [0.99, 0.999, 1.0];
/// The largest difference between a figure and the schedule, as a share.
const OFF_MAX: f64 = 0.01;
const SEED: u64 = 1;
const RUN: u32 = 0x57A1;

/// Stops memcached and Redis for two seconds of a run, and compares p99, p99.9 and max with those that follow from the
/// schedule. Beside it, the same in a closed loop.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench stall", max_term_width = 100)]
struct Args {
    /// Only protocols whose name contains this text.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Without the load generators of other projects.
    #[arg(long)]
    alone: bool,
    /// Draw the stall as the open and the closed loop see it: stall-over-time.svg and stall-percentiles.svg in this
    /// folder, of the last protocol measured.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stall: {error}");
            ExitCode::from(2)
        }
    }
}

fn measure(args: &Args) -> Result<bool, Failure> {
    println!(
        "{RATE_PER_S} requests/s for {WHOLE:?}, the server stopped for {STALL:?} after {BEFORE:?}; in milliseconds\n"
    );
    println!(
        "| generator | protocol | requests | p99 | from the schedule | p99.9 | from the schedule | max | from the schedule | failed, stale, wrong |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut is_true = true;
    let mut seen = Vec::new();
    for protocol in
        [Protocol::MemcachedText, Protocol::MemcachedMeta, Protocol::Resp2, Protocol::Resp3]
    {
        if !protocol.name().contains(args.only.as_str()) {
            continue;
        }
        let open = Pacing::Open { rates: RATE_PER_S.into(), arrivals: Arrivals::Poisson };
        seen.clear();
        for pacing in [open, Pacing::Closed { clients: 1, depth: 1 }] {
            let (recording, is_right) = row(protocol, &pacing)?;
            is_true &= is_right;
            seen.push((name(&pacing), recording));
        }
        if args.alone {
            continue;
        }
        for tool in Tool::ALL.into_iter().filter(|tool| tool.speaks(protocol)) {
            match tool.is_installed() {
                true => tool_row(tool, protocol)?,
                false => println!(
                    "| {}: not installed | {} | | | | | | | | |",
                    tool.program(),
                    protocol.name()
                ),
            }
        }
    }
    if let Some(folder) = &args.plots {
        plot(folder, &seen)?;
    }
    Ok(is_true)
}

/// Draws what the runs of one protocol have seen.
fn plot(folder: &Path, seen: &[(&'static str, Recording)]) -> Result<(), Failure> {
    let lines: Vec<Line> = seen
        .iter()
        .map(|(name, recording)| {
            let point =
                |point: &TimelinePoint| (point.t_ms as f64 / 1e3, point.max_us as f64 / 1e3);
            Line {
                name: format!("{name}: longest of each 100 ms"),
                points: recording.timeline().iter().map(point).collect(),
            }
        })
        .collect();
    let mark = |t_s, label: &str| Mark { t_s, label: label.to_owned() };
    let marks =
        [mark(BEFORE.as_secs_f64(), "stopped"), mark((BEFORE + STALL).as_secs_f64(), "resumed")];
    let title = "Latency by the time at which a request was due";
    let over_time = plots::over_time(title, "ms", &lines, &marks, true)?;
    let curves: Vec<(&str, Vec<CurvePoint>)> =
        seen.iter().map(|(name, recording)| (*name, curve(&recording.latency()))).collect();
    let curves: Vec<(&str, &[CurvePoint])> =
        curves.iter().map(|(name, points)| (*name, points.as_slice())).collect();
    let percentiles = plots::percentiles("Percentiles of the same run", &curves)?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("stall-over-time.svg"), over_time)?;
    std::fs::write(folder.join("stall-percentiles.svg"), percentiles)?;
    Ok(())
}

/// Prints one row; returns what was measured, and whether the figures are those of the schedule.
fn row(protocol: Protocol, pacing: &Pacing) -> Result<(Recording, bool), Failure> {
    let folder = tempfile::Builder::new().prefix("standin-stall-").tempdir()?;
    let (mut process, settings) = start(protocol, folder.path())?;
    let plan = Plan {
        duration: Some(WHOLE),
        checker: Some(Arc::new(Checker::new(KEYS, RUN, Initial::Filled))),
        slot: Duration::from_millis(100),
        ..Plan::new(Target::Wire(settings), pacing.clone(), SEED, RUN)
    };
    fill(&plan)?;
    let running = drive::start(&plan, vec![supply()], &Arc::new(Live::new(1)))?;
    let start = running.start;
    let (begun, ended) = stall(&mut process, start);
    let recording = running.join()?;
    let (counts, latency) = (recording.counts(), recording.latency());
    let (name, requests) = (name(pacing), thousands(counts.requests));
    let mut line = format!("| standin load, {name} | {} | {requests} ", protocol.name());
    let mut is_true = true;
    for quantile in QUANTILES {
        let measured_us = latency.value_at_quantile(quantile);
        let text = match pacing {
            Pacing::Open { arrivals, .. } => {
                let expected_us = expected_us(*arrivals, quantile, start, begun, ended);
                let off = measured_us as f64 / expected_us - 1.0;
                is_true &= off.abs() < OFF_MAX;
                format!("{:.1} ({:+.2} %)", expected_us / 1e3, off * 100.0)
            }
            Pacing::Closed { .. } | Pacing::Recorded => "–".to_owned(),
        };
        line += &format!("| {:.1} | {text} ", measured_us as f64 / 1e3);
    }
    let Recording { quotes, .. } = &recording;
    println!("{line}| {}, {}, {} |", counts.failed, counts.stale, counts.wrong);
    quotes.iter().for_each(|quote| println!("{quote}"));
    is_true &= counts.failed + counts.stale + counts.wrong == 0;
    Ok((recording, is_true))
}

/// Stops the server at its time, and lets it go on. Returns when that was.
fn stall(process: &mut Process, start: Micros) -> (Micros, Micros) {
    sleep_until(start + BEFORE);
    let begun = Micros::boottime();
    process.pause();
    sleep_until(begun + STALL);
    process.resume();
    (begun, Micros::boottime())
}

/// Requests by which the speed of redis-benchmark is found.
const FIRST_REQUESTS: u64 = 20_000;

/// A load generator of another project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    RedisBenchmark,
    Memtier,
    /// With a limit on its rate.
    MemtierRated,
}

impl Tool {
    const ALL: [Self; 3] = [Self::RedisBenchmark, Self::Memtier, Self::MemtierRated];

    fn program(self) -> &'static str {
        match self {
            Self::RedisBenchmark => "redis-benchmark",
            Self::Memtier | Self::MemtierRated => "memtier_benchmark",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::RedisBenchmark => "redis-benchmark, one at a time",
            Self::Memtier => "memtier_benchmark, one at a time",
            Self::MemtierRated => "memtier_benchmark --rate-limiting",
        }
    }

    fn is_installed(self) -> bool {
        Command::new(self.program()).arg("--version").output().is_ok()
    }

    fn speaks(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::MemcachedText => self != Self::RedisBenchmark,
            Protocol::Resp2 => true,
            Protocol::MemcachedMeta | Protocol::Resp3 => false,
        }
    }

    /// The command that sends to this port for the whole time, or, where it knows no time, this many requests.
    fn command(self, protocol: Protocol, port: u16, requests: u64, json: &Path) -> Command {
        let mut command = Command::new(self.program());
        let port = port.to_string();
        if self == Self::RedisBenchmark {
            command.args([
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-c",
                "1",
                "-P",
                "1",
                "-t",
                "get",
                "--csv",
            ]);
            command.args(["-n", &requests.to_string()]);
            return command;
        }
        let protocol = if protocol == Protocol::Resp2 { "redis" } else { "memcache_text" };
        let seconds = WHOLE.as_secs().to_string();
        command.args(["-s", "127.0.0.1", "-p", &port, "-P", protocol, "-c", "1", "-t", "1"]);
        command.args(["--test-time", &seconds, "--ratio", "1:9", "-d", &VALUE_BYTES.to_string()]);
        command.args(["--key-maximum", &KEYS.to_string(), "--hide-histogram"]);
        command.args(["--print-percentiles", "99,99.9,100"]).arg("--json-out-file").arg(json);
        if self == Self::MemtierRated {
            command.args(["--rate-limiting", &RATE_PER_S.to_string()]);
        }
        command
    }

    /// The number of requests, and p99, p99.9 and max in milliseconds, as far as it says them. `asked` is the number of
    /// requests that redis-benchmark was told.
    fn read(self, asked: u64, output: &str, json: &Path) -> Option<(u64, [Option<f64>; 3])> {
        if self == Self::RedisBenchmark {
            // "test","rps","avg_latency_ms","min","p50","p95","p99","max"
            let line = output.lines().last()?;
            let cells: Vec<&str> = line.split(',').map(|cell| cell.trim_matches('"')).collect();
            let cell = |index: usize| cells.get(index)?.parse::<f64>().ok();
            return Some((asked, [Some(cell(6)?), None, Some(cell(7)?)]));
        }
        let text = std::fs::read_to_string(json).ok()?;
        let result: serde_json::Value = serde_json::from_str(&text).ok()?;
        let totals = &result["ALL STATS"]["Totals"];
        let percentile = |name: &str| totals["Percentile Latencies"][name].as_f64();
        let figures = [percentile("p99.00"), percentile("p99.90"), percentile("p100.0")];
        Some((totals["Count"].as_u64()?, figures))
    }
}

/// Prints what another generator says of the same stall.
fn tool_row(tool: Tool, protocol: Protocol) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("standin-stall-").tempdir()?;
    let (mut process, settings) = start(protocol, folder.path())?;
    let port = settings.servers[0].address.port();
    let json = folder.path().join("memtier.json");
    let mut requests = 0;
    if tool == Tool::RedisBenchmark {
        // A first run says how many requests take the time.
        let begun = Micros::boottime();
        tool.command(protocol, port, FIRST_REQUESTS, &json).output()?;
        let per_s = FIRST_REQUESTS as f64 / Micros::boottime().since(begun).as_secs_f64();
        requests = (per_s * (WHOLE - STALL).as_secs_f64()) as u64;
    }
    let mut command = tool.command(protocol, port, requests, &json);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    stall(&mut process, Micros::boottime());
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let read = tool.read(requests, &text, &json).filter(|_| output.status.success());
    let (requests, figures) = read.ok_or_else(|| format!("{}: {text}", tool.name()))?;
    let [p99, p999, max] =
        figures.map(|ms| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1}")));
    println!(
        "| {} | {} | {} | {p99} | – | {p999} | – | {max} | – | – |",
        tool.name(),
        protocol.name(),
        thousands(requests)
    );
    Ok(())
}

/// The latency that follows from the schedule: what was due in the stall waited for its end.
fn expected_us(
    arrivals: Arrivals,
    quantile: f64,
    start: Micros,
    begun: Micros,
    ended: Micros,
) -> f64 {
    let dues = Schedule::new(arrivals, RATE_PER_S, 0, 1, SEED).take_while(|due| *due < WHOLE);
    let waited = |due: Micros| if due >= begun { ended.since(due) } else { Duration::ZERO };
    let mut latencies: Vec<Duration> = dues.map(|due| waited(start + due)).collect();
    latencies.sort();
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "an index")]
    let index = (quantile * latencies.len() as f64).ceil() as usize;
    latencies[index.saturating_sub(1)].as_secs_f64() * 1e6
}

fn fill(plan: &Plan) -> Result<(), Failure> {
    let pacing = Pacing::Closed { clients: 1, depth: 16 };
    let plan = Plan { pacing, duration: None, checker: None, ..plan.clone() };
    let access = SweepAccess::Fill(VALUE_BYTES);
    let sweep = Supply::Sweep { next: 0, end: KEYS, step: 1, access };
    let counts = drive::start(&plan, vec![sweep], &Arc::new(Live::new(1)))?.join()?.counts();
    if counts.failed > 0 {
        return Err("the keys could not be written".into());
    }
    Ok(())
}

fn supply() -> Supply {
    let mix = Mix {
        keys: KEYS,
        popularity: Popularity::ranked(0.99),
        reads_percent: 90.0,
        reads_first: false,
        others: Others::NONE,
        sizes: ValueSizes::fixed(VALUE_BYTES),
        cold: Cold::default(),
    };
    Supply::mixed(mix, SEED, 0, 1)
}

/// How a kind of server is started.
type StartKind = fn(&Ground<'_>, Asked<'_>, &Site) -> Result<Process, StartError>;

fn start(protocol: Protocol, folder: &Path) -> Result<(Process, Settings), Failure> {
    let mut random = Random::new(std::process::id().into());
    let mut ground = Ground { folder, random: &mut random, interrupt: None, lan: None };
    let (name, start) = match protocol {
        Protocol::MemcachedText | Protocol::MemcachedMeta => {
            ("memcached", memcached::start as StartKind)
        }
        Protocol::Resp2 | Protocol::Resp3 => ("redis-server", redis::start as StartKind),
    };
    let site = ground.site(name, 1)?;
    let asked = Asked { name, program: None, arguments: &[], ready_within: UP_WITHIN };
    let process = start(&ground, asked, &site)?;
    let address = site.address();
    let server = Server { name: address.to_string(), address };
    Ok((process, Settings::new(protocol, vec![server])))
}

fn name(pacing: &Pacing) -> &'static str {
    match pacing {
        Pacing::Open { .. } => "open, Poisson",
        Pacing::Closed { .. } => "closed, one at a time",
        Pacing::Recorded => "recorded",
    }
}

fn sleep_until(time: Micros) {
    std::thread::sleep(time.since(Micros::boottime()));
}
