//! Stopping takes a limited time whatever the database does, and SIGHUP reopens files.

use std::process::{Command, Stdio};
use std::time::Duration;

use standin_config::{IoKind, OriginConfig, OriginKind, PostgresAccess};
use standin_protocol::frame::Opcode;
use standin_protocol::map::ServerState::Online;
use standin_protocol::time::Micros;
use standin_testkit::{Child, wait_until};

use crate::common::{Cluster, PAIR, WITHIN, ring};

/// The time by which a busy machine may exceed a bound.
const SLACK: Duration = Duration::from_secs(4);

#[test]
fn a_server_stops_within_drain_timeout_whatever_the_timeout_of_the_origin() {
    for (signal, io) in
        [(libc::SIGTERM, ring()), (libc::SIGQUIT, IoKind::Epoll), (libc::SIGINT, IoKind::Epoll)]
    {
        let mut cluster = Cluster::with("stop-bounded", PAIR, |config| {
            config.origin.as_mut().expect("it has a database").timeout = Duration::from_secs(300);
            config.servers.iter_mut().for_each(|server| server.io = io);
        });
        cluster.start();
        let database = cluster.database();
        database.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        let key = cluster.key_of("a1");
        let mut wire = cluster.connect("a1");
        let put = std::thread::spawn(move || wire.try_ask(Opcode::Put, &key, b"waits"));
        wait_until(WITHIN, "the write to wait for the lock", || {
            cluster.counter("a1", "in_flight") > 0
        });
        let begin = Micros::boottime();
        cluster.process("a1").signal(signal);
        let status = cluster.wait_end("a1");
        let took = Micros::boottime().since(begin);
        assert_eq!(status.code(), Some(0), "signal {signal}");
        assert!(took < cluster.config.timings.drain_timeout + SLACK, "{took:?}");
        // The write was not acknowledged, so it need not be there.
        let reply = put.join().expect("no panic");
        assert!(reply.is_err() || reply.is_ok_and(|reply| !reply.is_cached()));
    }
}

/// Starts a server whose database accepts connections and sends nothing, and then sends a signal.
fn hangs_in_its_start(fault: Option<&str>) {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let mut cluster = Cluster::with("stop-in-start", PAIR, |config| {
        config.origin = Some(OriginConfig {
            kind: OriginKind::Postgres {
                url: format!("postgres://user@127.0.0.1:{port}/none"),
                access: PostgresAccess::default(),
                connections: 1,
                init: None,
            },
            ..OriginConfig::sqlite("unused")
        });
    });
    let mut command = cluster.role("server");
    let trigger = cluster.directory().join("kill");
    if let Some(thread) = fault {
        std::fs::write(&trigger, "").expect("a file");
        command.env("STANDIN_FAULT_PANIC", format!("{thread}:{}", trigger.display()));
    }
    cluster.spawn_unready("a1", command, Stdio::piped());
    let connection = silent.accept().expect("the server connects");
    cluster.process("a1").signal(libc::SIGTERM);
    let begin = Micros::boottime();
    let status = cluster.wait_end("a1");
    let took = Micros::boottime().since(begin);
    assert!(took < cluster.config.timings.drain_timeout + SLACK, "{took:?}");
    assert_eq!(status.code(), Some(4), "something hung");
    assert!(!trigger.exists(), "the thread has died");
    drop(connection);
}

#[test]
fn a_server_that_hangs_in_its_start_stops_within_drain_timeout() {
    hangs_in_its_start(None);
}

/// This test needs the programs built with debug assertions (`standin_protocol::fault`).
#[cfg(debug_assertions)]
#[test]
fn the_thread_that_bounds_a_stop_starts_again_when_it_dies() {
    hangs_in_its_start(Some("stop"));
}

#[test]
fn the_second_signal_ends_a_server_at_once() {
    let mut cluster = Cluster::with("stop-twice", PAIR, |config| {
        config.timings.drain_timeout = Duration::from_secs(120);
    });
    // Without a master nobody acknowledges that the server has left.
    cluster.start_server("a1");
    cluster.process("a1").signal(libc::SIGTERM);
    cluster.process("a1").wait_for_line("leaving", WITHIN);
    cluster.process("a1").signal(libc::SIGTERM);
    assert_eq!(cluster.wait_end("a1").code(), Some(128 + libc::SIGTERM));
}

