//! Shortens a plan that fails: removes entries, in large pieces first (Zeller's delta debugging), as long
//! as the rest still fails.

use crate::plan::{Entry, Plan, What};
use crate::world::{Outcome, run};

/// The largest number of runs.
const RUNS_MAX: usize = 6_000;

/// Returns a short plan that fails too, and its result. The failure may be a different one.
pub(crate) fn shrink(plan: &Plan) -> (Plan, Outcome) {
    let mut best = plan.clone();
    let mut runs = 0;
    // Nothing after the violation matters.
    let fails = |entries: Vec<Entry>, runs: &mut usize| {
        *runs += 1;
        let candidate = Plan { entries, ..plan.clone() };
        run(&candidate, false).violation.is_some().then_some(candidate)
    };
    let end = run(&best, false).time;
    let before = best.entries.iter().filter(|entry| entry.at <= end).copied().collect();
    if let Some(shorter) = fails(before, &mut runs) {
        best = shorter;
    }
    loop {
        let length = best.entries.len();
        let mut piece = (length / 2).max(1);
        loop {
            let mut at = 0;
            while at < best.entries.len() && runs < RUNS_MAX {
                let mut rest = best.entries.clone();
                rest.drain(at..(at + piece).min(best.entries.len()));
                match fails(rest, &mut runs) {
                    Some(shorter) => best = shorter,
                    None => at += piece,
                }
            }
            if piece == 1 {
                break;
            }
            piece = piece.div_ceil(2);
        }
        if best.entries.len() == length || runs >= RUNS_MAX {
            break;
        }
    }
    shorten(&mut best, &mut runs);
    let outcome = run(&best, true);
    (best, outcome)
}

/// Shortens faults as long as the plan still fails.
fn shorten(best: &mut Plan, runs: &mut usize) {
    for at in 0..best.entries.len() {
        while let Some(lasts) = best.entries[at].what.lasts()
            && lasts > 2_000
            && *runs < RUNS_MAX
        {
            let mut candidate = best.clone();
            candidate.entries[at].what = lasting(best.entries[at].what, lasts / 2);
            *runs += 1;
            if run(&candidate, false).violation.is_none() {
                break;
            }
            *best = candidate;
        }
    }
}

fn lasting(what: What, time: u64) -> What {
    let mut what = what;
    match &mut what {
        What::Cut { lasts, .. }
        | What::Isolate { lasts, .. }
        | What::Stall { lasts, .. }
        | What::Mute { lasts, .. }
        | What::Noise { lasts, .. }
        | What::Pause { lasts, .. }
        | What::PauseInside { lasts, .. }
        | What::StallShard { lasts, .. }
        | What::DiskFull { lasts }
        | What::OriginSlow { lasts, .. }
        | What::OriginDown { lasts }
        | What::OriginPath { lasts, .. }
        | What::OriginLate { lasts, .. }
        | What::OtherMaster { lasts, .. }
        | What::Replay { lasts, .. } => *lasts = time,
        What::Crash { down, .. } | What::Leave { down, .. } | What::CrashMaster { down, .. } => {
            *down = time;
        }
        What::Act { .. }
        | What::Ask(_)
        | What::Break { .. }
        | What::Forge { .. }
        | What::ClockRate { .. }
        | What::WallStep { .. } => {}
    }
    what
}
