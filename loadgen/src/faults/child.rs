//! Children of this program: how they begin, and that they end with it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::watchdog::Watchdog;
use crate::net::{Network, visit};

/// A user of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
}

/// What becomes of that which a process leaves behind when it ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It ends too, as far as it is in the process group.
    Ends,
    /// It stays: a command may start a service.
    Stays,
}

/// Starts a program; its output goes to the end of a file.
pub(super) fn spawn(
    program: &Path,
    arguments: &[OsString],
    log: &Path,
    network: Option<&Network>,
    user: Option<User>,
    rest: Rest,
) -> io::Result<Child> {
    // Appending: a restart keeps the story.
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    ends_with_us(&mut command, rest)?;
    // The child is born there: another user could not enter.
    visit(network, || command.spawn())
}

/// Lets a command end with this program, and gives it a process group of its own.
pub(super) fn ends_with_us(command: &mut Command, rest: Rest) -> io::Result<()> {
    let watchdog = Watchdog::get()?;
    if rest == Rest::Ends {
        command.env(watchdog.variable(), "");
    }
    command.process_group(0);
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only prctl, getppid, getpid and send are called, all of which
    // are async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above.
            if rustix::process::getppid() != Some(parent) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            watchdog.add(std::process::id());
            Ok(())
        });
    }
    Ok(())
}

/// Whether it has ended. It is not waited for yet, so nobody else has its number, nor its group's.
pub(super) fn has_ended(child: &Child) -> bool {
    let Some(pid) = pid_of(child) else { return true };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // An error: it was waited for.
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}

/// Waits for its end.
pub(super) fn wait(child: &mut Child) -> Option<ExitStatus> {
    let status = child.wait().ok();
    if let Ok(watchdog) = Watchdog::get() {
        watchdog.remove(child.id());
    }
    status
}

pub(super) fn signal_group(child: &Child, signal: Signal) {
    if let Some(pid) = pid_of(child) {
        // It fails only if nothing of the group is left.
        let _ = kill_process_group(pid, signal);
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}
