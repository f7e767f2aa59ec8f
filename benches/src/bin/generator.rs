//! The speed of the load generator of `standin load` on one core, beside `redis-benchmark` on the same core against the
//! same targets: in a closed loop with many requests under way on each connection, and at a rate, each request by itself.
//!
//! Rounds are interleaved. The steady figure is the CPU time of the generator's own thread for each request.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use standin_benches::cpu;
use standin_benches::report::{Spread, markdown_head, markdown_row};
use standin_benches::serve::Role;
use standin_benches::targets::{SELF, Serving, Target};
use standin_loadgen::checker::{Checker, Initial};
use standin_loadgen::drive::{self, Pacing, Plan};
use standin_loadgen::live::Live;
use standin_loadgen::popularity::Popularity;
use standin_loadgen::recorder::Recording;
use standin_loadgen::request::ValueSizes;
use standin_loadgen::schedule::Arrivals;
use standin_loadgen::targets::Target as LoadTarget;
use standin_loadgen::targets::wire::codec::Protocol;
use standin_loadgen::targets::wire::settings::{Server, Settings};
use standin_loadgen::workload::{Cold, Mix, Others, Supply, SweepAccess};
use standin_testkit::Scratch;

const KEYS: u32 = 10_000;
const VALUE_BYTES: u32 = 100;
const RUN: u32 = 0x6E6E;
const SEED: u64 = 1;
/// Connections of the closed loop, in both generators.
const CLOSED_CONNECTIONS: u32 = 4;
/// Connections of the open loop, each with one request under way, and of redis-benchmark.
const OPEN_CONNECTIONS: u16 = 50;

/// Measures the load generator on one core, beside redis-benchmark.
#[derive(Parser)]
#[command(about, max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
struct Options {
    /// Rounds of each row.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of each round.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Only rows whose name contains this text.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Requests under way on each connection of the closed loop.
    #[arg(long, default_value_t = 64)]
    depth: u32,
    /// Requests per second of the open loop.
    #[arg(long, default_value_t = 150_000)]
    rate: u32,
    /// Whether reads are checked.
    #[arg(long)]
    check: bool,
    /// Core for the targets.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core for the generators.
    #[arg(long, default_value_t = 1)]
    driver_core: usize,
}

/// A generator, and how it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    /// This generator against a target, by a protocol.
    Own(Target, Protocol, Mode),
    /// redis-benchmark against a target.
    RedisBenchmark(Target, Mode),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Closed,
    Open,
}

/// One round of a row.
#[derive(Debug, Clone, Copy)]
struct Round {
    per_s: f64,
    cpu_us: f64,
    busy: f64,
    /// Lateness at p50, at p99 and at most, in microseconds; `None`: there is no schedule.
    late_us: Option<[u64; 3]>,
    p50_us: u64,
    p99_us: u64,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Cli { role, options } = Cli::parse();
    if let Some(role) = role {
        role.run()?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Row> =
        rows().into_iter().filter(|row| row.name().contains(&options.only)).collect();
    if rows.is_empty() {
        let names: Vec<String> = rows_names();
        return Err(
            format!("no row has {:?} in its name: {}", options.only, names.join("; ")).into()
        );
    }
    let scratch = Scratch::new("generator");
    let mut serving: Vec<Serving> = Vec::new();
    for row in &rows {
        let target = row.target();
        if serving.iter().any(|one| one.target == target) {
            continue;
        }
        let version = target.version().ok_or_else(|| format!("{} is missing", target.name()))?;
        println!("{}: {version}", target.name());
        let directory = scratch.file(target.name());
        std::fs::create_dir(&directory)?;
        let own = Path::new(SELF);
        serving.push(Serving::start(target, own, &directory, KEYS, options.server_core, None)?);
    }
    // Load threads and children have the core of the thread that starts them.
    cpu::pin_self(options.driver_core)?;
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); rows.len()];
    let address =
        |target: Target| serving.iter().find(|one| one.target == target).map(|one| one.address);
    for round in 0..options.rounds as usize {
        eprintln!("round {} of {}", round + 1, options.rounds);
        for turn in 0..rows.len() {
            // Another order each round: none always comes after the other.
            let number = (turn + round) % rows.len();
            let address = address(rows[number].target()).ok_or("a target is not there")?;
            rounds[number].push(rows[number].measure(address, &options)?);
        }
    }
    println!(
        "\none thread on core {}, {} rounds of {} s; closed: {CLOSED_CONNECTIONS} connections with {} requests under way \
         each; open: {} requests/s over {OPEN_CONNECTIONS} connections, each with one under way\n",
        options.driver_core, options.rounds, options.seconds, options.depth, options.rate
    );
    print!("{}", table(&rows, &rounds));
    Ok(ExitCode::SUCCESS)
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for mode in [Mode::Closed, Mode::Open] {
        rows.push(Row::Own(Target::StandinResp, Protocol::Resp2, mode));
        rows.push(Row::Own(Target::StandinText, Protocol::MemcachedText, mode));
        rows.push(Row::Own(Target::StandinMeta, Protocol::MemcachedMeta, mode));
        rows.push(Row::RedisBenchmark(Target::StandinResp, mode));
        rows.push(Row::Own(Target::Redis, Protocol::Resp2, mode));
        rows.push(Row::RedisBenchmark(Target::Redis, mode));
    }
    rows
}

