//! Traces: what a load demands of one, the first writes of its keys, and the supplies of its load threads.

use std::sync::Arc;

use super::fill::{FILL_DEPTH, first_failure};
use super::settings::trace::Replay;
use super::subject::{Subject, depth_max};
use super::{Load, LoadError, among};
use crate::console::Console;
use crate::drive::{self, Pacing, Plan};
use crate::interrupt::Interrupt;
use crate::live::Live;
use crate::report::table::thousands;
use crate::trace::{
    Division, Feed, Feeding, KeyRule, Mode, Numbering, Rules, Totals, TraceError, try_beginning,
};
use crate::watch::{Shown, Watched, nobody};
use crate::workload::Supply;

/// What the target takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demands {
    keys: KeyRule,
    value_bytes: (u32, u32),
    /// Whether values have sizes of their own, whatever the trace says.
    has_own_sizes: bool,
}

impl Demands {
    /// Of this target.
    pub(super) fn of(load: &Load, subject: &Subject) -> Self {
        let (min, max) = (load.sizes.min_bytes, load.sizes.max_bytes);
        Self {
            keys: subject.key_rule,
            value_bytes: (min, max.min(subject.value_bytes_max).max(min)),
            has_own_sizes: load.has_own_sizes(),
        }
    }
}

impl Replay {
    fn feed(&self, load: &Load, demands: Demands, mode: Mode, seed: u64) -> Feed {
        let is_fill = matches!(mode, Mode::First(_));
        let division = match self.speed {
            Some(speed) if !is_fill => Division::ByKey { speed },
            _ => Division::InTurn,
        };
        Feed {
            file: self.file.clone(),
            mode,
            division,
            rules: Rules {
                keys: demands.keys,
                is_lossless: load.lossless,
                has_stamps: load.form.template.as_ref().is_none_or(|template| template.has_stamp()),
                has_times: self.speed.is_some(),
            },
            value_bytes: demands.value_bytes,
            is_judged: load.check,
            reads_percent: load.reads_percent,
            seed,
            threads: among(load, 0),
        }
    }

    /// Looks whether the file is of its format, and says what of it is not used.
    pub(super) fn look(&self, console: &Console) -> Result<(), LoadError> {
        let unused = try_beginning(&self.file, None).map_err(self.failed())?;
        if !unused.is_empty() {
            let path = self.file.path.display();
            console.line(&format!("{path}: columns that are not used: {}", unused.join(", ")));
        }
        Ok(())
    }

    /// The error of a file, with its path.
    pub(super) fn failed(&self) -> impl FnOnce(TraceError) -> LoadError + use<> {
        let path = self.file.path.clone();
        |error| LoadError::Trace { path, error }
    }

    /// Begins to read the trace for the load threads of this process.
    pub(super) fn supplies(
        &self,
        load: &Load,
        demands: Demands,
        numbering: Option<&Arc<Numbering>>,
        seed: u64,
    ) -> Result<(Feeding, Vec<Supply>), LoadError> {
        let feed = self.feed(load, demands, Mode::All(numbering.cloned()), seed);
        let (feeding, players) = feed.start(load.workers).map_err(self.failed())?;
        Ok((feeding, players.into_iter().map(Supply::Replay).collect()))
    }

    /// Writes each key once, with the size that its value has at its first request, and returns the keys.
    pub(super) fn fill(
        &self,
        load: &Load,
        (plan, demands): (&Plan, Demands),
        live: &Arc<Live>,
        interrupt: &Interrupt,
        console: &mut Console,
    ) -> Result<Numbering, LoadError> {
        let mode = Mode::First(Numbering::with_room(self.keys_max));
        let feed = self.feed(load, demands, mode, load.seed);
        let (feeding, players) = feed.start(load.workers).map_err(self.failed())?;
        let depth = FILL_DEPTH.min(depth_max(&plan.target, load, 1));
        let pacing = Pacing::Closed { clients: load.workers, depth };
        let plan = Plan { pacing, duration: None, ..plan.clone() };
        let live = Arc::new(Live::part_of(live, load.workers));
        let supplies = players.into_iter().map(Supply::Replay).collect();
        let running = drive::start(&plan, supplies, &live)?;
        let watched = Watched { live: &live, plan: &plan, whole: 0, shown: Shown::Progress("") };
        let (recording, _) = watched.until_end(running, None, interrupt, console, &mut nobody)?;
        let Totals { requests, numbering, is_whole, .. } =
            feeding.finish().map_err(self.failed())?;
        if !is_whole {
            return Err(LoadError::Interrupted("--fill"));
        }
        first_failure(&recording, requests)?;
        let Some(numbering) = numbering else { unreachable!("a feed of first requests has them") };
        console.line(&format!("filled {} keys of the trace", thousands(requests)));
        Ok(numbering)
    }
}

/// Describes how the sizes in a trace were changed.
pub(super) fn clamped(totals: &Totals, demands: Demands) -> Option<String> {
    let Totals { requests, enlarged, reduced, .. } = *totals;
    let (min, max) = demands.value_bytes;
    if demands.has_own_sizes {
        return Some(format!(
            "sizes of the trace were not used: --value-template has no {{random}}, and gives values of {min}-{max} bytes"
        ));
    }
    (enlarged + reduced > 0).then(|| {
        format!(
            "sizes of the trace were clamped to {min}-{max} bytes: of {} requests that were read, {} were enlarged and {} \
             reduced",
            thousands(requests),
            thousands(enlarged),
            thousands(reduced)
        )
    })
}

#[cfg(test)]
mod tests;
