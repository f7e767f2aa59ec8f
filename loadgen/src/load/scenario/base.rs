//! `base` of a scenario: another one that it builds on.

use std::path::Path;

use standin_config::{ConfigErrors, Report, Section};

use super::super::options::LoadArgs;

/// There is a base, and it can't be used. That was reported.
#[derive(Debug)]
pub(super) struct Unusable;

/// Reads the base with `load`, if there is one. `is_alone`: there must be none.
pub(super) fn read(
    root: &mut Section<'_>,
    base_dir: &Path,
    is_alone: bool,
    load: impl FnOnce(&Path) -> Result<LoadArgs, ConfigErrors>,
    report: &mut Report<'_>,
) -> Result<Option<LoadArgs>, Unusable> {
    let base = root.text("base", "common.toml", report).optional().ok_or(Unusable)?;
    let Some(base) = base else { return Ok(None) };
    if is_alone {
        let wrong =
            "a base has no base of its own, and agents get one file: write all of it into that";
        report.mistake(base.at, &root.key("base"), wrong);
        return Err(Unusable);
    }
    let path = base_dir.join(base.value);
    load(&path).map(Some).map_err(|errors| {
        report.mistake(base.at, &root.key("base"), format!("can't be used:\n{errors}"));
        Unusable
    })
}
