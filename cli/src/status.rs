//! `standin status`: the map in force and what each server counts.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, Target, differences};
use standin_protocol::body::StatsReply;
use standin_protocol::map::{ClusterMap, MapEpoch, NO_SERVER};

use crate::{ConfigArg, Ended};

/// `standin status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Exit code 0: the master and all servers answer, are online and have a map; 1: not so; 2: the
/// cluster's map can't be had.
pub(crate) fn status(args: &StatusArgs) -> Ended {
    let cluster = args.config.load()?;
    let topology = Arc::new(cluster.topology()?);
    let config = ClientConfig { attempts: 1, observer: true, ..ClientConfig::from(&cluster) };
    let mut client = Client::new(config, Bootstrap::Config(Arc::clone(&topology)))?;
    let from_master = client.map(Target::Master);
    let is_master_up = from_master.is_ok();
    let map = from_master.or_else(|_| client.map(Target::Any))?;
    if map.topology.id != topology.id {
        crate::warn_outdated(&args.config.config, &differences(&topology, &map.topology));
        // Who is asked for what it counts, the cluster says.
        let config = ClientConfig { attempts: 1, ..ClientConfig::from(&cluster) };
        client = Client::new(config, Bootstrap::Config(Arc::clone(&map.topology)))?;
    }
    let stats: Vec<Option<StatsReply>> = (0u16..)
        .zip(&map.topology.servers)
        .map(|(id, _)| client.stats(Target::Server(id)).ok())
        .collect();
    let states = map.statuses();
    let all_up = is_master_up
        && stats.iter().flatten().count() == states.len()
        && stats.iter().flatten().all(|stats| stats.map_epoch != 0)
        && states.iter().all(|s| s.state == standin_protocol::map::ServerState::Online);
    if args.json {
        writeln!(std::io::stdout(), "{:#}", as_json(&map, is_master_up, &stats))?;
    } else {
        writeln!(std::io::stdout(), "{}", table(&map, is_master_up, &stats))?;
    }
    Ok(if all_up { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn owned(map: &ClusterMap, server: u16) -> usize {
    let partitions = 0..map.topology.partitions;
    partitions.filter(|p| map.ownership(*p).owner == server).count()
}

fn table(map: &ClusterMap, is_master_up: bool, stats: &[Option<StatsReply>]) -> String {
    let mut lines = Vec::new();
    let topology = &map.topology;
    let master = if is_master_up { "answers" } else { "DOES NOT ANSWER" };
    lines.push(format!(
        "cluster {}   map epoch {}   master {} {master}",
        topology.name, map.epoch, topology.master
    ));
    lines.push(format!(
        "{:<12} {:<22} {:<10} {:>8} {:>6} {:>9} {:>12} {:>7} {:>10} {:>8}",
        "server",
        "address",
        "state",
        "epoch",
        "owns",
        "items",
        "requests",
        "hit %",
        "orig.reads",
        "waiting"
    ));
    for ((id, info), stats) in (0u16..).zip(&topology.servers).zip(stats) {
        let state = map.state(id).name();
        let head = format!(
            "{:<12} {:<22} {state:<10} {:>8} {:>6}",
            info.name,
            info.address.to_string(),
            stats.as_ref().map_or_else(|| "?".to_owned(), epoch_applied),
            owned(map, id)
        );
        let Some(stats) = stats else {
            lines.push(format!("{head}   does not answer"));
            continue;
        };
        let (hits, misses) = (stats.counter("hits"), stats.counter("misses"));
        lines.push(format!(
            "{head} {:>9} {:>12} {:>7.1} {:>10} {:>8}",
            stats.counter("items"),
            stats.counter("requests"),
            percent(hits, hits + misses),
            stats.counter("origin_reads"),
            stats.counter("in_flight"),
        ));
    }
    let unowned = owned(map, NO_SERVER);
    if unowned > 0 {
        lines.push(format!("{unowned} partitions are being handed back: nobody caches them now"));
    }
    lines.join("\n")
}

/// The epoch of the map that a server has applied.
fn epoch_applied(stats: &StatsReply) -> String {
    match MapEpoch::from_u64(stats.map_epoch) {
        none if none == MapEpoch::default() => "no map".to_owned(),
        epoch => epoch.to_string(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage of counters, for reading")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

fn as_json(
    map: &ClusterMap,
    is_master_up: bool,
    stats: &[Option<StatsReply>],
) -> serde_json::Value {
    let servers = (0u16..).zip(&map.topology.servers).zip(stats).map(|((id, info), stats)| {
        let counters = stats.as_ref().map(|stats| {
            let pairs = stats.counters.iter().map(|c| (c.name.clone(), json!(c.value)));
            serde_json::Value::Object(pairs.collect())
        });
        json!({
            "name": info.name,
            "address": info.address.to_string(),
            "state": map.state(id).name(),
            "owned_partitions": owned(map, id),
            "answers": stats.is_some(),
            "epoch": stats.as_ref().map(|s| MapEpoch::from_u64(s.map_epoch).to_string()),
            "uptime_ms": stats.as_ref().map(|s| s.uptime_ms),
            "counters": counters,
        })
    });
    json!({
        "cluster": map.topology.name,
        "epoch": map.epoch.to_string(),
        "master": { "address": map.topology.master.to_string(), "answers": is_master_up },
        "servers": servers.collect::<Vec<_>>(),
    })
}
