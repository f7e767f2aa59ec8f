//! The options of the demo.

use std::path::PathBuf;

use clap::Args;

/// The length of the shortest run in which the three phases can be distinguished.
pub(super) const SECONDS_MIN: u32 = 6;

/// `standin demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Seconds of load, in three phases: before, failover, after the return.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(i64::from(SECONDS_MIN)..=86_400))]
    pub seconds: u32,
    /// Requests per second, on a fixed schedule.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Seed of keys and sizes; different each time by default.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Also write the results as JSON to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Keep the run's folder (cluster file, logs, events, database), optionally under this name.
    #[arg(long, value_name = "FOLDER", num_args = 0..=1)]
    pub keep: Option<Option<PathBuf>>,
    /// A PostgreSQL database to use instead of SQLite; the demo creates a table in it and drops it.
    #[arg(long, value_name = "postgres://…")]
    pub origin: Option<String>,
    /// Use a keyspace without a database: values are only in the servers' memory, and the load writes a
    /// value after each read that finds nothing.
    #[arg(long, conflicts_with = "origin")]
    pub cache: bool,
    /// Folder for the report; by default a new temporary folder.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        demo: DemoArgs,
    }

    /// What follows from these words behind `standin`.
    pub(in crate::demo) fn parse(words: &[&str]) -> Result<DemoArgs, clap::Error> {
        Cli::try_parse_from(words).map(|cli| cli.demo)
    }

    #[test]
    fn the_command_line_is_read() {
        let demo = parse(&["demo"]).unwrap();
        assert_eq!((demo.seconds, demo.rate, demo.keep), (24, 5_000, None));
        let demo = parse(&["demo", "--keep", "--seconds", "9", "--seed", "4"]).unwrap();
        assert_eq!((demo.keep, demo.seconds, demo.seed), (Some(None), 9, Some(4)));
        let demo = parse(&["demo", "--keep", "here"]).unwrap();
        assert_eq!(demo.keep, Some(Some(PathBuf::from("here"))));
        let both = ["demo", "--cache", "--origin", "postgres://localhost/db"];
        assert!(parse(&both).is_err(), "either a database or none");
        assert!(parse(&["demo", "--seconds", "2"]).is_err(), "too short");
        assert!(parse(&["demo", "--rate", "0"]).is_err());
    }
}
