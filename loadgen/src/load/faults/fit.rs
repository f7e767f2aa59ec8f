//! Whether the scenario's processes and faults fit the other options.

use std::path::Path;
use std::time::Duration;

use super::super::database_args::DatabaseName;
use super::super::{Expect, LoadArgs, LoadError, Objective};
use super::processes::may_be_database;
use crate::faults::script::{Kind, ProcessSpec, Script};
use crate::placeholder::process_in;
use crate::targets::address::{TargetUrl, UrlError};

impl LoadArgs {
    /// What the target says of the scenario's processes, and the times of its faults.
    pub(in super::super) fn check_script(&self, length: Option<Duration>) -> Result<(), LoadError> {
        let none = Script::default();
        let script = self.script.as_ref().unwrap_or(&none);
        let config = self.config.as_deref().and_then(Path::to_str);
        let file = config.and_then(process_in);
        if let Some(name) = file
            && !script.process(name).is_some_and(ProcessSpec::has_cluster_file)
        {
            return Err(LoadError::Options(format!(
                "--config {{{name}}}: the scenario starts no process {name} of kind \"standin\""
            )));
        }
        let mut names = self.target.iter().flat_map(TargetUrl::placeholders).flatten();
        if let Some(name) = names.find(|name| !script.has_process(name)) {
            return Err(UrlError::NoProcess(name.to_owned()).into());
        }
        let database = self.database.database.as_ref();
        if let Some(DatabaseName::Process(name)) = database
            && !script.has_process(name)
        {
            return Err(LoadError::Options(format!(
                "--database {{{name}}}: the scenario starts no process {name}"
            )));
        }
        if let Some(DatabaseName::Process(name)) = database
            && !may_be_database(name, script)
        {
            return Err(LoadError::Options(format!(
                "--database {{{name}}}: the process {name} is no PostgreSQL: name one of kind \"postgres\", or a proxy of \
                 connections before one"
            )));
        }
        if !script.nodes().is_empty() {
            check_network(script, self.target.as_ref(), database, file.is_some())?;
        }
        if self.find.is_some() && !script.faults.is_empty() {
            let text = "--find measures several times, and faults happen once: leave --find or [[faults]] away";
            return Err(LoadError::Options(text.to_owned()));
        }
        self.check_expected(script)?;
        match length.and_then(|end| script.beyond(end)) {
            Some(text) => Err(LoadError::Options(text)),
            None => Ok(()),
        }
    }
}

impl LoadArgs {
    /// Whether there will be figures for all that is expected, or looked for.
    fn check_expected(&self, script: &Script) -> Result<(), LoadError> {
        let wrong = |text: &str| Err(LoadError::Options(text.to_owned()));
        let expected = || self.expect.iter().map(|one| &one.that);
        let has_masters = script.processes.iter().any(ProcessSpec::has_cluster_file);
        if self.find.is_some() && !self.expect.is_empty() {
            return wrong("--find has an objective of its own: leave --expect and [[expect]] away");
        }
        if self.find.as_ref().is_some_and(Objective::is_about_others) {
            return wrong(
                "--find looks at requests alone: look for a rate without origin_reads and server:",
            );
        }
        if self.find.as_ref().is_some_and(Objective::is_about_faults) {
            return wrong(
                "--find has no faults: look for a rate without offline, first_good, last_bad, silence, all_answered and announced",
            );
        }
        if expected().any(Objective::is_about_reads) && self.check != Some(true) {
            return wrong(
                "stale, stale_beyond and wrong in what is expected need reads that are checked: add --check, and --fill or --existing-rows",
            );
        }
        if expected().any(Objective::is_about_masters) && !has_masters {
            return wrong(
                "offline and announced in what is expected are about a Standin cluster that the scenario starts: add one \
                 of kind \"standin\"",
            );
        }
        let has_begin =
            self.expect.iter().any(Expect::is_about_begin) || expected().any(Objective::compares);
        if has_begin && script.faults.is_empty() {
            return wrong(
                "`since = \"begin\"`, and origin_reads in multiples (2x), are about the time before the first fault, and \
                 there is none: add [[faults]], or leave them out",
            );
        }
        let is_cache = self.target.as_ref().is_some_and(|url| !url.is_standin());
        let is_cache_alone = is_cache && self.database.database.is_none();
        if expected().any(Objective::is_about_databases) && is_cache_alone {
            return wrong(
                "origin_reads in what is expected is about a database: of a Standin cluster (--config), or one that this \
                 program asks (--database)",
            );
        }
        Ok(())
    }
}

/// From the namespaces, nothing else can be reached.
fn check_network(
    script: &Script,
    target: Option<&TargetUrl>,
    database: Option<&DatabaseName>,
    is_own_cluster: bool,
) -> Result<(), LoadError> {
    let elsewhere = |what: String| {
        Err(LoadError::Options(format!(
            "{what}: a scenario with namespaces reaches only its own processes; name one as {{name}}, or leave \
             `namespace` out"
        )))
    };
    match target {
        Some(url) if url.placeholders().any(|name| name.is_none()) => {
            return elsewhere(format!("--target {url:?}"));
        }
        None if !is_own_cluster && database.is_none() => return elsewhere("--config".to_owned()),
        Some(_) | None => {}
    }
    // A cluster file may name SQLite, which is no matter of the network.
    if let Some(name @ DatabaseName::Postgres(_)) = database {
        return elsewhere(format!("--database {name}"));
    }
    for one in &script.processes {
        if let Kind::Proxy { to, .. } = &one.kind
            && !script.has_process(to)
        {
            return elsewhere(format!("the proxy {} before {to}", one.name));
        }
    }
    Ok(())
}
