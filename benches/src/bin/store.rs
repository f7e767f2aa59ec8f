//! Measures the store alone, on one core: the cost of lookups one at a time and in batches, the cost of
//! inserts and the reason for the worst one, bytes per item, and the miss ratio of a real trace.

use std::error::Error;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use standin_benches::cpu;
use standin_benches::store::{inserts, lookups, memory, trace};

#[derive(Parser)]
#[command(about)]
struct Cli {
    #[command(subcommand)]
    what: Option<What>,
    /// Core to run on.
    #[arg(long, default_value_t = 0, global = true)]
    core: usize,
}

#[derive(Subcommand)]
enum What {
    /// Nanoseconds per get, one at a time and in batches of 64.
    Lookups(Lookups),
    /// Nanoseconds per insert, filling and evicting, and the worst single ones.
    Inserts(Inserts),
    /// Bytes per item beyond key and value.
    Memory,
    /// Miss ratio of a trace.
    Trace(Trace),
}

#[derive(Args)]
struct Lookups {
    /// Numbers of items.
    #[arg(long, value_delimiter = ',', default_value = "1000000,5000000")]
    items: Vec<u32>,
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

#[derive(Args)]
struct Inserts {
    /// Memory of the store; twice as much is inserted.
    #[arg(long, default_value_t = 256)]
    arena_mib: usize,
}

#[derive(Args)]
struct Trace {
    /// A file in libCacheSim's oracleGeneral format, not compressed.
    #[arg(long = "trace")]
    path: PathBuf,
    /// Budgets for items, index and policy together.
    #[arg(long, value_delimiter = ',', default_value = "16,32,64")]
    mib: Vec<usize>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    cpu::pin_self(cli.core)?;
    match cli.what {
        Some(What::Lookups(options)) => lookups::run(&options.items, options.rounds),
        Some(What::Inserts(options)) => inserts::run(options.arena_mib << 20),
        Some(What::Memory) => memory::run(),
        Some(What::Trace(options)) => trace::run(&options.path, &options.mib),
        None => {
            lookups::run(&[1_000_000, 5_000_000], 5)?;
            inserts::run(256 << 20)?;
            memory::run()
        }
    }
}
