//! CPU time per GET of one core, side by side: the bare echo, Standin on io_uring and on epoll and by
//! each protocol, memcached, Redis, Valkey; all driven by the same engine from another core. Other
//! loads are a mix of reads and writes, and multi-gets.
//!
//! Rounds are interleaved, so that other work of the machine disturbs all targets alike. The table has
//! medians, and the spread shows the disturbance.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser};
use standin_benches::cpu;
use standin_benches::report::{KERNEL_TLS, Report, Round, TLS};
use standin_benches::serve::Role;
use standin_benches::targets::{CONNECTIONS, Certificates, Load, Running, SELF, Target};
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
    /// Requests per batch and connection, or keys of a multi-get [default: 1, 16, 64; multi: 100]
    #[arg(long, value_delimiter = ',')]
    depths: Vec<usize>,
    /// The requests.
    #[arg(long, value_enum, default_value_t = Load::Gets)]
    load: Load,
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of a round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only these: echo, standin-uring, standin-epoll, standin-meta, standin-text, standin-resp,
    /// memcached, memcached-text, redis, valkey.
    #[arg(long, value_delimiter = ',')]
    targets: Vec<String>,
    /// Another build of this program: its Standin is measured too, and is the peer of this one's.
    #[arg(long)]
    beside: Option<PathBuf>,
    /// Measure each target with TLS, too; those with TLS are compared with each other, and with themselves
    /// without.
    #[arg(long)]
    tls: bool,
    /// With --tls, measure Standin's ports of memcached and Redis once more with TLS in the kernel, which needs the module `tls`; its peer is
    /// Standin with TLS by rustls.
    #[arg(long, requires = "tls")]
    kernel_tls: bool,
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

fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    cli.role.map_or_else(|| bench(&cli.options), |role| role.run())
}

