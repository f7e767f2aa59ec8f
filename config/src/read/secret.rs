//! `[security]`: the cluster secret and the file it is in, or in a client's file the clients' key.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::mistake::Report;
use crate::model::Security;
use crate::section::{At, Found, Section};

use super::network::MAKE_SECRET;

const HEX_DIGITS: usize = 64;

/// The state of the secret, or of the key that clients have instead.
pub(super) enum Secret {
    /// None is named.
    Absent,
    /// One is named, and cannot be used; reported.
    Bad,
    /// Read.
    Known([u8; 32]),
    /// The key for clients, with its place.
    OfClients(At<[u8; 32]>),
}

impl Secret {
    pub(super) fn security(self) -> Option<Security> {
        match self {
            Self::Absent => Some(Security::default()),
            Self::Bad => None,
            Self::Known(secret) => Some(Security { secret: Some(secret), client_key: None }),
            Self::OfClients(key) => Some(Security { secret: None, client_key: Some(key.value) }),
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Checks that a file that is not a client's has the secret instead of the clients' key.
    pub(super) fn check_place(&self, for_clients: bool, report: &mut Report<'_>) {
        if let (Self::OfClients(key), false) = (self, for_clients) {
            let wrong = "servers and the master have the secret; write `secret_file` instead";
            report.mistake(key.at, "security.client_key", wrong);
        }
    }
}

pub(super) fn read(mut section: Section<'_>, base_dir: &Path, report: &mut Report<'_>) -> Secret {
    let key = section.text("client_key", "64 hexadecimal digits", report);
    let file = section.text("secret_file", "cluster.secret", report);
    let secret = match (file, key) {
        (Found::Absent, Found::Absent) => Secret::Absent,
        (Found::Bad, _) | (_, Found::Bad) => Secret::Bad,
        (Found::Good(_), Found::Good(key)) => {
            let wrong = "`secret_file` is the file of the secret, of which this key is made; remove \
                         one of them";
            report.mistake(key.at, &section.key("client_key"), wrong);
            Secret::Bad
        }
        (Found::Absent, Found::Good(key)) => read_key(key, &section.key("client_key"), report),
        (Found::Good(file), Found::Absent) => match read_file(&base_dir.join(file.value)) {
            Ok(secret) => Secret::Known(secret),
            Err(wrong) => {
                report.mistake(
                    file.at,
                    &section.key("secret_file"),
                    format!("{:?} {wrong}", file.value),
                );
                Secret::Bad
            }
        },
    };
    section.finish(report);
    secret
}

/// The key for clients, which is in the file itself. Never shows it.
fn read_key(text: At<&str>, key: &str, report: &mut Report<'_>) -> Secret {
    let wrong = match (hex(text.value.as_bytes()), report.open_mode()) {
        (Some(value), None) => return Secret::OfClients(At { value, at: text.at }),
        (Some(_), Some(mode)) => format!(
            "this file is accessible to every user of this machine (mode {mode:03o}); run `chmod \
             600` on it"
        ),
        (None, _) => format!(
            "is not {HEX_DIGITS} hexadecimal digits; copy it from a file that `standin \
             client-config` has written"
        ),
    };
    report.mistake(text.at, key, wrong);
    Secret::Bad
}

/// The secret, or what is wrong with its file. Never shows what is in the file.
fn read_file(path: &Path) -> Result<[u8; 32], String> {
    let unreadable = |error: std::io::Error| format!("cannot be read ({error}); {MAKE_SECRET}");
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(format!(
            "is accessible to every user of this machine (mode {:03o}); run `chmod 600` on it, \
             and make a new secret if others may have read it",
            mode & 0o777
        ));
    }
    // Bounded, for it may be named a device by mistake.
    let mut bytes = Vec::new();
    file.take(4_096).read_to_end(&mut bytes).map_err(unreadable)?;
    let digits = bytes.trim_ascii();
    if digits.len() != HEX_DIGITS {
        return Err(format!(
            "has {} characters instead of {HEX_DIGITS} hexadecimal digits; {MAKE_SECRET}",
            digits.len()
        ));
    }
    hex(digits)
        .ok_or_else(|| format!("has characters other than hexadecimal digits; {MAKE_SECRET}"))
}

/// The bytes of as many digits as a secret has.
fn hex(digits: &[u8]) -> Option<[u8; 32]> {
    if digits.len() != HEX_DIGITS {
        return None;
    }
    let mut secret = [0; 32];
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        let value =
            |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(secret)
}
