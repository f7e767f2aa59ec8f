//! Whether requests are counted, timed and sampled: always, but in builds for benchmarks that measure what this costs.

/// See the head of the file.
pub const COUNTED: bool = !cfg!(feature = "uncounted");
