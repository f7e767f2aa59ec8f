//! `standin get`, `put` and `delete`: one operation with the client library. Exit code 0: done;
//! 1: no such row, or a `put` that changed no row; 2: failed.

use std::error::Error;
use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, ClientError, ClientEvent};

use crate::{ConfigArg, Ended, diagnostics, out};

/// The arguments that name a cluster and a keyspace.
#[derive(Debug, Args)]
pub(crate) struct KeyspaceArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Keyspace, by name or number.
    pub(crate) keyspace: String,
}

/// The arguments that name a row.
#[derive(Debug, Args)]
struct RowArgs {
    #[command(flatten)]
    of: KeyspaceArgs,
    /// Key.
    #[arg(allow_negative_numbers = true)]
    key: String,
}

/// `standin get`.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    row: RowArgs,
    /// Print to standard error where the value came from.
    #[arg(long, short)]
    verbose: bool,
}

/// `standin put`.
#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    row: RowArgs,
    /// Value; if omitted, it is read from standard input. Write `--` before a value that begins
    /// with a dash and is not a number.
    #[arg(allow_negative_numbers = true)]
    value: Option<String>,
    /// Lifetime in the cache, in seconds, at most 45 days; 0 means the keyspace's own.
    #[arg(long, default_value_t = 0)]
    ttl: u32,
}

/// `standin delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    row: RowArgs,
}

impl KeyspaceArgs {
    /// Warns, after an operation, if the cluster differs from the file.
    pub(crate) fn warn(&self, client: &mut Client) {
        client.wait_for_map();
        for (_, event) in client.take_events() {
            if let ClientEvent::TopologyDiffers { how } = event {
                crate::warn_outdated(&self.config.config, &how);
            }
        }
    }

    /// Returns a client of the cluster, and the keyspace's number.
    pub(crate) fn open(&self) -> Result<(Client, u8), Box<dyn Error>> {
        let cluster = self.config.load()?;
        let Some(keyspace) = cluster.keyspace(&self.keyspace) else {
            let known: Vec<&str> = cluster.keyspaces.iter().map(|k| k.name.as_str()).collect();
            let known = known.join(", ");
            return Err(format!(
                "there is no keyspace {:?} in {}; its keyspaces are: {known}",
                self.keyspace,
                self.config.config.display()
            )
            .into());
        };
        let keyspace = keyspace.id;
        let topology = Arc::new(cluster.topology()?);
        let client = Client::new(ClientConfig::from(&cluster), Bootstrap::Config(topology))?;
        Ok((client, keyspace))
    }
}

pub(crate) fn get(args: &GetArgs) -> Ended {
    use standin_client::{Action, Operation, Outcome};
    let (mut client, keyspace) = args.row.of.open()?;
    let key = args.row.key.clone().into_bytes();
    let answer = client.run(Operation { keyspace, key, action: Action::Get });
    args.row.of.warn(&mut client);
    let answer = answer?;
    if args.verbose {
        let map = client.map_in_force();
        let server =
            map.as_ref().and_then(|m| m.topology.servers.get(usize::from(answer.served_by)));
        let source = if answer.is_hit() { "cache" } else { "origin" };
        let name = server.map_or("?", |s| s.name.as_str());
        diagnostics::remark(&format!("from the {source} of {name}"));
    }
    match answer.outcome {
        Outcome::Value(value) => {
            out::value(&value.bytes)?;
            Ok(ExitCode::SUCCESS)
        }
        _ => not_found(&args.row),
    }
}

pub(crate) fn put(args: &PutArgs) -> Ended {
    let (mut client, keyspace) = args.row.of.open()?;
    let value = match &args.value {
        Some(value) => value.clone().into_bytes(),
        None => {
            let mut value = Vec::new();
            std::io::stdin().lock().read_to_end(&mut value)?;
            value
        }
    };
    let ended = client.put(keyspace, args.row.key.as_bytes(), value, args.ttl);
    args.row.of.warn(&mut client);
    match ended {
        Ok(_version) => Ok(ExitCode::SUCCESS),
        Err(error @ ClientError::NotStored { .. }) => {
            let (key, keyspace) = (&args.row.key, &args.row.of.keyspace);
            diagnostics::remark(&format!("key {key:?} of {keyspace}: {error}"));
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn delete(args: &DeleteArgs) -> Ended {
    let (mut client, keyspace) = args.row.of.open()?;
    let ended = client.delete(keyspace, args.row.key.as_bytes());
    args.row.of.warn(&mut client);
    match ended? {
        true => Ok(ExitCode::SUCCESS),
        false => not_found(&args.row),
    }
}

fn not_found(row: &RowArgs) -> Ended {
    diagnostics::remark(&format!("no row {:?} in {}", row.key, row.of.keyspace));
    Ok(ExitCode::FAILURE)
}
