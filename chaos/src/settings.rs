//! The parameters of one run.

use std::path::PathBuf;
use std::time::Duration;

use standin_config::Mode;

/// The parameters of one run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) program: PathBuf,
    pub(crate) mode: Mode,
    pub(crate) rate_per_s: u32,
    pub(crate) seed: u64,
    pub(crate) lasts: Option<Duration>,
    /// `surge_reads` of the cluster file, if it is set.
    pub(crate) surge_reads: Option<u32>,
}
