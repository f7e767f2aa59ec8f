//! CPU time per GET of a proxy, and the latency that it adds: twemproxy (nutcracker) before memcached, and
//! Standin's proxy before Standin, driven by the same engine with the same requests.
//!
//! Rounds are interleaved, so that other work of the machine disturbs all alike.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use standin_benches::driver::Keys;
use standin_benches::proxies::{self, CONNECTIONS, FEW_CONNECTIONS, Running, Subject};
use standin_benches::report::Spread;
use standin_benches::{cpu, fixture};
use standin_config::{IoKind, ServiceProtocol};
use standin_loadgen::rng::Random;
use standin_testkit::Scratch;

/// Run before each measured round and not counted.
const WARM_UP: Duration = Duration::from_millis(200);
const MEMORY_BYTES: u64 = 256 << 20;

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
    /// Number of keys.
    #[arg(long, default_value_t = 10_000)]
    keys: u32,
    /// Requests per batch and connection.
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    depths: Vec<usize>,
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of a round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only these: nutcracker, standin, standin-epoll.
    #[arg(long, value_delimiter = ',')]
    subjects: Vec<String>,
    /// Core for the proxy.
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    /// Core for the server behind it and for the driver.
    #[arg(long, default_value_t = 1)]
    other_core: usize,
}

#[derive(Subcommand)]
enum Role {
    /// Be the server behind Standin's proxy; the bench starts itself so.
    #[command(hide = true)]
    Serve {
        directory: PathBuf,
        #[arg(long)]
        core: usize,
    },
    /// Be Standin's proxy.
    #[command(hide = true)]
    Proxy { file: PathBuf },
}

/// The figures of one round at one depth.
struct Cost {
    cpu_us: f64,
    gets_per_s: f64,
    p99_us: f64,
    busy: f64,
}

/// Microseconds through the proxy, and at the server itself.
#[derive(Clone, Copy)]
struct Latency {
    p50: [f64; 2],
    p99: [f64; 2],
}

fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    match cli.role {
        None => bench(&cli.options),
        Some(Role::Serve { directory, core }) => {
            let port = fixture::Port::OwnAnd(ServiceProtocol::Memcached);
            fixture::serve(&directory, IoKind::Auto, MEMORY_BYTES, core, port)
        }
        Some(Role::Proxy { file }) => proxies::serve(&file),
    }
}

fn bench(options: &Options) -> Result<(), Box<dyn Error>> {
    let wanted = |subject: &Subject| {
        options.subjects.is_empty() || options.subjects.iter().any(|name| name == subject.name())
    };
    let scratch = Scratch::new("proxy-bench");
    let mut running = Vec::new();
    for subject in Subject::ALL.into_iter().filter(wanted) {
        if !subject.is_there() {
            eprintln!("{} or its server is not installed: left out", subject.name());
            continue;
        }
        let directory = scratch.file(subject.name());
        std::fs::create_dir(&directory)?;
        let (core, other) = (options.proxy_core, options.other_core);
        let started = Running::start(subject, &directory, options.keys, core, other);
        running.push(started.map_err(|error| format!("{}: {error}", subject.name()))?);
    }
    // Now, not earlier: the processes would have inherited it.
    cpu::pin_self(options.other_core)?;
    let duration = Duration::from_secs_f64(options.seconds);
    let mut costs: Vec<Vec<Cost>> = Vec::new();
    costs.resize_with(running.len() * options.depths.len(), Vec::new);
    let mut latencies: Vec<Vec<Latency>> = vec![Vec::new(); running.len()];
    for round in 0..options.rounds as usize {
        eprintln!("round {} of {}", round + 1, options.rounds);
        for turn in 0..running.len() {
            // Another order each round: nobody always comes after the same neighbour.
            let number = (turn + round) % running.len();
            for (place, &depth) in options.depths.iter().enumerate() {
                let costs = &mut costs[place * running.len() + number];
                let keys = keys(options.keys, round, depth);
                costs.push(cost(&mut running[number], &keys, depth, duration)?);
            }
            let keys = keys(options.keys, round, 0);
            latencies[number].push(latency(&mut running[number], &keys, duration)?);
        }
    }
    print_table(options, &running, &costs, &latencies);
    Ok(())
}

