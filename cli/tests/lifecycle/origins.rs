//! The database goes away and comes back. Cached values are served, other reads are refused at
//! once, no write is acknowledged, and no process has to be restarted.

use std::time::Duration;

use standin_client::ClientError;
use standin_client::blocking::Client;
use standin_config::{OriginConfig, OriginKind};
use standin_protocol::frame::Status;
use standin_protocol::time::Micros;
use standin_testkit::{Postgres, wait_until};

use crate::common::{Cluster, KEYSPACE, PAIR, WITHIN};

/// The limit on the time of one call to the database.
const ORIGIN_TIMEOUT: Duration = Duration::from_millis(400);
/// The longest time that counts as "at once" on a busy machine. It is several timeouts, and far
/// below the operation timeout.
const AT_ONCE: Duration = Duration::from_millis(2_500);

fn timed<T>(action: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Micros::boottime();
    let result = action();
    (result, Micros::boottime().since(begin))
}

fn get(client: &mut Client, key: &[u8]) -> Result<Option<Vec<u8>>, ClientError> {
    Ok(client.get(KEYSPACE, key)?.map(|value| value.bytes))
}

fn write_again(client: &mut Client, key: &[u8]) {
    wait_until(WITHIN, "writes to work again", || {
        client.put(KEYSPACE, key, b"again".to_vec(), 0).is_ok()
    });
    assert_eq!(get(client, key), Ok(Some(b"again".to_vec())));
}

/// A real PostgreSQL is stopped and started.
#[test]
fn postgresql_serves_the_cluster_and_its_outage_is_survived() {
    let test = "postgresql_serves_the_cluster";
    let Some(mut postgres) = Postgres::start_or_skip(test) else { return };
    let mut cluster = Cluster::with("postgres", PAIR, |config| {
        config.origin = Some(OriginConfig::postgres(&postgres.url()));
        config.origin.as_mut().expect("it has a database").timeout = ORIGIN_TIMEOUT;
        if let OriginKind::Postgres { init, .. } =
            &mut config.origin.as_mut().expect("it has a database").kind
        {
            let sql =
                "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, value BYTEA NOT NULL)";
            *init = Some(sql.to_owned());
        }
    });
    cluster.start();
    let mut client = cluster.client();
    for server in ["a1", "a2"] {
        let key = cluster.key_of(server);
        client.put(KEYSPACE, &key, server.as_bytes().to_vec(), 0).expect("written");
        let (invalidated, deleted) = (client.invalidate(KEYSPACE, &key), b"soon deleted");
        invalidated.expect("invalidated");
        assert_eq!(get(&mut client, &key), Ok(Some(server.as_bytes().to_vec())), "read back");
        client.put(KEYSPACE, deleted, b"x".to_vec(), 0).expect("written");
        assert_eq!(client.delete(KEYSPACE, deleted), Ok(true));
        assert_eq!(client.delete(KEYSPACE, deleted), Ok(false));
    }

    postgres.stop();
    for server in ["a1", "a2"] {
        let key = cluster.key_of(server);
        let reply = cluster.connect(server).get(&key);
        assert!(reply.is_hit() && reply.value() == server.as_bytes(), "goes on: {reply:?}");
        let uncached = cluster.keys_of(server).nth(5).expect("a key");
        let (reply, took) = timed(|| cluster.connect(server).get(&uncached));
        assert_eq!(reply.status, Status::OriginUnavailable);
        assert!(took < AT_ONCE, "a miss: {took:?}");
        let (reply, took) = timed(|| cluster.connect(server).put(&key, b"lost"));
        assert!(!matches!(reply.status, Status::Ok | Status::NotFound), "not acknowledged");
        assert!(took < AT_ONCE, "a write: {took:?}");
    }
    let status = cluster.run(&["status"]);
    let said = String::from_utf8_lossy(&status.stdout);
    assert_eq!(status.status.code(), Some(3), "{said}");
    assert!(said.contains("critical: a1 has not reached the database since 20"), "{said}");
    assert!(said.contains("onnect"), "and why: {said}");
    // A server is not considered dead because its database is.
    assert!(cluster.events().all().iter().all(|event| event.kind != "offline"));

    postgres.restart();
    for server in ["a1", "a2"] {
        let key = cluster.key_of(server);
        write_again(&mut client, &key);
    }
}

/// The file of SQLite is locked by another process for longer than a call may take.
#[test]
fn a_locked_sqlite_file_refuses_writes_and_comes_back() {
    let mut cluster = Cluster::with("sqlite-lock", PAIR, |config| {
        config.origin.as_mut().expect("it has a database").timeout = ORIGIN_TIMEOUT;
    });
    cluster.start();
    let mut client = cluster.client();
    let keys: Vec<Vec<u8>> = cluster.keys_of("a1").take(3).collect();
    client.put(KEYSPACE, &keys[0], b"cached".to_vec(), 0).expect("written");
    cluster.set_row(&keys[1], b"not cached");

    let lock = cluster.database();
    lock.execute_batch("BEGIN EXCLUSIVE").expect("the lock");
    let (refused, took) = timed(|| client.put(KEYSPACE, &keys[2], b"lost".to_vec(), 0));
    // On a busy machine the answer may come too late to say that nothing was done.
    let is_refused =
        matches!(refused, Err(ClientError::OriginUnavailable(_) | ClientError::OutcomeUnknown));
    assert!(is_refused, "{refused:?}");
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(get(&mut client, &keys[0]), Ok(Some(b"cached".to_vec())));
    // In WAL mode a write lock does not block readers.
    assert_eq!(get(&mut client, &keys[1]), Ok(Some(b"not cached".to_vec())));
    assert_eq!(get(&mut client, &keys[2]), Ok(None), "what was refused was not written");

    lock.execute_batch("ROLLBACK").expect("unlocked");
    write_again(&mut client, &keys[2]);
    assert_eq!(cluster.row(&keys[2]).as_deref(), Some(&b"again"[..]));
}
