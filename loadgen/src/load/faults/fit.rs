//! Whether the scenario's processes and faults fit the other options.

use std::path::Path;
use std::time::Duration;

use super::super::{LoadArgs, LoadError};
use crate::faults::script::Script;
use crate::targets::address::{TargetUrl, UrlError};

impl LoadArgs {
    /// What the target says of the scenario's processes, and the times of its faults.
    pub(in super::super) fn check_script(&self, length: Option<Duration>) -> Result<(), LoadError> {
        let none = Script::default();
        let script = self.script.as_ref().unwrap_or(&none);
        let config = self.config.as_deref().and_then(Path::to_str);
        let file = config.and_then(|text| text.strip_prefix('{')?.strip_suffix('}'));
        if let Some(name) = file
            && !script.processes.iter().any(|one| one.name == name && one.has_cluster_file())
        {
            return Err(LoadError::Options(format!(
                "--config {{{name}}}: the scenario starts no process {name} of kind \"standin\""
            )));
        }
        let mut names = self.target.iter().flat_map(TargetUrl::placeholders);
        let is_unknown = |name: &&str| {
            !script
                .processes
                .iter()
                .any(|one| one.name == *name || one.members().iter().any(|member| member == name))
        };
        if let Some(name) = names.find(is_unknown) {
            return Err(UrlError::NoProcess(name.to_owned()).into());
        }
        if self.find.is_some() && !script.faults.is_empty() {
            let text = "--find measures several times, and faults happen once: leave --find or [[faults]] away";
            return Err(LoadError::Options(text.to_owned()));
        }
        match length.and_then(|end| script.beyond(end)) {
            Some(text) => Err(LoadError::Options(text)),
            None => Ok(()),
        }
    }
}
