//! Warming up: the most wanted rows once each, then the workload itself until the hit ratio
//! is steady. What fails here counts, but its latencies are not measured.

use std::sync::Arc;
use std::time::Duration;

use standin_protocol::time::Micros;

use super::{DemoError, pacing};
use crate::console::Console;
use crate::drive::{self, Pacing, Plan};
use crate::interrupt::Interrupt;
use crate::live::{Live, Progress};
use crate::recorder::{Counts, Recording};
use crate::watch::{Look, Shown, Watched};
use crate::workload::{Mix, Supply, SweepAccess};

/// Rows that are read once each at first.
const PRELOAD_SHARE: u32 = 4;
const PRELOAD_WITHIN: Duration = Duration::from_secs(4);
const STEADY_WITHIN: Duration = Duration::from_secs(4);
/// The hit ratios of two windows this long are compared.
const WINDOW: Duration = Duration::from_millis(500);
/// The hit ratio is steady when two measurements differ by less than this.
const STEADY: f64 = 0.01;
const RATE_PER_S: u32 = 5_000;

/// The result of the warm-up.
pub(super) struct WarmUp {
    pub(super) recording: Recording,
    pub(super) final_hit_ratio: f64,
}

impl WarmUp {
    pub(super) fn counts(&self) -> Counts {
        self.recording.counts()
    }
}

/// Warms the cluster up.
pub(super) fn run(
    plan: &Plan,
    mix: Mix,
    workers: u32,
    interrupt: &Interrupt,
    console: &mut Console,
) -> Result<WarmUp, DemoError> {
    let preload = Plan {
        pacing: Pacing::Closed { clients: workers, depth: 32 },
        duration: Some(PRELOAD_WITHIN),
        phases: 1,
        moments: Arc::default(),
        ..plan.clone()
    };
    let end = mix.keys / PRELOAD_SHARE;
    let sweep =
        |worker| Supply::Sweep { next: worker, end, step: workers, access: SweepAccess::Read };
    let supplies = (0..workers).map(sweep).collect();
    let mut recording = send(&preload, (supplies, end.into()), interrupt, console, |_, _| false)?;

    let until_steady = Plan {
        pacing: pacing(RATE_PER_S),
        duration: Some(STEADY_WITHIN),
        // Other requests than those to come.
        seed: plan.seed ^ 0x3A3A,
        ..preload
    };
    let supplies =
        (0..workers).map(|worker| Supply::mixed(mix, until_steady.seed, worker, workers)).collect();
    let mut windows: Vec<(Duration, Progress)> = vec![(Duration::ZERO, Progress::default())];
    let is_steady = |progress, elapsed: Duration| {
        // At the end, only the last answers are waited for, which are no measure.
        let is_window = windows.last().is_some_and(|(at, _)| elapsed.saturating_sub(*at) >= WINDOW)
            && elapsed < STEADY_WITHIN;
        if is_window {
            windows.push((elapsed, progress));
        }
        is_window && is_steady(&windows)
    };
    recording.merge(send(&until_steady, (supplies, 0), interrupt, console, is_steady)?);
    Ok(WarmUp { recording, final_hit_ratio: ratio_of_last(&windows) })
}

fn ratio_of_last(windows: &[(Duration, Progress)]) -> f64 {
    match windows {
        [.., (_, before), (_, last)] => last.since(*before).hit_ratio(),
        _ => 0.0,
    }
}

/// Three windows in a row must agree: two may do so by chance.
fn is_steady(windows: &[(Duration, Progress)]) -> bool {
    // There are too few windows to compare.
    let [.., a, b, c, d] = windows else { return false };
    let ratios = [b.1.since(a.1), c.1.since(b.1), d.1.since(c.1)].map(Progress::hit_ratio);
    let (low, high) = ratios
        .iter()
        .fold((1.0, 0.0), |(low, high), ratio| (f64::min(low, *ratio), f64::max(high, *ratio)));
    high - low < STEADY
}

/// Sends requests, of which there are so many if that is known, until it is enough.
fn send(
    plan: &Plan,
    (supplies, whole): (Vec<Supply>, u64),
    interrupt: &Interrupt,
    console: &mut Console,
    mut is_enough: impl FnMut(Progress, Duration) -> bool,
) -> Result<Recording, DemoError> {
    let workers = u32::try_from(supplies.len()).unwrap_or(1);
    let live = Arc::new(Live::new(workers).ended_by(interrupt.flag()));
    let running = drive::start(plan, supplies, &live)?;
    let watched = Watched { live: &live, plan, whole, shown: Shown::Progress("warming up:") };
    let mut observer =
        |look: Look<'_>| is_enough(live.progress(), Micros::boottime().since(look.start));
    let (recording, _) = watched.until_end(running, None, interrupt, console, &mut observer)?;
    if interrupt.is_set() {
        return Err(DemoError::Interrupted);
    }
    Ok(recording)
}
