//! The death of a thread is noticed: the thread starts again, or the process ends and reports the
//! reason. The programs under test have to be built with debug assertions
//! (`standin_protocol::fault`).
#![cfg(debug_assertions)]

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use standin_config::{ClusterConfig, IoKind, OriginConfig, OriginKind, PostgresAccess};
use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::{Child, Postgres, wait_until};

use crate::common::kernel::connections;
use crate::common::{Cluster, PAIR, WITHIN, ring};
use crate::{wait_put, wait_written};

/// The exit code of a process that can't work without the thread.
const THREAD_DIED: i32 = 3;

/// A cluster in which a thread of one process can be killed with [`Self::kill_thread`].
struct KillableThread {
    cluster: Cluster,
    trigger: PathBuf,
}

impl KillableThread {
    fn start(victim: &str, thread: &str, change: impl FnOnce(&mut ClusterConfig)) -> Self {
        let mut cluster = Cluster::with(&format!("kill-{thread}"), PAIR, change);
        let trigger = cluster.directory().join("kill");
        for (name, role) in [("master", "master"), ("a1", "server"), ("a2", "server")] {
            let mut command: Command = cluster.role(role);
            if name == victim {
                let fault = format!("{thread}:{}", trigger.display());
                command.env("STANDIN_FAULT_PANIC", fault);
            }
            cluster.spawn(name, command, Stdio::piped());
        }
        cluster.wait_all(Online);
        wait_put(&cluster, "a1", b"before");
        Self { cluster, trigger }
    }

    fn kill_thread(&self) {
        std::fs::write(&self.trigger, "").expect("a file");
    }

    fn has_thread_died(&self) -> bool {
        !self.trigger.exists()
    }
}

fn two_shards(io: IoKind) -> impl FnOnce(&mut ClusterConfig) {
    move |config| {
        for server in &mut config.servers {
            (server.io, server.shards) = (io, 2);
        }
    }
}

#[test]
fn a_server_ends_when_a_shard_its_control_or_its_main_thread_dies_and_its_stand_in_goes_on() {
    for (thread, io) in [
        ("shard-0", ring()),
        ("shard-1", ring()),
        ("control", ring()),
        ("main", ring()),
        ("shard-0", IoKind::Epoll),
        ("shard-1", IoKind::Epoll),
    ] {
        let mut killable = KillableThread::start("a1", thread, two_shards(io));
        killable.kill_thread();
        let a1 = killable.cluster.process("a1");
        a1.wait_for_line(&format!("thread {thread} has died"), WITHIN);
        assert_eq!(killable.cluster.wait_end("a1").code(), Some(THREAD_DIED), "{thread}");
        killable.cluster.wait_states(&[("a1", Offline)]);
        wait_written(&killable.cluster, "a2", b"after");
    }
}

#[test]
fn threads_of_sqlite_and_of_the_log_start_again() {
    for thread in ["origin-writer", "origin-read-0", "origin-overdue", "log"] {
        let mut killable = KillableThread::start("a1", thread, |config| {
            config.origin.as_mut().expect("it has a database").concurrency = 1
        });
        killable.kill_thread();
        let mut missed = killable.cluster.keys_of("a1").collect_some();
        wait_until(WITHIN, "the thread to die", || {
            // Every thread has something to do here.
            let mut wire = killable.cluster.connect("a1");
            let key = missed.next().expect("enough keys");
            let opcode = standin_protocol::frame::Opcode::Get;
            let _ = wire.try_ask(opcode, &key, b"");
            let _ = wire.try_ask(standin_protocol::frame::Opcode::Put, &key, b"x");
            killable.cluster.process("a1").signal(libc::SIGHUP);
            killable.has_thread_died()
        });
        wait_written(&killable.cluster, "a1", b"after");
        let key = missed.next().expect("enough keys");
        killable.cluster.set_row(&key, b"row");
        assert_eq!(killable.cluster.connect("a1").get(&key).value(), b"row", "{thread}");
        assert_eq!(killable.cluster.terminate("a1", WITHIN).code(), Some(0), "{thread}");
    }
}

#[test]
fn the_thread_of_postgresql_starts_again() {
    let Some(postgres) = Postgres::start_or_skip("kill-origin-postgres") else { return };
    let mut killable = KillableThread::start("a1", "origin-postgres", |config| {
        let mut origin = OriginConfig::sqlite("unused");
        origin.kind = OriginKind::Postgres {
            url: postgres.url(),
            access: PostgresAccess::default(),
            connections: 2,
            init: Some(
                "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, value BYTEA)".to_owned(),
            ),
        };
        config.origin = Some(origin);
    });
    killable.kill_thread();
    let key = killable.cluster.key_of("a1");
    wait_until(WITHIN, "the thread to die", || {
        killable.cluster.connect("a1").put(&key, b"x");
        killable.has_thread_died()
    });
    wait_put(&killable.cluster, "a1", b"after");
    assert_eq!(killable.cluster.terminate("a1", WITHIN).code(), Some(0));
}

