//! `standin status` tells apart servers that are dead, busy, and without a map, and says which
//! requests fail.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use standin_config::{IoKind, Mode};
use standin_protocol::frame::{Opcode, Request, RequestHeader};
use standin_protocol::hello::{HelloBody, Role};
use standin_protocol::map::ServerState::{Online, Waiting};
use standin_testkit::wait_until;

use crate::common::wire::Wire;
use crate::common::{Cluster, KEYSPACE, PAIR, WITHIN, ring};

/// Standard output and standard error, and the exit code.
fn said(output: &Output) -> (String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout) + &text(&output.stderr), output.status.code())
}

fn status(cluster: &Cluster) -> (String, Option<i32>) {
    said(&cluster.run(&["status"]))
}

fn status_json(cluster: &Cluster) -> Value {
    let output = cluster.run(&["status", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn observers_in_all_places_make_no_server_look_dead_and_do_not_stay() {
    let mut cluster = Cluster::with("status-observers", PAIR, |config| {
        config.limits.handshake_timeout = Duration::from_secs(6);
    });
    cluster.start();
    let id = cluster.id("a1");
    let mut observers = Vec::new();
    let mut last = (String::new(), None);
    wait_until(WITHIN, "the server to be called busy", || {
        // As many as there is room for, and one more.
        let connect = |_| Wire::connect(&cluster.topology, id, 0, Role::Observer).ok();
        observers.extend((0..5).map_while(connect));
        last = status(&cluster);
        assert!(!last.0.contains("does not answer"), "{}", last.0);
        last.1 == Some(1)
    });
    assert!(last.0.contains("warning: a1 is busy"), "{}", last.0);
    assert!(last.0.lines().any(|line| line.starts_with("a2 ") && line.ends_with("up")));
    // Nobody closes the idle connections but the server.
    wait_until(WITHIN, "room for an observer", || status(&cluster).1 == Some(0));
    drop(observers);
}

#[test]
fn many_commands_at_once_call_no_server_dead() {
    let mut cluster = Cluster::new("status-many", PAIR);
    cluster.start();
    let run = || {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..24).map(|_| scope.spawn(|| status(&cluster))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        })
    };
    for (text, code) in run() {
        assert!(matches!(code, Some(0 | 1)), "{text}");
        assert!(!text.contains("does not answer") && !text.contains("DOES NOT"), "{text}");
    }
}

#[test]
fn servers_without_a_map_are_shown_and_a_write_says_that_they_answer() {
    let mut cluster = Cluster::with("status-no-map", PAIR, |config| {
        config.timings.operation_timeout = Duration::from_millis(2_000);
    });
    for name in ["a1", "a2"] {
        cluster.start_server(name);
    }
    let (text, code) = status(&cluster);
    assert_eq!(code, Some(3), "{text}");
    for part in ["no map", "critical: a1 has no map yet", "critical: a2 has no map yet"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("same version"), "{text}");
    let json = status_json(&cluster);
    assert_eq!(json["epoch"], Value::Null);
    for server in json["servers"].as_array().expect("a list") {
        assert_eq!((&server["answers"], &server["state"]), (&true.into(), &Value::Null));
        assert_eq!(server["counters"]["memory_bytes"], 16 << 20, "{server}");
    }
    let (text, code) = said(&cluster.run(&["put", "items", "k", "v"]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("the key's servers answer, but may not serve the key now"), "{text}");
    assert!(!text.contains("are they running"), "{text}");

    cluster.start_master();
    cluster.wait_all(Online);
    wait_until(WITHIN, "all to be well", || status(&cluster).1 == Some(0));
}

#[test]
fn a_learning_master_is_not_called_silent() {
    let mut cluster = Cluster::new("status-learning", PAIR);
    cluster.start();
    // Without its state, and with a server that does not renew, it learns for as long as it can.
    cluster.kill("a2");
    cluster.kill("master");
    let state = cluster.directory().join(&cluster.config.master.state_file);
    std::fs::remove_file(state).expect("the state file");
    cluster.start_master();
    let (text, _) = status(&cluster);
    assert!(text.contains("is learning") && !text.contains("DOES NOT ANSWER"), "{text}");
    let json = status_json(&cluster);
    assert_eq!(
        (&json["master"]["answers"], &json["master"]["is_learning"]),
        (&true.into(), &true.into())
    );
    wait_until(WITHIN, "the master to have learnt", || {
        status_json(&cluster)["master"]["is_learning"] == false
    });
}

#[test]
fn without_a_master_strict_is_called_critical_and_logged_as_an_error_and_available_is_not() {
    for mode in [Mode::Strict, Mode::Available] {
        let mut cluster = Cluster::with("status-no-lease", PAIR, |config| {
            config.mode = mode;
            config.timings.operation_timeout = Duration::from_millis(2_000);
        });
        cluster.start();
        wait_until(WITHIN, "all to be well", || status(&cluster).1 == Some(0));
        cluster.kill("master");
        if mode == Mode::Available {
            wait_until(WITHIN, "orphans", || cluster.counter("a1", "is_leased") == 0);
            let (text, code) = status(&cluster);
            assert_eq!(code, Some(1), "{text}");
            // The log tells the same, and takes the return of the master for no loss.
            let line = cluster.process("a1").wait_for_line("goes on without the master", WITHIN);
            assert!(line.contains("WARN"), "{line}");
            cluster.start_master();
            wait_until(WITHIN, "all to be well again", || status(&cluster).1 == Some(0));
            cluster.process("a1").wait_for_line("no longer goes on without the master", WITHIN);
            let lines = cluster.process("a1").lines();
            assert!(!lines.iter().any(|line| line.contains("lease has expired")), "{lines:?}");
            continue;
        }
        let mut last = (String::new(), None);
        wait_until(WITHIN, "status to be critical", || {
            last = status(&cluster);
            last.1 == Some(3)
        });
        let text = &last.0;
        assert!(text.contains("has no lease for them") && text.contains("writes wait"), "{text}");
        let (text, code) = said(&cluster.run(&["put", "items", "k", "v"]));
        assert_eq!(code, Some(2), "{text}");
        let line = cluster.process("a1").wait_for_line("the lease has expired", WITHIN);
        assert!(line.contains("ERROR"), "{line}");
        cluster.start_master();
        wait_until(WITHIN, "all to be well again", || status(&cluster).1 == Some(0));
        cluster.process("a1").wait_for_line("may act as an owner again", WITHIN);
    }
}

#[test]
fn requests_that_the_database_fails_are_a_warning_for_ten_seconds() {
    let mut cluster = Cluster::new("status-failures", PAIR);
    cluster.start();
    wait_until(WITHIN, "all to be well", || status(&cluster).1 == Some(0));
    cluster.database().execute_batch("DROP TABLE items").expect("dropped");
    let (text, code) = said(&cluster.run(&["put", "items", "k", "v"]));
    assert_eq!(code, Some(2), "{text}");
    let mut last = String::new();
    wait_until(WITHIN, "a warning", || {
        let (text, code) = status(&cluster);
        last = text;
        code == Some(1)
    });
    assert!(last.contains("calls to the database in the last ten seconds that failed"), "{last}");
    wait_until(WITHIN, "it to be over", || status(&cluster).1 == Some(0));
}

#[test]
fn requests_refused_for_lack_of_room_are_a_warning() {
    let mut cluster = Cluster::with("status-overloaded", PAIR, |config| {
        config.limits.in_flight_per_connection = 1;
    });
    cluster.start();
    let database = cluster.database();
    database.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let mut wire = cluster.connect("a1");
    let keys: Vec<_> = cluster.keys_of("a1").take(20).collect();
    keys.iter().for_each(|key| wire.send(Opcode::Put, key, b"v"));
    let mut last = String::new();
    wait_until(WITHIN, "a warning", || {
        last = status(&cluster).0;
        last.contains("requests in the last ten seconds for lack of room")
    });
    assert!(last.contains("a1 has refused 19 requests"), "{last}");
}

#[test]
fn refused_connections_are_named_by_role_and_callers_that_had_left_do_not_count() {
    for io in [ring(), IoKind::Epoll] {
        let mut cluster = Cluster::with("status-refused", PAIR, |config| {
            config.servers.iter_mut().for_each(|server| server.io = io);
        });
        cluster.start();
        let id = cluster.id("a1");
        let count = |cluster: &Cluster| cluster.counter("a1", "masters_refused");
        // Probes that gave up while the process was stopped, more than there is room for.
        cluster.freeze("a1");
        let mut hello = Vec::new();
        let body = HelloBody { role: Role::Master as u8, ..HelloBody::default() };
        let header = RequestHeader::new(Opcode::Hello, 0, 0);
        Request::write(header, b"", &body.to_bytes(), &mut hello);
        for _ in 0..40 {
            let mut stream = TcpStream::connect(cluster.address("a1")).expect("the backlog");
            stream.write_all(&hello).expect("sent");
        }
        let accepted = cluster.config.limits.handshakes;
        assert!(accepted > 40, "they are refused for their role alone");
        cluster.thaw("a1");
        cluster.wait_all(Online);
        wait_until(WITHIN, "them to be accepted", || {
            cluster.counter("a1", "connections_accepted") >= 40
        });
        assert_eq!(count(&cluster), 0, "nobody was there to be refused");
        let (text, _) = status(&cluster);
        assert!(!text.contains("has refused"), "{text}");

        // Those that are there and wait are counted, under their role.
        let connect = || Wire::connect(&cluster.topology, id, 0, Role::Master);
        let mut callers = Vec::new();
        wait_until(WITHIN, "one to be refused", || {
            callers.extend(connect());
            count(&cluster) > 0
        });
        let (text, _) = status(&cluster);
        assert!(text.contains("connections of the master in the last ten seconds"), "{text}");
        assert!(!text.contains("connections of clients"), "{text}");
        let line = cluster.process("a1").wait_for_line("connections refused", WITHIN);
        assert!(line.contains("role=Master") && !line.contains("limits."), "{line}");
    }
}

#[test]
fn partitions_of_a_silent_server_are_a_warning_where_the_next_one_serves_them() {
    for (mode, expected) in [(Mode::Available, Some(1)), (Mode::Strict, Some(3))] {
        let mut cluster = Cluster::with("status-waiting", PAIR, |config| {
            config.mode = mode;
            config.timings.lease = Duration::from_secs(20);
        });
        cluster.start();
        let key = cluster.key_of("a1");
        cluster.freeze("a1");
        let mut client = cluster.client_with(|config| {
            config.operation_timeout = Duration::from_secs(2);
        });
        wait_until(WITHIN, "the master to wait for its lease", || {
            let put = client.put(KEYSPACE, &key, b"value".to_vec(), 0);
            assert!(put.is_err() || mode == Mode::Available, "{put:?}");
            cluster.state_at("a2", "a1") == Some(Waiting)
        });
        let (text, code) = status(&cluster);
        assert_eq!(code, expected, "{text}");
        let sentence = match mode {
            Mode::Available => "have no owner until the lease of a silent server has expired",
            Mode::Strict => "have no owner now: reads of them go to the database, writes wait",
        };
        assert!(text.contains(sentence) && text.contains("a1 is waiting"), "{text}");
        if mode == Mode::Available {
            client.put(KEYSPACE, &key, b"value".to_vec(), 0).expect("the next one writes");
        }
    }
}
