//! What `standin check-config` says as root, and what it says beside as the user of the package's units: root can read
//! files that this user can't, and reads secrets of any owner.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use crate::diagnostics;

/// The user whom the package makes.
const USER: &str = "standin";

/// The lines of a check.
#[derive(Debug, Default)]
pub(crate) struct Said(Vec<String>);

impl Said {
    /// Says a line.
    pub(crate) fn remark(&mut self, line: String) {
        diagnostics::remark(&line);
        self.0.push(line);
    }

    /// Checks the file at this path once more as the service's user, if this is root and there is such a user, and warns of
    /// what only that check finds.
    pub(crate) fn as_service_user(&self, path: &Path) {
        if geteuid().is_root() && can_be_read_again(path) && has_user() {
            let found = checked_again().unwrap_or_default();
            for line in self.without(&found) {
                diagnostics::remark(&format!(
                    "warning: as the user {USER} (without the groups that a unit adds): {line}"
                ));
            }
        }
    }

    /// Those of these lines that have not been said. What `setpriv` says of itself is not about the file.
    fn without<'l>(&self, lines: &'l str) -> impl Iterator<Item = &'l str> {
        let new = lines
            .lines()
            .filter(|line| !line.starts_with("setpriv: "))
            .filter(|line| !self.0.iter().any(|said| said.lines().any(|s| s == *line)));
        new.map(|line| line.strip_prefix("warning: ").unwrap_or(line))
    }
}

/// Whether another process finds the same there: what comes from a pipe is read only once, and what is below `/dev` or `/proc`,
/// such as `/dev/stdin`, is another file to each process.
fn can_be_read_again(path: &Path) -> bool {
    path.is_file() && !path.starts_with("/dev") && !path.starts_with("/proc")
}

/// Whether this machine has the user, who is another one than root.
fn has_user() -> bool {
    std::fs::read_to_string("/etc/passwd").is_ok_and(|users| is_listed(&users))
}

fn is_listed(users: &str) -> bool {
    users.lines().any(|line| {
        let mut fields = line.split(':');
        fields.next() == Some(USER) && fields.nth(1).is_some_and(|number| number != "0")
    })
}

/// Runs this command as that user, and returns its messages. `None` if it could not be asked, for example because the user
/// can't read the program.
fn checked_again() -> Option<String> {
    let mut again = Command::new("setpriv");
    again.args(["--reuid", USER, "--regid", USER, "--init-groups", "--"]);
    again.arg(std::env::current_exe().ok()?).args(std::env::args_os().skip(1));
    let output = again.stdin(Stdio::null()).output().ok()?;
    // Otherwise the exit code is that of `setpriv`.
    let is_asked = matches!(output.status.code(), Some(0 | 1));
    is_asked.then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_not_been_said_is_said_of_the_user() {
        let said = Said(vec!["warning: a: b".to_owned(), "two\nlines".to_owned()]);
        let again = "setpriv: failed to execute standin: Permission denied\n\
            warning: a: b\nlines\nwarning: a: c\nd: cannot be read\n";
        let new: Vec<&str> = said.without(again).collect();
        assert_eq!(new, ["a: c", "d: cannot be read"]);
    }

    #[test]
    fn what_is_another_file_to_each_process_is_read_once() {
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        let own = format!("/proc/self/fd/{fd}");
        assert!(Path::new(&own).is_file() && !can_be_read_again(Path::new(&own)));
        assert!(!can_be_read_again(Path::new("/dev/stdin")));
        assert!(can_be_read_again(&std::env::current_exe().unwrap()));
    }

    #[test]
    fn a_user_who_is_root_is_not_asked() {
        let others = "root:x:0:0:root:/root:/bin/sh\nstandings:x:5:5::/:/bin/sh\n";
        assert!(!is_listed(others));
        assert!(is_listed(&format!("{others}standin:x:999:998::/:/usr/sbin/nologin\n")));
        assert!(!is_listed("standin:x:0:0::/:/bin/sh\n"));
    }
}
