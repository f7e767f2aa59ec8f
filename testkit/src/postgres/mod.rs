//! A private PostgreSQL server: created, started, stopped, paused and killed by a test.
//!
//! ```text
//! install.rs   finds initdb and postgres, and the user to run them as
//! ```

mod install;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::certificates::Issued;
use crate::child::{Child, send_signal};
use crate::ports::free_ports;
use crate::scratch::Scratch;
use crate::wait::{poll_for, wait_until};
use install::{Installation, RunAs};

/// Set to 1, it turns a test that lacks PostgreSQL from skipped to failed.
pub const REQUIRE: &str = "STANDIN_REQUIRE_POSTGRES";

/// The limit for creating a cluster and starting it, which takes seconds on a slow disk.
const START_WITHIN: Duration = Duration::from_secs(60);
/// The limit for a shutdown; one that takes longer becomes a kill.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// The superuser that initdb creates.
const USER: &str = "standin";

/// A running (or stopped, or paused) PostgreSQL on a loopback port of its own.
/// Dropping it ends it and removes its files.
#[derive(Debug)]
pub struct Postgres {
    installation: Installation,
    run_as: Option<RunAs>,
    // Declared before the directory: dropped, and so ended, before it is removed.
    server: Option<Child>,
    directory: Scratch,
    port: u16,
    /// Whether locales were created for it.
    has_locales: bool,
    /// Further settings, as `name=value`.
    settings: Vec<String>,
}

impl Postgres {
    /// Whether PostgreSQL is installed here; otherwise says which package to install.
    ///
    /// # Errors
    /// A message for the developer.
    pub fn available() -> Result<(), String> {
        Installation::find().map(drop)
    }

    /// A new server; `None`, after a loud `SKIPPED`, when PostgreSQL is not
    /// installed.
    ///
    /// # Panics
    /// When it is not installed and [`REQUIRE`] is 1, or when it does not start.
    #[must_use]
    pub fn start_or_skip(test: &str) -> Option<Self> {
        match Self::available() {
            Ok(()) => Some(Self::start()),
            Err(missing) => {
                crate::skip(test, REQUIRE, &missing);
                None
            }
        }
    }

