//! Installing packages by apt-get as root, asking nothing.
//!
//! Debian's PostgreSQL makes a database cluster on installation and starts it. The
//! tests make clusters of their own and want none on the machine, so that is switched
//! off for the time of the installation, and the setting put back afterwards.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::report::Failed;

const LIMIT: Duration = Duration::from_secs(600);
const CLUSTER_SETTING: &str = "/etc/postgresql-common/createcluster.conf";

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
        Some(Replaced::with(Path::new(CLUSTER_SETTING), b"create_main_cluster = false\n")?)
    } else {
        None
    };
    let result = apt_get(&[&["install"], packages].concat(), logs);
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
    match process::run(&mut command, &log, LIMIT) {
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
    fn with(path: &Path, contents: &[u8]) -> Result<Self, Failed> {
        let before = std::fs::read(path).ok();
        std::fs::write(path, contents).map_err(|error| cannot(path, &error))?;
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
        "install postgresql by hand, and run this again",
    )
}

#[cfg(test)]
mod tests {
    use standin_testkit::Scratch;

    use super::*;

    #[test]
    fn a_replaced_file_gets_its_contents_back() {
        let scratch = Scratch::new("replaced");
        let path = scratch.file("setting");
        std::fs::write(&path, "theirs").unwrap();
        let guard = Replaced::with(&path, b"ours").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"ours");
        guard.restore().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
    }

    #[test]
    fn a_file_that_was_not_there_is_not_left_behind() {
        let scratch = Scratch::new("replaced");
        let path = scratch.file("setting");
        Replaced::with(&path, b"ours").unwrap().restore().unwrap();
        assert!(!path.exists());
    }
}
