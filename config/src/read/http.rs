//! The ports on which a process answers over HTTP, such as `metrics` and `metrics_passwords`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::address::read_address;
use crate::http::{HttpConfig, HttpKeys};
use crate::mistake::Report;
use crate::section::{At, Section};

/// A port, as far as it is right.
#[derive(Debug, Clone)]
pub(super) struct Http {
    pub(super) keys: HttpKeys,
    /// `None` if it is wrong, `Some(None)` if there is none.
    pub(super) address: Option<Option<At<SocketAddr>>>,
    passwords: Option<Option<PathBuf>>,
}

impl Http {
    pub(super) fn read(
        keys: HttpKeys,
        section: &mut Section<'_>,
        base_dir: &Path,
        report: &mut Report<'_>,
    ) -> Self {
        let HttpKeys { example, .. } = keys;
        let key = section.key(keys.address);
        let address = section.text(keys.address, example, report);
        let address = address.and_then(|text| read_address(text, &key, example, report)).optional();
        let passwords = section.text(keys.passwords, "passwords", report).optional();
        if let (Some(None), Some(Some(file))) = (address, passwords) {
            let wrong = format!(
                "there is no port that it is for; write `{} = \"{example}\"`",
                keys.address
            );
            report.mistake(file.at, &section.key(keys.passwords), wrong);
        }
        let passwords = passwords.map(|file| file.map(|file| base_dir.join(file.value)));
        Self { keys, address, passwords }
    }

    /// Whether its password file is certain to be missing.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.passwords, Some(None))
    }

    /// Returns the port if it is right; `None` inside if there is none.
    pub(super) fn complete(&self) -> Option<Option<HttpConfig>> {
        let (address, passwords) = (self.address?, self.passwords.clone()?);
        Some(address.map(|address| HttpConfig { address: address.value, passwords }))
    }
}
