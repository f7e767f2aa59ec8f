//! The options of `standin load`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::request::ValueSizes;
use crate::schedule::Arrivals;
use crate::targets::address::TargetUrl;
use crate::trace::TraceFormat;
use crate::value::VALUE_BYTES_MIN;

/// Bytes of the values written, unless the command line says otherwise.
const VALUE_BYTES: u32 = 100;
/// Largest value of a trace, unless the command line says otherwise.
const TRACE_BYTES_MAX: u32 = 4_096;

/// `standin load`.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// The cluster file.
    #[arg(long, short, default_value = "cluster.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// Keyspace, by name or number; the first one by default.
    #[arg(long, short)]
    pub keyspace: Option<String>,
    /// Instead of the cluster of a file: memcached://host:port, redis://user:password@host:port/database,
    /// redis-cluster://host:port or standin://host:port. Several addresses, separated by commas, are servers over which the keys are
    /// spread. Parameters follow behind a question mark, such as
    /// ?protocol=meta&distribution=ketama&eject=3&retry=30s&timeout=250ms&connections=4&pipeline=16.
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "keyspace"])]
    pub target: Option<TargetUrl>,
    /// Requests per second on a fixed schedule (open loop).
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub rate: u32,
    /// Distribution of the arrivals.
    #[arg(long, value_enum, default_value_t = Arrivals::Constant)]
    pub arrivals: Arrivals,
    /// Instead of a rate, run this many clients with this many requests each under way, such as 8x16.
    #[arg(long, value_name = "CLIENTSxDEPTH", conflicts_with_all = ["rate", "arrivals"])]
    pub closed: Option<Closed>,
    /// Seconds of load; 10 by default, or the whole trace with --trace.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: Option<u32>,
    /// Number of keys: key-00000000 and so on.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub keys: u32,
    /// Zipf exponent of the keys' distribution; 0 means uniform.
    #[arg(long, default_value_t = 0.99, value_name = "EXPONENT", value_parser = exponent)]
    pub zipf: f64,
    /// Percentage of reads, 95 by default; the rest are writes. Writes, and --fill, leave rows named
    /// after the keys in the keyspace's table. With --trace: percentage of the trace's reads that are
    /// made as reads.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub reads: Option<f64>,
    /// Size of the values written in bytes, a number or a range such as 64-4096; 100 by default. With
    /// --trace, the sizes in the trace are clamped to this range, by default 32-4096.
    #[arg(long, value_name = "BYTES")]
    pub value_bytes: Option<ValueSizes>,
    /// Number of load threads; by default the number of cores, but at most 2.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub workers: Option<u32>,
    /// Seed of keys, sizes and arrivals.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the results as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write an HdrHistogram log to this file.
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// First write every key once.
    #[arg(long)]
    pub fill: bool,
    /// Write a value after each read that finds nothing, as an application does that uses a keyspace
    /// without a database. These writes come in addition to the rate, and count as writes.
    #[arg(long)]
    pub fill_misses: bool,
    /// Check whether any read is stale or wrong. Nothing else may write these keys.
    #[arg(long, requires = "fill")]
    pub check: bool,
    /// With --check: also judge reads that find nothing, because the target has room for all keys and may
    /// lose none. A database behind Standin never may. Not with a trace that gives values lifetimes.
    #[arg(long, requires = "check")]
    pub lossless: bool,
    /// Replay this file instead of random requests.
    #[arg(long, value_name = "FILE", requires = "format")]
    pub trace: Option<PathBuf>,
    /// Format of the trace.
    #[arg(long, value_enum)]
    pub format: Option<TraceFormat>,
}

impl LoadArgs {
    /// Defaults for this cluster file.
    #[must_use]
    pub fn new(config: impl Into<PathBuf>) -> Self {
        Self {
            config: config.into(),
            keyspace: None,
            target: None,
            rate: 1_000,
            arrivals: Arrivals::Constant,
            closed: None,
            seconds: None,
            keys: 100_000,
            zipf: 0.99,
            reads: None,
            value_bytes: None,
            workers: None,
            seed: 1,
            json: None,
            hdr: None,
            fill: false,
            fill_misses: false,
            check: false,
            lossless: false,
            trace: None,
            format: None,
        }
    }

    /// Sizes of the values written, or the bounds of those of the trace.
    #[must_use]
    pub fn sizes(&self) -> ValueSizes {
        let default = match self.trace {
            Some(_) => ValueSizes { min_bytes: VALUE_BYTES_MIN, max_bytes: TRACE_BYTES_MAX },
            None => ValueSizes::fixed(VALUE_BYTES),
        };
        self.value_bytes.unwrap_or(default)
    }

    /// Load threads.
    #[must_use]
    pub fn workers(&self) -> u32 {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.workers.unwrap_or(u32::try_from(cores.min(2)).unwrap_or(1)).max(1)
    }
}

/// A closed loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Clients, each with a connection to each shard.
    pub clients: u32,
    /// Requests that each has under way.
    pub depth: u32,
}

impl FromStr for Closed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(['x', 'X', '×']);
        match parts.map(|(clients, depth)| (clients.parse(), depth.parse())) {
            Some((Ok(clients @ 1..=10_000), Ok(depth @ 1..=65_536))) => Ok(Self { clients, depth }),
            _ => Err("write clients × depth, such as 8x16".to_owned()),
        }
    }
}

fn exponent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(exponent) if (0.0..=10.0).contains(&exponent) => Ok(exponent),
        _ => Err("write an exponent of 0 to 10".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("write a number of 0 to 100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn parse(arguments: &[&str]) -> Option<LoadArgs> {
        let all = ["load"].iter().chain(arguments);
        Cli::try_parse_from(all).ok().map(|cli| cli.load)
    }

    #[test]
    fn the_command_line_is_read() {
        let load = parse(&["--closed", "8×16", "--fill", "--check", "--value-bytes", "64-99"]);
        let load = load.unwrap();
        assert_eq!(load.closed, Some(Closed { clients: 8, depth: 16 }));
        assert_eq!(load.sizes(), ValueSizes { min_bytes: 64, max_bytes: 99 });
        let load = parse(&["--trace", "t", "--format", "oracle"]).unwrap();
        assert_eq!(load.format, Some(TraceFormat::Oracle));
        assert_eq!(load.sizes(), ValueSizes { min_bytes: 32, max_bytes: 4_096 });
        let load = parse(&["--trace", "t", "--format", "oracle", "--value-bytes", "50"]).unwrap();
        assert_eq!(load.sizes(), ValueSizes::fixed(50), "a size that is asked for is honoured");
        let load = parse(&["--target", "memcached://a:1,b:2?eject=2"]).unwrap();
        assert!(load.target.is_some());
        let (load, same) = (parse(&[]).unwrap(), LoadArgs::new("cluster.toml"));
        assert_eq!(format!("{load:?}"), format!("{same:?}"), "one set of defaults");
    }

    #[test]
    fn nonsense_is_refused() {
        for arguments in [
            &["--check"][..],
            &["--trace", "t"],
            &["--closed", "8"],
            &["--closed", "0x1"],
            &["--closed", "1x1", "--rate", "5"],
            &["--zipf", "-1"],
            &["--reads", "101"],
            &["--keys", "0"],
            &["--target", "ftp://a:1"],
            &["--target", "redis://a:1", "--config", "c.toml"],
            &["--lossless"],
        ] {
            assert!(parse(arguments).is_none(), "{arguments:?}");
        }
    }
}
