//! Runs a scenario with `standin load`, in a folder of its own.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use standin_loadgen::faults::{Process, SpawnError};
use standin_loadgen::interrupt::Interrupt;
use standin_loadgen::report::document::Document;

use super::Scenario;
use crate::settings::Settings;

const TICK: Duration = Duration::from_millis(50);
/// The time that an interrupted run has to end what it has started.
const END_WITHIN: Duration = Duration::from_secs(30);

/// Why a scenario has no results.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("it has no results: {why}; its last output was:\n{output}")]
    NoResults { why: String, output: String },
    #[error("interrupted; all processes that were started have ended")]
    Interrupted,
}

/// Runs it, and reads its results.
pub(crate) fn run(
    scenario: &Scenario,
    settings: &Settings,
    has_namespaces: bool,
    folder: &Path,
    interrupt: &Interrupt,
) -> Result<Document, RunError> {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| RunError::File(path.clone(), error))?;
        Ok::<_, RunError>(path)
    };
    let mode = settings.mode;
    for (name, text) in Scenario::bases(mode, settings.surge_reads, has_namespaces) {
        write(name, text)?;
    }
    let file = write("scenario.toml", scenario.text(settings.lasts))?;
    let json = folder.join("result.json");
    // An old result is not that of a run that fails.
    let _ = std::fs::remove_file(&json);
    let mut arguments: Vec<OsString> = vec!["load".into(), "--scenario".into(), file.into()];
    arguments.extend(["--json".into(), json.clone().into()]);
    arguments.extend(["--folder".into(), folder.join("files").into()]);
    arguments.extend(["--rate".into(), settings.rate_per_s.to_string().into()]);
    arguments.extend(["--seed".into(), settings.seed.to_string().into()]);
    arguments.extend(scenario.options(settings.lasts, mode).into_iter().map(OsString::from));
    let mut load = Process::start("load", &settings.program, arguments, folder)?;
    while load.exit_status().is_none() {
        if interrupt.is_set() {
            load.terminate(END_WITHIN);
            return Err(RunError::Interrupted);
        }
        std::thread::park_timeout(TICK);
    }
    // The exit code says whether it was good, as the results do.
    Document::load(&json)
        .map_err(|error| RunError::NoResults { why: error.to_string(), output: load.last_output() })
}
