//! `standin server` and `standin master`: run a role until a signal ends it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use standin_config::IoKind;
use standin_master::{Master, MasterOptions};
use standin_server::Server;
use tracing_subscriber::EnvFilter;

use crate::events::EventFile;
use crate::{ConfigArg, Ended};

/// `standin server`.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Which server of the cluster file this is.
    #[arg(long)]
    name: String,
}

/// `standin master`.
#[derive(Debug, Args)]
pub(crate) struct MasterArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Append every event to this file, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
}

pub(crate) fn server(args: &ServerArgs) -> Ended {
    // Registered first: a signal during the start must not be lost.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let cluster = Arc::new(args.config.load()?);
    start_log();
    let server = Server::start(cluster, &args.name)?;
    println!("standin server {} on {} is ready", args.name, server.address());
    loop {
        if signals.pending().next().is_some() {
            server.stop()?;
            return Ok(ExitCode::SUCCESS);
        }
        if server.has_failed() {
            server.stop()?;
            return Err("a shard has ended unasked; the log says why".into());
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

pub(crate) fn master(args: &MasterArgs) -> Ended {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let cluster = args.config.load()?;
    let events = args.events.as_deref().map(EventFile::open).transpose()?;
    start_log();
    let topology = Arc::new(cluster.topology()?);
    let master =
        Master::bind(MasterOptions { cluster, topology: Arc::clone(&topology), io: IoKind::Auto })?;
    println!("standin master on {} is ready", master.address());
    let stopper = master.stopper();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            stopper.stop();
        }
    })?;
    master.run(move |event| {
        if let Some(file) = &events {
            file.append(&event, &topology);
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Logs to standard error: `RUST_LOG` chooses what, `info` by default.
fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
}
