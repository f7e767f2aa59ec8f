//! Diagnostics are written with best effort. Lines that can't be written are counted, and no thread
//! waits for them.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use standin_config::{IoKind, OriginKind};
use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::wait_until;

use crate::common::{Cluster, PAIR, WITHIN, ring};
use crate::pipes::{broken, full};
use crate::wait_written;

/// Starts all three processes with such logs and makes them log. Asserts that they work and stop
/// nevertheless.
fn works_without_a_log(test: &str, io: IoKind, mut stderr: impl FnMut() -> Stdio) -> Cluster {
    let mut cluster = Cluster::with(test, PAIR, |config| {
        config.servers.iter_mut().for_each(|server| server.io = io);
    });
    for (name, role) in [("master", "master"), ("a1", "server"), ("a2", "server")] {
        let command = cluster.role(role);
        cluster.spawn(name, command, stderr());
    }
    cluster.wait_all(Online);
    wait_written(&cluster, "a1", b"1");
    cluster.kill("a2");
    cluster.wait_states(&[("a2", Offline)]);
    wait_written(&cluster, "a1", b"2");
    for name in ["a1", "master"] {
        cluster.process(name).signal(libc::SIGHUP);
    }
    cluster.start_server("a2");
    cluster.wait_all(Online);
    wait_written(&cluster, "a1", b"3");
    cluster
}

fn stops(mut cluster: Cluster) {
    for name in ["a1", "a2", "master"] {
        assert_eq!(cluster.terminate(name, WITHIN).code(), Some(0), "{name}");
    }
}

#[test]
fn a_log_whose_reader_is_gone_stops_nothing_and_lost_lines_are_counted() {
    for io in [ring(), IoKind::Epoll] {
        let cluster = works_without_a_log("log-broken", io, broken);
        wait_until(WITHIN, "lost lines to be counted", || {
            cluster.counter("a1", "log_lines_lost") > 0
        });
        let status = cluster.run(&["status", "--json"]);
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(status.contains("log_lines_lost"), "{status}");
        stops(cluster);
    }
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    for io in [ring(), IoKind::Epoll] {
        let mut readers = Vec::new();
        let cluster = works_without_a_log("log-full", io, || {
            let (writer, reader) = full();
            readers.push(reader);
            writer
        });
        stops(cluster);
    }
}

/// A pipe that nobody reads takes the place of the new state file, so that opening it hangs.
#[test]
fn a_disk_that_hangs_under_the_state_file_does_not_delay_failover() {
    let mut cluster = Cluster::new("hung-disk", PAIR);
    cluster.start();
    let state = cluster.directory().join(&cluster.config.master.state_file);
    let new = state.with_file_name("master.state.new");
    assert_eq!(state.file_name().and_then(|name| name.to_str()), Some("master.state"));
    let before = std::fs::read(&state).expect("the state file");
    let made = Command::new("mkfifo").arg(&new).status().expect("mkfifo");
    assert!(made.success());
    cluster.kill("a2");
    cluster.wait_states(&[("a2", Offline)]);
    wait_written(&cluster, "a1", b"while it hangs");
    let line = cluster.process("master").wait_for_line("does its disk hang", WITHIN);
    assert!(line.contains("ERROR"), "{line}");
    cluster.start_server("a2");
    cluster.wait_all(Online);
    assert_eq!(std::fs::read(&state).expect("the state file"), before, "nothing was saved");
    // The disk works again.
    let reader = std::fs::File::open(&new).expect("the pipe");
    std::fs::remove_file(&new).expect("the pipe is there");
    drop(reader);
    wait_until(WITHIN, "the state to be saved", || {
        std::fs::read(&state).is_ok_and(|state| state != before)
    });
    stops(cluster);
}

