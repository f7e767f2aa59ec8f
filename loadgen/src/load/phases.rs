//! `[[arrivals.phases]]` of a scenario.

use std::path::Path;
use std::time::Duration;

use standin_config::{Report, Section};

use crate::schedule::phases::{PHASES_MAX, Phases, Rate, Written, is_scale, name_of};
use crate::schedule::profile::{RATE_PER_S_MAX, Shape};

const SECONDS_MAX: f64 = 31_536_000.0;
const STEPS_MAX: u64 = 10_000;
const BURST_TIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_hours(24);

/// Reads all phases; `None`: there are none, or one has mistakes.
pub(super) fn read(
    arrivals: &mut Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<Phases> {
    // A wrong list was reported.
    let sections = arrivals.sections("phases", report)?;
    if sections.len() > PHASES_MAX {
        let text = format!("there are more than {PHASES_MAX} phases");
        report.mistake(sections[PHASES_MAX].at(), &arrivals.key("phases"), text);
        return None;
    }
    let mut phases = Vec::new();
    let mut is_good = true;
    for mut section in sections {
        let phase = phase(&mut section, base_dir, report);
        section.finish(report);
        is_good &= phase.is_some();
        phases.extend(phase);
    }
    (is_good && !phases.is_empty()).then_some(Phases(phases))
}

fn phase(section: &mut Section<'_>, base_dir: &Path, report: &mut Report<'_>) -> Option<Written> {
    let name = match section.text("name", "rise", report).optional()? {
        Some(text) => match name_of(text.value) {
            Ok(name) => Some(name),
            Err(error) => {
                report.mistake(text.at, &section.key("name"), error);
                return None;
            }
        },
        None => None,
    };
    let seconds = section.decimal("seconds", 0.001..=SECONDS_MAX, "10", report).optional()?;
    let length = seconds.map(|seconds| Duration::from_secs_f64(seconds.value));
    let file = section.text("file", "day.csv", report).optional()?;
    let scale = section.decimal("scale", 0.0..=f64::MAX, "0.1", report).optional()?;
    if let Some(file) = file {
        let why = "is for a phase without `file`; remove it, or `file`";
        for key in ["rate", "to", "steps", "burst", "burst_every", "burst_for"] {
            section.misplaced(key, why, report);
        }
        let path = base_dir.join(file.value);
        let factor = scale.as_ref().map_or(1.0, |scale| scale.value);
        return match scale {
            Some(scale) if !is_scale(factor) => {
                let text = "must be above 0; write how many times the file's rates are wanted";
                report.mistake(scale.at, &section.key("scale"), text);
                None
            }
            _ => Some(Written { name, rate: Rate::File { path, scale: factor, length } }),
        };
    }
    if let Some(scale) = scale {
        let text = "is for the rates of `file`; add that, or remove it";
        report.mistake(scale.at, &section.key("scale"), text);
        return None;
    }
    let rate = section.decimal("rate", 0.0..=RATE_PER_S_MAX, "5000", report).optional()?;
    let to = section.decimal("to", 0.0..=RATE_PER_S_MAX, "9000", report).optional()?;
    let steps = section.whole_or_absent("steps", 2..=STEPS_MAX, "5", report).optional()?;
    let burst = section.decimal("burst", 0.0..=RATE_PER_S_MAX, "9000", report).optional()?;
    let every = section.duration_or_absent("burst_every", BURST_TIMES, "5s", report).optional()?;
    let lasting =
        section.duration_or_absent("burst_for", BURST_TIMES, "500ms", report).optional()?;
    let (Some(length), Some(rate)) = (length, rate) else {
        let (key, example) = if length.is_none() { ("seconds", "10") } else { ("rate", "5000") };
        section.missing(key, example, report);
        return None;
    };
    let from = rate.value;
    let shape = match (to, steps, burst, every, lasting) {
        (None, None, None, None, None) => Shape::Ramp { length, from, to: from },
        (Some(to), None, None, None, None) => Shape::Ramp { length, from, to: to.value },
        (Some(to), Some(steps), None, None, None) => {
            Shape::Steps { length, from, to: to.value, steps: steps.value }
        }
        (None, None, Some(burst), Some(every), Some(lasting)) => {
            let (rate, burst) = (from, burst.value);
            let (every, lasting) = (every.value, lasting.value);
            Shape::Bursts { length, rate, burst, every, lasting }
        }
        _ => {
            let text = "write `to` for a ramp, `to` and `steps` for steps, or all of `burst`, `burst_every` and \
                        `burst_for`";
            report.mistake(rate.at, &section.key("rate"), text);
            return None;
        }
    };
    Some(Written { name, rate: Rate::Given(shape) })
}
