//! A private network for a test: a namespace with only a loopback interface. If the test asks for it,
//! its packets are small and its fragments are lost.
//!
//! A namespace belongs to a thread and to what that thread starts, and processes under test are
//! started by a thread that all tests share. So the test runs again in a process of its own,
//! which is in the namespace as a whole.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::skip;

/// If this variable is set to 1, a test that needs a namespace fails if it can't have one.
pub const REQUIRE: &str = "STANDIN_REQUIRE_NAMESPACES";
/// Set in the process that is in the namespace.
const INSIDE: &str = "STANDIN_INSIDE_NAMESPACE";

/// Runs the calling test, given by its full name, again in a network with packets of `mtu` bytes that
/// loses fragments. Returns true in that process; returns false if the test has passed there, or was
/// skipped.
///
/// # Panics
/// As [`of_its_own`].
#[must_use]
pub fn without_fragments(test: &str, mtu: u32) -> bool {
    let is_inside = of_its_own(test);
    if is_inside {
        prepare(mtu).unwrap_or_else(|error| panic!("the namespace of {test}: {error}"));
    }
    is_inside
}

/// Runs the calling test, given by its full name, again in a network of its own: its settings
/// (`net.*`) are those of a new namespace, and nobody else's. Returns true in that process; returns
/// false if the test has passed there, or was skipped.
///
/// # Panics
/// If the test has failed there, or can't run there although [`REQUIRE`] is 1.
#[must_use]
pub fn of_its_own(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        skip(test, REQUIRE, "a network namespace takes root");
        return false;
    }
    let program = std::env::current_exe().expect("the test's own program");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    // SAFETY: between fork and exec one system call, which touches no memory of the parent.
    unsafe {
        command.pre_exec(|| match libc::unshare(libc::CLONE_NEWNET) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let output = command.output().expect("the test can be run in a namespace");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test} in its namespace:\n{said}\n{errors}");
    assert!(said.contains("1 passed"), "there is no test {test}: {said}");
    false
}

/// Loopback with this MTU, and no memory for fragments: the kernel drops them.
fn prepare(mtu: u32) -> std::io::Result<()> {
    let mtu = mtu.to_string();
    let link = Command::new("ip").args(["link", "set", "lo", "up", "mtu", &mtu]).output()?;
    if !link.status.success() {
        return Err(std::io::Error::other(String::from_utf8_lossy(&link.stderr).into_owned()));
    }
    std::fs::write("/proc/sys/net/ipv4/ipfrag_low_thresh", "0")?;
    std::fs::write("/proc/sys/net/ipv4/ipfrag_high_thresh", "0")
}