#[test]
fn a_master_ends_when_its_loop_or_its_signals_thread_dies() {
    for thread in ["main", "signals"] {
        let mut killable = KillableThread::start("master", thread, |_| {});
        killable.kill_thread();
        killable.cluster.process("master").signal(libc::SIGHUP);
        killable.cluster.kill("a2");
        killable.cluster.process("master").wait_for_line(&format!("thread {thread}"), WITHIN);
        assert_eq!(killable.cluster.wait_end("master").code(), Some(THREAD_DIED), "{thread}");
        wait_written(&killable.cluster, "a1", b"after");
    }
}

#[test]
fn a_masters_saving_and_writing_threads_go_on() {
    for thread in ["master-state", "log", "events"] {
        let mut killable = KillableThread::start("master", thread, |_| {});
        killable.kill_thread();
        killable.cluster.kill("a2");
        wait_until(WITHIN, "the thread to die", || killable.has_thread_died());
        killable.cluster.wait_states(&[("a2", Offline)]);
        killable.cluster.start_server("a2");
        killable.cluster.wait_all(Online);
        assert_eq!(killable.cluster.terminate("master", WITHIN).code(), Some(0), "{thread}");
    }
}

/// A load on a cluster, one thread of which can be killed.
struct Load {
    child: Child,
    trigger: PathBuf,
}

impl Load {
    fn start(cluster: &Cluster, thread: &str, seconds: &str) -> Self {
        let trigger = cluster.directory().join(format!("kill-{thread}"));
        let mut command = cluster.role("load");
        command.args(["--rate", "200", "--keys", "100", "--fill", "--seconds", seconds]);
        command.env("STANDIN_FAULT_PANIC", format!("{thread}:{}", trigger.display()));
        let child = Child::spawn(&format!("load-without-{thread}"), command, cluster.directory());
        child.wait_for_line("filled", WITHIN);
        Self { child, trigger }
    }

    fn kill_thread(&self) {
        std::fs::write(&self.trigger, "").expect("a file");
        wait_until(WITHIN, "the thread to die", || !self.trigger.exists());
    }
}

#[test]
fn a_load_that_loses_a_thread_ends_and_says_so_and_its_watching_threads_start_again() {
    let mut cluster = Cluster::with("kill-load", PAIR, |config| {
        config.timings.operation_timeout = Duration::from_secs(600);
    });
    cluster.start();
    let mut load = Load::start(&cluster, "load-0", "600");
    load.kill_thread();
    load.child.wait_for_line("a load thread stopped because of a bug", WITHIN);
    assert_eq!(load.child.exit_status(WITHIN).code(), Some(2));

    for thread in ["stats", "stdout"] {
        let mut load = Load::start(&cluster, thread, "6");
        load.kill_thread();
        assert_eq!(load.child.exit_status(WITHIN).code(), Some(0), "{thread}");
        load.child.wait_for_line("p99", WITHIN);
    }

    // The requests that are under way when the load is told to end never return.
    let mut load = Load::start(&cluster, "interrupt", "600");
    load.kill_thread();
    for name in ["master", "a1", "a2"] {
        cluster.process(name).signal(libc::SIGSTOP);
    }
    let ports = ["a1", "a2"].map(|name| cluster.address(name).port());
    wait_until(WITHIN, "a request that nobody reads", || {
        connections().iter().any(|it| it.has_unread && ports.contains(&it.local))
    });
    wait_until(WITHIN, "the second signal to end it", || {
        load.child.signal(libc::SIGTERM);
        load.child.try_exit_status().is_some()
    });
    assert_eq!(load.child.exit_status(WITHIN).signal(), Some(libc::SIGTERM));
    for name in ["master", "a1", "a2"] {
        cluster.process(name).signal(libc::SIGCONT);
    }
}

/// Copies of keys that outlive a change of the cluster.
trait CollectSome {
    fn collect_some(self) -> std::vec::IntoIter<Vec<u8>>;
}

impl<I: Iterator<Item = Vec<u8>>> CollectSome for I {
    fn collect_some(self) -> std::vec::IntoIter<Vec<u8>> {
        self.skip(1).take(10_000).collect::<Vec<_>>().into_iter()
    }
}
