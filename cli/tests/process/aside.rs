//! `standin load` with a database of its own: alone, and behind a cache that it fills as an application does.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use standin_testkit::{Postgres, Scratch, free_ports, memcached_or_skip};

use crate::common::{Cluster, PAIR};

/// Runs a load, with one request at a time, that is good. Returns its results.
#[track_caller]
fn load(folder: &Path, more: &[&str]) -> Value {
    // With several at once, a slow reader may put an old row into the cache: that is how cache-aside is.
    load_with(folder, &[&["--closed", "1x1"], more].concat())
}

/// Runs a load that is good. Returns its results.
#[track_caller]
fn load_with(folder: &Path, more: &[&str]) -> Value {
    let json = folder.join("result.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
    command.args(["load", "--keys", "100", "--fill", "--check", "--seconds", "1"]).arg("--json");
    command.arg(&json).args(["--workers", "1", "--reads", "70"]).args(more);
    let output = command.current_dir(folder).output().expect("the program can be run");
    assert!(output.status.success(), "{more:?}: {output:?}");
    serde_json::from_str(&std::fs::read_to_string(json).expect("the results")).expect("JSON")
}

/// The reads of a run, those that the cache has answered, those of the database, and those that were judged.
fn reads(result: &Value) -> (u64, u64, u64, u64) {
    let total = &result["total"];
    let counts = &total["counts"];
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{result}"));
    (
        number(&counts["reads"]),
        number(&counts["hits"]),
        number(&total["origin_reads"]),
        number(&counts["checked"]),
    )
}

#[test]
fn a_cache_is_filled_and_emptied_as_an_application_does_it() {
    let test = "a_cache_is_filled_and_emptied_as_an_application_does_it";
    let scratch = Scratch::new("aside-sqlite");
    let memcached = memcached_or_skip(test, &scratch, free_ports(1)[0], &[]);
    let Some((_memcached, address)) = memcached else { return };
    let target = format!("memcached://{address}");
    let target = ["--target", &target, "--database", "sqlite"];
    let deleted = load(scratch.path(), &target);
    let (all, hits, database, checked) = reads(&deleted);
    assert!(hits > 0 && database > 0, "{deleted}");
    assert_eq!((all - hits, all), (database, checked), "a miss asks the database once");
    let name = deleted["target"]["name"].as_str().expect("a name");
    assert!(name.contains("memcached") && name.contains("SQLite"), "{name}");

    // A write that sets the value leaves nothing to miss.
    let set = load(scratch.path(), &[&target[..], &["--aside-writes", "set"]].concat());
    let (all, hits, database, _) = reads(&set);
    assert_eq!((all, database), (hits, 0), "{set}");
}

#[test]
fn a_database_is_measured_alone_by_the_statements_of_a_cluster_file() {
    let mut cluster = Cluster::new("aside-alone", PAIR);
    cluster.start();
    let before = cluster.counter("a1", "origin_reads") + cluster.counter("a2", "origin_reads");
    let file = ["--database", "cluster.toml", "--keyspace", "items", "--deletes", "5"];
    let result = load(cluster.directory(), &file);
    let (all, hits, database, checked) = reads(&result);
    assert_eq!((hits, database, checked), (0, all, all), "{result}");
    assert!(cluster.row(b"key-00000001").is_some() || cluster.row(b"key-00000002").is_some());
    let after = cluster.counter("a1", "origin_reads") + cluster.counter("a2", "origin_reads");
    assert_eq!(before, after, "no server was asked");
}

#[test]
fn postgresql_is_asked_by_pipelined_connections_and_its_table_is_dropped() {
    let Some(mut postgres) = Postgres::start_or_skip("aside-postgres") else { return };
    let scratch = Scratch::new("aside-postgres");
    let memcached = memcached_or_skip("aside-postgres", &scratch, free_ports(1)[0], &[]);
    let Some((_memcached, address)) = memcached else { return };
    let target = format!("memcached://{address}");
    let url = postgres.url();
    let result = load(scratch.path(), &["--target", &target, "--database", &url]);
    let (all, hits, database, _) = reads(&result);
    assert!(hits > 0 && database > 0);
    assert_eq!(all - hits, database, "{result}");
    // Many at once, at a rate, without a cache: rows are always what was written.
    let many = ["--database", &url, "--database-connections", "2", "--rate", "2000"];
    let alone = load_with(scratch.path(), &many);
    assert_eq!(reads(&alone).1, 0);
    assert_eq!(alone["target"]["name"], "PostgreSQL");
    // It would be there already.
    postgres.execute("CREATE TABLE standin_demo (a int)");
    postgres.stop();
    let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
    let output = command.args(["load", "--database", &url]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--database: cannot connect to PostgreSQL"), "{said}");
}
