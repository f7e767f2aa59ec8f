//! The tests of strings of `redis-benchmark`, as it is, against one shard of Standin and against Redis.
//!
//! Rounds are interleaved. The table has medians of the serving threads' CPU time per request, their
//! spread, and the ratio of each round's two figures. MSET writes ten keys.

use std::error::Error;
use std::net::SocketAddr;
use std::process::Command;

use clap::Parser;
use standin_benches::serve::Role;
use standin_benches::targets::Target;
use standin_benches::tools::{self, Options, Printed, Run};

#[derive(Parser)]
#[command(about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: Benchmark,
}

#[derive(clap::Args)]
struct Benchmark {
    #[command(flatten)]
    common: Options,
    /// Requests per batch and connection.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    depths: Vec<u32>,
    /// Tests of redis-benchmark.
    #[arg(long, value_delimiter = ',', default_value = "ping_inline,ping_mbulk,set,get,incr,mset")]
    tests: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Cli { role, options: Benchmark { common, depths, tests } } = Cli::parse();
    if let Some(role) = role {
        return role.run();
    }
    let mut runs = Vec::new();
    for &depth in &depths {
        for test in &tests {
            // A batch takes much less time than as many requests alone.
            let requests = common.requests * depth.isqrt();
            runs.push(run(test.clone(), depth, requests));
        }
    }
    let table = tools::compare([Target::StandinResp, Target::Redis], &runs, &common)?;
    println!("redis-benchmark, 50 connections, {} rounds\n\n{table}", common.rounds);
    Ok(())
}

fn run(test: String, depth: u32, requests: u32) -> Run {
    let name = format!("{test} -P {depth}");
    let command = move |address: SocketAddr| {
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
        command.args(["-n", &requests.to_string(), "-P", &depth.to_string(), "-t", &test]);
        command.args(["-c", "50", "-r", "10000", "--csv"]);
        command
    };
    let read = move |text: &str| {
        // "name","requests per second", and latencies.
        let per_s = text.lines().last()?.split(',').nth(1)?.trim_matches('"').parse().ok()?;
        Some(Printed { requests: requests.into(), per_s })
    };
    Run { name, command: Box::new(command), read: Box::new(read) }
}
