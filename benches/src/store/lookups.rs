//! The cost of a get, one at a time and in batches, with small and huge pages.
//! The thread's CPU time is taken, not the wall's: other processes' turns do not count.

use std::error::Error;
use std::hint::black_box;

use standin_server::store::{IndexHint, Store};

use super::{NOW_MS, insert, new_store};
use crate::cpu::thread_cpu;
use crate::exchange::{KEYSPACE, VALUE_BYTES, key};
use crate::report::Spread;

/// Gets of one round.
const GETS: u32 = 2_000_000;
/// The number of keys in a batch: as many as a deep pipeline brings in one wake-up of one
/// connection.
const BATCH: usize = 64;

/// Prints a table.
///
/// # Errors
/// There is not enough memory, or the store has lost an item.
pub fn run(items: &[u32], rounds: u32) -> Result<(), Box<dyn Error>> {
    println!("| items | pages | one at a time, CPU ns/get | batches of {BATCH}, CPU ns/get |");
    println!("|---|---|---|---|");
    for &items in items {
        for huge_pages in [false, true] {
            // A fifth more than needed: nothing is evicted.
            let mut store = new_store(items as usize * 150 + (16 << 20), huge_pages)?;
            for index in 0..items {
                insert(&mut store, index, &[7; VALUE_BYTES])?;
            }
            let (mut single, mut batched) = (Vec::new(), Vec::new());
            for round in 0..rounds {
                let keys = random_keys(items, u64::from(round) + 1);
                single.push(time(&mut store, &keys, 1)?);
                batched.push(time(&mut store, &keys, BATCH)?);
            }
            let (single, batched) = (Spread::of(single), Spread::of(batched));
            let pages = if huge_pages { "huge" } else { "small" };
            println!(
                "| {items} | {pages} | {:.0} ({:.0}–{:.0}) | {:.0} ({:.0}–{:.0}) |",
                single.median, single.min, single.max, batched.median, batched.min, batched.max
            );
        }
    }
    println!();
    Ok(())
}

fn random_keys(items: u32, seed: u64) -> Vec<[u8; 16]> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::try_from(((state >> 32) * u64::from(items)) >> 32).unwrap_or(0)
    };
    (0..GETS).map(|_| key(next())).collect()
}

fn time(store: &mut Store, keys: &[[u8; 16]], batch: usize) -> Result<f64, Box<dyn Error>> {
    let mut hints: Vec<IndexHint> = Vec::with_capacity(batch);
    let mut missed = 0_u64;
    let start = thread_cpu();
    for keys in keys.chunks(batch) {
        hints.clear();
        hints.extend(keys.iter().map(|key| store.hint(KEYSPACE, key)));
        for (hint, key) in hints.iter().zip(keys) {
            // The whole value is read, as a reply's copy would.
            match store.get(*hint, KEYSPACE, key, 0, NOW_MS) {
                Some(item) => {
                    black_box(item.value.iter().map(|&byte| u64::from(byte)).sum::<u64>());
                }
                None => missed += 1,
            }
        }
    }
    let elapsed_ns = thread_cpu().saturating_sub(start).as_nanos() as f64;
    if missed > 0 {
        return Err(format!("{missed} items of a store that is not full are gone").into());
    }
    Ok(elapsed_ns / keys.len() as f64)
}
