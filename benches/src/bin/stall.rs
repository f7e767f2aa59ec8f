//! Whether the load generator tells the truth about a stall: memcached and Redis are stopped for two seconds at a known
//! moment, and the percentiles are compared with those that follow from the schedule. Run by `cargo xtask bench stall`.
#![expect(clippy::disallowed_methods, reason = "a shell: it sleeps until the stall")]

use std::ffi::OsString;
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use standin_benches::peers::Failure;
use standin_chaos::signals::Signals as _;
use standin_loadgen::checker::{Checker, Initial};
use standin_loadgen::drive::{self, Pacing, Plan};
use standin_loadgen::faults::Process;
use standin_loadgen::live::Live;
use standin_loadgen::popularity::Popularity;
use standin_loadgen::recorder::Recording;
use standin_loadgen::request::ValueSizes;
use standin_loadgen::schedule::{Arrivals, Schedule};
use standin_loadgen::targets::Target;
use standin_loadgen::targets::wire::codec::Protocol;
use standin_loadgen::targets::wire::settings::{Server, Settings};
use standin_loadgen::workload::{Cold, Keys, Mix, Others, Supply, SweepAccess};
use standin_protocol::time::Micros;
use standin_testkit::free_ports;
use standin_testkit::wait::poll_for;

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
        "| protocol | arrivals | p99 | from the schedule | p99.9 | from the schedule | max | from the schedule | failed, stale, wrong |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut is_true = true;
    for protocol in
        [Protocol::MemcachedText, Protocol::MemcachedMeta, Protocol::Resp2, Protocol::Resp3]
    {
        if !protocol.name().contains(args.only.as_str()) {
            continue;
        }
        let open = Pacing::Open { rates: RATE_PER_S.into(), arrivals: Arrivals::Poisson };
        for pacing in [open, Pacing::Closed { clients: 1, depth: 1 }] {
            is_true &= row(protocol, &pacing)?;
        }
    }
    Ok(is_true)
}

/// Prints one row; returns whether the figures are those of the schedule.
fn row(protocol: Protocol, pacing: &Pacing) -> Result<bool, Failure> {
    let folder = tempfile::Builder::new().prefix("standin-stall-").tempdir()?;
    let (mut process, settings) = start(protocol, folder.path())?;
    let plan = Plan {
        target: Target::Wire(settings),
        keys: Keys::Numbered,
        pacing: pacing.clone(),
        duration: Some(WHOLE),
        seed: SEED,
        run: RUN,
        fills: None,
        checker: Some(Arc::new(Checker::new(KEYS, RUN, Initial::Filled))),
        phases: 1,
        slot: Duration::from_millis(100),
        is_logged: false,
    };
    fill(&plan)?;
    let running = drive::start(&plan, vec![supply()], &Arc::new(Live::new(1)))?;
    let start = running.start;
    sleep_until(start + BEFORE);
    let begun = Micros::boottime();
    process.pause();
    sleep_until(begun + STALL);
    process.resume();
    let ended = Micros::boottime();
    let recording = running.join()?;
    let (counts, latency) = (recording.counts(), recording.latency());
    let mut line = format!("| {} | {} ", protocol.name(), name(pacing));
    let mut is_true = true;
    for quantile in QUANTILES {
        let measured_us = latency.value_at_quantile(quantile);
        let text = match pacing {
            Pacing::Open { arrivals, .. } => {
                let expected_us = expected_us(*arrivals, quantile, start, begun, ended);
                is_true &= (measured_us as f64 / expected_us - 1.0).abs() < OFF_MAX;
                format!("{:.1}", expected_us / 1e3)
            }
            Pacing::Closed { .. } => "–".to_owned(),
        };
        line += &format!("| {:.1} | {text} ", measured_us as f64 / 1e3);
    }
    let Recording { quotes, .. } = &recording;
    println!("{line}| {}, {}, {} |", counts.failed, counts.stale, counts.wrong);
    quotes.iter().for_each(|quote| println!("{quote}"));
    Ok(is_true && counts.failed + counts.stale + counts.wrong == 0)
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

fn start(protocol: Protocol, folder: &Path) -> Result<(Process, Settings), Failure> {
    let port = free_ports(1)[0];
    let (program, text) = match protocol {
        Protocol::MemcachedText | Protocol::MemcachedMeta => {
            ("memcached", format!("-l 127.0.0.1 -p {port} -U 0 -m 64 -t 1 -u nobody"))
        }
        Protocol::Resp2 | Protocol::Resp3 => {
            ("redis-server", format!("--port {port} --bind 127.0.0.1 --appendonly no --save"))
        }
    };
    let mut arguments: Vec<OsString> = text.split(' ').map(Into::into).collect();
    if program == "redis-server" {
        arguments.push(OsString::new());
    }
    let process = Process::start(program, Path::new(program), arguments, folder)?;
    let address = ([127, 0, 0, 1], port).into();
    poll_for(UP_WITHIN, || TcpStream::connect(address).ok())
        .ok_or_else(|| format!("{program} does not listen"))?;
    let server = Server { name: format!("127.0.0.1:{port}"), address };
    Ok((process, Settings::new(protocol, vec![server])))
}

fn name(pacing: &Pacing) -> &'static str {
    match pacing {
        Pacing::Open { .. } => "open, Poisson",
        Pacing::Closed { .. } => "closed, one at a time",
    }
}

fn sleep_until(time: Micros) {
    std::thread::sleep(time.since(Micros::boottime()));
}
