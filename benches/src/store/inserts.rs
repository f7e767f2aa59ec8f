//! The cost of an insert while the store fills and while it evicts, and what the worst
//! single inserts were: page faults, other processes' turns, or the store's own work.
//!
//! Each insert is timed by the wall clock and by the thread's CPU clock: if the first shows more
//! than the second, another process had the core (or the host had the machine).
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

use std::error::Error;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use standin_server::store::Store;

use super::{insert, new_store};
use crate::cpu::thread_cpu;
use crate::driver::new_histogram;
use crate::exchange::VALUE_BYTES;

/// The worst inserts to describe.
const WORST: usize = 5;

/// Prints a table, and the worst inserts below it.
///
/// # Errors
/// There is not enough memory.
pub fn run(arena_bytes: usize) -> Result<(), Box<dyn Error>> {
    println!(
        "| inserts | pages | mean CPU ns | p50 ns | p99 | p99.9 | p99.99 | max µs | of it CPU µs |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut notes = Vec::new();
    for (huge_pages, prefault) in [(false, false), (true, false), (true, true)] {
        let mut store = new_store(arena_bytes, huge_pages)?;
        let pages = match (huge_pages, prefault) {
            (false, _) => "small",
            (true, false) => "huge",
            (true, true) => "huge, touched before",
        };
        if prefault {
            touch_arena(arena_bytes)?;
        }
        let mut next = 0;
        // Header, key and value are some 130 bytes: the first part just does not evict.
        let fits = u32::try_from(arena_bytes / 140)?;
        for (name, count) in [("filling", fits), ("evicting", 2 * fits)] {
            if name == "evicting" {
                // To the point where every insert has to make its own room.
                while store.stats().evicted == 0 {
                    insert_some(&mut store, &mut next, 4_096)?;
                }
            }
            let phase = Phase::time(&mut store, &mut next, count)?;
            phase.print(name, pages, &mut notes);
        }
    }
    println!("\nWorst inserts (faults: minor page faults; switched: involuntary switches):");
    for note in notes {
        println!("- {note}");
    }
    println!();
    Ok(())
}

fn insert_some(store: &mut Store, next: &mut u32, count: u32) -> Result<(), Box<dyn Error>> {
    for _ in 0..count {
        insert(store, *next, &[7; VALUE_BYTES])?;
        *next += 1;
    }
    Ok(())
}

struct Slow {
    wall: Duration,
    cpu: Duration,
    faults: i64,
    switched: i64,
}

struct Phase {
    wall_ns: Histogram<u64>,
    worst: Vec<Slow>,
    /// Of a second pass, without the clocks.
    mean_cpu_ns: f64,
}

impl Phase {
    fn time(store: &mut Store, next: &mut u32, count: u32) -> Result<Self, Box<dyn Error>> {
        let mut wall_ns = new_histogram();
        let mut worst: Vec<Slow> = Vec::new();
        // Half with all clocks around each insert, half with one around all.
        let timed = count / 2;
        for _ in 0..timed {
            let (usage, cpu, wall) = (usage(), thread_cpu(), Instant::now());
            insert(store, *next, &[7; VALUE_BYTES])?;
            let slow_wall = wall.elapsed();
            *next += 1;
            wall_ns.saturating_record(u64::try_from(slow_wall.as_nanos())?);
            if worst.last().is_none_or(|last| worst.len() < WORST || last.wall < slow_wall) {
                let after = self::usage();
                worst.push(Slow {
                    wall: slow_wall,
                    cpu: thread_cpu().saturating_sub(cpu),
                    faults: after.0 - usage.0,
                    switched: after.1 - usage.1,
                });
                worst.sort_by_key(|slow| std::cmp::Reverse(slow.wall));
                worst.truncate(WORST);
            }
        }
        let start = thread_cpu();
        insert_some(store, next, count - timed)?;
        let cpu_ns = thread_cpu().saturating_sub(start).as_nanos() as f64;
        let mean_cpu_ns = cpu_ns / f64::from(count - timed);
        Ok(Self { wall_ns, worst, mean_cpu_ns })
    }

    fn print(&self, name: &str, pages: &str, notes: &mut Vec<String>) {
        let at = |quantile| self.wall_ns.value_at_quantile(quantile);
        let worst_cpu = self.worst.first().map_or(Duration::ZERO, |slow| slow.cpu);
        println!(
            "| {name} | {pages} | {:.0} | {} | {} | {} | {} | {} | {} |",
            self.mean_cpu_ns,
            at(0.5),
            at(0.99),
            at(0.999),
            at(0.9999),
            self.wall_ns.max() / 1_000,
            worst_cpu.as_micros()
        );
        let slow = self.worst.iter().map(|slow| {
            format!(
                "{} µs (CPU {} µs, faults {}, switched {})",
                slow.wall.as_micros(),
                slow.cpu.as_micros(),
                slow.faults,
                slow.switched
            )
        });
        notes.push(format!("{name}, {pages}: {}", slow.collect::<Vec<_>>().join("; ")));
    }
}

/// Minor faults and involuntary switches of this thread so far.
fn usage() -> (i64, i64) {
    // SAFETY: all-zero is a valid rusage, and the call only writes to it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage
    };
    (usage.ru_minflt, usage.ru_nivcsw)
}

/// Makes the kernel allocate the arena's pages now. The store has no option for this, so its
/// mapping is found by its size.
fn touch_arena(arena_bytes: usize) -> Result<(), Box<dyn Error>> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut of_its_size = maps.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (from, to) = fields.next()?.split_once('-')?;
        let from = usize::from_str_radix(from, 16).ok()?;
        let to = usize::from_str_radix(to, 16).ok()?;
        (to - from >= arena_bytes && fields.next()? == "rw-p").then_some((from, to - from))
    });
    let (address, bytes) = of_its_size.next_back().ok_or("no mapping of the arena's size")?;
    // SAFETY: populating only fills in pages of a mapping of this process; its contents
    // stay as they are.
    let result =
        unsafe { libc::madvise(address as *mut libc::c_void, bytes, libc::MADV_POPULATE_WRITE) };
    if result != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}
