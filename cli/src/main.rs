//! The `standin` program: reads the command line and calls the role's library.
//!
//! ```text
//! server, master      run until a signal ends them        roles.rs, signals.rs, diagnostics/
//! get, put, …         one operation with the client       data.rs
//! invalidate, flush   what is cached goes                 drop.rs
//! status              map and counters of a cluster       status.rs
//! check-config        the cluster file, without starting  check_config.rs
//! demo, load          the load generator's library
//! out.rs              standard output of all but server and master
//! ```

mod check_config;
mod data;
mod descriptors;
mod diagnostics;
mod drop;
mod events;
mod out;
mod private;
mod roles;
mod signals;
mod status;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use clap::{Args, Parser, Subcommand};
use standin_config::ClusterConfig;

use crate::out::OutError;

/// A partitioned read-through, write-through cache tier whose servers stand in for each
/// other.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server of the cluster until SIGTERM.
    Server(roles::ServerArgs),
    /// Run the master of the cluster until SIGTERM.
    Master(roles::MasterArgs),
    /// Show a cluster that loses a server and does not lose a request.
    Demo(standin_loadgen::demo::DemoArgs),
    /// Drive load against a running cluster and measure it.
    Load(standin_loadgen::load::LoadArgs),
    /// Read a value.
    Get(data::GetArgs),
    /// Write a value.
    Put(data::PutArgs),
    /// Delete a row.
    Delete(data::DeleteArgs),
    /// Drop what is cached of these keys, after the database was changed behind Standin's back.
    Invalidate(drop::InvalidateArgs),
    /// Drop all that is cached of a keyspace, in the whole cluster.
    Flush(drop::FlushArgs),
    /// Show the map of a running cluster and what its servers count.
    Status(status::StatusArgs),
    /// Check a cluster file: all mistakes at once, each with its place.
    CheckConfig(check_config::CheckConfigArgs),
}

/// Where the cluster file is.
#[derive(Debug, Clone, Args)]
struct ConfigArg {
    /// The cluster file, the same for every role.
    #[arg(long, short, default_value = "cluster.toml", value_name = "FILE")]
    config: PathBuf,
}

impl ConfigArg {
    fn load(&self) -> Result<ClusterConfig, Box<dyn Error>> {
        Ok(ClusterConfig::load(&self.config)?)
    }

    /// For a server or the master, which keep the way to the database to themselves.
    fn load_for_role(&self) -> Result<ClusterConfig, Box<dyn Error>> {
        let cluster = self.load()?;
        match private::refusal(&self.config, &cluster) {
            Some(refusal) => Err(format!("{}: {refusal}", self.config.display()).into()),
            None => Ok(cluster),
        }
    }
}

/// The file is old: the command goes by what the cluster says, and its user should know.
fn warn_outdated(file: &Path, how: &str) {
    diagnostics::remark(&format!(
        "standin: warning: {} is out of date, the cluster is another: {how}; copy the file that its \
         servers run with",
        file.display()
    ));
}

/// What a command came to: its exit code, or why it could not be carried out.
type Ended = Result<ExitCode, Box<dyn Error>>;

/// A run that shows what it does, and does not wait for whoever reads that.
fn long_run(run: impl FnOnce(Option<Box<dyn Fn(&str)>>) -> Ended) -> Ended {
    let Some(lines) = out::Lines::start()?.map(Rc::new) else { return run(None) };
    let shown = Rc::clone(&lines);
    let ended = run(Some(Box::new(move |text| shown.push(text))));
    lines.finish();
    ended
}

fn main() -> ExitCode {
    descriptors::raise_limit();
    let ended = match Cli::parse().command {
        Command::Server(args) => roles::server(&args),
        Command::Master(args) => roles::master(&args),
        Command::Demo(args) => long_run(|show| standin_loadgen::demo::main(&args, show)),
        Command::Load(args) => long_run(|show| standin_loadgen::load::main(&args, show)),
        Command::Get(args) => data::get(&args),
        Command::Put(args) => data::put(&args),
        Command::Delete(args) => data::delete(&args),
        Command::Invalidate(args) => drop::invalidate(&args),
        Command::Flush(args) => drop::flush(&args),
        Command::Status(args) => status::status(&args),
        Command::CheckConfig(args) => check_config::check_config(&args),
    };
    let ended = ended.unwrap_or_else(|error| {
        if let Some(OutError::ReaderGone) = error.downcast_ref() {
            return ExitCode::from(out::READER_GONE);
        }
        diagnostics::complain(&error.to_string());
        ExitCode::from(2)
    });
    diagnostics::flush();
    ended
}
