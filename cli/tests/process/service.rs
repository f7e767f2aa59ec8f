//! What a service manager hears of a role, at a real `NOTIFY_SOCKET`, and the units that are shipped.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use standin_config::{IoKind, ProxyConfig};
use standin_testkit::{Child, Scratch, skip, wait_until};

use crate::common::cluster::PROGRAM;
use crate::common::{Cluster, PAIR, WITHIN, ring};

/// The time within which a role has to feed its watchdog: long enough that a busy machine does not look stuck.
const WATCHDOG: Duration = Duration::from_secs(4);

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// Listens, and sets what a service finds in its environment.
    fn listen(directory: &Path, service: &mut Command) -> Self {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(WITHIN)).expect("a timeout");
        service.env("NOTIFY_SOCKET", &path);
        service.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        Self { socket }
    }

    /// The next message.
    fn hear(&self) -> String {
        let mut bytes = [0; 4_096];
        let length = loop {
            match self.socket.recv(&mut bytes) {
                // As for reads of a stream, see `read_some`.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.expect("a message within the time"),
            }
        };
        String::from_utf8(bytes[..length].to_vec()).expect("text")
    }

    /// Waits for a message with a line, and returns those before it and the message itself.
    fn wait_for(&self, line: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.hear());
            if heard.last().is_some_and(|last| last.lines().any(|one| one.starts_with(line))) {
                return heard;
            }
            assert!(heard.len() < 200, "no {line:?} in {heard:?}");
        }
    }
}

fn is_fed(message: &str) -> bool {
    message.lines().any(|line| line == "WATCHDOG=1")
}

/// One thread of a process, stopped while the others run, as if it hung in a loop or on a disk.
struct StoppedThread(libc::pid_t);

impl StoppedThread {
    /// Stops the thread of that name.
    fn stop(pid: u32, name: &str) -> Self {
        let find = || {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
            tasks.flatten().find(|task| {
                let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
                comm.trim_end() == name
            })
        };
        // A thread gives itself its name when it begins, which may be after another is ready.
        wait_until(WITHIN, name, || find().is_some());
        let task = find().expect("it was there");
        let id: libc::pid_t = task.file_name().to_string_lossy().parse().expect("a number");
        // SAFETY: these requests take no addresses; the thread is a child's, which this test may trace.
        unsafe {
            assert_eq!(
                libc::ptrace(libc::PTRACE_SEIZE, id, 0, 0),
                0,
                "{}",
                std::io::Error::last_os_error()
            );
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, id, 0, 0), 0);
            assert_eq!(libc::waitpid(id, std::ptr::null_mut(), libc::__WALL), id);
        }
        Self(id)
    }
}

impl Drop for StoppedThread {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0) };
    }
}

/// Starts a role, stops one of its threads, lets it go on, and ends the role.
fn watched(role: &str, thread: &str, named: &str, io: IoKind) {
    let mut cluster = Cluster::with(&format!("watchdog-{role}"), PAIR, |config| {
        for server in &mut config.servers {
            (server.shards, server.io) = (2, io);
        }
    });
    let name = if role == "server" { "a1" } else { "master" };
    let mut command = cluster.role(role);
    let manager = Manager::listen(cluster.directory(), &mut command);
    cluster.spawn(name, command, Stdio::piped());
    assert_eq!(manager.hear().trim_end(), "READY=1", "nothing before it serves");
    let first = manager.hear();
    assert!(is_fed(&first) && first.contains("STATUS=serving on 127.0.0.1:"), "{first}");

    let stopped = StoppedThread::stop(cluster.process(name).pid(), thread);
    manager.wait_for(&format!("STATUS=thread {named} has not turned for"));
    for _ in 0..3 {
        let later = manager.hear();
        assert!(!is_fed(&later), "{later}");
    }
    drop(stopped);
    let back = manager.wait_for("WATCHDOG=1");
    assert!(back.last().is_some_and(|last| last.contains("STATUS=serving on ")), "{back:?}");

    let process = cluster.process(name);
    process.wait_for_line("the service manager will end this process", WITHIN);
    process.signal(libc::SIGHUP);
    let reloading = manager.wait_for("RELOADING=1");
    assert!(reloading.last().is_some_and(|last| last.contains("MONOTONIC_USEC=")), "{reloading:?}");
    manager.wait_for("READY=1");
    process.signal(libc::SIGTERM);
    manager.wait_for("STOPPING=1");
    assert_eq!(cluster.wait_end(name).code(), Some(0));
}

#[test]
fn a_server_with_a_stuck_shard_does_not_feed_its_watchdog() {
    watched("server", "shard-1", "shard 1", ring());
}

#[test]
fn a_server_with_a_stuck_control_thread_does_not_feed_its_watchdog() {
    watched("server", "control", "control", IoKind::Epoll);
}

#[test]
fn a_master_whose_loop_is_stuck_does_not_feed_its_watchdog() {
    // The loop has the process's own thread.
    watched("master", "standin", "main", IoKind::Auto);
}

#[test]
fn the_units_are_valid_and_hardened() {
    let analyze = Command::new("systemd-analyze").arg("--version").output();
    if !analyze.is_ok_and(|output| output.status.success()) {
        // The units are for machines with systemd.
        let test = "service::the_units_are_valid_and_hardened";
        return skip(test, "STANDIN_REQUIRE_SYSTEMD", "there is no systemd-analyze");
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let scratch = Scratch::new("units");
    for (unit, instance) in [
        ("standin-server@.service", "standin-server@a1.service"),
        ("standin-master.service", "standin-master.service"),
        ("standin-proxy.service", "standin-proxy.service"),
    ] {
        let text = std::fs::read_to_string(source.join(unit)).expect("the unit");
        // The manual pages are not installed here either.
        let text = text.replace("/usr/bin/standin", PROGRAM).replace("Documentation=", "#");
        let path = scratch.file(instance);
        std::fs::write(&path, text).expect("a file");
        let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output();
        let verified = verified.expect("it runs");
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(verified.status.success() && !said.contains(instance), "{said}");
        // Of 100, where a unit without any of it has 96.
        let security = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=20"])
            .arg(&path)
            .output()
            .expect("it runs");
        assert!(security.status.success(), "{}", String::from_utf8_lossy(&security.stdout));
    }
}

#[test]
fn a_proxy_says_when_it_serves_and_when_it_stops() {
    let mut cluster = Cluster::new("notify-proxy", PAIR);
    cluster.start();
    let port = standin_testkit::free_ports(1)[0];
    let servers: Vec<String> =
        cluster.config.servers.iter().map(|server| format!("\"{}\"", server.address)).collect();
    let file = cluster.directory().join("proxy.toml");
    let text = format!(
        "[proxy]\nservers = [{}]\nmemcached = \"127.0.0.1:{port}\"\n[[keyspace]]\nid = 1\nname = \"items\"\n",
        servers.join(", ")
    );
    std::fs::write(&file, text).expect("a file");
    assert!(ProxyConfig::check_file(&file).config.is_ok());
    let mut command = Command::new(PROGRAM);
    command.arg("proxy").arg("--config").arg(&file);
    let manager = Manager::listen(cluster.directory(), &mut command);
    let mut proxy = Child::spawn("proxy", command, cluster.directory());
    assert_eq!(manager.hear().trim_end(), "READY=1");
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(), "it serves");
    manager.wait_for("WATCHDOG=1");
    proxy.signal(libc::SIGTERM);
    manager.wait_for("STOPPING=1");
    assert_eq!(proxy.exit_status(WITHIN).code(), Some(0));
}
