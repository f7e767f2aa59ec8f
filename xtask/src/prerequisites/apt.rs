//! Installing packages by apt-get as root, asking nothing.
//!
//! Debian's PostgreSQL makes a database cluster on installation and starts it, and its Prometheus
//! starts a server. The tests start their own and want none on the machine, so that is switched off
//! for the time of the installation, and the settings put back afterwards.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{self, Clock};
use crate::report::Failed;

const LIMIT: Duration = Duration::from_secs(600);
const CLUSTER_SETTING: &str = "/etc/postgresql-common/createcluster.conf";
/// The program that Debian's packages ask whether they may start a service; 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const REFUSAL: &[u8] = b"#!/bin/sh\nexit 101\n";

/// Installs them.
///
/// # Errors
/// With apt-get's output.
pub(super) fn install(packages: &[&str], logs: &Path) -> Result<(), Failed> {
    apt_get(&["update"], logs)?;
    let guard = if packages.contains(&"postgresql") {
        // The package that owns the setting comes first: it must not find a file of
        // ours in the place of its own.
        apt_get(&["install", "postgresql-common"], logs)?;
        Some(Replaced::with(Path::new(CLUSTER_SETTING), b"create_main_cluster = false\n", 0o644)?)
    } else {
        None
    };
    let policy = Replaced::with(Path::new(POLICY), REFUSAL, 0o755);
    let result = policy.and_then(|policy| {
        let result = apt_get(&[&["install"], packages].concat(), logs);
        policy.restore()?;
        result
    });
    if let Some(guard) = guard {
        guard.restore()?;
    }
    result
}

fn apt_get(arguments: &[&str], logs: &Path) -> Result<(), Failed> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"]);
    command.args(arguments);
    let line = format!("apt-get {}", arguments.join(" "));
    let log = logs.join(format!("{}.log", line.replace(' ', "-")));
    match process::run(&mut command, &log, LIMIT, Clock::Shown) {
        Ok(finished) if finished.success => Ok(()),
        Ok(finished) => Err(Failed::new(
            finished.output,
            format!(
                "`{line}` failed; fix that, or install the packages by hand, and run this again"
            ),
        )),
        Err(error) => Err(Failed::new(format!("{line}: {error}"), "install them by hand")),
    }
}

/// A file with other contents for a while.
#[derive(Debug)]
struct Replaced {
    path: PathBuf,
    /// `None`: there was no such file.
    before: Option<Vec<u8>>,
}

impl Replaced {
    /// `mode` is that of the file if there is none yet.
    fn with(path: &Path, contents: &[u8], mode: u32) -> Result<Self, Failed> {
        let before = std::fs::read(path).ok();
        let failed = |error| cannot(path, &error);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(mode).open(path);
        file.and_then(|mut file| file.write_all(contents)).map_err(failed)?;
        Ok(Self { path: path.to_owned(), before })
    }

    fn restore(self) -> Result<(), Failed> {
        let result = match &self.before {
            Some(contents) => std::fs::write(&self.path, contents),
            None => std::fs::remove_file(&self.path),
        };
        result.map_err(|error| cannot(&self.path, &error))
    }
}

fn cannot(path: &Path, error: &std::io::Error) -> Failed {
    Failed::new(
        format!("cannot write {}: {error}", path.display()),
        "install the packages by hand, and run this again",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use standin_testkit::Scratch;

    use super::*;

    #[test]
    fn a_replaced_file_gets_its_contents_back() {
        let scratch = Scratch::new("replaced");
        let path = scratch.file("setting");
        std::fs::write(&path, "theirs").unwrap();
        let guard = Replaced::with(&path, b"ours", 0o755).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"ours");
        guard.restore().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
    }

    #[test]
    fn a_file_that_was_not_there_is_not_left_behind() {
        let scratch = Scratch::new("replaced");
        let path = scratch.file("setting");
        let guard = Replaced::with(&path, b"ours", 0o755).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o700, 0o700, "it can be executed");
        guard.restore().unwrap();
        assert!(!path.exists());
    }
}
