//! Ends what this program has started when it is gone, however it ended: also with SIGKILL, when nothing of its own can
//! run any more. The kernel then ends the processes that it has started (`PR_SET_PDEATHSIG`), but not what these have
//! started.
//!
//! ```text
//! this program ──socket──► /bin/sh, in a process group of its own
//!   +4711  a process begins, with its process group       (said by the process itself, before it is another program)
//!   -4711  nothing of the group is left
//!   end    kills the groups, and everything that has the run's variable in its environment
//! ```
//! It needs no rights beyond those of this program. A process that leaves its group is found by the variable, unless it
//! overwrites its environment too.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::net::{SendFlags, send};

/// `$1` is the variable. Signals that end this program's terminal or group are not for it.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
groups=' '
while read -r word; do
    group=${word#?}
    case $word in
    +*) groups="$groups$group " ;;
    -*) case $groups in *" $group "*) groups="${groups%%" $group "*} ${groups#*" $group "}" ;; esac ;;
    esac
done
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
for file in /proc/[0-9]*/environ; do
    if grep -qsz "^$1=" "$file"; then
        pid=${file#/proc/}
        [ "${pid%/environ}" = $$ ] || kill -KILL "${pid%/environ}" 2>/dev/null
    fi
done
"#;

/// The longest message: a sign, a process id, a line feed.
const MESSAGE_BYTES_MAX: usize = 12;

/// See the head of the file. There is one, from the first process on.
#[derive(Debug)]
pub(super) struct Watchdog {
    socket: OwnedFd,
    variable: String,
}

impl Watchdog {
    /// The watchdog of this program; the first call starts it.
    ///
    /// # Errors
    /// It can't be started.
    pub(super) fn get() -> io::Result<&'static Self> {
        static WATCHDOG: OnceLock<Watchdog> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        if let Some(there) = WATCHDOG.get() {
            return Ok(there);
        }
        let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        match WATCHDOG.get() {
            Some(there) => Ok(there),
            None => Self::start().map(|started| WATCHDOG.get_or_init(|| started)),
        }
    }

    fn start() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let number = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let variable = format!("STANDIN_LOAD_{number:016x}");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "standin-watchdog", &variable]).current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        // It is not waited for: it outlives this program.
        command.process_group(0).spawn()?;
        Ok(Self { socket: ours.into(), variable })
    }

    /// The variable that everything has in its environment that is to end with this program.
    pub(super) fn variable(&self) -> &str {
        &self.variable
    }

    /// Notes the process group of this number. May be called between fork and exec: it allocates nothing.
    pub(super) fn add(&self, group: u32) {
        self.tell(b'+', group);
    }

    /// Nothing of the group is left.
    pub(super) fn remove(&self, group: u32) {
        self.tell(b'-', group);
    }

    fn tell(&self, sign: u8, group: u32) {
        let mut message = [0; MESSAGE_BYTES_MAX];
        let length = message_of(sign, group, &mut message);
        // One that somebody has killed or stopped is missed, but no reason to end a run, or to wait.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _ = send(self.socket.as_fd(), &message[..length], flags);
    }
}

/// Writes a message, and returns its length.
fn message_of(sign: u8, group: u32, message: &mut [u8; MESSAGE_BYTES_MAX]) -> usize {
    let digits = group.checked_ilog10().unwrap_or(0) as usize + 1;
    message[0] = sign;
    let mut rest = group;
    for place in message[1..=digits].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    message[digits + 1] = b'\n';
    digits + 2
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use standin_testkit::wait::poll_for;
    use standin_testkit::{Scratch, is_running, wait_until};

    use super::super::process::Process;
    use super::*;

    /// Names the folder in the process that is killed.
    const INSIDE: &str = "STANDIN_TEST_KILLED";
    const SOON: Duration = Duration::from_secs(30);

    fn pids(log: &Path) -> Vec<u32> {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Starts this test again as a program of its own, which starts processes and is killed.
    #[test]
    fn what_processes_have_started_ends_with_a_program_that_is_killed() {
        if let Some(folder) = std::env::var_os(INSIDE) {
            let script = "sleep 600 & echo $!; setsid sleep 600 & echo $!; echo $$; wait; wait";
            let arguments = vec!["-c".into(), script.into()];
            let folder = Path::new(&folder);
            let _child = Process::start("child", "/bin/sh".as_ref(), arguments, folder).unwrap();
            loop {
                std::thread::park();
            }
        }
        let scratch = Scratch::new("watchdog");
        let mut command = Command::new(std::env::current_exe().unwrap());
        let test = "faults::watchdog::tests::what_processes_have_started_ends_with_a_program_that_is_killed";
        command.args(["--exact", test]).env(INSIDE, scratch.path());
        let mut killed = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let log = scratch.file("child.log");
        // It is killed in any case.
        let _ = poll_for(SOON, || (pids(&log).len() == 3).then_some(()));
        killed.kill().unwrap();
        killed.wait().unwrap();
        let pids = pids(&log);
        assert_eq!(pids.len(), 3, "a shell and what it has started");
        wait_until(SOON, "the end of all", || !pids.iter().any(|pid| is_running(*pid)));
    }

    #[test]
    fn a_message_is_a_line() {
        for (group, text) in [(1, "+1\n"), (4_711, "+4711\n"), (u32::MAX, "+4294967295\n")] {
            let mut message = [0; MESSAGE_BYTES_MAX];
            let length = message_of(b'+', group, &mut message);
            assert_eq!(message[..length], *text.as_bytes());
        }
    }
}
