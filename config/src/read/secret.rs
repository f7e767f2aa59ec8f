//! `[security]`: the cluster secret and the file it is in.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::mistake::Report;
use crate::model::Security;
use crate::section::{Found, Section};

use super::network::MAKE_SECRET;

const HEX_DIGITS: usize = 64;

/// The state of the secret.
pub(super) enum Secret {
    /// None is named.
    Absent,
    /// One is named, and cannot be used; reported.
    Bad,
    /// Read.
    Known([u8; 32]),
}

impl Secret {
    pub(super) fn security(self) -> Option<Security> {
        match self {
            Self::Absent => Some(Security { secret: None }),
            Self::Bad => None,
            Self::Known(secret) => Some(Security { secret: Some(secret) }),
        }
    }
}

pub(super) fn read(mut section: Section<'_>, base_dir: &Path, report: &mut Report<'_>) -> Secret {
    let secret = match section.text("secret_file", "cluster.secret", report) {
        Found::Absent => Secret::Absent,
        Found::Bad => Secret::Bad,
        Found::Good(file) => match read_file(&base_dir.join(file.value)) {
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
    let mut secret = [0; 32];
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        let value =
            |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        let (Some(high), Some(low)) = (value(pair[0]), value(pair[1])) else {
            return Err(format!("has characters other than hexadecimal digits; {MAKE_SECRET}"));
        };
        *byte = high << 4 | low;
    }
    Ok(secret)
}
