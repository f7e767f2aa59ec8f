//! `standin check-config`: reports what a start with this file would report, without starting. It does
//! not ask the database whether it accepts the statements; the first server that starts does.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use standin_config::{
    CheckedProxy, ClusterConfig, DASHBOARD, HttpConfig, HttpKeys, METRICS, ProxyConfig, counted,
};
use standin_master::Master;
use standin_proxy::Proxy;
use standin_server::check;
use standin_server::shard::access::Access;

use crate::service_user::Said;
use crate::{ConfigArg, Ended, out, port, private};

/// `standin check-config`.
#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Check whether this server could start on this machine, under the limits of this shell.
    /// Without this option, what the machine lacks for servers at its addresses is only a warning.
    #[arg(long, value_name = "SERVER")]
    name: Option<String>,
    /// Check whether the master could start on this machine.
    #[arg(long)]
    master: bool,
    /// Check the files alone, and not whether this machine has the memory, the descriptors and the addresses, which the
    /// process that runs may have.
    #[arg(long)]
    files_only: bool,
}

/// The findings. A finding that several servers share is reported once.
#[derive(Debug, Default)]
struct Findings {
    errors: BTreeSet<String>,
    warnings: BTreeSet<String>,
}

impl Findings {
    fn error(&mut self, text: impl ToString) {
        self.errors.insert(text.to_string());
    }

    /// Adds something that prevents a start on this machine: an error if the check is for this
    /// machine, otherwise a warning.
    fn here(&mut self, is_for_here: bool, text: String) {
        let list = if is_for_here { &mut self.errors } else { &mut self.warnings };
        list.insert(text);
    }
}

/// What was found of a file. The texts say what it holds.
enum Judged {
    Good(String),
    /// A client's file, which no service reads.
    GoodForClients(String),
    Bad,
}

