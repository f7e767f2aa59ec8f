//! The effect of a node's death on the users of Standin and of its peers, as one table. Run by
//! `cargo xtask peers`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use standin_benches::peers::drive::{
    COLD_PERCENT, KEYS, RATE_PER_S, READS_PERCENT, Setting, WORKERS, run,
};
use standin_benches::peers::row::{Row, head, line};
use standin_benches::peers::{Failure, rows};
use standin_loadgen::interrupt::Interrupt;
use standin_testkit::Postgres;

/// Kills a node, or stops it for a while, in Redis Cluster, twemproxy, memcached and Standin under the
/// same load, in front of the same database. Prints one row per fault.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask peers", max_term_width = 100)]
struct Args {
    /// Only rows whose peer or fault contains this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Seconds of load after the fault.
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u32).range(5..=3_600))]
    seconds: u32,
    /// Also write the figures as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The `standin` program.
    #[arg(long, value_name = "FILE", default_value = "standin")]
    program: PathBuf,
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::from(2)
        }
    }
}

fn measure(args: &Args) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()?;
    Postgres::available()?;
    let postgres = Postgres::start();
    println!(
        "{RATE_PER_S} requests/s on a fixed schedule (latency from the scheduled time), {WORKERS} \
         client threads, {READS_PERCENT} % GET, {KEYS} keys over three nodes (Zipf 0.99) and {COLD_PERCENT} % \
         of the reads of keys that no cache holds; 100 ms client timeout, the libraries' own \
         retries; PostgreSQL behind all; the fault after 10 s, {} s of load after it\n",
        args.seconds
    );
    println!("{}", head());
    let mut measured = Vec::new();
    let mut quotes = Vec::new();
    for (peer, fault) in rows() {
        let name = format!("{peer}, {fault}");
        if !(args.only.is_empty() || args.only.iter().any(|text| name.contains(text.as_str()))) {
            continue;
        }
        let folder = tempfile::Builder::new().prefix("standin-peers-").tempdir()?;
        let setting = Setting {
            program: &args.program,
            folder: folder.path(),
            postgres: &postgres,
            aftermath: Duration::from_secs(args.seconds.into()),
            interrupt: &interrupt,
        };
        match run(peer, fault, &setting) {
            Ok(seen) => {
                let row = Row::of(peer, fault, &seen);
                println!("{}", line(&row));
                quotes.extend(seen.quotes.first().map(|quote| format!("{name}: {quote}")));
                measured.push(row);
            }
            Err(error) if interrupt.is_set() => return Err(error),
            Err(error) => println!("{name}: left out: {error}"),
        }
    }
    if !quotes.is_empty() {
        println!("\nThe first failure of each:");
        quotes.iter().for_each(|quote| println!("- {quote}"));
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&measured)?)?;
    }
    Ok(())
}
