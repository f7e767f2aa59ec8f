//! The base of the machines: Debian's release that the package is for, with systemd, made by debootstrap and kept in
//! `target/package`. Packages that documents install are in its cache, since machines do not reach the network.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::prerequisites;
use crate::report::{Failed, Outcome, Passed};
use crate::workspace::Workspace;
use crate::{package, process};

/// Debian's release.
const RELEASE: &str = "bookworm";
/// What a machine has before anything is installed.
const PACKAGES: &str = "systemd systemd-sysv dbus iproute2 procps curl openssl ca-certificates openssh-server \
                        openssh-client";
/// What documents install.
const IN_CACHE: &str = "postgresql prometheus logrotate";
/// Debian's mirror, if the environment names no other.
const MIRROR: &str = "http://deb.debian.org/debian";
const LIMIT: Duration = Duration::from_secs(1_200);

/// The folder of the base.
pub(crate) fn base(workspace: &Workspace) -> PathBuf {
    package::folder(workspace).join(RELEASE)
}

/// Makes the base if it is not there. Takes some minutes, and the network.
pub(crate) fn ensure(workspace: &Workspace) -> Outcome {
    prerequisites::for_machines(workspace)?;
    let root = base(workspace);
    // Written last, so that a base that was interrupted is not taken for one.
    let done = root.join("etc/standin-base");
    let contents = format!("{PACKAGES}\n{IN_CACHE}\n");
    if std::fs::read_to_string(&done).is_ok_and(|found| found == contents) {
        return Ok(Passed::with_note("there already"));
    }
    let failed = |error: std::io::Error| Failed::of_file(&root, &error);
    match std::fs::remove_dir_all(&root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => std::fs::create_dir_all(&root).map_err(failed)?,
    }
    let mirror = std::env::var("STANDIN_DEBIAN").unwrap_or_else(|_| MIRROR.to_owned());
    let mut command = in_own_mounts("debootstrap");
    command.args(["--variant=minbase", RELEASE]).arg(&root).arg(mirror);
    step(workspace, command, "debootstrap")?;
    // No daemon starts in a folder.
    let policy = root.join("usr/sbin/policy-rc.d");
    std::fs::write(&policy, "#!/bin/sh\nexit 101\n").map_err(failed)?;
    executable(&policy).map_err(failed)?;
    let mut command = in_own_mounts("chroot");
    let install = "apt-get install --yes --no-install-recommends";
    command.arg(&root).args(["sh", "-ec"]).arg(format!(
        "export DEBIAN_FRONTEND=noninteractive; apt-get update; apt-get clean; {install} {PACKAGES}; apt-get clean; \
         apt-get install --yes --download-only {IN_CACHE}"
    ));
    step(workspace, command, "base-packages")?;
    std::fs::remove_file(&policy).map_err(failed)?;
    std::fs::write(&done, contents).map_err(failed)?;
    Ok(Passed::with_note(root.display().to_string()))
}

/// A command whose mounts nobody else sees: debootstrap mounts `/proc` in the root, and leaves it there if it is
/// interrupted.
fn in_own_mounts(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", program]);
    command
}

fn executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755))
}

fn step(workspace: &Workspace, mut command: Command, log: &str) -> Result<(), Failed> {
    let log = workspace.logs().join(format!("{log}.log"));
    let finished = process::run_step(&mut command, &log, LIMIT)?;
    match finished.success {
        true => Ok(()),
        false => Err(Failed::new(
            finished.output,
            "it needs root and a mirror of Debian; the variable STANDIN_DEBIAN names another mirror",
        )),
    }
}
