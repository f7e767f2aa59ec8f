//! The output and the exit codes of the commands. The codes are 0 for success, 1 for "no" (there is
//! no such row, or a server has a problem), and 2 for a command that could not be executed.

use std::process::{Command, Output};
use std::time::Duration;

use standin_config::{ColumnType, OriginKind};
use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::{Child, Scratch, wait_until};

use crate::common::cluster::PROGRAM;
use crate::common::{Cluster, PAIR, WITHIN};

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn get_put_and_delete_report_their_result_by_exit_code() {
    let mut cluster = Cluster::new("data-commands", PAIR);
    cluster.start();
    let get = cluster.run(&["get", "items", "k"]);
    assert_eq!((code(&get), stdout(&get)), (Some(1), String::new()), "no such row");
    assert!(stderr(&get).contains("no row"), "{get:?}");
    let put = cluster.run(&["put", "items", "k", "a value"]);
    assert_eq!(code(&put), Some(0), "{put:?}");
    // A keyspace can also be given by its number.
    let get = cluster.run(&["get", "1", "k", "--verbose"]);
    assert_eq!((code(&get), stdout(&get)), (Some(0), "a value\n".to_owned()));
    assert!(stderr(&get).contains("from the cache of a"), "{get:?}");
    let delete = cluster.run(&["delete", "items", "k"]);
    assert_eq!(code(&delete), Some(0), "{delete:?}");
    let delete = cluster.run(&["delete", "items", "k"]);
    assert_eq!(code(&delete), Some(1), "{delete:?}");
    // Negative numbers are keys and values like any others.
    let put = cluster.run(&["put", "items", "-7", "-3"]);
    assert_eq!(code(&put), Some(0), "{put:?}");
    assert_eq!(stdout(&cluster.run(&["get", "items", "-7"])), "-3\n");
    let put = cluster.run(&["put", "items", "k", "-3.5", "--ttl", "5"]);
    assert_eq!(code(&put), Some(0), "{put:?}");
    let put = cluster.run(&["put", "items", "k", "v", "--ttl", "3932101"]);
    assert_eq!(code(&put), Some(2), "a lifetime that can't be sent: {put:?}");
    assert!(stderr(&put).contains("the limit is 3932100 s"), "it says the cap: {put:?}");
    assert_eq!(stdout(&cluster.run(&["get", "items", "k"])), "-3.5\n", "nothing was written");
    let unknown = cluster.run(&["get", "things", "k"]);
    assert_eq!(code(&unknown), Some(2), "no such keyspace");
    assert!(stderr(&unknown).contains("its keyspaces are: items"), "{unknown:?}");
}

#[test]
fn a_message_about_a_keyspace_has_its_name() {
    let mut cluster = Cluster::with("keyspace-names", PAIR, |config| {
        config.keyspaces[0].delete = None;
    });
    cluster.start();
    let delete = cluster.run(&["delete", "items", "k"]);
    assert_eq!(code(&delete), Some(2), "{delete:?}");
    assert!(stderr(&delete).contains("keyspace items has no statement for DELETE"), "{delete:?}");
}

#[test]
fn without_a_cluster_the_commands_fail_and_say_so() {
    let cluster = Cluster::with("nobody", PAIR, |config| {
        config.timings.attempt_timeout = Duration::from_millis(200);
        config.timings.forward_timeout = Duration::from_millis(200);
        config.timings.operation_timeout = Duration::from_millis(700);
    });
    for command in [&["get", "items", "k"][..], &["put", "items", "k", "v"], &["status"]] {
        let output = cluster.run(command);
        assert_eq!(code(&output), Some(2), "{command:?}: {output:?}");
        assert!(stderr(&output).contains("standin: "), "{command:?}: {output:?}");
        let sentence = match command {
            ["status"] => "no server answers; are they running, and reachable from here?",
            _ => "none of the key's servers answers (tried: a",
        };
        assert!(stderr(&output).contains(sentence), "{command:?}: {output:?}");
    }
}