/// A pipe that nobody writes into in the place of the cluster file.
#[test]
fn one_signal_ends_a_role_that_hangs_in_reading_the_cluster_file() {
    let cluster = Cluster::new("stop-unread", PAIR);
    std::fs::remove_file(&cluster.config_path).expect("it is there");
    let made = Command::new("mkfifo").arg(&cluster.config_path).status().expect("mkfifo");
    assert!(made.success());
    for (role, name) in [("master", None), ("server", Some("a1"))] {
        let mut command = cluster.role(role);
        command.args(name.map(|name| ["--name", name]).into_iter().flatten());
        let mut child = Child::spawn(role, command, cluster.directory());
        let threads = format!("/proc/{}/task", child.pid());
        let status = format!("/proc/{}/status", child.pid());
        wait_until(WITHIN, "its handlers to be there, and it to wait", || {
            let caught = std::fs::read_to_string(&status).unwrap_or_default();
            let caught = caught.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
            let caught = caught.and_then(|bits| u64::from_str_radix(bits, 16).ok()).unwrap_or(0);
            // SIGHUP is the last one, and then the file is opened.
            let is_listening = caught & 1 << (libc::SIGHUP - 1) != 0;
            is_listening && std::fs::read_dir(&threads).is_ok_and(|threads| threads.count() == 1)
        });
        child.signal(libc::SIGTERM);
        assert_eq!(child.exit_status(WITHIN).code(), Some(128 + libc::SIGTERM), "{role}");
    }
}

/// A master that hangs in its start: nobody writes into the pipe in the place of its state file.
#[test]
fn the_second_signal_ends_a_master_at_once() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
        let mut cluster = Cluster::with("stop-master-twice", PAIR, |config| {
            config.timings.drain_timeout = Duration::from_secs(120);
        });
        let state = cluster.directory().join(&cluster.config.master.state_file);
        let made = Command::new("mkfifo").arg(&state).status().expect("mkfifo");
        assert!(made.success());
        let command = cluster.role("master");
        cluster.spawn_unready("master", command, Stdio::piped());
        let events = cluster.directory().join("events.jsonl");
        wait_until(WITHIN, "the master to hang in its start", || events.exists());
        let master = cluster.process("master");
        let status = format!("/proc/{}/status", master.pid());
        master.signal(signal);
        // A signal that is still pending would be the same as the second.
        wait_until(WITHIN, "the first signal to be taken", || {
            let status = std::fs::read_to_string(&status).expect("it goes on");
            // Of the thread and of the process.
            status.lines().filter(|line| line.contains("Pnd:\t0000000000000000")).count() == 2
        });
        assert!(
            cluster.process("master").try_exit_status().is_none(),
            "the first one is not enough"
        );
        cluster.process("master").signal(signal);
        assert_eq!(cluster.wait_end("master").code(), Some(128 + signal));
    }
}

#[test]
fn a_master_ends_on_each_signal_to_stop() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
        let mut cluster = Cluster::new("stop-master", PAIR);
        cluster.start_master();
        cluster.process("master").signal(signal);
        assert_eq!(cluster.wait_end("master").code(), Some(0), "signal {signal}");
    }
}

#[test]
fn sighup_reopens_log_and_event_files_and_ends_nothing() {
    let mut cluster = Cluster::new("sighup", PAIR);
    let file = |cluster: &Cluster, name: &str| cluster.directory().join(name);
    for (name, role) in [("master", "master"), ("a1", "server"), ("a2", "server")] {
        let mut command = cluster.role(role);
        command.arg("--log-file").arg(file(&cluster, &format!("{name}.file")));
        command.args(["--log-format", "json"]);
        cluster.spawn(name, command, Stdio::piped());
    }
    cluster.wait_all(Online);
    let files = ["master.file", "a1.file", "events.jsonl"];
    for name in files {
        let path = file(&cluster, name);
        std::fs::rename(&path, path.with_extension("old")).expect("the file is there");
    }
    for name in ["master", "a1"] {
        cluster.process(name).signal(libc::SIGHUP);
    }
    wait_until(WITHIN, "the files to be there again", || {
        files.iter().all(|name| file(&cluster, name).exists())
    });
    cluster.kill("a2");
    let is_there = |name: &str, text: &str| {
        std::fs::read_to_string(file(&cluster, name)).is_ok_and(|all| all.contains(text))
    };
    wait_until(WITHIN, "new lines in the new files", || {
        is_there("events.jsonl", "\"offline\"")
            && is_there("a1.file", "a2 offline")
            && is_there("master.file", "a2")
    });
    for line in std::fs::read_to_string(file(&cluster, "a1.file")).expect("it is there").lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    for name in ["a1", "master"] {
        assert_eq!(cluster.terminate(name, WITHIN).code(), Some(0), "{name}");
    }
}
