//! `standin doctor`: looks at this host for the servers of the cluster file that run on it, says what is
//! wrong and what to do, and changes what can be changed while it runs.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use standin_config::{ClusterConfig, OriginConfig, ProxyConfig};
use standin_doctor::change::{self, Done, Step};
use standin_doctor::read::{self, Look, Root};
use standin_doctor::{Wanted, as_json, judge, table};
use standin_server::check;

use crate::{Ended, diagnostics, out};

/// The cluster file that is taken without `--config`, if it is there.
const CLUSTER_FILE: &str = "cluster.toml";

/// `standin doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The cluster file. Without it: cluster.toml, or if there is none, a server with the default settings.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A server that runs on this host; may be repeated. Without it: those whose address this host has.
    #[arg(long, value_name = "SERVER")]
    name: Vec<String>,
    /// A network card that serves clients; may be repeated. Without it: that of the servers' addresses, or
    /// of the default route.
    #[arg(long, value_name = "CARD")]
    nic: Vec<String>,
    /// The process whose limits and control group are looked at, such as that of a running server.
    /// Without it: this command, which has those of the shell.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Show what is good as well.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Change what can be changed while the host runs, and keep the old values.
    #[arg(long, conflicts_with = "revert")]
    apply: bool,
    /// Put back what --apply has changed.
    #[arg(long)]
    revert: bool,
    /// The file with the old values.
    #[arg(long, value_name = "FILE", default_value = "/var/lib/standin/doctor.json")]
    state: PathBuf,
    /// A folder with copies of /proc and /sys to look at in the place of this host's. What only the kernel,
    /// the card and the database could answer is not asked then.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// Runs the command. The help describes the exit codes.
pub(crate) fn doctor(args: &DoctorArgs) -> Ended {
    let root = match &args.root {
        None => Root::host(),
        Some(folder) if folder.join("proc").is_dir() => Root::copy(folder.clone()),
        Some(folder) => return Err(format!("{} has no folder proc", folder.display()).into()),
    };
    if args.revert {
        let steps = change::revert(&root, &args.state)?;
        return show_steps(args, &steps);
    }
    if let Some(name) = args.nic.iter().find(|name| !read::is_card(&root, name)) {
        return Err(format!("there is no network card {name:?}; `ip link` lists them").into());
    }
    if let Some(id) = args.pid
        && !root.path(&format!("/proc/{id}")).exists()
    {
        return Err(format!("there is no process {id}").into());
    }
    let (wanted, origin) = wanted(args)?;
    let look = Look {
        root: root.clone(),
        process: args.pid,
        cards: args.nic.clone(),
        origin: origin.as_ref(),
    };
    let report = judge(&read::look(&look, &wanted), &wanted);
    if args.apply {
        let steps = change::apply(&root, &report.changes(), &args.state)?;
        return show_steps(args, &steps);
    }
    out::line(&if args.json {
        format!("{:#}", as_json(&report))
    } else {
        table(&report, args.all)
    })?;
    Ok(ExitCode::from(report.exit_code()))
}

/// Returns what the servers on this host need, and their database.
fn wanted(args: &DoctorArgs) -> Result<(Wanted, Option<OriginConfig>), Box<dyn Error>> {
    let path = match &args.config {
        Some(path) => path.clone(),
        None if std::path::Path::new(CLUSTER_FILE).exists() => PathBuf::from(CLUSTER_FILE),
        None if args.name.is_empty() => {
            return Ok((Wanted::defaults("no --config, and no cluster.toml here"), None));
        }
        None => return Err("--name needs a cluster file: name it with --config".into()),
    };
    let file = path.display();
    if ProxyConfig::is_in(&path) {
        return Err(format!("{file} is the file of a proxy; this command is about servers").into());
    }
    let cluster = ClusterConfig::load(&path)?;
    let mut servers = Vec::new();
    for name in &args.name {
        let server = cluster.server_id(name).ok_or_else(|| {
            let known: Vec<&str> = cluster.servers.iter().map(|s| s.name.as_str()).collect();
            format!("{file} has no server {name:?}; its servers are: {}", known.join(", "))
        })?;
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    if servers.is_empty() && args.root.is_none() {
        let all = (0..).zip(&cluster.servers);
        let here = all.filter(|(_, server)| check::is_of_this_machine(server.address));
        servers = here.map(|(id, _)| id).collect();
    }
    if servers.is_empty() {
        return Err(format!(
            "no server of {file} is known to be on this host; name those that will be with --name"
        )
        .into());
    }
    Ok((Wanted::of(&cluster, &servers, &file.to_string()), cluster.origin))
}

fn show_steps(args: &DoctorArgs, steps: &[Step]) -> Ended {
    let is_done = steps.iter().all(|step| step.done.is_done());
    let is_recorded = args.state.exists();
    let state = args.state.display();
    if args.json {
        let record = is_recorded.then(|| state.to_string());
        out::line(&format!("{:#}", json!({ "schema": 1, "record": record, "steps": steps })))?;
    } else {
        for step in steps {
            out::line(&format!("{}: {}", step.path, said(&step.done)))?;
        }
        let end = match (steps.is_empty(), args.apply) {
            (true, true) => "nothing to change that can be changed while the host runs".to_owned(),
            (true, false) => {
                "the host has restarted since, so the settings are no longer changed".to_owned()
            }
            (false, true) if is_recorded => format!(
                "the old values are in {state}; `standin doctor --revert` puts them back, and so does \
                 a restart of the host"
            ),
            (false, true) => "nothing was changed".to_owned(),
            (false, false) if is_recorded => format!("what was not put back is still in {state}"),
            (false, false) => "all is as it was before".to_owned(),
        };
        out::line(&end)?;
    }
    if !is_done {
        diagnostics::remark("standin: some settings are not as they should be: see above");
    }
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn said(done: &Done) -> String {
    match done {
        Done::Written { before, after } => format!("{before} → {after}"),
        Done::AsWanted { value } => format!("{value} already"),
        Done::Restored { before, after } => format!("{before} → {after}, as before"),
        Done::ChangedSince { found, written, before } => format!(
            "LEFT ALONE: somebody has set it to {found} since; it was {before}, and --apply wrote {written}"
        ),
        Done::Failed { why } => format!("FAILED: {why}"),
    }
}
