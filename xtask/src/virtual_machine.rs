//! A virtual machine with a kernel of Debian's that has the module `tls`. Its root is the root of this machine, read-only;
//! it has no network but its own, and ends by itself or with its deadline.
//!
//! ```text
//! unshare ─► sh ─┬─ virtiofsd   the files of this machine, in a mount namespace in which they can't be written
//!                └─ qemu        the kernel; its init is a script, whose output is the machine's console
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{self, Finished};
use crate::report::{Failed, Outcome, Passed};
use crate::workspace::Workspace;

/// Debian's packages that depend on such a kernel, the first of which that is known is taken. It has to have virtiofs
/// built in, as Linux 6.12 has there.
const KERNELS: [&str; 2] = ["linux-image-6.12-cloud-amd64", "linux-image-cloud-amd64"];
const DOWNLOAD_MAX: Duration = Duration::from_secs(600);
const MEMORY: &str = "3G";

/// Downloads and unpacks the kernel, if it is not there. Nothing is installed.
const FETCH: &str = r#"
if ls -d x/lib/modules/*/modules.dep >/dev/null 2>&1; then exit 0; fi
apt-get update -q
for name in "$@"; do
    image=$(apt-cache depends "$name" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
    if [ -n "$image" ]; then break; fi
done
[ -n "$image" ] || { echo "none of these is known: $*"; exit 1; }
rm -rf x ./*.deb
apt-get -q -o APT::Sandbox::User=root download "$image"
dpkg-deb --extract "$image"_*.deb x
rm -f ./*.deb
depmod --basedir "$PWD/x" "$(ls x/lib/modules)"
"#;

/// Boots: `$1` is the init, `$2` the folder of the kernel; the rest are options of QEMU.
const BOOT: &str = r#"
init=$1 folder=$2
shift 2
mount -t tmpfs tmpfs /run
mount -o remount,bind,ro /
for daemon in /usr/lib/qemu/virtiofsd /usr/libexec/virtiofsd; do [ -x "$daemon" ] && break; done
"$daemon" --socket-path=/run/share -o source=/ -o cache=always -o sandbox=chroot 2>/dev/null &
tries=0
until [ -S /run/share ]; do
    tries=$((tries + 1))
    [ $tries -le 100 ] || { echo "virtiofsd does not listen"; exit 1; }
    sleep 0.1
done
exec qemu-system-x86_64 -M q35 -cpu max -m "$MEMORY" -nodefaults -no-user-config -display none -serial stdio -no-reboot \
    -object "memory-backend-memfd,id=memory,size=$MEMORY,share=on" -numa node,memdev=memory \
    -chardev socket,id=share,path=/run/share -device vhost-user-fs-pci,chardev=share,tag=share \
    -kernel "$folder"/boot/vmlinuz-* \
    -append "console=ttyS0 quiet panic=-1 reboot=t rootfstype=virtiofs root=share ro init=$init" "$@"
"#;

/// The start of each init. The kernel loads modules by a program that knows where they are.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
for folder in /tmp /run /root; do mount -t tmpfs tmpfs "$folder"; done
mkdir -p /dev/shm && mount -t tmpfs tmpfs /dev/shm
ip link set lo up
ulimit -n 65536
printf '#!/bin/sh\nexec modprobe --dirname %s "$@"\n' "$MODULES" > /tmp/modprobe
chmod +x /tmp/modprobe
echo /tmp/modprobe > /proc/sys/kernel/modprobe
/tmp/modprobe aesni-intel
/tmp/modprobe tls
uname -sr
"#;

/// The last lines of each init.
const END: &str = r#"
cat /proc/net/tls_stat
echo o > /proc/sysrq-trigger
sleep 60
"#;

/// The folder of the kernel and of the inits.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("virtual-machine")
}

/// Gets the kernel.
pub(crate) fn fetch(workspace: &Workspace) -> Outcome {
    let folder = folder(workspace);
    std::fs::create_dir_all(&folder).map_err(|error| Failed::of_file(&folder, &error))?;
    let mut command = Command::new("sh");
    command.current_dir(&folder).args(["-ec", FETCH, "fetch"]).args(KERNELS);
    let log = workspace.logs().join("virtual-machine-fetch.log");
    let finished = process::run_step(&mut command, &log, DOWNLOAD_MAX)?;
    if !finished.success {
        return Err(Failed::new(finished.output, "it needs Debian's packages by apt-get"));
    }
    Ok(Passed::with_note(version(workspace).unwrap_or_default()))
}

/// The version of the kernel.
fn version(workspace: &Workspace) -> Option<String> {
    let modules = folder(workspace).join("x/lib/modules");
    let mut versions = std::fs::read_dir(modules).ok()?;
    versions.next()?.ok()?.file_name().into_string().ok()
}

/// Boots a machine that runs a script and ends; returns what its console said.
///
/// # Errors
/// It could not be booted, or has not ended within `limit`.
pub(crate) fn run(
    workspace: &Workspace,
    name: &str,
    script: &str,
    options: &[&str],
    limit: Duration,
) -> Result<Finished, Failed> {
    let folder = folder(workspace);
    let init = folder.join(format!("{name}.sh"));
    let kernel = folder.join("x");
    let start = INIT.replace("$MODULES", &kernel.display().to_string());
    std::fs::write(&init, [start.as_str(), script, END].concat())
        .map_err(|error| Failed::of_file(&init, &error))?;
    executable(&init).map_err(|error| Failed::of_file(&init, &error))?;
    let mut command = Command::new("unshare");
    command.env("MEMORY", MEMORY);
    // All of it ends with its first process.
    command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--"]);
    command.args(["sh", "-ec", BOOT, "boot"]).arg(&init).arg(&kernel).args(options);
    let log = workspace.logs().join(format!("virtual-machine-{name}.log"));
    let finished = process::run_step(&mut command, &log, limit)?;
    match finished.success && finished.output.contains("TlsTxSw") {
        true => Ok(finished),
        false => Err(Failed::new(
            finished.output,
            "the machine has to boot, load the module `tls` and end by itself; see its console above",
        )),
    }
}

fn executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755))
}
