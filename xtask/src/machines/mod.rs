//! Machines for trying what is installed: each boots Debian's systemd in namespaces of its own, on a copy of one base
//! that keeps no change, and they reach each other over a bridge. Units run as on a real machine, with their users,
//! limits and sandboxes. What they can't show is what a kernel has once: its parameters, its clock and its memory.
//!
//! ```text
//! base.rs   the base: Debian by debootstrap, made once and kept
//!
//! cargo xtask … ─ exec unshare ─► cargo xtask … ── systemd-nspawn ─► systemd ─► units      (a machine)
//!  builds, downloads              namespaces of network and mounts, in which the bridge and the roots are
//! ```
//! All of it goes with the process, which is the first one in a namespace of processes: the kernel ends all others
//! when it ends, and with them go the namespaces of mounts and networks. Each machine has control groups of its own,
//! because two systemds in the same would take each other's units for theirs.

mod base;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use standin_testkit::child::send_signal;
use standin_testkit::wait::poll_for;
use standin_testkit::{Child, Scratch};

use crate::report::Failed;

pub(crate) use base::{base, ensure};

/// Puts a shell into control groups of its own, in each hierarchy that there is, and replaces it by a command.
const IN_GROUPS: &str = "\
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    test -w $hierarchy/cgroup.procs || continue
    mkdir -p $hierarchy/standin-machine-$0
    echo $$ > $hierarchy/standin-machine-$0/cgroup.procs
done
exec \"$@\"";
/// These hierarchies, and what the names of their groups begin with.
const HIERARCHIES: [&str; 3] =
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];
const GROUP: &str = "standin-machine-";
/// Set in the process that is in the namespaces.
const INSIDE: &str = "STANDIN_INSIDE_MACHINES";
const SIGKILL: i32 = 9;
/// The limit for a machine to boot, and for one block of commands on it.
const BOOT_WITHIN: Duration = Duration::from_secs(60);
const COMMANDS_WITHIN: &str = "600";
/// The time between two tries of commands that have to succeed in the end.
const PAUSE: Duration = Duration::from_millis(100);
/// The limit for the processes of a machine to end after its plug has been pulled.
const ENDED_WITHIN: Duration = Duration::from_secs(10);
/// The bridge, and the network that it is.
const BRIDGE: &str = "standin0";
const NETWORK: &str = "10.0.0.254/24";

/// Whether this process is in the namespaces of the machines. The variable alone proves nothing, because anybody can
/// set it, and a bridge on the host would be the result.
pub(crate) fn are_inside() -> bool {
    let interfaces = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    std::env::var_os(INSIDE).is_some() && std::process::id() == 1 && is_alone(&interfaces)
}

/// Whether a network has no interface but its loopback, by the kernel's list: a new one.
fn is_alone(interfaces: &str) -> bool {
    let names = interfaces.lines().filter_map(|line| line.split_once(':'));
    let names: Vec<&str> = names.map(|(name, _)| name.trim()).collect();
    names == ["lo"]
}

/// Replaces this process by itself with the same arguments, in namespaces for machines. Returns only if that fails.
pub(crate) fn enter() -> String {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return format!("this program does not know where it is: {error}"),
    };
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--net"]);
    command.args(["--propagation", "private", "--"]).arg(program);
    let error = command.args(std::env::args_os().skip(1)).env(INSIDE, "1").exec();
    format!("unshare: {error}")
}

/// The network between machines, and the folder of their files.
#[derive(Debug)]
pub(crate) struct Machines {
    base: PathBuf,
    folder: Scratch,
}

impl Machines {
    /// Makes the network. The process must be [inside](are_inside).
    pub(crate) fn new(base: PathBuf) -> Result<Self, Failed> {
        let links: [&[&str]; 4] = [
            &["link", "set", "lo", "up"],
            &["link", "add", BRIDGE, "type", "bridge"],
            &["address", "add", NETWORK, "dev", BRIDGE],
            &["link", "set", BRIDGE, "up"],
        ];
        for link in links {
            outside(Command::new("ip").args(link))?;
        }
        // In memory, some hundred megabytes of each machine: packages are installed with many waits for the disk.
        let folder = Scratch::new("machines");
        outside(Command::new("mount").args(["-t", "tmpfs", "machines"]).arg(folder.path()))?;
        Ok(Self { base, folder })
    }