fn bench(options: &Options) -> Result<(), Box<dyn Error>> {
    if let Some(name) = options.targets.iter().find(|name| Target::named(name).is_none()) {
        return Err(format!("no target is named {name}: see --help").into());
    }
    let wanted = |target: &Target| {
        let is_named = options.targets.iter().any(|name| name == target.name());
        target.takes(options.load) && (options.targets.is_empty() || is_named)
    };
    let depths = match (&options.depths[..], options.load) {
        ([], Load::Multi) => &[100][..],
        ([], _) => &[1, 16, 64],
        (depths, _) => depths,
    };
    let mut report = Report { versions: Vec::new(), cells: Vec::new() };
    let mut targets = Vec::new();
    for target in Target::ALL.into_iter().filter(wanted) {
        match target.version() {
            Some(version) => {
                report.versions.push((target.name(), version));
                let plain = Contestant::of(target, options.beside.as_deref());
                let sealed: Vec<Contestant> = match options.tls && target.has_tls() {
                    true => plain.iter().map(Contestant::with_tls).collect(),
                    false => Vec::new(),
                };
                // The kernel gets no connections of Standin's own protocol.
                let has_kernel_tls = target.is_standin() && !target.is_native();
                let in_kernel: Vec<Contestant> = match options.kernel_tls && has_kernel_tls {
                    true => plain.iter().map(Contestant::with_kernel_tls).collect(),
                    false => Vec::new(),
                };
                targets.extend(plain.into_iter().chain(sealed).chain(in_kernel));
            }
            None => eprintln!("{} is not installed: left out", target.name()),
        }
    }
    for &keys in &options.keys {
        run_keys(options, depths, &targets, keys, &mut report)?;
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

/// A target of one of the builds.
struct Contestant {
    target: Target,
    /// The program that serves it if it has none of its own.
    own: PathBuf,
    name: String,
    peer: Option<String>,
    tls: TlsBy,
}

/// The side that encrypts a target's connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TlsBy {
    Nobody,
    Target,
    Kernel,
}

impl Contestant {
    /// This build's target, and the one of the build beside it.
    fn of(target: Target, beside: Option<&Path>) -> Vec<Self> {
        let (own, name) = (PathBuf::from(SELF), target.name().to_owned());
        let other = beside.filter(|_| target.is_standin()).map(|own| Self {
            target,
            own: own.to_owned(),
            name: format!("{name}-beside"),
            peer: None,
            tls: TlsBy::Nobody,
        });
        let peer = match &other {
            Some(other) => Some(other.name.clone()),
            None => target.peer().map(|peer| peer.name().to_owned()),
        };
        let own = Self { target, own, name, peer, tls: TlsBy::Nobody };
        std::iter::once(own).chain(other).collect()
    }

    /// The same target with TLS, beside a peer with TLS.
    fn with_tls(&self) -> Self {
        Self {
            target: self.target,
            own: self.own.clone(),
            name: format!("{}{TLS}", self.name),
            peer: self.peer.as_ref().map(|peer| format!("{peer}{TLS}")),
            tls: TlsBy::Target,
        }
    }

    /// The same target with TLS in the kernel, beside itself with TLS by rustls.
    fn with_kernel_tls(&self) -> Self {
        Self {
            target: self.target,
            own: self.own.clone(),
            name: format!("{}{KERNEL_TLS}", self.name),
            peer: Some(format!("{}{TLS}", self.name)),
            tls: TlsBy::Kernel,
        }
    }
}

fn run_keys(
    options: &Options,
    depths: &[usize],
    targets: &[Contestant],
    keys: u32,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let scratch = Scratch::new("side-by-side");
    let mut running = Vec::new();
    let certificates = options.tls.then(|| Certificates::new(scratch.path())).transpose()?;
    let folder = scratch.file("kernel-tls");
    std::fs::create_dir(&folder)?;
    let for_kernel = options.kernel_tls.then(|| Certificates::new(&folder)).transpose()?;
    let for_kernel = for_kernel.map(Certificates::for_kernel);
    for Contestant { target, own, name, tls, .. } in targets {
        eprintln!("{keys} keys: loading {name}");
        let directory = scratch.file(name);
        std::fs::create_dir(&directory)?;
        let core = options.server_core;
        let tls = match tls {
            TlsBy::Nobody => None,
            TlsBy::Target => certificates.as_ref(),
            TlsBy::Kernel => for_kernel.as_ref(),
        };
        let started = Running::start(*target, options.load, own, &directory, keys, core, tls);
        running.push(started.map_err(|error| format!("{name}: {error}"))?);
    }
    // Now, not earlier: the servers' other threads would have inherited it.
    cpu::pin_self(options.driver_core)?;
    let duration = Duration::from_secs_f64(options.seconds);
    let mut rounds = vec![Vec::new(); targets.len() * depths.len()];
    for round in 0..options.rounds as usize {
        eprintln!("{keys} keys: round {} of {}", round + 1, options.rounds);
        for (place, &depth) in depths.iter().enumerate() {
            for turn in 0..running.len() {
                // Another order each round: nobody always comes after the same neighbour.
                let number = (turn + round) % running.len();
                let seed = 0x9e37_79b9_7f4a_7c15 ^ (round as u64) << 8 ^ depth as u64;
                let random = Random::new(seed);
                let target = &mut running[number];
                let warm_up = target.measure(random.clone(), keys, depth, WARM_UP);
                let measured = warm_up.and_then(|_| target.measure(random, keys, depth, duration));
                let (run, cpu) = measured.map_err(|e| format!("{}: {e}", targets[number].name))?;
                let (replies, elapsed_s) = (run.replies as f64, run.elapsed.as_secs_f64());
                rounds[place * running.len() + number].push(Round {
                    cpu_us_per_key: cpu.as_secs_f64() * 1e6 / replies,
                    keys_per_s: replies / elapsed_s,
                    p50_us: run.latency_ns.value_at_quantile(0.5) as f64 / 1e3,
                    p99_us: run.latency_ns.value_at_quantile(0.99) as f64 / 1e3,
                    busy: cpu.as_secs_f64() / elapsed_s,
                });
            }
        }
    }
    // Unpinned again: the next servers are this process's children.
    cpu::unpin_self()?;
    for (place, &depth) in depths.iter().enumerate() {
        for (number, Contestant { name, peer, .. }) in targets.iter().enumerate() {
            let rounds = std::mem::take(&mut rounds[place * targets.len() + number]);
            report.add(keys, depth, name, peer.as_deref(), rounds);
        }
    }
    Ok(())
}
