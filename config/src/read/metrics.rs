//! The port on which a process publishes its metrics: `metrics` and `metrics_passwords`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::address::read_address;
use crate::metrics::{METRICS_KEY, METRICS_PASSWORDS_KEY, MetricsConfig};
use crate::mistake::Report;
use crate::section::{At, Section};

const EXAMPLE: &str = "127.0.0.1:9100";

/// The port, as far as it is right.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    /// `None` if it is wrong, `Some(None)` if there is none.
    pub(super) address: Option<Option<At<SocketAddr>>>,
    passwords: Option<Option<PathBuf>>,
}

impl Metrics {
    pub(super) fn read(
        section: &mut Section<'_>,
        base_dir: &Path,
        report: &mut Report<'_>,
    ) -> Self {
        let key = section.key(METRICS_KEY);
        let address = section.text(METRICS_KEY, EXAMPLE, report);
        let address = address.and_then(|text| read_address(text, &key, EXAMPLE, report)).optional();
        let passwords = section.text(METRICS_PASSWORDS_KEY, "passwords", report).optional();
        if let (Some(None), Some(Some(file))) = (address, passwords) {
            let wrong =
                format!("there is no port that it is for; write `{METRICS_KEY} = \"{EXAMPLE}\"`");
            report.mistake(file.at, &section.key(METRICS_PASSWORDS_KEY), wrong);
        }
        let passwords = passwords.map(|file| file.map(|file| base_dir.join(file.value)));
        Self { address, passwords }
    }

    /// Whether its password file is certain to be missing.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.passwords, Some(None))
    }

    /// Returns the port if it is right; `None` inside if there is none.
    pub(super) fn complete(&self) -> Option<Option<MetricsConfig>> {
        let (address, passwords) = (self.address?, self.passwords.clone()?);
        Some(address.map(|address| MetricsConfig { address: address.value, passwords }))
    }
}