fn rows_names() -> Vec<String> {
    rows().iter().map(|row| row.name()).collect()
}

impl Row {
    fn target(self) -> Target {
        match self {
            Self::Own(target, ..) | Self::RedisBenchmark(target, _) => target,
        }
    }

    fn name(self) -> String {
        let (generator, mode) = match self {
            Self::Own(_, _, mode) => ("standin load", mode),
            Self::RedisBenchmark(_, mode) => ("redis-benchmark", mode),
        };
        let mode = match (self, mode) {
            (_, Mode::Closed) => "closed, pipelined",
            (Self::Own(..), Mode::Open) => "open",
            // It has no schedule.
            (Self::RedisBenchmark(..), Mode::Open) => "closed, one by one",
        };
        format!("{generator} {mode}, {}", self.target().name())
    }

    fn measure(self, address: SocketAddr, options: &Options) -> Result<Round, Box<dyn Error>> {
        match self {
            Self::Own(_, protocol, mode) => own(protocol, mode, address, options),
            Self::RedisBenchmark(_, mode) => redis_benchmark(mode, address, options),
        }
    }
}

fn own(
    protocol: Protocol,
    mode: Mode,
    address: SocketAddr,
    options: &Options,
) -> Result<Round, Box<dyn Error>> {
    let server = Server { name: address.to_string(), address };
    let mut settings = Settings::new(protocol, vec![server]);
    let pacing = match mode {
        Mode::Closed => Pacing::Closed { clients: CLOSED_CONNECTIONS, depth: options.depth },
        Mode::Open => {
            (settings.connections, settings.pipeline) = (OPEN_CONNECTIONS, Some(1));
            Pacing::Open { rates: options.rate.into(), arrivals: Arrivals::Constant }
        }
    };
    let plan = Plan {
        duration: Some(Duration::from_secs(options.seconds.into())),
        checker: options.check.then(|| Arc::new(Checker::new(KEYS, RUN, Initial::Filled))),
        ..Plan::new(LoadTarget::Wire(settings), pacing, SEED, RUN)
    };
    fill(&plan)?;
    let recording = drive::start(&plan, vec![supply()], &Arc::new(Live::new(1)))?.join()?;
    let counts = recording.counts();
    if counts.failed + counts.stale + counts.wrong + counts.absent > 0 {
        return Err(format!("{counts:?}: {:?}", recording.quotes).into());
    }
    Ok(round(&recording, mode))
}

fn round(recording: &Recording, mode: Mode) -> Round {
    let (counts, latency, late) = (recording.counts(), recording.latency(), &recording.lateness);
    let thread = recording.threads[0];
    let late_us = [late.value_at_quantile(0.5), late.value_at_quantile(0.99), late.max()];
    Round {
        per_s: counts.requests as f64 / thread.ran_for.as_secs_f64(),
        cpu_us: thread.computed.as_secs_f64() * 1e6 / counts.requests as f64,
        busy: thread.busy(),
        late_us: (mode == Mode::Open).then_some(late_us),
        p50_us: latency.value_at_quantile(0.5),
        p99_us: latency.value_at_quantile(0.99),
    }
}

fn fill(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let pacing = Pacing::Closed { clients: 1, depth: 64 };
    let plan = Plan { pacing, duration: None, checker: None, ..plan.clone() };
    let access = SweepAccess::Fill(VALUE_BYTES);
    let sweep = Supply::Sweep { next: 0, end: KEYS, step: 1, access };
    let counts = drive::start(&plan, vec![sweep], &Arc::new(Live::new(1)))?.join()?.counts();
    match counts.failed {
        0 => Ok(()),
        failed => Err(format!("{failed} keys could not be written").into()),
    }
}

