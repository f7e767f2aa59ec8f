//! The cache serves the value of the row, whatever the keyspace's statements do.

use standin_client::{CasOutcome, ClientError};
use standin_config::{AfterPut, KeyspaceConfig, OriginConfig, OriginKind};
use standin_testkit::Postgres;

use crate::common::{Cluster, PAIR};

const USERS: u8 = 2;

/// Creates a cluster whose keyspace `users` has these statements on a table that `init` creates.
fn cluster(test: &str, init: &str, users: impl FnOnce(&mut KeyspaceConfig)) -> Cluster {
    Cluster::with(test, PAIR, |config| {
        if let OriginKind::Sqlite { init: all, .. } =
            &mut config.origin.as_mut().expect("it has a database").kind
        {
            *all = Some(format!("{}; {init}", all.clone().unwrap_or_default()));
        }
        let mut keyspace =
            KeyspaceConfig::new(USERS, "users", "SELECT v FROM users WHERE id = :key");
        users(&mut keyspace);
        config.keyspaces.push(keyspace);
    })
}

#[test]
fn a_write_that_changed_no_row_is_not_acknowledged_and_not_cached() {
    let init = "CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, v TEXT);
                INSERT OR IGNORE INTO users VALUES ('somebody', '1')";
    let mut cluster = cluster("not-stored", init, |users| {
        users.put = Some("UPDATE users SET v = :value WHERE id = :key".to_owned());
        users.delete = Some("DELETE FROM users WHERE id = :key".to_owned());
    });
    cluster.start();
    let put = cluster.run(&["put", "users", "nobody", "7"]);
    assert_eq!(put.status.code(), Some(1), "{put:?}");
    let said = String::from_utf8_lossy(&put.stderr).into_owned();
    assert!(said.contains("nobody") && said.contains("keyspace users changed no row"), "{said}");
    let get = cluster.run(&["get", "users", "nobody"]);
    assert_eq!((get.status.code(), get.stdout.len()), (Some(1), 0), "{get:?}");
    assert_eq!(cluster.run(&["put", "users", "somebody", "7"]).status.code(), Some(0));
    assert_eq!(cluster.run(&["get", "users", "somebody"]).stdout, b"7\n");

    let mut client = cluster.client();
    let not_stored = ClientError::NotStored { keyspace: "users".to_owned() };
    assert_eq!(client.put(USERS, b"nobody", b"8".to_vec(), 0), Err(not_stored.clone()));
    // This version belongs to an absent row. A CAS with it would create the row.
    let old = client.get(USERS, b"somebody").expect("read").expect("there");
    assert_eq!(client.delete(USERS, b"somebody"), Ok(true));
    assert_eq!(client.delete(USERS, b"somebody"), Ok(false));
    let swapped = client.cas(USERS, b"somebody", old.version, b"9".to_vec(), 0);
    assert!(!matches!(swapped, Ok(CasOutcome::Written { .. })), "{swapped:?}");
    assert_eq!(client.get(USERS, b"somebody"), Ok(None));
}

#[test]
fn after_a_write_reads_return_the_value_of_the_row() {
    let Some(postgres) = Postgres::start_or_skip("what_the_row_holds") else { return };
    let init = "CREATE TABLE users (id text PRIMARY KEY, doc jsonb, n numeric(18,4) DEFAULT 0)";
    let upsert = "INSERT INTO users (id, doc) VALUES (:key, :value::jsonb)
                  ON CONFLICT (id) DO UPDATE SET doc = excluded.doc";
    let mut cluster = Cluster::with("row-holds", PAIR, |config| {
        config.origin = Some(OriginConfig::postgres(&postgres.url()));
        if let OriginKind::Postgres { init: all, .. } =
            &mut config.origin.as_mut().expect("it has a database").kind
        {
            *all = Some(init.replace("TABLE", "TABLE IF NOT EXISTS"));
        }
        let keyspace = |id, name: &str, get: &str, put: String, after_put| {
            let value_type = standin_config::ColumnType::Text;
            let put = Some(put);
            KeyspaceConfig { put, after_put, value_type, ..KeyspaceConfig::new(id, name, get) }
        };
        let doc = "SELECT doc FROM users WHERE id = :key";
        let add = "UPDATE users SET n = n + :value::numeric WHERE id = :key".to_owned();
        let returning = format!("{upsert} RETURNING doc");
        config.keyspaces = vec![
            keyspace(1, "docs", doc, upsert.to_owned(), AfterPut::Reread),
            keyspace(2, "told", doc, returning, AfterPut::Returning),
            keyspace(3, "asked", doc, upsert.to_owned(), AfterPut::Drop),
            keyspace(4, "sums", "SELECT n::text FROM users WHERE id = :key", add, AfterPut::Reread),
        ];
    });
    cluster.start();
    let mut client = cluster.client();
    let sent = br#"{"b":1, "a":2,"a":3}"#;
    for (keyspace, is_cached) in [(1, true), (2, true), (3, false)] {
        client.put(keyspace, b"u", sent.to_vec(), 0).expect("written");
        let action = standin_client::Action::Get;
        let read = standin_client::Operation { keyspace, key: b"u".to_vec(), action };
        for is_hit in [is_cached, true] {
            let answer = client.run(read.clone()).expect("read");
            assert_eq!(answer.is_hit(), is_hit, "keyspace {keyspace}");
            match answer.outcome {
                standin_client::Outcome::Value(value) => {
                    assert_eq!(value.bytes, br#"{"a": 3, "b": 1}"#, "keyspace {keyspace}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
    client.put(4, b"u", b"2.5".to_vec(), 0).expect("written");
    let sum = client.get(4, b"u").expect("read").expect("there");
    assert_eq!(sum.bytes, b"2.5000");
    // The version belongs to the sum, and not to the value that was sent.
    let swapped = client.cas(4, b"u", sum.version, b"-1".to_vec(), 0).expect("decided");
    assert!(matches!(swapped, CasOutcome::Written { .. }), "{swapped:?}");
    assert_eq!(client.get(4, b"u").expect("read").expect("there").bytes, b"1.5000");
}
