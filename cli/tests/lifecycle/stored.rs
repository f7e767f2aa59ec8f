//! What the cache serves is what the row holds, whatever the keyspace's statements do.

use standin_client::{CasOutcome, ClientError};
use standin_config::{KeyspaceConfig, OriginKind};

use crate::common::{Cluster, PAIR};

const USERS: u8 = 2;

/// A cluster whose keyspace `users` has these statements on a table that `init` makes.
fn cluster(test: &str, init: &str, users: impl FnOnce(&mut KeyspaceConfig)) -> Cluster {
    Cluster::with(test, PAIR, |config| {
        if let OriginKind::Sqlite { init: all, .. } = &mut config.origin.kind {
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
    assert!(said.contains("nobody") && said.contains("changed no row"), "{said}");
    let get = cluster.run(&["get", "users", "nobody"]);
    assert_eq!((get.status.code(), get.stdout.len()), (Some(1), 0), "{get:?}");
    assert_eq!(cluster.run(&["put", "users", "somebody", "7"]).status.code(), Some(0));
    assert_eq!(cluster.run(&["get", "users", "somebody"]).stdout, b"7\n");

    let mut client = cluster.client();
    let not_stored = ClientError::NotStored { keyspace: USERS };
    assert_eq!(client.put(USERS, b"nobody", b"8".to_vec(), 0), Err(not_stored.clone()));
    // The version of an absent row, with which a CAS would create it.
    let old = client.get(USERS, b"somebody").expect("read").expect("there");
    assert_eq!(client.delete(USERS, b"somebody"), Ok(true));
    assert_eq!(client.delete(USERS, b"somebody"), Ok(false));
    let swapped = client.cas(USERS, b"somebody", old.version, b"9".to_vec(), 0);
    assert!(!matches!(swapped, Ok(CasOutcome::Written { .. })), "{swapped:?}");
    assert_eq!(client.get(USERS, b"somebody"), Ok(None));
}
