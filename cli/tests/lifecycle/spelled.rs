//! Keys that the database considers equal are one entry of the cache. This holds however a client
//! spells them, and whether or not it knows the form of the keys.

use std::sync::Arc;

use standin_client::blocking::Client;
use standin_client::{Action, Bootstrap, ClientConfig, Operation, Outcome};
use standin_config::{ClusterConfig, ColumnType, KeyCase, KeyspaceConfig, Mode};
use standin_config::{OriginConfig, OriginKind};
use standin_protocol::frame::{Opcode, Status};
use standin_protocol::key::KeyForms;
use standin_protocol::map::Topology;
use standin_testkit::Postgres;

use crate::common::{Cluster, KEYSPACE, TWO_PAIRS};

/// Returns the spellings of one key.
type Spellings = fn(usize) -> Vec<String>;

fn names(n: usize) -> Vec<String> {
    vec![format!("user-{n}"), format!("USER-{n}"), format!("uSeR-{n}")]
}

fn umlauts(n: usize) -> Vec<String> {
    vec![format!("größe-{n}"), format!("GRÖßE-{n}"), format!("Größe-{n}")]
}

fn uuids(n: usize) -> Vec<String> {
    let form = format!("a0eebc99-9c0b-4ef8-bb6d-{n:012x}");
    let digits = form.replace('-', "");
    vec![form.to_uppercase(), form.clone(), digits.to_uppercase(), format!("{{{form}}}")]
}

fn upsert(id: u8, name: &str) -> KeyspaceConfig {
    let put = format!(
        "INSERT INTO {name} (k, v) VALUES (:key, :value) ON CONFLICT (k) DO UPDATE SET v = excluded.v"
    );
    KeyspaceConfig {
        put: Some(put),
        delete: Some(format!("DELETE FROM {name} WHERE k = :key")),
        value_type: ColumnType::Text,
        ..KeyspaceConfig::new(id, name, &format!("SELECT v FROM {name} WHERE k = :key"))
    }
}

fn read(client: &mut Client, keyspace: u8, key: &str) -> (Option<String>, bool) {
    let operation = Operation { keyspace, key: key.into(), action: Action::Get };
    let answer = client.run(operation).expect("an answer");
    let is_hit = answer.is_hit();
    match answer.outcome {
        Outcome::Value(value) => (Some(String::from_utf8(value.bytes).expect("text")), is_hit),
        Outcome::NotFound => (None, is_hit),
        other => panic!("{other:?}"),
    }
}

/// Creates a client whose cluster file is from before keys had forms.
fn outdated(cluster: &Cluster) -> Client {
    let topology = Topology::clone(&cluster.topology).with_key_forms(KeyForms::default());
    let bootstrap = Bootstrap::Config(Arc::new(topology));
    Client::new(ClientConfig::from(&cluster.config), bootstrap).expect("a client")
}

/// Writes under each spelling, and reads under all of them.
fn one_entry_for_all_spellings(cluster: &Cluster, keyspace: u8, spellings: Spellings) {
    let mut knowing = cluster.client();
    let mut outdated = outdated(cluster);
    for n in 0..12 {
        let all = spellings(n);
        assert_eq!(read(&mut knowing, keyspace, &all[0]).0, None, "{all:?}");
        for (round, key) in all.iter().enumerate() {
            let value = format!("{n}.{round}");
            let writer = if round % 2 == 0 { &mut knowing } else { &mut outdated };
            writer.put(keyspace, key.as_bytes(), value.clone().into_bytes(), 0).expect("written");
            for key in &all {
                for client in [&mut knowing, &mut outdated] {
                    let found = read(client, keyspace, key);
                    assert_eq!(found, (Some(value.clone()), true), "{key} of {all:?}");
                }
            }
        }
        if n % 3 == 0 {
            let key = all.last().expect("some");
            assert_eq!(outdated.delete(keyspace, key.as_bytes()), Ok(true), "{key}");
            assert_eq!(read(&mut knowing, keyspace, &all[0]).0, None, "{all:?}");
        }
    }
}

/// Sends frames of a client that does not know about forms, to servers that own the key and to
/// others.
fn one_entry_for_foreign_clients(cluster: &Cluster, spellings: Spellings) {
    let names: Vec<&str> = cluster.config.servers.iter().map(|server| &*server.name).collect();
    let mut wires: Vec<_> = names.iter().map(|name| cluster.connect(name)).collect();
    for n in 100..108 {
        let all = spellings(n);
        let turns = all.len() * wires.len();
        for turn in 0..turns {
            let value = format!("{n}.{turn}");
            let (key, at) = (&all[turn % all.len()], turn % wires.len());
            let put = wires[at].put(key.as_bytes(), value.as_bytes());
            assert_eq!(put.status, Status::Ok, "{key} to {}", names[at]);
            for (wire, key) in wires.iter_mut().zip(all.iter().cycle()) {
                let found = wire.get(key.as_bytes());
                assert_eq!((found.status, &*found.value), (Status::Ok, value.as_bytes()), "{key}");
            }
        }
        let dropped = wires[0].ask(Opcode::Invalidate, all[0].as_bytes(), b"");
        assert_eq!(dropped.status, Status::Ok);
        assert!(!wires[1].get(all[1].as_bytes()).is_hit(), "{all:?}: dropped for all spellings");
    }
}

fn strictly(config: &mut ClusterConfig) {
    config.mode = Mode::Strict;
    for server in &mut config.servers {
        server.shards = 2;
    }
}

