//! CPU time per GET of one core, side by side: the bare echo, Standin on io_uring and on
//! epoll, memcached, Redis, Valkey; all driven by the same engine from another core.
//!
//! Rounds are interleaved, so that other work of the machine disturbs all targets alike. The table has
//! medians, and the spread shows the disturbance.

use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use standin_benches::driver::Keys;
use standin_benches::report::{Report, Round};
use standin_benches::targets::{CONNECTIONS, Running, Target};
use standin_benches::{cpu, echo, fixture};
use standin_config::IoKind;
use standin_loadgen::rng::Random;
use standin_testkit::Scratch;

/// Run before each measured round and not counted.
const WARM_UP: Duration = Duration::from_millis(200);

#[derive(Parser)]
#[command(about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
struct Options {
    /// Numbers of keys, each with servers of its own.
    #[arg(long, value_delimiter = ',', default_value = "10000,5000000")]
    keys: Vec<u32>,
    /// Requests per batch and connection.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    depths: Vec<usize>,
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of a round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only these: echo, standin-uring, standin-epoll, standin-meta, standin-text, memcached,
    /// memcached-text, redis, valkey.
    #[arg(long, value_delimiter = ',')]
    targets: Vec<String>,
    /// Core for the target.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core for the driver.
    #[arg(long, default_value_t = 1)]
    driver_core: usize,
    /// Also write all rounds to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Role {
    /// Serves until killed; the bench starts itself so.
    #[command(hide = true)]
    Serve {
        target: String,
        #[arg(long)]
        directory: PathBuf,
        #[arg(long)]
        memory_mib: u64,
        #[arg(long)]
        core: usize,
    },
}

fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    match cli.role {
        None => bench(&cli.options),
        Some(Role::Serve { target, directory, memory_mib, core }) => {
            let memory_bytes = memory_mib << 20;
            let serve = |io, port| fixture::serve(&directory, io, memory_bytes, core, port);
            match target.as_str() {
                "standin-uring" => serve(IoKind::Uring, fixture::Port::Own),
                "standin-epoll" => serve(IoKind::Epoll, fixture::Port::Own),
                "standin-meta" | "standin-text" => serve(IoKind::Uring, fixture::Port::Memcached),
                _ => {
                    cpu::pin_self(core)?;
                    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                    println!("{}{}", fixture::READY, listener.local_addr()?);
                    Ok(echo::serve(&listener)?)
                }
            }
        }
    }
}

fn bench(options: &Options) -> Result<(), Box<dyn Error>> {
    let wanted = |target: &Target| {
        options.targets.is_empty() || options.targets.iter().any(|name| name == target.name())
    };
    let mut report = Report { versions: Vec::new(), cells: Vec::new() };
    let mut targets = Vec::new();
    for target in Target::ALL.into_iter().filter(wanted) {
        match target.version() {
            Some(version) => {
                report.versions.push((target.name(), version));
                targets.push(target);
            }
            None => eprintln!("{} is not installed: left out", target.name()),
        }
    }
    for &keys in &options.keys {
        run_keys(options, &targets, keys, &mut report)?;
    }
    report.compare();
    for (target, version) in &report.versions {
        println!("{target}: {version}");
    }
    println!("{CONNECTIONS} connections, {} × {} s\n", options.rounds, options.seconds);
    print!("{}", report.table());
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

fn run_keys(
    options: &Options,
    targets: &[Target],
    keys: u32,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let scratch = Scratch::new("side-by-side");
    let mut running = Vec::new();
    for &target in targets {
        eprintln!("{keys} keys: loading {}", target.name());
        let directory = scratch.file(target.name());
        std::fs::create_dir(&directory)?;
        let started = Running::start(target, &directory, keys, options.server_core);
        running.push(started.map_err(|error| format!("{}: {error}", target.name()))?);
    }
    // Now, not earlier: the servers' other threads would have inherited it.
    cpu::pin_self(options.driver_core)?;
    let duration = Duration::from_secs_f64(options.seconds);
    let mut rounds = vec![Vec::new(); targets.len() * options.depths.len()];
    for round in 0..options.rounds as usize {
        eprintln!("{keys} keys: round {} of {}", round + 1, options.rounds);
        for (place, &depth) in options.depths.iter().enumerate() {
            for turn in 0..running.len() {
                // Another order each round: nobody always comes after the same neighbour.
                let number = (turn + round) % running.len();
                let seed = 0x9e37_79b9_7f4a_7c15 ^ (round as u64) << 8 ^ depth as u64;
                let random = Keys::Random { count: keys, random: Random::new(seed) };
                let target = &mut running[number];
                target.measure(random.clone(), depth, WARM_UP)?;
                let measured = target.measure(random, depth, duration);
                let (run, cpu) = measured.map_err(|e| format!("{}: {e}", target.target.name()))?;
                let (replies, elapsed_s) = (run.replies as f64, run.elapsed.as_secs_f64());
                rounds[place * running.len() + number].push(Round {
                    cpu_us_per_get: cpu.as_secs_f64() * 1e6 / replies,
                    gets_per_s: replies / elapsed_s,
                    p50_us: run.latency_ns.value_at_quantile(0.5) as f64 / 1e3,
                    p99_us: run.latency_ns.value_at_quantile(0.99) as f64 / 1e3,
                    busy: cpu.as_secs_f64() / elapsed_s,
                });
            }
        }
    }
    // Unpinned again: the next servers are this process's children.
    cpu::unpin_self()?;
    for (place, &depth) in options.depths.iter().enumerate() {
        for (number, target) in targets.iter().enumerate() {
            let rounds = std::mem::take(&mut rounds[place * targets.len() + number]);
            report.add(keys, depth, target.name(), rounds);
        }
    }
    Ok(())
}
