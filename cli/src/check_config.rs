//! `standin check-config`: what starting with this file would say, without starting.

use std::process::ExitCode;

use clap::Args;
use standin_config::ClusterConfig;

use crate::{ConfigArg, Ended, diagnostics, out};

/// `standin check-config`.
#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {
    #[command(flatten)]
    config: ConfigArg,
}

pub(crate) fn check_config(args: &CheckConfigArgs) -> Ended {
    let path = &args.config.config;
    let checked = ClusterConfig::check_file(path);
    for warning in &checked.warnings {
        diagnostics::remark(&format!("warning: {warning}"));
    }
    match checked.config {
        Ok(cluster) => {
            out::line(&format!(
                "{}: good: cluster {:?}, {} servers in {} groups, {} partitions, {} keyspaces",
                path.display(),
                cluster.name,
                cluster.servers.len(),
                cluster.groups.len(),
                cluster.partitions,
                cluster.keyspaces.len(),
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            diagnostics::remark(&errors.to_string());
            Ok(ExitCode::FAILURE)
        }
    }
}
