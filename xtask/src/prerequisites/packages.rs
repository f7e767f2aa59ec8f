//! What Debian packages are made with, and the machines on which they are tried.

use super::{Need, ensure, is_root, runs};
use crate::report::{Failed, Outcome};
use crate::workspace::Workspace;

const FOR_PACKAGE: &[Need] = &[
    Need {
        name: "musl-gcc",
        what_for: "SQLite and cryptography in a static program",
        is_there: || runs("musl-gcc", &["--version"]),
        packages: &["musl-tools"],
    },
    Need {
        name: "dpkg-deb and dpkg-parsechangelog",
        what_for: "the package",
        is_there: || {
            runs("dpkg-deb", &["--version"]) && runs("dpkg-parsechangelog", &["--version"])
        },
        packages: &["dpkg-dev"],
    },
];

const FOR_MACHINES: &[Need] = &[
    Need {
        name: "debootstrap",
        what_for: "the system of a machine",
        is_there: || runs("debootstrap", &["--version"]),
        packages: &["debootstrap"],
    },
    Need {
        name: "systemd-nspawn",
        what_for: "machines in namespaces",
        is_there: || runs("systemd-nspawn", &["--version"]),
        packages: &["systemd-container"],
    },
    Need {
        name: "ip",
        what_for: "their network",
        is_there: || runs("ip", &["-V"]),
        packages: &["iproute2"],
    },
];

const FOR_CONTAINER: &[Need] = &[Need {
    name: "buildah",
    what_for: "an image of a container, without a daemon",
    is_there: || runs("buildah", &["--version"]),
    packages: &["buildah"],
}];

/// Refuses to go on as another user.
fn needs_root(what: &str) -> Result<(), Failed> {
    match is_root() {
        true => Ok(()),
        false => {
            Err(Failed::new("this user is not root", format!("run this as root: {what} need it")))
        }
    }
}

/// Checks for the programs that images of containers need.
pub(crate) fn for_container(workspace: &Workspace) -> Outcome {
    needs_root("namespaces and mounts")?;
    ensure(workspace, FOR_CONTAINER, Vec::new())
}

const FOR_VIRTUAL_MACHINES: &[Need] = &[
    Need {
        name: "qemu-system-x86_64",
        what_for: "a machine with another kernel",
        is_there: || runs("qemu-system-x86_64", &["--version"]),
        packages: &["qemu-system-x86"],
    },
    Need {
        name: "depmod and modprobe",
        what_for: "the modules of that kernel",
        is_there: || runs("depmod", &["--version"]),
        packages: &["kmod"],
    },
    Need {
        name: "openssl",
        what_for: "certificates",
        is_there: || runs("openssl", &["version"]),
        packages: &["openssl"],
    },
    Need {
        name: "ip",
        what_for: "the loopback interface of the machine",
        is_there: || runs("ip", &["-V"]),
        packages: &["iproute2"],
    },
];

/// Checks for the programs that a virtual machine needs.
pub(crate) fn for_virtual_machines(workspace: &Workspace) -> Outcome {
    needs_root("mounts and namespaces")?;
    ensure(workspace, FOR_VIRTUAL_MACHINES, Vec::new())
}

/// Checks for the programs that `cargo xtask package` needs.
pub(crate) fn for_package(workspace: &Workspace) -> Outcome {
    ensure(workspace, FOR_PACKAGE, Vec::new())
}

/// Checks for the programs that machines in namespaces need.
pub(crate) fn for_machines(workspace: &Workspace) -> Outcome {
    needs_root("namespaces, mounts and debootstrap")?;
    ensure(workspace, FOR_MACHINES, Vec::new())
}

/// Returns whether Debian's own checks of packages are there.
pub(crate) fn has_lintian() -> bool {
    runs("lintian", &["--version"])
}
