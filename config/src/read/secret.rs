//! `[security]`: the cluster's secret and users and the files they are in, or in a client's file the clients' key or
//! that of a user.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use standin_protocol::users::{UserKey, Users};

use crate::digits::{HEX_DIGITS, key_of};
use crate::mistake::Report;
use crate::model::KeyspaceConfig;
use crate::permissions::{self, Rule};
use crate::section::{At, Found, Section};
use crate::security::Security;
use crate::users::{self, check_user_name};

use super::network::MAKE_SECRET;

/// The largest file of secrets that is read, in bytes.
const SECRET_FILE_BYTES_MAX: u64 = 4_096;

/// The state of the secret, or of what clients have instead.
enum Secret {
    /// None is named.
    Absent,
    /// One is named, and cannot be used; reported.
    Bad,
    /// Read: the one that is used, and another that counts too.
    Known([u8; 32], Option<[u8; 32]>),
    /// The key for clients, with its place.
    OfClients(At<[u8; 32]>),
    /// A user's name and key, with its place.
    OfUser(At<(String, UserKey)>),
}

/// `[security]`, as far as it is right.
pub(super) struct Read<'d> {
    secret: Secret,
    users_file: Option<Option<At<&'d str>>>,
}

/// The kind of file that has the section.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// A cluster's.
    Cluster,
    /// A proxy's, whose users are those of its own ports.
    Proxy,
}

impl Read<'_> {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self.secret, Secret::Absent)
    }

    /// Whether a file of users is named, or something in its place.
    pub(super) fn names_users(&self) -> bool {
        !matches!(self.users_file, Some(None))
    }

    /// Checks that a file that is not a client's has the secret instead of the clients' key.
    pub(super) fn check_place(&self, for_clients: bool, report: &mut Report<'_>) {
        let (at, key) = match &self.secret {
            Secret::OfClients(key) => (key.at, "security.client_key"),
            Secret::OfUser(user) => (user.at, "security.user_key"),
            _ => return,
        };
        if !for_clients {
            let wrong = "servers and the master have the secret; write `secret_file` instead";
            report.mistake(at, key, wrong);
        }
    }

    /// The values, with the users.
    pub(super) fn complete(
        self,
        of: Of,
        keyspaces: Option<&[KeyspaceConfig]>,
        base_dir: &Path,
        report: &mut Report<'_>,
    ) -> Option<Security> {
        let mut users = None;
        if let Some(file) = self.users_file? {
            let key = "security.users_file";
            if of == Of::Cluster && !matches!(self.secret, Secret::Known(..) | Secret::Bad) {
                let wrong = format!(
                    "without a cluster secret anybody could say that they are a server, and so have \
                     all rights; {MAKE_SECRET}"
                );
                report.mistake(file.at, key, wrong);
            }
            if !report.ignores_users {
                match read_users(&base_dir.join(file.value), keyspaces?) {
                    Ok(read) => users = Some(read),
                    Err(wrong) => {
                        report.mistake(file.at, key, format!("{:?} {wrong}", file.value));
                        return None;
                    }
                }
            }
        }
        let security = match self.secret {
            Secret::Absent => Security::default(),
            Secret::Bad => return None,
            Secret::Known(secret, second_secret) => {
                Security { secret: Some(secret), second_secret, ..Security::default() }
            }
            Secret::OfClients(key) => {
                Security { client_key: Some(key.value), ..Security::default() }
            }
            Secret::OfUser(user) => Security { user: Some(user.value), ..Security::default() },
        };
        Some(Security { users, ..security })
    }
}

