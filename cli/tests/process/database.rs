//! What the log says about the database: each failure once, and no failure that there is not.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use standin_config::{OriginConfig, OriginKind, PostgresAccess};
use standin_protocol::frame::{Opcode, Status};
use standin_protocol::map::ServerState::{Offline, Online};
use standin_protocol::time::Micros;
use standin_testkit::{Child, Postgres, wait_until};

use crate::common::cluster::items;
use crate::common::{Cluster, PAIR, WITHIN};
use crate::{wait_put, wait_written};

/// Returns the lines of a process that contain this.
fn lines(cluster: &mut Cluster, name: &str, part: &str) -> Vec<String> {
    let lines = cluster.process(name).lines().into_iter();
    lines.filter(|line| line.contains(part)).collect()
}

#[test]
fn a_database_whose_folder_is_missing_for_seconds_costs_two_lines() {
    let mut cluster = Cluster::with("log-folder", PAIR, |config| {
        let OriginKind::Sqlite { path, .. } =
            &mut config.origin.as_mut().expect("it has a database").kind
        else {
            unreachable!()
        };
        *path = "later/origin.sqlite".into();
    });
    let folder = cluster.directory().join("later");
    cluster.start();
    let key = cluster.key_of("a1");
    let until = Micros::boottime() + Duration::from_secs(5);
    while Micros::boottime() < until {
        for operation in [Opcode::Get, Opcode::Put] {
            let reply = cluster.connect("a1").ask(operation, &key, b"");
            assert_eq!(reply.status, Status::OriginUnavailable);
            let reason = String::from_utf8_lossy(&reply.value).into_owned();
            assert!(reason.contains("unable to open database file"), "{reason}");
        }
    }
    std::fs::create_dir(folder).expect("a folder");
    wait_put(&cluster, "a1", b"1");
    cluster.process("a1").wait_for_line("the origin is up again", WITHIN);
    let of_origin = lines(&mut cluster, "a1", "the origin is");
    assert_eq!(of_origin.len(), 2, "{of_origin:#?}");
}

#[test]
fn a_deleted_log_of_sqlite_is_saved_by_one_connection_and_costs_two_lines() {
    // Alone: a second server could make a new log before the first has saved the old one.
    let mut cluster = Cluster::new("log-wal", PAIR);
    cluster.start();
    cluster.kill("a2");
    cluster.wait_states(&[("a2", Offline)]);
    for round in 1..=5 {
        // All of its connections have the log open.
        let key = cluster.key_of("a1");
        let readers: Vec<_> = (0..32)
            .map(|n| {
                let mut wire = cluster.connect("a1");
                let key = [&key[..], format!("-{round}-{n}").as_bytes()].concat();
                std::thread::spawn(move || wire.try_ask(Opcode::Get, &key, b""))
            })
            .collect();
        readers.into_iter().for_each(|reader| drop(reader.join().expect("no panic")));
        wait_written(&cluster, "a1", format!("{round}").as_bytes());
        for suffix in ["-wal", "-shm"] {
            let path = cluster.directory().join(format!("origin.sqlite{suffix}"));
            std::fs::remove_file(path).expect("the file is there");
        }
        wait_until(WITHIN, "it to be saved", || {
            wait_put(&cluster, "a1", b"again");
            lines(&mut cluster, "a1", "reopening the SQLite file").len() == round
                && lines(&mut cluster, "a1", "content of the deleted log was").len() == round
        });
    }
    let errors = lines(&mut cluster, "a1", "ERROR");
    assert_eq!(errors.len(), 5, "{errors:#?}");
    assert_eq!(lines(&mut cluster, "a1", "pages").len(), 0);
}

