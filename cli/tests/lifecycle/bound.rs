//! Two keyspaces over the same rows (`also_invalidates`): a row that is written through one is read
//! through the other.

use standin_config::{KeyspaceConfig, OriginKind};
use standin_protocol::map::ServerState::{Offline, Online};

use crate::common::{Cluster, PAIR};

const ITEMS: u8 = 1;
const SIZES: u8 = 2;

/// Creates a cluster in which the keyspace `sizes` shows the length of each item.
fn cluster(test: &str) -> Cluster {
    Cluster::with(test, PAIR, |config| {
        config.mode = standin_config::Mode::Strict;
        if let OriginKind::Sqlite { init: all, .. } =
            &mut config.origin.as_mut().expect("it has a database").kind
        {
            let view =
                "CREATE VIEW IF NOT EXISTS sizes AS SELECT id, length(value) AS size FROM items";
            *all = Some(format!("{}; {view}", all.clone().unwrap_or_default()));
        }
        let get = "SELECT CAST(size AS TEXT) FROM sizes WHERE id = :key";
        config.keyspaces.push(KeyspaceConfig::new(SIZES, "sizes", get));
        config.keyspaces[0].also_invalidates = vec![SIZES];
    })
}

fn size(cluster: &Cluster, key: &[u8]) -> Option<Vec<u8>> {
    cluster.client().get(SIZES, key).expect("read").map(|value| value.bytes)
}

#[test]
fn a_row_written_through_one_keyspace_is_read_again_through_the_other() {
    let mut cluster = cluster("bound");
    cluster.start();
    let mut client = cluster.client();
    for home in ["a1", "a2"] {
        let key = cluster.key_of(home);
        let text = std::str::from_utf8(&key).expect("text").to_owned();
        assert_eq!(size(&cluster, &key), None);
        for length in [3usize, 5, 7] {
            client.put(ITEMS, &key, vec![b'x'; length], 0).expect("written");
            assert_eq!(size(&cluster, &key), Some(length.to_string().into_bytes()));
            assert_eq!(
                size(&cluster, &key),
                Some(length.to_string().into_bytes()),
                "from the cache"
            );
        }
        assert_eq!(client.delete(ITEMS, &key), Ok(true));
        assert_eq!(size(&cluster, &key), None);
        // The row is changed without the cluster's knowledge, and then only the key in the keyspace
        // of the table is invalidated.
        cluster.set_row(&key, b"xx");
        assert_eq!(cluster.run(&["invalidate", "items", &text]).status.code(), Some(0));
        assert_eq!(size(&cluster, &key), Some(b"2".to_vec()));
        cluster.set_row(&key, b"xxxx");
        assert_eq!(
            size(&cluster, &key),
            Some(b"2".to_vec()),
            "the other keyspace was not invalidated"
        );
        assert_eq!(cluster.run(&["flush", "items"]).status.code(), Some(0));
        assert_eq!(size(&cluster, &key), Some(b"4".to_vec()));
    }
}

/// A stopped home has the old row in its cache, in the keyspace that was not written.
#[test]
fn a_server_that_was_away_is_told_for_both() {
    let mut cluster = cluster("bound-away");
    cluster.start();
    let key = cluster.key_of("a1");
    let mut client = cluster.client();
    client.put(ITEMS, &key, b"old".to_vec(), 0).expect("written");
    assert_eq!(size(&cluster, &key), Some(b"3".to_vec()));
    cluster.freeze("a1");
    client.put(ITEMS, &key, b"newer".to_vec(), 0).ok();
    cluster.wait_states(&[("a1", Offline)]);
    client.put(ITEMS, &key, b"newest".to_vec(), 0).expect("written by a2");
    assert_eq!(size(&cluster, &key), Some(b"6".to_vec()), "from a2");
    cluster.thaw("a1");
    cluster.wait_all(Online);
    assert_eq!(size(&cluster, &key), Some(b"6".to_vec()), "from a1");
}
