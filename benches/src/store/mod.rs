//! Measurements of the store alone; `bin/store` runs them.

pub mod inserts;
pub mod lookups;
pub mod memory;
pub mod trace;

use standin_server::store::{NewItem, Store, StoreConfig, StoreError};

use crate::exchange::{KEYSPACE, key};

/// A time for all: nothing expires here.
const NOW_MS: u64 = 1_000;
/// Versions as a server gives them: microseconds above a salt of 13 bits.
const VERSION_BASE: u64 = 1_800_000_000_000_000 << 13;

fn new_store(arena_bytes: usize, huge_pages: bool) -> Result<Store, StoreError> {
    let item_bytes_max = 4_096 + 64;
    Store::new(&StoreConfig { arena_bytes, huge_pages, item_bytes_max, hash_seeds: None })
}

/// Inserts key number `index` as a server would: with a version of its own and a lifetime.
fn insert(store: &mut Store, index: u32, value: &[u8]) -> Result<(), StoreError> {
    let version = VERSION_BASE + (u64::from(index) << 13);
    let item = NewItem {
        value,
        version,
        expires_at_ms: NOW_MS + 86_400_000,
        negative: false,
        flags: 0,
        marks: 0,
    };
    store.insert(KEYSPACE, &key(index), item, NOW_MS)
}