#[test]
fn status_shows_the_map_and_whether_there_are_problems() {
    let mut cluster = Cluster::new("status", PAIR);
    cluster.start();
    let well = cluster.run(&["status"]);
    assert_eq!(code(&well), Some(0), "{well:?}");
    let text = stdout(&well);
    assert!(text.contains("cluster status   ok") && text.contains("answers"), "{text}");
    for server in ["a1", "a2"] {
        let line = text.lines().find(|line| line.starts_with(server)).expect("a line each");
        assert!(
            line.contains("online") && line.contains("16 MiB") && line.ends_with("up"),
            "{line}"
        );
        assert!(line.contains(env!("CARGO_PKG_VERSION")), "{line}");
    }

    // There are one miss and three hits, in addition to pings and similar requests that are not for
    // data.
    let (key, mut a1) = (cluster.key_of("a1"), cluster.connect("a1"));
    (0..4).for_each(|_| drop(a1.get(&key)));
    cluster.wait_counter("a1", "data_requests", 4);
    let output = cluster.run(&["status", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let a1 = &json["servers"][0];
    assert_eq!(a1["counters"]["data_requests"], 4);
    assert!(a1["counters"]["requests"].as_u64() > Some(4), "{a1}");
    assert_eq!((&a1["hit_ratio"], &a1["hit_ratio_10s"]), (&0.75.into(), &0.75.into()));
    assert_eq!(a1["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(a1["memory_bytes"], 16 << 20);
    assert_eq!(a1["epoch"], json["epoch"]);
    assert_eq!(a1["counters"]["connections_refused"], 0);

    let mut command = Command::new(PROGRAM);
    command.args(["status", "--watch", "1", "--json", "--config"]).arg(&cluster.config_path);
    let watch = Child::spawn("watch", command, cluster.directory());
    wait_until(WITHIN, "three looks", || watch.lines().len() >= 3);
    let json: serde_json::Value = serde_json::from_str(&watch.lines()[2]).expect("one a line");
    assert_eq!(
        (&json["severity"], &json["servers"][0]["database"]["up"]),
        (&"ok".into(), &true.into())
    );
    drop(watch);

    cluster.kill("a1");
    cluster.connect("a2").get(&cluster.key_of("a1"));
    cluster.wait_states(&[("a1", Offline)]);
    cluster.wait_counter("a2", "forwards_failed", 1);
    let output = cluster.run(&["status", "--json"]);
    assert_eq!(code(&output), Some(1), "not all is well");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["cluster"], "status");
    assert_eq!(json["master"]["answers"], true);
    let servers = json["servers"].as_array().expect("a list");
    let of = |at: usize, key: &str| servers[at][key].clone();
    assert_eq!(
        (of(0, "name"), of(0, "state"), of(0, "answers")),
        ("a1".into(), "offline".into(), false.into())
    );
    assert_eq!(
        (of(1, "name"), of(1, "state"), of(1, "answers")),
        ("a2".into(), "online".into(), true.into())
    );
    assert_eq!((of(0, "owned_partitions"), of(1, "owned_partitions")), (0.into(), 64.into()));
    assert_eq!(of(1, "counters")["forwards_failed"].as_u64(), Some(1));

    // Whether or not the master has noticed, nobody serves the partitions that it owned.
    cluster.freeze("a2");
    let output = cluster.run(&["status"]);
    assert_eq!(code(&output), Some(3), "{output:?}");
    assert!(stdout(&output).contains("critical: "), "{output:?}");
    cluster.thaw("a2");
    cluster.wait_states(&[("a2", Online)]);

    cluster.kill("master");
    let output = cluster.run(&["status"]);
    assert_eq!(code(&output), Some(1));
    assert!(stdout(&output).contains("DOES NOT ANSWER"), "{output:?}");
    assert!(stdout(&output).contains("warning: the master"), "{output:?}");
}

#[test]
fn load_fills_and_checks_a_keyspace_whose_values_are_text() {
    let mut cluster = Cluster::with("load-text", PAIR, |config| {
        config.keyspaces[0].value_type = ColumnType::Text;
        let OriginKind::Sqlite { init, .. } =
            &mut config.origin.as_mut().expect("it has a database").kind
        else {
            unreachable!()
        };
        *init = Some(
            "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, value TEXT NOT NULL)"
                .to_owned(),
        );
    });
    cluster.start();
    let load = ["load", "--seconds", "1", "--rate", "200", "--keys", "50", "--fill", "--check"];
    let load = cluster.run(&load);
    assert_eq!(code(&load), Some(0), "{load:?}");
    let value: String = cluster
        .database()
        .query_row("SELECT value FROM items WHERE id = 'key-00000007'", [], |row| row.get(0))
        .expect("a row of text");
    assert!(value.starts_with("Lv"), "{value}");
}

#[test]
fn load_judges_requests_for_several_keys_compare_and_swaps_and_increments() {
    let mut cluster = Cluster::new("load-kinds", PAIR);
    cluster.start();
    let load = "load --seconds 2 --rate 400 --keys 50 --fill --check --lossless --reads 30 --multi-gets 20 \
                --multi-get-keys 5 --cas 20 --cas-keys 2 --increments 20 --counters 5";
    let load = cluster.run(&load.split_whitespace().collect::<Vec<_>>());
    assert_eq!(code(&load), Some(0), "{load:?}");
    let text = stdout(&load);
    for what in [
        "checked reads stale 0, wrong 0",
        "0 requests failed for some",
        "5 counters read at the end: increments lost 0, doubled 0",
    ] {
        assert!(text.contains(what), "{text}");
    }
    assert!(!text.contains("compare-and-swaps: 0 made") && text.contains("increments: "), "{text}");
}

#[test]
fn check_config_says_whether_a_file_is_valid() {
    let cluster = Cluster::new("check-config", PAIR);
    let good = cluster.run(&["check-config"]);
    assert_eq!(code(&good), Some(0), "{good:?}");
    assert!(stdout(&good).contains("2 servers in 1 group,"), "{good:?}");

    let text = std::fs::read_to_string(&cluster.config_path).expect("the file");
    let bad = text.replace("name = \"a2\"", "name = \"a1\"").replace("[limits]", "[limitz]");
    std::fs::write(&cluster.config_path, bad).expect("written");
    let bad = cluster.run(&["check-config"]);
    assert_eq!(code(&bad), Some(1), "{bad:?}");
    assert!(
        stderr(&bad).contains("limitz") && stderr(&bad).contains("a1"),
        "all errors are reported at once: {bad:?}"
    );
    let server = cluster.run(&["server", "--name", "a1"]);
    assert_eq!(code(&server), Some(2), "and nothing starts with it: {server:?}");
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let mut cluster = Cluster::new("cannot-start", PAIR);
    let unknown = cluster.run(&["server", "--name", "a9"]);
    assert_eq!(code(&unknown), Some(2), "{unknown:?}");
    assert!(stderr(&unknown).contains("\"a9\""), "{unknown:?}");
    assert!(stderr(&unknown).contains("a1, a2"), "the existing servers are named: {unknown:?}");

    cluster.start();
    let taken = cluster.run(&["server", "--name", "a1"]);
    assert_eq!(code(&taken), Some(2), "{taken:?}");
    let address = cluster.address("a1").to_string();
    assert!(stderr(&taken).contains(&address) && stderr(&taken).contains("in use"), "{taken:?}");
    let taken = cluster.run(&["master"]);
    assert_eq!(code(&taken), Some(2), "{taken:?}");
    let address = cluster.topology.master.to_string();
    assert!(stderr(&taken).contains(&address) && stderr(&taken).contains("in use"), "{taken:?}");
}

#[test]
fn without_a_cluster_file_every_command_fails_and_names_it() {
    let scratch = Scratch::new("no-config");
    for command in ["server --name a1", "master", "get items k", "status", "check-config"] {
        let words: Vec<&str> = command.split(' ').collect();
        let mut run = Command::new(PROGRAM);
        run.args(&words).args(["--config", "not-there.toml"]).current_dir(scratch.path());
        let output = run.output().expect("the program can be run");
        let wanted = if command == "check-config" { 1 } else { 2 };
        assert_eq!(code(&output), Some(wanted), "{command}: {output:?}");
        assert!(stderr(&output).contains("not-there.toml"), "{command}: {output:?}");
    }
}

#[test]
fn a_master_stops_on_signals() {
    let mut cluster = Cluster::new("master-stops", PAIR);
    cluster.start();
    assert_eq!(cluster.terminate("master", WITHIN).code(), Some(0));
    // Without a master to acknowledge its departure, a server still stops within its time limit.
    assert_eq!(cluster.terminate("a1", WITHIN).code(), Some(0));
    cluster.process("a2").signal(libc::SIGINT);
    let process: &mut Child = cluster.process("a2");
    assert_eq!(process.exit_status(WITHIN).code(), Some(0), "SIGINT has the same effect");
}
