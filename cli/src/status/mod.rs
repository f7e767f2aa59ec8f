//! `standin status`: the current map, the counters of each server, and what is wrong.
//!
//! ```text
//! report.rs   what is wrong, and how bad it is (pure)
//! figures.rs  what the figures of one server say (pure)
//! render.rs   the report as a table or as JSON
//! ```
#![expect(clippy::disallowed_methods, reason = "a shell: the time of a look, the wait for a place")]

mod figures;
mod render;
mod report;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, ClientError, Target, differences};
use standin_config::ClusterConfig;
use standin_protocol::map::{ClusterMap, Topology};

pub(crate) use self::figures::{Outage, version};
use self::report::Severity;
pub(crate) use self::report::{Finding, Heard, Report};
use crate::show::ShowArgs;
use crate::{ConfigArg, Ended};

/// The time for which parties without room for another connection are asked again.
const BUSY_FOR: Duration = Duration::from_secs(2);

/// `standin status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    show: ShowArgs,
}

/// Runs the command. The help describes the exit codes.
pub(crate) fn status(args: &StatusArgs) -> Ended {
    let cluster = args.config.load()?;
    let topology = Arc::new(cluster.topology()?);
    let mut is_warned = false;
    let mut look = || look(&cluster, &topology, args, &mut is_warned);
    args.show.show(|| look().map(|(text, severity)| (text, severity.code())))
}

/// A cluster, as far as it answers.
pub(crate) struct Reached {
    pub(crate) client: Client,
    /// Until then, parties without room for another connection are asked again.
    pub(crate) busy_until: Instant,
    pub(crate) topology: Arc<Topology>,
    pub(crate) map: Option<Arc<ClusterMap>>,
    pub(crate) master: Heard<()>,
}

/// Asks the master, or else the servers, for the map. Each call uses a new client, because a cluster that
/// was restarted may have changed. Warns once of a file that does not describe the cluster.
pub(crate) fn reach(
    cluster: &ClusterConfig,
    topology: &Arc<Topology>,
    file: &ConfigArg,
    is_warned: &mut bool,
) -> Result<Reached, Box<dyn Error>> {
    let config = ClientConfig { attempts: 1, observer: true, ..ClientConfig::from(cluster) };
    let mut client = Client::new(config.clone(), Bootstrap::Config(Arc::clone(topology)))?;
    let busy_until = Instant::now() + BUSY_FOR;
    let from_master = with_room(busy_until, || client.map(Target::Master));
    let (master, from_master) = match from_master {
        Ok(map) => (Heard::Answer(()), Some(map)),
        Err(error) => (error.into(), None),
    };
    let map =
        match from_master.map_or_else(|| with_room(busy_until, || client.map(Target::Any)), Ok) {
            Ok(map) => Some(map),
            // Somebody answers, and so there is something to show.
            Err(ClientError::NotReady(_) | ClientError::Overloaded { .. }) => None,
            Err(_) if master.is_alive() => None,
            Err(error) => return Err(error.into()),
        };
    let current = map.as_ref().map_or(topology, |map| &map.topology);
    let current = Arc::clone(current);
    if current.id != topology.id {
        if !std::mem::replace(is_warned, true) {
            crate::warn_outdated(&file.config, &differences(topology, &current));
        }
        // The cluster's own map names the servers to ask for their counters.
        client = Client::new(config, Bootstrap::Config(Arc::clone(&current)))?;
    }
    Ok(Reached { client, busy_until, topology: current, map, master })
}

/// Returns the current state of the cluster as text.
fn look(
    cluster: &ClusterConfig,
    topology: &Arc<Topology>,
    args: &StatusArgs,
    is_warned: &mut bool,
) -> Result<(String, Severity), Box<dyn Error>> {
    let Reached { mut client, busy_until, topology, map, master } =
        reach(cluster, topology, &args.config, is_warned)?;
    let ids = (0u16..).take(topology.servers.len());
    let stats = ids.map(|id| with_room(busy_until, || client.stats(Target::Server(id))));
    let stats: Vec<_> = stats.map(Heard::from).collect();
    let (map, now) = (map.as_deref(), SystemTime::now());
    let report = Report { topology: &topology, map, master, stats: &stats, now };
    let text = args.show.text(|| render::as_json(&report), || render::table(&report));
    Ok((text, report.severity()))
}

/// Asks again, until this time, while the other side has no room for another connection.
pub(crate) fn with_room<T>(
    until: Instant,
    mut ask: impl FnMut() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    loop {
        let ended = ask();
        let Err(ClientError::Overloaded { retry_after }) = &ended else { return ended };
        // Between half and one and a half times that, so that commands that collided do not do so
        // again.
        let pause = *retry_after * (50 + std::process::id() % 100) / 100;
        if Instant::now() + pause > until {
            return ended;
        }
        std::thread::sleep(pause);
    }
}
