//! `[find]` of a scenario.

use std::path::Path;

use standin_config::{Report, Section};

use crate::load::options::{LoadArgs, RESOLUTION_PERCENT, SETTLE_SECONDS};
use crate::load::words::parsed;

/// Reads the options of a search.
pub(in crate::load) fn read(
    section: &mut Section<'_>,
    _: &Path,
    report: &mut Report<'_>,
    args: &mut LoadArgs,
) {
    args.find = parsed(section, "objective", "p99<1ms,failed=0", report);
    args.find_resolution = section.decimal("resolution", RESOLUTION_PERCENT, "5", report).good();
    args.find_settle = section.decimal("settle", SETTLE_SECONDS, "1", report).good();
}