#[test]
fn failures_that_the_log_left_out_are_counted_soon_and_at_the_end() {
    let mut cluster = Cluster::with("log-burst", PAIR, |config| {
        let OriginKind::Sqlite { init, .. } =
            &mut config.origin.as_mut().expect("it has a database").kind
        else {
            unreachable!()
        };
        *init = Some(
            "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, value TEXT CHECK (length(value) > 1))"
                .to_owned(),
        );
        let mut others = items();
        (others.id, others.name) = (2, "others".to_owned());
        config.keyspaces.push(others);
    });
    cluster.start();
    let burst = |keyspace: &str, count: u32| {
        for n in 0..count {
            let put = cluster.run(&["put", keyspace, &format!("k{n}"), "x"]);
            assert_eq!(put.status.code(), Some(2), "{put:?}");
        }
    };
    // Both servers, because the keys belong to both.
    burst("items", 20);
    burst("others", 20);
    for name in ["a1", "a2"] {
        for keyspace in ["items", "others"] {
            let first = format!("keyspace {keyspace}: the database says");
            cluster.process(name).wait_for_line(&first, WITHIN);
        }
    }
    let left_out = |line: &str| {
        let count = line.split_once(": ").and_then(|(_, rest)| rest.split(' ').next());
        count.and_then(|count| count.parse::<u32>().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    for keyspace in ["items", "others"] {
        let part = format!("keyspace {keyspace}: ");
        let sum = |cluster: &mut Cluster| -> u32 {
            let of = |name| {
                let said = lines(cluster, name, "more calls failed with");
                let said: Vec<String> = said.into_iter().filter(|l| l.contains(&part)).collect();
                said.iter().map(|line| left_out(line)).sum::<u32>()
            };
            ["a1", "a2"].into_iter().map(of).sum()
        };
        wait_until(WITHIN, "all to be counted", || sum(&mut cluster) == 18);
    }
    let put = cluster.run(&["put", "items", "k0", "x"]);
    assert_eq!(put.status.code(), Some(2), "{put:?}");
    let mut said = 0;
    for name in ["a1", "a2"] {
        let before = lines(&mut cluster, name, "more calls failed with").len();
        let output = cluster.process(name).output_file().to_owned();
        assert_eq!(cluster.terminate(name, WITHIN).code(), Some(0));
        let text = std::fs::read_to_string(&output).expect("its output");
        said += text.matches("more calls failed with").count() - before;
    }
    assert_eq!(said, 1, "the count is said at the end, and not for the other server");
}

/// Starts a server on PostgreSQL with this `init`, and JSON for its log.
fn on_postgres(test: &str, postgres: &Postgres, init: &str, get: &str) -> (Cluster, Command) {
    let cluster = Cluster::with(test, PAIR, |config| {
        config.origin = Some(OriginConfig {
            kind: OriginKind::Postgres {
                url: postgres.url(),
                access: PostgresAccess::default(),
                connections: 2,
                init: Some(init.to_owned()),
            },
            ..OriginConfig::sqlite("unused")
        });
        config.keyspaces[0].get = get.to_owned();
    });
    let mut command = cluster.role("server");
    command.args(["--log-format", "json", "--name", "a1"]);
    (cluster, command)
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS items (id text PRIMARY KEY, value bytea)";
const GET: &str = "SELECT value FROM items WHERE id = :key";

#[test]
fn a_mistake_in_the_file_is_no_outage_of_the_database() {
    let Some(postgres) = Postgres::start_or_skip("log-mistake") else { return };
    for (init, get, wanted) in [
        ("CREATE NONSENSE", GET, "[origin] init failed"),
        (TABLE, "SELECT 1.5::float8 FROM items WHERE id = :key", "keyspace items"),
    ] {
        let (cluster, command) = on_postgres("log-mistake", &postgres, init, get);
        let mut server = Child::spawn("a1", command, cluster.directory());
        assert_eq!(server.exit_status(WITHIN).code(), Some(2), "{wanted}");
        server.wait_for_line(wanted, WITHIN);
        let lines = server.lines();
        assert!(!lines.iter().any(|line| line.contains("the origin is")), "{lines:#?}");
        let errors = lines.iter().filter(|line| line.contains("\"ERROR\"")).count();
        assert_eq!(errors, 1, "{lines:#?}");
    }
}

#[test]
fn json_lines_of_libraries_name_the_server_and_no_file_of_their_source() {
    let Some(postgres) = Postgres::start_or_skip("log-json") else { return };
    // The second statement makes PostgreSQL send a notice, which its client library logs.
    let init = format!("{TABLE}; {TABLE}");
    let (cluster, command) = on_postgres("log-json", &postgres, &init, GET);
    let server = Child::spawn("a1", command, cluster.directory());
    server.wait_for_line("is ready", WITHIN);
    let notice = server.wait_for_line("already exists, skipping", WITHIN);
    let notice: Value = serde_json::from_str(&notice).expect("a line of JSON");
    let fields: Vec<&String> = notice["fields"].as_object().expect("fields").keys().collect();
    assert_eq!(fields, ["message"], "{notice}");
    assert_eq!(notice["name"], "a1", "{notice}");
    assert_eq!(notice["level"], "INFO");
}

/// What `check-config` warns of is in the logs, because nobody need have run it.
#[test]
fn warnings_about_the_file_are_logged_when_a_server_or_master_starts() {
    let mut cluster = Cluster::with("log-warnings", PAIR, |config| {
        config.keyspaces[0].get =
            "SELECT value FROM items WHERE id = substr(:key, 1, 8)".to_owned();
    });
    cluster.start();
    for name in ["master", "a1"] {
        let line = cluster.process(name).wait_for_line("maps several keys to one row", WITHIN);
        assert!(line.contains(" WARN ") && line.contains("keyspace.get"), "{line}");
    }
    cluster.wait_all(Online);
    let checked = cluster.run(&["check-config"]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && said.contains("maps several keys to one row"), "{said}");
}

#[test]
fn check_config_warns_of_a_path_that_is_no_sqlite_database() {
    let cluster = Cluster::with("no-database", PAIR, |config| {
        let OriginKind::Sqlite { path, .. } =
            &mut config.origin.as_mut().expect("it has a database").kind
        else {
            unreachable!()
        };
        *path = "folder".into();
    });
    let path = cluster.directory().join("folder");
    let said = || {
        let checked = cluster.run(&["check-config", "--name", "a1"]);
        assert!(checked.status.success(), "{checked:?}");
        String::from_utf8_lossy(&checked.stderr).into_owned()
    };
    std::fs::create_dir(&path).expect("a folder");
    assert!(said().contains("folder is a folder; the database is unavailable until"), "{}", said());
    std::fs::remove_dir(&path).expect("it is empty");
    std::fs::write(&path, "not a database at all").expect("a file");
    assert!(said().contains("is no SQLite database"), "{}", said());
    std::fs::remove_file(&path).expect("it is there");
    assert!(!said().contains("database"), "{}", said());
}
