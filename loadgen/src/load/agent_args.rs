//! The options of runs of several machines, which only the command line has.

use std::path::PathBuf;

use clap::Args;

/// `--agent` and `--agents`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct AgentArgs {
    /// Instead of sending load, wait at this address for runs of a coordinator (--agents), until interrupted.
    #[arg(long, value_name = "ADDRESS")]
    pub agent: Option<String>,
    /// Share the run out among these agents, which start together, and merge what they measure.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', conflicts_with = "agent")]
    pub agents: Vec<String>,
    /// The file with the secret that agents and coordinator share. Messages are authenticated by it, and not encrypted.
    #[arg(long, value_name = "FILE")]
    pub agent_secret: Option<PathBuf>,
    /// Do without a secret, although others can reach the address.
    #[arg(long)]
    pub agent_insecure: bool,
    /// The folder with the files that coordinators may name (--config, --database, --trace, curves of --phases, certificates
    /// and passwords), which are relative to it. Without it, an agent reads none.
    #[arg(long, value_name = "FOLDER", requires = "agent")]
    pub agent_files: Option<PathBuf>,
    /// The servers to which coordinators may have this agent log in with passwords and keys of --agent-files, as --target names
    /// them. Without it, to none but those of cluster files.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', requires = "agent_files")]
    pub agent_targets: Vec<String>,
    /// Let coordinators have this agent read keys by queries of theirs (--row-query): any table that the login of its cluster
    /// file may read.
    #[arg(long, requires = "agent_files")]
    pub agent_row_queries: bool,
}
