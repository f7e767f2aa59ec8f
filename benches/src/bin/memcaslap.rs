//! The load generators of libmemcached, `memcaslap` and `memcslap`, as they are, against one shard of
//! Standin and against memcached with one worker.
//!
//! Rounds are interleaved. The table has medians of the serving threads' CPU time per key, their
//! spread, and the ratio of each round's two figures.

use std::error::Error;
use std::net::SocketAddr;
use std::process::Command;

use clap::Parser;
use standin_benches::serve::Role;
use standin_benches::targets::Target;
use standin_benches::tools::{self, Options, Printed, Run};

/// The threads of `memcslap`.
const THREADS: u32 = 8;

#[derive(Parser)]
#[command(about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Cli { role, options } = Cli::parse();
    if let Some(role) = role {
        return role.run();
    }
    let requests = options.requests;
    let runs = [
        memcaslap("memcaslap: gets and sets 9 to 1", requests, 1),
        memcaslap("memcaslap: the same, gets of 100 keys", requests * 8, 100),
        memcslap("get", requests / 10),
        memcslap("set", requests / 10),
        memcslap("mget", requests / 10),
    ];
    let targets = [Target::StandinText, Target::MemcachedText];
    let table = tools::compare(targets, &runs, &options)?;
    println!("{} rounds\n\n{table}", options.rounds);
    Ok(())
}

fn memcaslap(name: &str, requests: u32, division: u32) -> Run {
    let command = move |address: SocketAddr| {
        let mut command = Command::new("memcaslap");
        command.args(["-s", &address.to_string(), "-T", "1", "-c", "64", "-X", "100", "-w", "1k"]);
        command.args(["-x", &requests.to_string(), "-d", &division.to_string()]);
        command
    };
    let read = |text: &str| {
        // Run time: 2.0s Ops: 150760 TPS: 75372 Net_rate: 84.3M/s
        let last = text.lines().find(|line| line.starts_with("Run time:"))?;
        let field = |name| last.split_once(name)?.1.split_whitespace().next()?.parse().ok();
        Some(Printed { requests: field("Ops:")?, per_s: field("TPS:")? })
    };
    Run { name: name.to_owned(), command: Box::new(command), read: Box::new(read) }
}

/// First sets this number of keys, then has each thread get or set all of them.
fn memcslap(test: &'static str, keys: u32) -> Run {
    let command = move |address: SocketAddr| {
        let mut command = Command::new("memcslap");
        command.arg(format!("--servers={address}")).arg(format!("--test={test}"));
        command.arg(format!("--concurrency={THREADS}")).arg(format!("--execute-number={keys}"));
        command
    };
    let read = move |text: &str| {
        // Time total:                                           0.749 seconds.
        let last = text.lines().find(|line| line.starts_with("Time total:"))?;
        let seconds: f64 = last.split_whitespace().nth(2)?.parse().ok()?;
        let requests = f64::from(keys) * f64::from(THREADS + 1);
        Some(Printed { requests, per_s: requests / seconds })
    };
    Run { name: format!("memcslap: {test}"), command: Box::new(command), read: Box::new(read) }
}
