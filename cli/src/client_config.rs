//! `standin client-config`: writes the file with which clients, a proxy and `standin load` use the cluster.
//! It has neither the database's address and password nor the cluster's secret.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use standin_config::ClusterConfig;
use standin_protocol::users::UserKey;

use crate::{ConfigArg, Ended, out, private};

/// `standin client-config`.
#[derive(Debug, Args)]
pub(crate) struct ClientConfigArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The file to write. It is readable by this user alone, because with it everybody could be a client.
    #[arg(long, short, default_value = "client.toml", value_name = "FILE")]
    output: PathBuf,
    /// The user of `users_file` who the client is. Without it, the file has the clients' key, which gives all
    /// rights.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// The file with the user's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

pub(crate) fn client_config(args: &ClientConfigArgs) -> Ended {
    let mut cluster = args.config.load()?;
    if let (Some(name), Some(path)) = (&args.user, &args.password_file) {
        let key = UserKey::new(name.as_bytes(), &private::password(path)?);
        check(&cluster, name, &key)?;
        cluster.security.user = Some((name.clone(), key));
    }
    cluster.write_client_file(&args.output, args.force)?;
    let what = match (&cluster.security.user, cluster.client_key()) {
        (Some((name, _)), _) => format!("with the key of the user {name:?}"),
        (None, Some(_)) => "with the clients' key".to_owned(),
        (None, None) => "the cluster has no secret, and clients need no key".to_owned(),
    };
    out::line(&format!("{}: written: {what}", args.output.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether servers would let this user in, as far as the file at hand says.
fn check(cluster: &ClusterConfig, name: &str, key: &UserKey) -> Result<(), String> {
    let Some(users) = &cluster.security.users else {
        return Err("the cluster file names no `users_file`".to_owned());
    };
    match users.named(name.as_bytes()) {
        None => Err(format!("there is no user {name:?} in `users_file`; `standin user` makes one")),
        Some(user) if !user.verifiers.iter().any(|verifier| verifier.is_of(key)) => {
            Err(format!("this is not the password of the user {name:?}"))
        }
        Some(_) => Ok(()),
    }
}