#[test]
fn keys_that_sqlite_considers_equal_are_one_entry() {
    let mut cluster = Cluster::with("spelled-sqlite", TWO_PAIRS, |config| {
        strictly(config);
        if let OriginKind::Sqlite { init, .. } =
            &mut config.origin.as_mut().expect("it has a database").kind
        {
            let users =
                "CREATE TABLE IF NOT EXISTS users (k TEXT COLLATE NOCASE PRIMARY KEY, v TEXT);
                         CREATE TABLE IF NOT EXISTS numbers (k INTEGER PRIMARY KEY, v TEXT)";
            *init = Some(format!("{}; {users}", init.clone().unwrap_or_default()));
        }
        config.keyspaces = vec![
            KeyspaceConfig { key_case: KeyCase::Ascii, ..upsert(KEYSPACE, "users") },
            KeyspaceConfig { key_type: ColumnType::Integer, ..upsert(2, "numbers") },
        ];
    });
    cluster.start();
    one_entry_for_all_spellings(&cluster, KEYSPACE, names);
    one_entry_for_foreign_clients(&cluster, names);
    let rows = "SELECT count(*), count(DISTINCT lower(k)) FROM users";
    let rows = cluster.database().query_row(rows, [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(rows, Ok((16, 16)), "8 of the one, 8 of the other");

    assert_eq!(cluster.run(&["put", "users", "Bob", "1"]).status.code(), Some(0));
    assert_eq!(cluster.run(&["put", "users", "BOB", "2"]).status.code(), Some(0));
    assert_eq!(cluster.run(&["get", "users", "bob"]).stdout, b"2\n");
    cluster.database().execute("UPDATE users SET v = '3' WHERE k = 'bob'", []).expect("written");
    assert_eq!(cluster.run(&["invalidate", "users", "bOb"]).status.code(), Some(0));
    assert_eq!(cluster.run(&["get", "users", "BoB"]).stdout, b"3\n");

    // A number has one form, and any other spelling is not a number.
    assert_eq!(cluster.run(&["put", "numbers", "1", "one"]).status.code(), Some(0));
    for (command, rest) in [("get", &[][..]), ("put", &["uno"]), ("delete", &[])] {
        let output = cluster.run(&[&[command, "numbers", "01"], rest].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{command}: {said}");
        assert!(said.contains("plain decimal"), "{command}: {said}");
    }
    assert_eq!(cluster.run(&["get", "numbers", "1"]).stdout, b"one\n");
}

#[test]
fn keys_that_postgresql_considers_equal_are_one_entry() {
    let Some(postgres) = Postgres::start_or_skip("one_entry") else { return };
    // The tests' database has no letters except A to Z.
    let url = postgres.url();
    let (server, _) = url.rsplit_once('/').expect("a database");
    let mut created = Cluster::with("spelled-database", TWO_PAIRS, |config| {
        let init = "CREATE DATABASE letters TEMPLATE template0 LC_CTYPE 'C.UTF-8'";
        config.origin = Some(OriginConfig::postgres(&url));
        if let OriginKind::Postgres { init: all, .. } =
            &mut config.origin.as_mut().expect("it has a database").kind
        {
            *all = Some(init.to_owned());
        }
        let mut nothing = KeyspaceConfig::new(KEYSPACE, "nothing", "SELECT :key");
        nothing.value_type = ColumnType::Text;
        config.keyspaces = vec![nothing];
    });
    created.start_server("a1");
    drop(created);

    let mut cluster = Cluster::with("spelled-postgres", TWO_PAIRS, |config| {
        strictly(config);
        config.origin = Some(OriginConfig::postgres(&format!("{server}/letters")));
        if let OriginKind::Postgres { init, .. } =
            &mut config.origin.as_mut().expect("it has a database").kind
        {
            let tables = "CREATE EXTENSION IF NOT EXISTS citext;
                          CREATE TABLE IF NOT EXISTS ids (k uuid PRIMARY KEY, v text);
                          CREATE TABLE IF NOT EXISTS users (k citext PRIMARY KEY, v text)";
            *init = Some(tables.to_owned());
        }
        config.keyspaces = vec![
            KeyspaceConfig { key_type: ColumnType::Uuid, ..upsert(KEYSPACE, "ids") },
            KeyspaceConfig { key_case: KeyCase::Unicode, ..upsert(2, "users") },
        ];
    });
    cluster.start();
    one_entry_for_all_spellings(&cluster, KEYSPACE, uuids);
    one_entry_for_foreign_clients(&cluster, uuids);
    one_entry_for_all_spellings(&cluster, 2, names);
    one_entry_for_all_spellings(&cluster, 2, umlauts);

    let none = cluster.run(&["get", "ids", "a0eebc99"]);
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert_eq!(none.status.code(), Some(2), "{said}");
    assert!(said.contains("not a UUID"), "{said}");
}

#[test]
fn a_server_does_not_start_where_its_keyspace_would_keep_a_row_twice() {
    let cluster = Cluster::with("spelled-refused", TWO_PAIRS, |config| {
        if let OriginKind::Sqlite { init, .. } =
            &mut config.origin.as_mut().expect("it has a database").kind
        {
            *init = Some("CREATE TABLE users (k TEXT COLLATE NOCASE PRIMARY KEY, v)".to_owned());
        }
        config.keyspaces = vec![upsert(KEYSPACE, "users")];
    });
    let output = cluster.run(&["server", "--name", "a1"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    for part in ["keyspace users", "COLLATE NOCASE", "key_case = \"ascii\""] {
        assert!(said.contains(part), "{said}");
    }
}
