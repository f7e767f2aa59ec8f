//! Miss ratio of a trace, read-through, with sizes clamped to 64..=4096 bytes of key and
//! value together. The budget is for everything: arena, index and policy.

use std::error::Error;
use std::path::Path;

use standin_server::store::NewItem;

use super::{NOW_MS, VERSION_BASE, new_store};
use crate::exchange::KEYSPACE;

/// Bytes of a record: time u32, object u64, size u32, next access i64, little-endian.
const RECORD_BYTES: usize = 24;
const SIZE_MIN: usize = 64;
const SIZE_MAX: usize = 4_096;

struct Access {
    object: u64,
    bytes: usize,
}

/// Prints a table.
///
/// # Errors
/// The file can't be read, or there is not enough memory.
pub fn run(path: &Path, budgets_mib: &[usize]) -> Result<(), Box<dyn Error>> {
    let accesses = read(path)?;
    println!("{} requests", accesses.len());
    println!("| budget | arena | index and policy | miss ratio | evicted | kept |");
    println!("|---|---|---|---|---|---|");
    for &mib in budgets_mib {
        let budget = mib << 20;
        // Index and policy grow with the items: found by trying.
        let mut arena_bytes = budget;
        loop {
            let replay = replay(&accesses, arena_bytes)?;
            let all = replay.arena_bytes + replay.overhead_bytes;
            if all > budget {
                arena_bytes -= (all - budget).max(64 << 10);
                continue;
            }
            println!(
                "| {mib} MiB | {:.2} MiB | {:.2} MiB | {:.3} | {} | {} |",
                replay.arena_bytes as f64 / 1_048_576.0,
                replay.overhead_bytes as f64 / 1_048_576.0,
                replay.misses as f64 / accesses.len() as f64,
                replay.evicted,
                replay.kept
            );
            break;
        }
    }
    println!();
    Ok(())
}

fn read(path: &Path) -> Result<Vec<Access>, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD_BYTES) {
        return Err(format!("{}: not records of {RECORD_BYTES} bytes", path.display()).into());
    }
    let access = |record: &[u8]| {
        let object = record[4..12].iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
        let size = record[12..16].iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte));
        Access { object, bytes: size.clamp(SIZE_MIN, SIZE_MAX) }
    };
    Ok(bytes.chunks_exact(RECORD_BYTES).map(access).collect())
}

struct Replay {
    misses: u64,
    arena_bytes: usize,
    overhead_bytes: usize,
    evicted: u64,
    kept: u64,
}

fn replay(accesses: &[Access], arena_bytes: usize) -> Result<Replay, Box<dyn Error>> {
    let mut store = new_store(arena_bytes, false)?;
    let mut misses = 0;
    let value = [7; SIZE_MAX];
    for (access, turn) in accesses.iter().zip(0_u64..) {
        let key = access.object.to_le_bytes();
        let hint = store.hint(KEYSPACE, &key);
        if store.get(hint, KEYSPACE, &key, 0, NOW_MS).is_some() {
            continue;
        }
        misses += 1;
        let value = &value[..access.bytes - key.len()];
        let version = VERSION_BASE + (turn << 13);
        let item = NewItem {
            value,
            version,
            expires_at_ms: NOW_MS + 86_400_000,
            negative: false,
            flags: 0,
            marks: 0,
        };
        store.insert(KEYSPACE, &key, item, NOW_MS)?;
    }
    let stats = store.stats();
    Ok(Replay {
        misses,
        arena_bytes: usize::try_from(stats.arena_bytes)?,
        overhead_bytes: usize::try_from(stats.index_bytes + stats.policy_bytes)?,
        evicted: stats.evicted,
        kept: stats.kept,
    })
}