    /// A new server with an empty database, listening on 127.0.0.1 and on a Unix
    /// socket, without passwords and without fsync: it survives the death of its
    /// processes, not of the machine.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        let installation = Installation::find().unwrap_or_else(|missing| panic!("{missing}"));
        let run_as = RunAs::unprivileged();
        let directory = Scratch::new_in(&install::traversable_directory(), "postgres");
        if let Some(user) = &run_as {
            user.give(directory.path());
        }
        let port = free_ports(1)[0];
        let mut postgres = Self {
            installation,
            run_as,
            server: None,
            directory,
            port,
            has_locales: false,
            settings: Vec::new(),
        };
        postgres.initialise();
        postgres.launch();
        postgres
    }

    /// Connection string over TCP.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }

    /// Restarts it so that it can speak German, and returns the connection string of sessions in which it
    /// does.
    ///
    /// # Errors
    /// If the system has no sources for the locale: a message for the developer.
    ///
    /// # Panics
    /// When it does not start.
    pub fn speak_german(&mut self) -> Result<String, String> {
        const LOCALE: &str = "de_DE.UTF-8";
        let locales = self.locales();
        std::fs::create_dir_all(&locales).expect("a directory for locales");
        let mut command = Command::new("localedef");
        command.args(["-i", "de_DE", "-f", "UTF-8"]).arg(locales.join(LOCALE));
        match command.output() {
            Ok(output) if output.status.success() => {}
            _ => {
                return Err("the sources of locales are missing; on Debian and Ubuntu: \
                            apt-get install locales"
                    .to_owned());
            }
        }
        self.has_locales = true;
        self.restart();
        Ok(format!("{}?options=-c%20lc_messages%3D{LOCALE}", self.url()))
    }

    /// Restarts it with these lines for connections over TCP in `pg_hba.conf`, such as `host all all
    /// 127.0.0.1/32 scram-sha-256`. Everybody may use the Unix socket.
    ///
    /// # Panics
    /// When it does not start.
    pub fn admit(&mut self, lines: &[&str]) {
        let text = format!("local all all trust\n{}\n", lines.join("\n"));
        std::fs::write(self.data().join("pg_hba.conf"), text).expect("the test's own file");
        self.restart();
    }

    /// Stops it, executes a statement without a server, and starts it again.
    ///
    /// # Panics
    /// If the statement fails, or it does not start.
    pub fn execute(&mut self, statement: &str) {
        self.stop();
        let mut command = self.command("postgres");
        command.args(["--single", "-D"]).arg(self.data()).arg("postgres");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut alone = command.spawn().expect("postgres can be run");
        let mut input = alone.stdin.take().expect("a pipe");
        writeln!(input, "{statement}").expect("it reads");
        drop(input);
        let output = alone.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("ERROR"), "{said}");
        self.launch();
    }

    /// Makes it serve TLS from its next start on: with this certificate, and with the authority by
    /// which it verifies its clients'.
    ///
    /// # Panics
    /// If a file can't be copied.
    pub fn set_tls(&mut self, own: &Issued, authority: &Path) {
        let mut settings = vec!["ssl=on".to_owned()];
        let files = [
            ("ssl_cert_file", &*own.certificate),
            ("ssl_key_file", &*own.key),
            ("ssl_ca_file", authority),
        ];
        for (setting, from) in files {
            let to = self.directory.file(setting);
            std::fs::copy(from, &to).expect("a certificate or key of the test");
            if let Some(user) = &self.run_as {
                user.give(&to);
            }
            settings.push(format!("{setting}={}", to.display()));
        }
        self.settings = settings;
    }

    /// Connection string over its Unix socket.
    #[must_use]
    pub fn socket_url(&self) -> String {
        let folder = self.directory.path().display();
        format!("host={folder} port={} user={USER} dbname=postgres", self.port)
    }

    /// Its TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its Unix socket.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        self.directory.path()
    }

    /// Process id of the postmaster.
    ///
    /// # Panics
    /// When it is stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("PostgreSQL is stopped").pid()
    }

    /// Fast shutdown: connections are closed, committed data stays. Does nothing if it is
    /// stopped.
    pub fn stop(&mut self) {
        self.resume();
        self.end(libc::SIGINT);
    }

    /// SIGKILL to the postmaster and every one of its processes.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let backends = children_of(server.pid());
        server.kill();
        for pid in backends {
            send_signal(pid, libc::SIGKILL);
        }
    }

    /// Stops it if it is running, and starts it again on the same port and data.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    /// SIGSTOP to the postmaster and every one of its processes: connections stay
    /// open and new ones are still accepted by the kernel, but nothing answers.
    pub fn pause(&mut self) {
        let Some(server) = &self.server else { return };
        // The postmaster first, and for certain: a process that it started meanwhile
        // would be missed.
        stop_for_certain(server.pid());
        for pid in children_of(server.pid()) {
            stop_for_certain(pid);
        }
    }

    /// Ends a [`Self::pause`].
    pub fn resume(&mut self) {
        let Some(server) = &self.server else { return };
        for pid in children_of(server.pid()) {
            send_signal(pid, libc::SIGCONT);
        }
        send_signal(server.pid(), libc::SIGCONT);
    }

    fn initialise(&self) {
        let mut command = self.command("initdb");
        command.arg("--pgdata").arg(self.data());
        command.args([
            "--username",
            USER,
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
        ]);
        command.args(["--no-sync", "--no-instructions"]);
        let mut child = Child::spawn("initdb", command, self.directory.path());
        let status = child.exit_status(START_WITHIN);
        assert!(status.success(), "initdb failed:\n{}", child.lines().join("\n"));
    }

    fn launch(&mut self) {
        // Processes of a killed server may need a moment to notice and let go of
        // its shared memory; until then a new one refuses to start.
        let mut last_output = String::new();
        let server = poll_for(START_WITHIN, || match self.try_launch() {
            Ok(server) => Some(server),
            Err(output) => {
                last_output = output;
                None
            }
        });
        assert!(server.is_some(), "PostgreSQL does not start:\n{last_output}");
        self.server = server;
    }

    /// `Err` with its output when it ends instead of becoming ready.
    fn try_launch(&self) -> Result<Child, String> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        command
            .arg("-c")
            .arg(format!("unix_socket_directories={}", self.directory.path().display()));
        for setting in [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "full_page_writes=off",
            "max_connections=100",
            "shared_buffers=32MB",
            "autovacuum=off",
            // No checkpoint while something is measured.
            "checkpoint_timeout=1h",
            "max_wal_size=8GB",
        ] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let mut server = Child::spawn("postgres", command, self.directory.path());
        let ready = poll_for(START_WITHIN, || {
            if server.lines().iter().any(|line| line.contains("ready to accept connections")) {
                return Some(true);
            }
            server.try_exit_status().map(|_| false)
        });
        if ready == Some(true) { Ok(server) } else { Err(server.lines().join("\n")) }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.installation.program(program));
        command.current_dir(self.directory.path()).env("LC_ALL", "C");
        if self.has_locales {
            command.env("LOCPATH", self.locales());
        }
        if let Some(user) = &self.run_as {
            user.apply(&mut command);
        }
        command
    }

    fn locales(&self) -> std::path::PathBuf {
        self.directory.file("locales")
    }

    fn data(&self) -> std::path::PathBuf {
        self.directory.file("data")
    }

    fn end(&mut self, signal: i32) {
        if let Some(mut server) = self.server.take() {
            server.signal(signal);
            if poll_for(STOP_WITHIN, || server.try_exit_status()).is_none() {
                server.kill();
            }
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.resume();
        // An immediate shutdown: it also gives back its shared memory, which a
        // SIGKILL would leave behind.
        self.end(libc::SIGQUIT);
    }
}

/// Ids of the processes whose parent is `pid`.
fn children_of(pid: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|&process| parent_of(process) == Some(pid))
        .collect()
}

/// Sends SIGSTOP and waits until it has taken effect, or the process is gone.
fn stop_for_certain(pid: u32) {
    send_signal(pid, libc::SIGSTOP);
    wait_until(STOP_WITHIN, "a process to stop", || {
        stat(pid).is_none_or(|(state, _)| ["T", "Z", "X"].contains(&state.as_str()))
    });
}

fn parent_of(pid: u32) -> Option<u32> {
    stat(pid)?.1.parse().ok()
}

/// State and parent of a process, as in its `stat`: "pid (name) state ppid …", where
/// the name may itself hold spaces and parentheses.
fn stat(pid: u32) -> Option<(String, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
    Some((fields.next()?, fields.next()?))
}
