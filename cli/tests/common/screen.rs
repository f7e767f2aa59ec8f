//! A terminal without a screen: tmux, whose server is a child of the test.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use standin_testkit::wait::poll_for;
use standin_testkit::{Child, Scratch, skip};

use super::WITHIN;

/// A terminal in which one command of a shell runs.
pub struct Screen {
    socket: PathBuf,
    _server: Child,
    _scratch: Scratch,
}

impl Screen {
    /// Runs a command in a terminal of this size, if the machine has tmux; otherwise the test is skipped.
    pub fn run_or_skip(test: &str, script: &str, width: u16, height: u16) -> Option<Self> {
        let version = Command::new("tmux").arg("-V").stdout(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            skip(test, "STANDIN_REQUIRE_TMUX", "tmux");
            return None;
        }
        let scratch = Scratch::new("screen");
        let (file, socket) = (scratch.file("script.sh"), scratch.file("socket"));
        std::fs::write(&file, script).expect("the folder is ours");
        let config = scratch.file("tmux.conf");
        let session = format!("new-session -d -x {width} -y {height} 'sh {}'\n", file.display());
        std::fs::write(&config, session).expect("the folder is ours");
        let mut command = Command::new("tmux");
        // It does not become a daemon, which would outlive the test.
        command.args(["-D", "-u", "-f"]).arg(&config).arg("-S").arg(&socket);
        command.env("LC_ALL", "C.UTF-8").env_remove("TMUX").current_dir(scratch.path());
        let server = Child::spawn("tmux", command, scratch.path());
        let screen = Self { socket, _server: server, _scratch: scratch };
        let begun = poll_for(WITHIN, || screen.tmux(&["list-panes"]));
        assert!(begun.is_some(), "tmux does not begin");
        Some(screen)
    }

    /// The output of a command of tmux, if it succeeds.
    fn tmux(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new("tmux");
        command.args(["-u", "-S"]).arg(&self.socket).args(arguments).env_remove("TMUX");
        let output = command.env("LC_ALL", "C.UTF-8").output().expect("tmux runs");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).unwrap_or_default()
    }

    /// Waits until something is on the screen.
    #[track_caller]
    pub fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let mut last = String::new();
        let found = poll_for(WITHIN, || {
            last = self.text();
            is_so(&last).then_some(())
        });
        assert!(found.is_some(), "{what} is not shown:\n{last}");
    }

    /// Presses a key, by tmux' name of it.
    pub fn press(&self, key: &str) {
        assert!(self.tmux(&["send-keys", key]).is_some(), "{key} can be pressed");
    }

    /// Changes the size.
    pub fn resize(&self, width: u16, height: u16) {
        let (width, height) = (width.to_string(), height.to_string());
        let resized = self.tmux(&["resize-window", "-x", &width, "-y", &height]);
        assert!(resized.is_some(), "it has a size");
    }

    /// The value of a variable of tmux.
    pub fn value(&self, name: &str) -> String {
        let value = self.tmux(&["display-message", "-p", &format!("#{{{name}}}")]);
        value.unwrap_or_default().trim().to_owned()
    }
}
