//! Tests besides the schedules: runs are repeatable, and a few hundred seeds pass.

use crate::cli::AVAILABLE_ONLY;
use crate::many::{Options, guarded, plan_of, run_many};
use crate::plan::{DISTURBED, Mode};

const MODES: [Mode; 2] = [Mode::Available, Mode::Strict];
/// The number of seeds in each mode.
const SEEDS: u64 = 200;
/// The counters that stay at zero, or nearly so, in this few seeds. All others must rise.
const RARE: &[&str] = &[
    "agent datagrams_distrusted",
    "agent map_epoch",
    "announcements_overdue",
    "client topologies",
    "datagrams_distrusted",
    "event_distrusted",
    "server arena_bytes",
    "server auth_failures_memcached",
    "server auth_failures_native",
    "server auth_failures_redis",
    "server busy_us",
    "server clients_refused",
    "server deadlines_passed",
    "server fetches_held",
    "server handbacks_failed",
    "server handshakes_refused",
    "server index_bytes",
    "server keys_owed",
    "server loop_lag_us",
    "server masters_refused",
    "server not_owner",
    "server observers_refused",
    "server output_bytes",
    "server peers_refused",
    "server rate_refused",
    "server redirected",
    "server requests_memcached",
    "server requests_redis",
    "server strayed",
    "server surge_held",
    "server surge_refused",
    "server tls_failures",
    "server tls_handshakes",
    "server tls_in_kernel",
    "server waiting_bytes",
    "server writes_unacknowledged",
    "sim calls_not_begun",
    "sim executed_after_ack",
    "sim executed_twice",
    "sim overwrote_newer_ack",
    "sim stale_within_bound",
];

fn options(mode: Mode) -> Options {
    Options { mode, length: DISTURBED, steps: None, missing: None }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let mut hashes = std::collections::BTreeSet::new();
    for mode in MODES {
        for seed in 1..=12 {
            let plan = plan_of(seed, &options(mode));
            let (first, second) = (guarded(&plan, false), guarded(&plan, true));
            let name = |o: &crate::world::Outcome| (o.hash, o.time, o.events, o.counted.clone());
            assert_eq!(name(&first), name(&second), "seed {seed}, mode {mode}");
            // A run without faults may be the same in both modes.
            hashes.insert(first.hash);
        }
    }
    assert!(hashes.len() >= 12, "different seeds give different runs");
}

#[test]
fn a_plan_can_be_as_long_as_wanted() {
    for steps in [0, 40, 1_500] {
        let plan = plan_of(7, &Options { steps: Some(steps), ..options(Mode::Strict) });
        assert_eq!(plan.entries.len(), steps);
        assert!(guarded(&plan, false).violation.is_none());
    }
}

#[test]
fn seeds_of_mode_available_go_well() {
    go_well(Mode::Available);
}

#[test]
fn seeds_of_mode_strict_go_well() {
    go_well(Mode::Strict);
}

fn go_well(mode: Mode) {
    let sum = run_many(0..SEEDS, 1, &options(mode), false);
    if let Some((seed, violation)) = sum.failed.first_key_value() {
        panic!("cargo sim --seed {seed} --mode {mode}: {violation}");
    }
    let is_expected = |name: &str| {
        let is_of_mode = mode == Mode::Available || !AVAILABLE_ONLY.contains(&name);
        is_of_mode && !RARE.contains(&name)
    };
    let counted = sum.counted.list();
    let never = counted.iter().filter(|(name, count)| **count == 0 && is_expected(name));
    let never: Vec<&String> = never.map(|(name, _)| name).collect();
    assert!(never.is_empty(), "counters that do not move in {SEEDS} seeds of {mode}: {never:?}");
}
