//! The machine on which a report was measured.

use serde::{Deserialize, Serialize};

/// Facts about this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Processors that this program may use.
    pub cores: usize,
    /// Name of the processor, if the system says.
    pub processor: String,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Kernel release.
    pub kernel: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu_info = read("/proc/cpuinfo");
        let mem_info = read("/proc/meminfo");
        let memory_kib = field(&mem_info, "MemTotal").split_whitespace().next().map(str::parse);
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            processor: field(&cpu_info, "model name").to_owned(),
            memory_mib: memory_kib.and_then(Result::ok).unwrap_or(0u64) / 1_024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// The value of the first `name : value` line.
fn field<'t>(text: &'t str, name: &str) -> &'t str {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(key, _)| key.trim() == name).map_or("", |(_, value)| value.trim())
}
