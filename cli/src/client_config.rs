//! `standin client-config`: writes the file with which clients, a proxy and `standin load` use the cluster.
//! It has neither the database's address and password nor the cluster's secret.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::{ConfigArg, Ended, out};

/// `standin client-config`.
#[derive(Debug, Args)]
pub(crate) struct ClientConfigArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The file to write. It is readable by this user alone, because with it everybody could be a client.
    #[arg(long, short, default_value = "client.toml", value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

pub(crate) fn client_config(args: &ClientConfigArgs) -> Ended {
    let cluster = args.config.load()?;
    cluster.write_client_file(&args.output, args.force)?;
    let what = match cluster.client_key() {
        Some(_) => "with the clients' key",
        None => "the cluster has no secret, and clients need no key",
    };
    out::line(&format!("{}: written: {what}", args.output.display()))?;
    Ok(ExitCode::SUCCESS)
}