fn keys(count: u32, round: usize, depth: usize) -> Keys {
    let seed = 0x9e37_79b9_7f4a_7c15 ^ (round as u64) << 8 ^ depth as u64;
    Keys::Random { count, random: Random::new(seed), writes_percent: 0 }
}

fn cost(
    running: &mut Running,
    keys: &Keys,
    depth: usize,
    duration: Duration,
) -> Result<Cost, Box<dyn Error>> {
    running.cost(keys.clone(), depth, WARM_UP)?;
    let (run, cpu) = running.cost(keys.clone(), depth, duration)?;
    let (replies, elapsed_s) = (run.replies as f64, run.elapsed.as_secs_f64());
    Ok(Cost {
        cpu_us: cpu.as_secs_f64() * 1e6 / replies,
        gets_per_s: replies / elapsed_s,
        p99_us: run.latency_ns.value_at_quantile(0.99) as f64 / 1e3,
        busy: cpu.as_secs_f64() / elapsed_s,
    })
}

fn latency(
    running: &mut Running,
    keys: &Keys,
    duration: Duration,
) -> Result<Latency, Box<dyn Error>> {
    let runs = running.latencies(keys, duration / 2)?;
    let of = |quantile| {
        runs.each_ref().map(|run| run.latency_ns.value_at_quantile(quantile) as f64 / 1e3)
    };
    Ok(Latency { p50: of(0.5), p99: of(0.99) })
}

fn print_table(
    options: &Options,
    running: &[Running],
    costs: &[Vec<Cost>],
    latencies: &[Vec<Latency>],
) {
    println!(
        "{CONNECTIONS} connections, {} keys of 16 bytes, values of 100 bytes, {} × {} s\n",
        options.keys, options.rounds, options.seconds
    );
    println!(
        "| depth | proxy | CPU µs/GET (min–max) | × nutcracker | GET/s | p99 µs | busy |\n\
         |---|---|---|---|---|---|---|"
    );
    for (place, depth) in options.depths.iter().enumerate() {
        let row = &costs[place * running.len()..][..running.len()];
        let cpu = |number: usize| Spread::of(row[number].iter().map(|cost| cost.cpu_us));
        let base = running.iter().position(|running| running.subject == Subject::Nutcracker);
        for (number, running) in running.iter().enumerate() {
            let own = cpu(number);
            let ratio = base
                .map_or("–".to_owned(), |base| format!("{:.2}", own.median / cpu(base).median));
            let median = |of: fn(&Cost) -> f64| Spread::of(row[number].iter().map(of)).median;
            println!(
                "| {depth} | {} | {:.3} ({:.3}–{:.3}) | {ratio} | {:.0}k | {:.0} | {:.0} % |",
                running.subject.name(),
                own.median,
                own.min,
                own.max,
                median(|cost| cost.gets_per_s) / 1e3,
                median(|cost| cost.p99_us),
                median(|cost| cost.busy) * 100.0,
            );
        }
    }
    println!(
        "\n{FEW_CONNECTIONS} connections with one GET each; microseconds through the proxy, and at the \
         server itself\n\n| proxy | p50 | direct | p99 | direct | p99 added (min–max) |\n|---|---|---|---|---|---|"
    );
    for (running, latencies) in running.iter().zip(latencies) {
        let median = |of: fn(&Latency) -> f64| Spread::of(latencies.iter().map(of)).median;
        let added = Spread::of(latencies.iter().map(|l| l.p99[0] - l.p99[1]));
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} ({:.0}–{:.0}) |",
            running.subject.name(),
            median(|l| l.p50[0]),
            median(|l| l.p50[1]),
            median(|l| l.p99[0]),
            median(|l| l.p99[1]),
            added.median,
            added.min,
            added.max,
        );
    }
}
