//! The Rust client's shells side by side: requests per second, and CPU per request of the client's
//! thread, against one server with one shard. Rounds are interleaved, and the medians are shown.

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Command;
use std::time::Duration;

use clap::{Parser, Subcommand};
use standin_benches::cpu::{pin_self, thread_cpu};
use standin_benches::exchange::{KEY_BYTES, KEYSPACE, key, value};
use standin_benches::fixture::{self, READY};
use standin_client::runtime::{Driver, runtime};
use standin_client::{Bootstrap, ClientConfig, ClientError, Value, monoio, tokio as on_tokio};
use standin_config::IoKind;
use standin_protocol::time::Micros;
use standin_testkit::{Child, Scratch};
use tokio::runtime::Builder;

/// Keys that are read.
const KEYS: u32 = 10_000;
/// Time within which the server has to be ready.
const START_MAX: Duration = Duration::from_secs(20);
const CLIENT_CORE: usize = 0;
const SERVER_CORE: usize = 1;
const MEMORY_BYTES: u64 = 64 << 20;

#[derive(Parser)]
#[command(about)]
struct Cli {
    #[command(subcommand)]
    serve: Option<Serve>,
    /// Requests under way at once.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,512")]
    depths: Vec<u32>,
    /// Seconds of a round.
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Rounds of each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

#[derive(Subcommand)]
enum Serve {
    /// Be the server.
    Serve {
        /// Folder of its files.
        directory: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shell {
    Monoio,
    Tokio,
}

/// What a round has measured.
struct Round {
    per_second: f64,
    cpu_us: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    if let Some(Serve::Serve { directory }) = &cli.serve {
        return fixture::serve(
            directory,
            IoKind::Auto,
            MEMORY_BYTES,
            SERVER_CORE,
            fixture::Port::Own,
        );
    }
    let scratch = Scratch::new("clients");
    let mut command = Command::new("/proc/self/exe");
    command.arg("serve").arg(scratch.path());
    let server = Child::spawn("server", command, scratch.path());
    let line = server.wait_for_line(READY, START_MAX);
    let address = line.trim_start_matches(READY).parse()?;
    pin_self(CLIENT_CORE)?;
    println!("GET of 100-byte values, one client thread, one server with one shard");
    println!("{:>8}{:>22}{:>22}", "", "requests/s", "client CPU, µs");
    println!(
        "{:>8}{:>11}{:>11}{:>11}{:>11}{:>9}",
        "depth", "monoio", "tokio", "monoio", "tokio", "ratio"
    );
    for &depth in &cli.depths {
        let mut rounds = [Vec::new(), Vec::new()];
        for _ in 0..cli.rounds {
            for (shell, rounds) in [Shell::Monoio, Shell::Tokio].into_iter().zip(&mut rounds) {
                rounds.push(round(shell, address, depth, Duration::from_secs(cli.seconds))?);
            }
        }
        let rates = rounds.each_ref().map(|rounds| median(rounds.iter().map(|r| r.per_second)));
        let cpus = rounds.each_ref().map(|rounds| median(rounds.iter().map(|r| r.cpu_us)));
        println!(
            "{depth:>8}{:>11.0}{:>11.0}{:>11.2}{:>11.2}{:>9.2}",
            rates[0],
            rates[1],
            cpus[0],
            cpus[1],
            cpus[1] / cpus[0]
        );
    }
    Ok(())
}

/// Reads with this many requests under way until the time is up.
fn round(
    shell: Shell,
    address: SocketAddr,
    depth: u32,
    duration: Duration,
) -> Result<Round, Box<dyn Error>> {
    let seeds = Bootstrap::Seeds(vec![address]);
    let config = ClientConfig::default();
    match shell {
        Shell::Monoio => runtime(Driver::Auto)?.block_on(async {
            let client = monoio::Client::new(config, seeds)?;
            let get = move |key: [u8; KEY_BYTES]| {
                let client = client.clone();
                async move { client.get(KEYSPACE, &key).await }
            };
            measure(depth, duration, get, |chain| Box::pin(::monoio::spawn(chain))).await
        }),
        Shell::Tokio => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                let client = on_tokio::Client::new(config, seeds)?;
                let get = move |key: [u8; KEY_BYTES]| {
                    let client = client.clone();
                    async move { client.get(KEYSPACE, &key).await }
                };
                let spawn = |chain: Chain| -> Chain {
                    let task = tokio::task::spawn_local(chain);
                    Box::pin(async move { task.await.expect("a chain does not panic") })
                };
                measure(depth, duration, get, spawn).await
            })
        }
    }
}

/// One of the chains of requests: the next when the last is answered. Returns their number.
type Chain = Pin<Box<dyn Future<Output = Result<u64, ClientError>>>>;

async fn measure<G, F>(
    depth: u32,
    duration: Duration,
    get: G,
    spawn: impl Fn(Chain) -> Chain,
) -> Result<Round, Box<dyn Error>>
where
    G: Fn([u8; KEY_BYTES]) -> F + Clone + 'static,
    F: Future<Output = Result<Option<Value>, ClientError>> + 'static,
{
    // Connects, and fills the cache.
    for index in 0..KEYS {
        get(key(index)).await?;
    }
    let (begin, cpu) = (Micros::boottime(), thread_cpu());
    let until = begin + duration;
    let chain = |number: u32| {
        let get = get.clone();
        let chain: Chain = Box::pin(async move {
            let (mut index, mut count) = (number, 0);
            while Micros::boottime() < until {
                let name = key(index % KEYS);
                let read = get(name).await?;
                assert!(read.is_some_and(|read| read.bytes == value(&name)), "the right value");
                (index, count) = (index.wrapping_add(7), count + 1);
            }
            Ok(count)
        });
        spawn(chain)
    };
    let chains: Vec<Chain> = (0..depth).map(chain).collect();
    let mut requests = 0;
    for chain in chains {
        requests += chain.await?;
    }
    let cpu = thread_cpu().saturating_sub(cpu);
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let requests = requests as f64;
    let seconds = Micros::boottime().since(begin).as_secs_f64();
    Ok(Round { per_second: requests / seconds, cpu_us: cpu.as_secs_f64() * 1e6 / requests })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
