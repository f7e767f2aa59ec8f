//! Bytes per item beyond key and value.

use std::error::Error;

use super::{insert, new_store};
use crate::exchange::KEY_BYTES;

const ARENA_BYTES: usize = 256 << 20;

/// Prints a table: for a store that is full and has evicted as much again.
///
/// # Errors
/// There is not enough memory.
pub fn run() -> Result<(), Box<dyn Error>> {
    println!(
        "| value | items | in the arena (header, padding) | free or dead in the arena | index | policy | all |"
    );
    println!("|---|---|---|---|---|---|---|");
    for value_bytes in [100, 20] {
        let mut store = new_store(ARENA_BYTES, true)?;
        let inserts = u32::try_from(2 * ARENA_BYTES / (KEY_BYTES + value_bytes))?;
        for index in 0..inserts {
            insert(&mut store, index, &vec![7; value_bytes])?;
        }
        let stats = store.stats();
        let payload = stats.items * (KEY_BYTES + value_bytes) as u64;
        let per_item = |bytes: u64| bytes as f64 / stats.items as f64;
        let all = stats.arena_bytes + stats.index_bytes + stats.policy_bytes;
        println!(
            "| {value_bytes} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
            stats.items,
            per_item(stats.live_bytes - payload),
            per_item(stats.arena_bytes - stats.live_bytes),
            per_item(stats.index_bytes),
            per_item(stats.policy_bytes),
            per_item(all - payload)
        );
    }
    println!();
    Ok(())
}
