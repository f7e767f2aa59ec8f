//! `standin hot`: the keys that a cluster is asked for most.
//!
//! ```text
//! merge.rs    the answers of all servers together (pure)
//! render.rs   them as a table or as JSON (pure)
//! ```

mod merge;
mod render;

use std::error::Error;
use std::sync::Arc;

use clap::Args;
use standin_client::Target;
use standin_config::ClusterConfig;
use standin_protocol::hot::HotReply;
use standin_protocol::map::Topology;

use self::merge::Merged;
use crate::show::ShowArgs;
use crate::status::{Heard, Reached, reach, with_room};
use crate::{ConfigArg, Ended};

/// `standin hot`.
#[derive(Debug, Args)]
#[command(
    after_help = "The rates are estimates from a sample of the last eight seconds or so: see \
                  docs/SLOW_AND_HOT.md."
)]
pub(crate) struct HotArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The largest number of keys to show.
    #[arg(long, short = 'n', value_name = "NUMBER", default_value = "20",
          value_parser = clap::value_parser!(u16).range(1..=4_096))]
    keys: u16,
    #[command(flatten)]
    show: ShowArgs,
}

/// Runs the command. The help describes the exit codes.
pub(crate) fn hot(args: &HotArgs) -> Ended {
    let cluster = args.config.load()?;
    let topology = Arc::new(cluster.topology()?);
    let mut is_warned = false;
    args.show.show(|| look(&cluster, &topology, args, &mut is_warned))
}

fn look(
    cluster: &ClusterConfig,
    topology: &Arc<Topology>,
    args: &HotArgs,
    is_warned: &mut bool,
) -> Result<(String, u8), Box<dyn Error>> {
    let Reached { mut client, busy_until, topology, .. } =
        reach(cluster, topology, &args.config, is_warned)?;
    let ids = (0u16..).take(topology.servers.len());
    let asked = ids.map(|id| with_room(busy_until, || client.hot(Target::Server(id))));
    let heard: Vec<Heard<HotReply>> = asked.map(Heard::from).collect();
    let is_silent = heard.iter().all(|heard| heard.answer().is_none());
    let failed = heard.iter().find(|heard| matches!(heard, Heard::Failed(_)));
    if let (true, Some(Heard::Failed(error))) = (is_silent, failed) {
        return Err(error.clone().into());
    }
    let keyspaces = cluster.keyspaces.iter().map(|keyspace| (keyspace.id, keyspace.name.as_str()));
    let merged = Merged::of(&topology, keyspaces, &heard, args.keys.into());
    let text = args.show.text(|| render::as_json(&merged), || render::table(&merged));
    Ok((text, u8::from(heard.iter().any(|heard| heard.answer().is_none()))))
}