pub(crate) fn check_config(args: &CheckConfigArgs) -> Ended {
    let path = &args.config.config;
    let mut said = Said::default();
    let judged = match ProxyConfig::is_in(path) {
        true => check_proxy(path, args.files_only, &mut said),
        false => check_cluster(args, &mut said)?,
    };
    // The exit code is that of this user's own check.
    if !matches!(judged, Judged::GoodForClients(_)) {
        said.as_service_user(path);
    }
    match judged {
        Judged::Bad => Ok(ExitCode::FAILURE),
        Judged::Good(what) | Judged::GoodForClients(what) => {
            out::line(&format!("{}: good: {what}", path.display()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Checks the file of a cluster.
fn check_cluster(args: &CheckConfigArgs, said: &mut Said) -> Result<Judged, String> {
    let path = &args.config.config;
    let checked = ClusterConfig::check_file(path);
    for warning in &checked.warnings {
        said.remark(format!("warning: {warning}"));
    }
    let cluster = match checked.config {
        Ok(cluster) => cluster,
        Err(errors) => {
            said.remark(errors.to_string());
            return Ok(Judged::Bad);
        }
    };
    if cluster.for_clients {
        return Ok(Judged::GoodForClients(format!(
            "a client's file of cluster {:?}, {}, {}",
            cluster.name,
            counted(cluster.servers.len(), "server"),
            counted(cluster.keyspaces.len(), "keyspace"),
        )));
    }
    let only = match &args.name {
        None => None,
        Some(name) => Some(cluster.server_id(name).ok_or_else(|| {
            let known: Vec<&str> = cluster.servers.iter().map(|s| s.name.as_str()).collect();
            format!(
                "{} has no server {name:?}; its servers are: {}",
                path.display(),
                known.join(", ")
            )
        })?),
    };
    let mut found = Findings::default();
    if let Some(refusal) = private::refusal(checked.too_open, &cluster) {
        found.error(refusal);
    }
    for (server, _) in (0..).zip(&cluster.servers) {
        check_server(&cluster, server, (only, args.files_only), &mut found);
    }
    check_master(&cluster, (args.master, args.files_only), &mut found);
    let name = path.display();
    for warning in &found.warnings {
        said.remark(format!("warning: {name}: {warning}"));
    }
    for error in &found.errors {
        said.remark(format!("{name}: {error}"));
    }
    if !found.errors.is_empty() {
        return Ok(Judged::Bad);
    }
    Ok(Judged::Good(format!(
        "cluster {:?}, {} in {}, {} partitions, {}",
        cluster.name,
        counted(cluster.servers.len(), "server"),
        counted(cluster.groups.len(), "group"),
        cluster.partitions,
        counted(cluster.keyspaces.len(), "keyspace"),
    )))
}

/// Checks the file of a proxy.
fn check_proxy(path: &Path, files_only: bool, said: &mut Said) -> Judged {
    let CheckedProxy { config, warnings } = ProxyConfig::check_file(path);
    for warning in &warnings {
        said.remark(format!("warning: {warning}"));
    }
    let config = match config {
        Ok(config) => config,
        Err(errors) => {
            said.remark(errors.to_string());
            return Judged::Bad;
        }
    };
    let name = path.display();
    let services = config.services.iter().map(|s| (s.protocol, s.passwords.as_deref()));
    if let Err(error) = Access::read(Vec::new(), &config.security, services) {
        said.remark(format!("{name}: {error}"));
        return Judged::Bad;
    }
    let metrics = config.metrics.as_ref();
    let of_address = || match files_only {
        true => None,
        false => port::refusal_of_address(METRICS, metrics),
    };
    if let Some(error) = port::refusal_of_file(metrics).or_else(of_address) {
        said.remark(format!("{name}: {error}"));
        return Judged::Bad;
    }
    let https = port::certificates(config.tls.as_ref()).err();
    if let Some(error) = https.or_else(|| Proxy::check_tls(&config)) {
        said.remark(format!("{name}: {error}"));
        return Judged::Bad;
    }
    let services = config.services.iter();
    let places: Vec<String> =
        services.map(|service| format!("{} on {}", service.protocol.key(), service.at)).collect();
    Judged::Good(format!(
        "a proxy for {}, {}, {}",
        places.join(" and "),
        counted(usize::from(config.threads), "thread"),
        counted(config.keyspaces.len(), "keyspace"),
    ))
}

fn check_server(
    cluster: &ClusterConfig,
    server: u16,
    (only, files_only): (Option<u16>, bool),
    found: &mut Findings,
) {
    let own = &cluster.servers[usize::from(server)];
    let of_file = check::of_file(cluster, server);
    let could_start = of_file.is_empty();
    of_file.iter().for_each(|error| found.error(error));
    let is_for_here = only == Some(server);
    if !could_start || (!is_for_here && (only.is_some() || !check::is_of_this_machine(own.address)))
    {
        return;
    }
    let metrics = own.metrics.as_ref();
    let mut errors = match files_only {
        true => check::of_named_files(cluster, server),
        false => check::of_machine(cluster, server),
    };
    let of_port = port::refusal_of_file(metrics);
    let of_https = port::certificates(cluster.tls.as_ref()).err().map(|error| error.to_string());
    let mut of_addresses = None;
    if !files_only {
        errors.extend(check::of_services(cluster, server));
        errors.extend(check::of_address(own.address));
        of_addresses = port::refusal_of_address(METRICS, metrics);
    }
    let errors = errors.iter().map(ToString::to_string);
    for error in errors.chain(of_port).chain(of_addresses).chain(of_https) {
        found.here(is_for_here, format!("server {:?} could not start here: {error}", own.name));
    }
    if files_only {
        return;
    }
    for doubt in check::doubts(cluster, server) {
        found.here(false, format!("server {:?}: {doubt}", own.name));
    }
}

fn check_master(
    cluster: &ClusterConfig,
    (is_for_here, files_only): (bool, bool),
    found: &mut Findings,
) {
    if !is_for_here && !check::is_of_this_machine(cluster.master.address) {
        return;
    }
    let mut errors = match files_only {
        true => Master::check_files(cluster),
        false => Master::check(cluster),
    };
    let ports = [(METRICS, &cluster.master.metrics), (DASHBOARD, &cluster.master.dashboard)];
    let mut of_ports: Vec<String> =
        ports.iter().filter_map(|(_, config)| port::refusal_of_file(config.as_ref())).collect();
    if !files_only {
        errors.extend(Master::check_address(cluster));
        let of_address = |(keys, config): &(HttpKeys, &Option<HttpConfig>)| {
            port::refusal_of_address(*keys, config.as_ref())
        };
        of_ports.extend(ports.iter().filter_map(of_address));
    }
    let of_https = port::certificates(cluster.tls.as_ref()).err().map(|error| error.to_string());
    for error in errors.iter().map(ToString::to_string).chain(of_ports).chain(of_https) {
        found.here(is_for_here, format!("the master could not start here: {error}"));
    }
}