pub(super) fn read<'d>(
    mut section: Section<'d>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Read<'d> {
    let key = section.text("client_key", "64 hexadecimal digits", report);
    let file = section.text("secret_file", "cluster.secret", report);
    let user = section.text("user", "shop", report);
    let user_key = section.text("user_key", "64 hexadecimal digits", report);
    let users_file = section.text("users_file", "cluster.users", report).optional();
    let is_bad = matches!(key, Found::Bad)
        || matches!(file, Found::Bad)
        || matches!(user, Found::Bad)
        || matches!(user_key, Found::Bad);
    let [key, file, user, user_key] =
        [key, file, user, user_key].map(|found| found.optional().flatten());
    let secret = match (file, key, user, user_key) {
        _ if is_bad => Secret::Bad,
        (None, None, None, None) => Secret::Absent,
        (Some(_), Some(key), ..) => {
            let wrong = "`secret_file` is the file of the secret, of which this key is made; remove \
                         one of them";
            report.mistake(key.at, &section.key("client_key"), wrong);
            Secret::Bad
        }
        (None, Some(key), None, None) => match read_key(key, &section.key("client_key"), report) {
            Some(key) => Secret::OfClients(key),
            None => Secret::Bad,
        },
        (None, None, Some(user), Some(key)) => {
            let name = check_user_name(user.value).map(str::to_owned);
            let name =
                name.map_err(|wrong| report.mistake(user.at, &section.key("user"), wrong)).ok();
            let key = read_key(key, &section.key("user_key"), report);
            match (name, key) {
                (Some(name), Some(At { value, at })) => {
                    Secret::OfUser(At { value: (name, UserKey::from_bytes(value)), at })
                }
                _ => Secret::Bad,
            }
        }
        (Some(file), None, None, None) => match read_file(&base_dir.join(file.value)) {
            Ok((secret, second)) => Secret::Known(secret, second),
            Err(wrong) => {
                report.mistake(
                    file.at,
                    &section.key("secret_file"),
                    format!("{:?} {wrong}", file.value),
                );
                Secret::Bad
            }
        },
        (.., Some(user), None) => {
            let wrong = "the key of this user is missing; copy `user_key` from a file that `standin \
                         client-config --user` has written";
            report.mistake(user.at, &section.key("user"), wrong);
            Secret::Bad
        }
        (.., None, Some(key)) => {
            let wrong = "the name of the user is missing; write `user` as well";
            report.mistake(key.at, &section.key("user_key"), wrong);
            Secret::Bad
        }
        (.., Some(user), Some(_)) => {
            let wrong = "a client is a user, or has the clients' key; remove one of them";
            report.mistake(user.at, &section.key("user"), wrong);
            Secret::Bad
        }
    };
    section.finish(report);
    Read { secret, users_file }
}

/// The users, or what is wrong with their file.
fn read_users(path: &Path, keyspaces: &[KeyspaceConfig]) -> Result<Users, String> {
    let instead = "write one user a line, as `standin user` prints them";
    let unreadable = |error: std::io::Error| format!("cannot be read ({error}); {instead}");
    let bytes = read_private(path, users::FILE_BYTES_MAX, unreadable)?;
    if bytes.len() as u64 > users::FILE_BYTES_MAX {
        return Err(format!("has more than {} bytes; {instead}", users::FILE_BYTES_MAX));
    }
    let text = str::from_utf8(&bytes).map_err(|_| format!("is not UTF-8; {instead}"))?;
    users::parse(text, keyspaces)
}

/// Reads a file that others may neither read nor write; at most a byte more than asked for.
fn read_private(
    path: &Path,
    bytes_max: u64,
    unreadable: impl Fn(std::io::Error) -> String,
) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(&unreadable)?;
    let metadata = file.metadata().map_err(&unreadable)?;
    permissions::check(&file, &metadata, Rule::Group).map_err(|wrong| wrong.to_string())?;
    // Bounded, for it may be named a device by mistake.
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(&unreadable)?;
    Ok(bytes)
}

/// A key that is in the file itself. Never shows it.
fn read_key(text: At<&str>, key: &str, report: &mut Report<'_>) -> Option<At<[u8; 32]>> {
    let wrong = match (key_of(text.value), report.too_open()) {
        (Some(value), None) => return Some(At { value, at: text.at }),
        (Some(_), Some(wrong)) => format!("this file {wrong}"),
        (None, _) => format!(
            "is not {HEX_DIGITS} hexadecimal digits; copy it from a file that `standin \
             client-config` has written"
        ),
    };
    report.mistake(text.at, key, wrong);
    None
}

/// The secrets, or what is wrong with their file. Never shows what is in the file.
fn read_file(path: &Path) -> Result<([u8; 32], Option<[u8; 32]>), String> {
    let unreadable = |error: std::io::Error| format!("cannot be read ({error}); {MAKE_SECRET}");
    let bytes = read_private(path, SECRET_FILE_BYTES_MAX, unreadable)?;
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    let read = |digits: &&[u8]| {
        if digits.len() != HEX_DIGITS {
            return Err(format!(
                "has {} characters instead of {HEX_DIGITS} hexadecimal digits; {MAKE_SECRET}",
                digits.len()
            ));
        }
        let key = str::from_utf8(digits).ok().and_then(key_of);
        key.ok_or_else(|| format!("has characters other than hexadecimal digits; {MAKE_SECRET}"))
    };
    match &*lines {
        [] => read(&&[][..]).map(|secret| (secret, None)),
        [secret] => Ok((read(secret)?, None)),
        [secret, second] => Ok((read(secret)?, Some(read(second)?))),
        _ => Err(
            "has more than two secrets; write the one that is used, and while it takes the place \
                  of another, that one in a second line"
                .to_owned(),
        ),
    }
}