    /// Boots a machine with an address of the network, 10.0.0.0/24.
    pub(crate) fn boot(&self, name: &str, address: &str) -> Result<Machine, Failed> {
        let folder = self.folder.path().join(name);
        let part = |part: &str| folder.join(part);
        for part in ["changes", "work", "root"].map(part) {
            // Everybody in the machine reads its root, whatever the umask here is.
            let everybody = || std::fs::set_permissions(&part, PermissionsExt::from_mode(0o755));
            std::fs::create_dir_all(&part)
                .and_then(|()| everybody())
                .map_err(|error| Failed::of_file(&part, &error))?;
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.base.display(),
            part("changes").display(),
            part("work").display()
        );
        let root = part("root");
        outside(
            Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers]).arg(&root),
        )?;
        let mut command = Command::new("sh");
        command.args(["-euc", IN_GROUPS, name, "systemd-nspawn"]);
        command.args(["--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe"]);
        command.args(["--link-journal=no", "--resolv-conf=off", "--timezone=off"]);
        // A machine without a container has them.
        command.arg("--system-call-filter=io_uring_setup io_uring_enter io_uring_register");
        command.arg(format!("--network-bridge={BRIDGE}"));
        command.arg(format!("--machine={name}")).arg(format!("--hostname={name}"));
        command.arg("--directory").arg(&root);
        let child = Child::spawn(name, command, self.folder.path());
        let init = poll_for(BOOT_WITHIN, || init_of(child.pid()));
        let Some(init) = init else {
            return Err(Failed::new(
                child.lines().join("\n"),
                "see why systemd-nspawn does not boot it",
            ));
        };
        let machine = Machine { name: name.to_owned(), root, init, _child: child };
        let state = poll_for(BOOT_WITHIN, || {
            let state = machine.shell("systemctl is-system-running").output().ok()?;
            let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            ["running", "degraded"].contains(&&*state).then_some(state)
        });
        if state.is_none() {
            return Err(Failed::new(
                format!("{name} has not booted within {BOOT_WITHIN:?}"),
                "see why",
            ));
        }
        machine.run(&format!(
            "ip address add {address}/24 dev host0; ip link set host0 up; hostname {name}"
        ))?;
        Ok(machine)
    }
}

/// A machine that runs. Dropping it pulls its plug.
#[derive(Debug)]
pub(crate) struct Machine {
    name: String,
    root: PathBuf,
    /// The process of its systemd.
    init: u32,
    _child: Child,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // systemd-nspawn alone would leave its processes behind when it is killed.
        send_signal(self.init, SIGKILL);
    }
}

impl Machine {
    /// Puts a file of this machine into it.
    pub(crate) fn put(&self, from: &Path, to: &str) -> Result<(), Failed> {
        let to = self.root.join(to.trim_start_matches('/'));
        std::fs::copy(from, &to).map(drop).map_err(|error| Failed::of_file(&to, &error))
    }

    /// Runs commands as root, as somebody would who pastes them into a shell, except that the first one that fails
    /// ends them. Returns what they say.
    pub(crate) fn run(&self, commands: &str) -> Result<String, Failed> {
        let output = self.shell(commands).output();
        let output = output
            .map_err(|error| Failed::new(format!("nsenter: {error}"), "install util-linux"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(Failed::new(
            format!("{}, {}:\n{commands}\n---\n{said}{errors}", self.name, output.status),
            "see what it says; `journalctl` of the machine is above, if it is about a unit",
        ))
    }

    /// Runs commands until they succeed. Returns what they say then.
    pub(crate) fn until(&self, within: Duration, commands: &str) -> Result<String, Failed> {
        let mut last = None;
        let said = poll_for(within, || match self.run(commands) {
            Ok(said) => Some(said),
            Err(failed) => {
                last = Some(failed);
                std::thread::park_timeout(PAUSE);
                None
            }
        });
        said.ok_or_else(|| last.unwrap_or_else(|| Failed::new(commands, "give it more time")))
    }

    /// A shell in the machine.
    fn shell(&self, commands: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--mount", "--uts", "--ipc", "--net"]);
        command.args(["--pid", "--cgroup", "--root", "--"]);
        command.args(["env", "-i", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"]);
        command.args(["DEBIAN_FRONTEND=noninteractive", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        command.args(["timeout", "--signal=KILL", COMMANDS_WITHIN]);
        command.args(["bash", "-euo", "pipefail", "-c"]).arg(format!("cd\n{commands}"));
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Machines {
    /// Removes the control groups of the machines, whose processes end with them.
    fn drop(&mut self) {
        let are_gone = || (!groups().iter().any(|group| !remove_group(group))).then_some(());
        if poll_for(ENDED_WITHIN, are_gone).is_none() {
            eprintln!("control groups are left: {:?}", groups());
        }
    }
}

/// The control groups of machines.
fn groups() -> Vec<PathBuf> {
    let entries = HIERARCHIES.iter().flat_map(std::fs::read_dir).flatten().flatten();
    let is_of_machine = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(GROUP))
    };
    entries.map(|entry| entry.path()).filter(is_of_machine).collect()
}

/// Removes a control group and those below it. Returns whether it is gone: one with processes stays.
fn remove_group(group: &Path) -> bool {
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    std::fs::remove_dir(group).is_ok()
}

/// The process that is the first one in the machine: the child of systemd-nspawn that has become systemd.
fn init_of(nspawn: u32) -> Option<u32> {
    let children =
        std::fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    children.split_whitespace().find_map(|child| {
        let comm = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (comm.trim_end() == "systemd").then(|| child.parse().ok()).flatten()
    })
}

/// Runs a command outside of the machines, which must succeed.
fn outside(command: &mut Command) -> Result<String, Failed> {
    let output = command.stdin(Stdio::null()).output();
    let output =
        output.map_err(|error| Failed::new(format!("{command:?}: {error}"), "install it"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Failed::new(
            format!("{command:?}:\n{}", String::from_utf8_lossy(&output.stderr)),
            "this needs root, namespaces and overlayfs",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_with_more_than_its_loopback_is_not_a_new_one() {
        let head = "Inter-|   Receive\n face |bytes    packets\n";
        let (lo, card) = ("    lo:       0       0\n", "  eth0: 1 1\n");
        assert!(is_alone(&format!("{head}{lo}")));
        assert!(!is_alone(&format!("{head}{lo}{card}")));
        assert!(!is_alone(head) && !is_alone(""));
    }
}