/// Pipes that nobody reads in the places of all log and event files: whoever opens one hangs there.
#[test]
fn log_and_event_files_that_hang_in_their_opening_stop_no_role_and_no_signal() {
    let mut cluster = Cluster::new("hung-log", PAIR);
    let pipe = |name: &str| {
        let path = cluster.directory().join(name);
        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        path
    };
    let events = pipe("events.jsonl");
    let logs = ["master", "a1", "a2"].map(|name| (name, pipe(&format!("{name}.fifo"))));
    for (name, log) in &logs {
        let mut command = cluster.role(if *name == "master" { "master" } else { "server" });
        command.arg("--log-file").arg(log);
        cluster.spawn(name, command, Stdio::piped());
    }
    for (name, _) in &logs {
        cluster.process(name).wait_for_line("has not been opened after", WITHIN);
    }
    cluster.wait_all(Online);
    wait_written(&cluster, "a1", b"while all hang");
    let a1 = cluster.terminate("a1", WITHIN);
    assert_eq!(a1.code(), Some(0), "one signal is enough");
    cluster.wait_states(&[("a1", Offline)]);
    wait_written(&cluster, "a2", b"without the other");
    // Both get what has happened in the meantime.
    let has = |path: &Path, part: &str| {
        let mut options = std::fs::File::options();
        let mut pipe = options.read(true).custom_flags(libc::O_NONBLOCK).open(path).expect("it");
        let mut seen = Vec::new();
        wait_until(WITHIN, part, || {
            // Without a writer or a line, it ends for now.
            let _ = pipe.read_to_end(&mut seen);
            String::from_utf8_lossy(&seen).contains(part)
        });
    };
    has(&events, "\"heard\"");
    has(&logs[0].1, "--events");
    for name in ["a2", "master"] {
        assert_eq!(cluster.terminate(name, WITHIN).code(), Some(0), "{name}");
    }
}

/// A pipe that nobody reads in the place of the state file when the master starts.
#[test]
fn a_master_that_hangs_in_its_start_is_out_within_drain_timeout() {
    let mut cluster = Cluster::new("hung-start", PAIR);
    let state = cluster.directory().join(&cluster.config.master.state_file);
    let made = Command::new("mkfifo").arg(&state).status().expect("mkfifo");
    assert!(made.success());
    let command = cluster.role("master");
    cluster.spawn_unready("master", command, Stdio::piped());
    // It has registered its signals and opened the events by now.
    let events = cluster.directory().join("events.jsonl");
    wait_until(WITHIN, "the master to come that far", || events.exists());
    cluster.process("master").signal(libc::SIGTERM);
    assert_eq!(cluster.wait_end("master").code(), Some(4), "something hung");
}

/// A file system of one MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(at).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }

    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).expect("room for a file");
        for size in [4_096, 1] {
            while file.write(&vec![0; size]).is_ok_and(|count| count > 0) {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn log_events_and_database_on_a_full_disk_go_on_when_there_is_room_again() {
    let scratch = standin_testkit::Scratch::new("small-disk");
    let Some(disk) = SmallDisk::mount(&scratch.file("disk")) else {
        let test = "log_events_and_database_on_a_full_disk";
        return standin_testkit::skip(test, "STANDIN_REQUIRE_MOUNT", "mounting a tmpfs takes root");
    };
    let on_disk = |name: &str| disk.0.join(name);
    let mut cluster = Cluster::with("full-disk", PAIR, |config| {
        let OriginKind::Sqlite { path, init } =
            &mut config.origin.as_mut().expect("it has a database").kind
        else {
            unreachable!()
        };
        *path = on_disk("origin.sqlite");
        *init = Some(
            "CREATE TABLE IF NOT EXISTS items \
             (id TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
                .to_owned(),
        );
        config.master.state_file = on_disk("master.state");
    });
    let (log, key) = (on_disk("a1.log"), cluster.key_of("a1"));
    for (name, role) in [("master", "master"), ("a1", "server"), ("a2", "server")] {
        let mut command = cluster.role(role);
        command.arg("--log-file").arg(on_disk(&format!("{name}.log")));
        cluster.spawn(name, command, Stdio::piped());
    }
    cluster.wait_all(Online);
    let a1 = cluster.process("a1").pid();
    let put = |value: &[u8]| cluster.connect("a1").put(&key, value).status;
    use standin_protocol::frame::Status;
    assert_eq!(put(b"before"), Status::Ok);
    let filler = disk.fill();
    // Some lines still fit into the file's last page.
    wait_until(WITHIN, "a write to fail, and a line to be lost", || {
        standin_testkit::child::send_signal(a1, libc::SIGHUP);
        put(&[b'x'; 60_000]) != Status::Ok && cluster.counter("a1", "log_lines_lost") > 0
    });
    std::fs::remove_file(filler).expect("the filler can be removed");
    wait_until(WITHIN, "writes to go on", || put(b"after") == Status::Ok);
    wait_until(WITHIN, "the log to say what was lost", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("could not be written"))
    });
    stops(cluster);
}
