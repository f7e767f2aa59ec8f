//! `standin user`: makes a password for a user of the cluster, and prints the user's line for `users_file`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use standin_config::{check_user_name, read_rights, user_line};
use standin_protocol::users::{User, UserKey};

use crate::{ConfigArg, Ended, diagnostics, out, private};

/// Random bytes of a password that is made.
const PASSWORD_BYTES: usize = 20;
/// A shorter password may be guessed.
const GUESSABLE_BYTES: usize = 16;

/// `standin user`.
#[derive(Debug, Args)]
pub(crate) struct UserArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The user's name.
    name: String,
    /// The user's rights, as KEYSPACE=RIGHTS: `items=read,write`, `*=read` for all other keyspaces, `*=all`.
    #[arg(value_name = "KEYSPACE=RIGHTS")]
    rights: Vec<String>,
    /// The file with the user's password, or a pipe: `/dev/stdin`. Without it, a password is made and printed too.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

pub(crate) fn user(args: &UserArgs) -> Ended {
    let keyspaces = args.config.load_keyspaces()?;
    let name = check_user_name(&args.name)?;
    let rights = read_rights(args.rights.iter().map(String::as_str), &keyspaces)?;
    let password = match &args.password_file {
        Some(path) => {
            let password = private::password(path)?;
            if password.len() < GUESSABLE_BYTES {
                diagnostics::remark(&format!(
                    "standin: warning: {} has fewer than {GUESSABLE_BYTES} characters in its first \
                     line, and whoever reads the file of users can guess billions of passwords a \
                     second; leave out --password-file, so that one is made",
                    path.display()
                ));
            }
            password
        }
        None => {
            let password = make_password()?;
            out::line(&format!("password: {password}"))?;
            password.into_bytes()
        }
    };
    let verifiers = vec![UserKey::new(name.as_bytes(), &password).verifier()];
    let user = User { name: name.into(), verifiers, rights };
    out::line(&user_line(&user, &keyspaces))?;
    Ok(ExitCode::SUCCESS)
}

fn make_password() -> io::Result<String> {
    let mut bytes = [0; PASSWORD_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