fn supply() -> Supply {
    let mix = Mix {
        keys: KEYS,
        popularity: Popularity::Uniform,
        reads_percent: 100.0,
        reads_first: false,
        others: Others::NONE,
        sizes: ValueSizes::fixed(VALUE_BYTES),
        cold: Cold::default(),
    };
    Supply::mixed(mix, SEED, 0, 1)
}

/// Runs it for about the time of a round: first few requests, from which the number of the others follows.
fn redis_benchmark(
    mode: Mode,
    address: SocketAddr,
    options: &Options,
) -> Result<Round, Box<dyn Error>> {
    let (connections, depth) = match mode {
        Mode::Closed => (CLOSED_CONNECTIONS, options.depth),
        Mode::Open => (OPEN_CONNECTIONS.into(), 1),
    };
    let run = |requests: u64| -> Result<(f64, f64, [f64; 2]), Box<dyn Error>> {
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
        command.args(["-c", &connections.to_string(), "-P", &depth.to_string()]);
        command.args(["-n", &requests.to_string(), "-t", "get", "--csv"]);
        let before = children_cpu();
        let output = command.output()?;
        let cpu = children_cpu().saturating_sub(before);
        let text = String::from_utf8_lossy(&output.stdout);
        // "test","rps","avg_latency_ms","min","p50","p95","p99","max"
        let cells: Vec<&str> = text.lines().last().unwrap_or_default().split(',').collect();
        let cell =
            |index: usize| -> Option<f64> { cells.get(index)?.trim_matches('"').parse().ok() };
        let figures = (|| Some((cell(1)?, cell(4)?, cell(6)?)))();
        let (per_s, p50_ms, p99_ms) = figures
            .filter(|_| output.status.success())
            .ok_or_else(|| format!("redis-benchmark says: {text}"))?;
        Ok((per_s, cpu.as_secs_f64() * 1e6 / requests as f64, [p50_ms, p99_ms]))
    };
    let (per_s, ..) = run(20_000)?;
    let (per_s, cpu_us, [p50_ms, p99_ms]) = run((per_s * f64::from(options.seconds)) as u64)?;
    let (p50_us, p99_us) = ((p50_ms * 1e3) as u64, (p99_ms * 1e3) as u64);
    Ok(Round { per_s, cpu_us, busy: cpu_us * per_s / 1e6, late_us: None, p50_us, p99_us })
}

/// CPU time of the children that have ended and were waited for.
fn children_cpu() -> Duration {
    // SAFETY: all zeros is a valid value of this structure of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to that structure.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    let time = |of: libc::timeval| {
        Duration::from_secs(of.tv_sec.unsigned_abs())
            + Duration::from_micros(of.tv_usec.unsigned_abs())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn table(rows: &[Row], rounds: &[Vec<Round>]) -> String {
    let mut text = markdown_head(&[
        "generator, target",
        "requests/s (min–max)",
        "CPU µs/request (min–max)",
        "busy",
        "p50 µs",
        "p99 µs",
        "late p50 µs",
        "late p99 µs (min–max)",
        "late max µs",
    ]);
    text.push('\n');
    for (row, rounds) in rows.iter().zip(rounds) {
        let of = |figure: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
        let late = |index: usize| {
            let all: Option<Vec<f64>> =
                rounds.iter().map(|round| Some(round.late_us?[index] as f64)).collect();
            all.map(Spread::of)
        };
        let (per_s, cpu) = (of(&|round| round.per_s), of(&|round| round.cpu_us));
        let median = |spread: Option<Spread>| {
            spread.map_or("–".to_owned(), |spread| format!("{:.0}", spread.median))
        };
        let p99 = late(1).map_or("–".to_owned(), |Spread { median, min, max }| {
            format!("{median:.0} ({min:.0}–{max:.0})")
        });
        text += &markdown_row(&[
            row.name(),
            format!("{:.0}k ({:.0}–{:.0})", per_s.median / 1e3, per_s.min / 1e3, per_s.max / 1e3),
            format!("{:.2} ({:.2}–{:.2})", cpu.median, cpu.min, cpu.max),
            format!("{:.0} %", of(&|round| round.busy).median * 100.0),
            format!("{:.0}", of(&|round| round.p50_us as f64).median),
            format!("{:.0}", of(&|round| round.p99_us as f64).median),
            median(late(0)),
            p99,
            median(late(2)),
        ]);
        text.push('\n');
    }
    text
}
