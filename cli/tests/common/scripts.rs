//! Scripts in Python that drive client libraries which others have written: they check what caches do, or load
//! a cluster with `checker.py` beside this file while the test kills servers and starts them again.
//!
//! ```text
//! test ──a line: what has happened──► script
//!      ◄──the line, once every client of the script has read further──
//!      ──end of input──► script ──totals──►
//! ```

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::languages::PYTHON;

use super::{Cluster, WITHIN};

/// The variable that, set to 1, makes a test without the libraries fail instead of being skipped.
pub const REQUIRE: &str = "STANDIN_REQUIRE_CLIENTS";
/// The folder in which scripts have their paths.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
/// The variable with the path of the authority's certificate, for scripts that are to use TLS.
const AUTHORITY: &str = "STANDIN_TEST_AUTHORITY";
/// The longest wait for a line of a script.
const SAID_WITHIN: Duration = WITHIN.saturating_mul(3);

/// An interpreter that has the libraries of a test.
pub struct Python {
    program: String,
    /// The authority of the servers' certificates, if the scripts are to use TLS.
    authority: Option<PathBuf>,
}

impl Python {
    /// Returns the interpreter, if it can import these modules. Otherwise the test is skipped with a message.
    pub fn with(test: &str, modules: &[&str]) -> Option<Self> {
        let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned());
        let import = format!("import {}", modules.join(", "));
        let found = Command::new(&python).args(["-c", &import]).output();
        if found.is_ok_and(|output| output.status.success()) {
            return Some(Self { program: python, authority: None });
        }
        standin_testkit::skip(test, REQUIRE, &format!("{python} with {}", modules.join(" and ")));
        None
    }

    /// Has the scripts connect with TLS, to servers with certificates of this authority.
    pub fn trusting(self, authority: &Path) -> Self {
        Self { authority: Some(authority.to_owned()), ..self }
    }

    fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(authority) = &self.authority {
            command.env(AUTHORITY, authority);
        }
        command.arg(format!("{FOLDER}/{script}")).args(arguments);
        command
    }

    /// Runs a script, which must succeed and say this.
    #[track_caller]
    pub fn check(&self, script: &str, arguments: &[&str], wanted: &str) {
        let output = self.command(script, arguments).output().expect("python runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.contains(wanted),
            "{script} {arguments:?}: {}\n{said}\n{errors}",
            output.status
        );
    }

    /// Starts a script of load.
    pub fn start(&self, script: &str, arguments: &[&str]) -> Script {
        let mut command = self.command(script, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("python runs");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut errors = child.stderr.take().expect("a pipe");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // An error: the test waits for no more lines.
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            // What was read before an error is good for a message.
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let name = format!("{script} {}", arguments.join(" "));
        Script { name, child, input, lines, errors: Some(errors) }
    }
}

/// A script whose clients write and read, and check what they read. It ends when it is dropped, or when this
/// process ends, because its input does.
pub struct Script {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

impl Script {
    /// Returns when every client has read further.
    #[track_caller]
    fn go_on(&mut self, what: &str) {
        let told = writeln!(self.input.as_ref().expect("it has not been finished"), "{what}");
        match self.lines.recv_timeout(SAID_WITHIN) {
            Ok(line) if line.contains(what) && told.is_ok() => println!("{}: {line}", self.name),
            said => self.fail(&format!("{said:?} when it was told {what:?}")),
        }
    }

    /// Ends the script. No read may have been stale, and no request may have failed.
    #[track_caller]
    fn finish(mut self) {
        self.input = None;
        let mut said = String::new();
        loop {
            match self.lines.recv_timeout(SAID_WITHIN) {
                Ok(line) => said += &format!("{line}\n"),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => self.fail(&format!("no end after {said}")),
            }
        }
        let status = self.child.wait().expect("the script ends");
        if !status.success() || !said.contains("stale 0, failed 0") {
            self.fail(&format!("{status}: {said}"));
        }
        println!("{}: {said}", self.name);
    }

    #[track_caller]
    fn fail(&mut self, why: &str) -> ! {
        self.end();
        let errors = self.errors.take().map(|errors| errors.join().unwrap_or_default());
        panic!("{}: {why}\n{}", self.name, errors.unwrap_or_default());
    }

    fn end(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.end();
    }
}

/// Scripts of load that run at the same time.
pub struct Scripts(pub Vec<Script>);

impl Scripts {
    /// Returns when every client of every script has read further.
    #[track_caller]
    pub fn go_on(&mut self, what: &str) {
        self.0.iter_mut().for_each(|script| script.go_on(what));
    }

    /// Kills one server after the other and starts it again. After each step all clients go on.
    #[track_caller]
    pub fn through_kills(&mut self, cluster: &mut Cluster, servers: &[&str]) {
        self.go_on("begun");
        for server in servers {
            cluster.kill(server);
            self.go_on(&format!("killed {server}"));
            cluster.wait_states(&[(server, Offline)]);
            self.go_on(&format!("offline {server}"));
            cluster.start_server(server);
            self.go_on(&format!("started {server}"));
            cluster.wait_states(&[(server, Online)]);
            self.go_on(&format!("online {server}"));
        }
    }

    /// Ends the scripts. No read may have been stale, and no request may have failed.
    #[track_caller]
    pub fn finish(self) {
        self.0.into_iter().for_each(Script::finish);
    }
}
