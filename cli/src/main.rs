//! The `standin` program: reads the command line and calls the role's library.
//!
//! ```text
//! server, master,
//! proxy               run until a signal stops them       roles.rs, signals.rs, diagnostics/
//!                     their files, read again             reload.rs
//!                     what systemd is told of them        service.rs
//! get, put, …         one operation with the client       data.rs
//! invalidate, flush   drop keys from all caches           drop.rs
//! metrics/, port.rs   the figures of a role, and the port on which it answers over HTTP
//! watch/              looks at a whole cluster, once a second
//! dashboard/          the page that shows them
//! top                 the same in a terminal               top/
//! hot                 the keys that are asked for most     hot/
//! status              map, counters, what is wrong        status/
//! check-config        check a cluster file                check_config.rs
//! client-config       write a client's file               client_config.rs
//! user                a line for the file of users         user.rs
//! doctor              check a host, and tune it           doctor.rs
//! completions, man    made from the command line's definition    generate.rs, pages.rs
//! demo, load          call the load generator's library
//! show.rs             once or again and again, as a table or as JSON: status and hot
//! out.rs              standard output of all commands except the roles
//! ```

mod check_config;
mod client_config;
mod dashboard;
mod data;
mod descriptors;
mod diagnostics;
mod doctor;
mod drop;
mod events;
mod generate;
mod hot;
mod metrics;
mod out;
mod pages;
mod port;
mod private;
mod reload;
mod roles;
mod service;
mod service_user;
mod show;
mod signals;
mod status;
mod top;
mod user;
mod watch;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use standin_config::{Checked, ClusterConfig, KeyspaceConfig, Mistake};

use crate::out::OutError;

// Rules that can be left out are for tests alone.
const _: () = assert!(
    !standin_protocol::mutant::ARE_COMPILED_IN,
    "the feature `mutants` is on: the program must not be built with it. Build it alone (`cargo \
     build --release`), or leave out the feature"
);
// So are servers that count nothing for benchmarks.
const _: () = assert!(
    standin_server::counted::COUNTED,
    "the feature `uncounted` is on: the program must not be built with it. Leave out the feature"
);

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
    /// Run a proxy for the applications of this host until SIGTERM: memcached's and Redis' protocols, with
    /// the cluster behind them.
    Proxy(roles::ProxyArgs),
    /// Kill a server of a cluster under load, and show that no request fails.
    Demo(standin_loadgen::demo::DemoArgs),
    /// Drive load against a running cluster and measure it.
    Load(Box<standin_loadgen::load::LoadArgs>),
    /// Compare, merge and show again the results of `standin load`.
    Report(standin_loadgen::compare::ReportArgs),
    /// Read a value.
    Get(data::GetArgs),
    /// Write a value.
    Put(data::PutArgs),
    /// Delete a row.
    Delete(data::DeleteArgs),
    /// Drop keys from all caches, after their rows were changed behind Standin's back.
    Invalidate(drop::InvalidateArgs),
    /// Drop a whole keyspace from all caches of the cluster.
    Flush(drop::FlushArgs),
    /// Show the map of a running cluster, its servers' counters, and what is wrong.
    Status(status::StatusArgs),
    /// Show the keys that a running cluster is asked for most.
    Hot(hot::HotArgs),
    /// Watch a running cluster in a terminal: servers, rates, latencies, what is wrong, and what happens.
    Top(top::TopArgs),
    /// Check a cluster file, and report all mistakes at once, each with its line.
    CheckConfig(check_config::CheckConfigArgs),
    /// Write the file that clients use, without the database and the cluster's secret.
    ClientConfig(client_config::ClientConfigArgs),
    /// Make a password for a user of the cluster, and print the user's line for `users_file`.
    User(user::UserArgs),
    /// Look at this host: what a server needs from it, what slows it down, and what to do about it.
    Doctor(doctor::DoctorArgs),
    /// Print the completions of this program for a shell.
    Completions(generate::CompletionsArgs),
    /// Write the manual pages of this program.
    Man(generate::ManArgs),
}

/// The option that names the cluster file.
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

    /// Loads the keyspaces of the file, which may be that of a proxy.
    fn load_keyspaces(&self) -> Result<Vec<KeyspaceConfig>, Box<dyn Error>> {
        Ok(KeyspaceConfig::load_all(&self.config)?)
    }

    /// Loads the file for a server or the master, which must not reveal the database's password.
    /// Returns the warnings about it as well, for the log.
    fn load_for_role(&self) -> Result<(ClusterConfig, Vec<Mistake>), Box<dyn Error>> {
        let Checked { config, warnings, too_open } = ClusterConfig::check_file(&self.config);
        let cluster = config?;
        if cluster.for_clients {
            return Err(format!(
                "{} is a client's file, which lacks what servers and the master need; give the \
                 cluster's own file",
                self.config.display()
            )
            .into());
        }
        match private::refusal(too_open, &cluster) {
            Some(refusal) => Err(format!("{}: {refusal}", self.config.display()).into()),
            None => Ok((cluster, warnings)),
        }
    }
}

/// Warns that the file is out of date, and that the command uses the cluster's own map.
fn warn_outdated(file: &Path, how: &str) {
    diagnostics::remark(&format!(
        "standin: warning: {} is out of date and does not describe the running cluster: {how}; \
         copy the file that the cluster's servers use",
        file.display()
    ));
}

/// The result of a command: its exit code, or why it could not be executed.
type Ended = Result<ExitCode, Box<dyn Error>>;

/// Runs a command that shows its progress, and that does not wait for anyone to read it.
fn long_run(run: impl FnOnce(Option<Box<dyn Fn(&str)>>) -> Ended) -> Ended {
    let Some(lines) = out::Lines::start()?.map(Rc::new) else { return run(None) };
    let shown = Rc::clone(&lines);
    let ended = run(Some(Box::new(move |text| shown.push(text))));
    lines.finish();
    ended
}

fn report(args: &standin_loadgen::compare::ReportArgs) -> Ended {
    let (text, code) = standin_loadgen::compare::main(args)?;
    out::line(&text)?;
    Ok(code)
}

fn main() -> ExitCode {
    descriptors::raise_limit();
    let definition = pages::with_help(Cli::command());
    let given = definition.clone().get_matches();
    let given = Cli::from_arg_matches(&given).unwrap_or_else(|error| error.exit());
    let ended = match given.command {
        Command::Server(args) => roles::server(&args),
        Command::Master(args) => roles::master(&args),
        Command::Proxy(args) => roles::proxy(&args),
        Command::Demo(args) => long_run(|show| standin_loadgen::demo::main(&args, show)),
        Command::Load(args) => long_run(|show| standin_loadgen::load::main(&args, show)),
        Command::Report(args) => report(&args),
        Command::Get(args) => data::get(&args),
        Command::Put(args) => data::put(&args),
        Command::Delete(args) => data::delete(&args),
        Command::Invalidate(args) => drop::invalidate(&args),
        Command::Flush(args) => drop::flush(&args),
        Command::Status(args) => status::status(&args),
        Command::Hot(args) => hot::hot(&args),
        Command::Top(args) => top::top(&args),
        Command::CheckConfig(args) => check_config::check_config(&args),
        Command::ClientConfig(args) => client_config::client_config(&args),
        Command::User(args) => user::user(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Completions(args) => generate::completions(&args, definition),
        Command::Man(args) => generate::man(&args, definition),
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
