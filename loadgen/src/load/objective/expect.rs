//! `[[expect]]` of a scenario, and `--expect`: what a run must have kept for its exit code to be 0.

use std::str::FromStr;

use standin_config::{Report, Section};

use super::Objective;
use super::figure::Measured;
use crate::faults::script::Script;
use crate::recorder::Window;
use crate::report::document::Document;
use crate::report::expectations::{Expectation, servers_out};

/// Stands for the time before anything has happened.
const BEGIN: &str = "begin";

/// What is expected of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    /// The conditions.
    pub that: Objective,
    /// The event behind which they must be kept, by its label; `None`: in the whole run.
    pub since: Option<String>,
}

impl FromStr for Expect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let that: Objective = text.parse()?;
        match that.only_of_events() {
            None => Ok(Self { that, since: None }),
            Some(condition) => Err(format!(
                "{condition} is about what followed a fault: write it into [[expect]] of a scenario, with `since`"
            )),
        }
    }
}

/// Reads all of them. Not `script`: the faults have mistakes.
pub(in crate::load) fn read(
    root: &mut Section<'_>,
    script: Option<&Script>,
    report: &mut Report<'_>,
) -> Vec<Expect> {
    let sections = root.sections("expect", report).unwrap_or_default();
    let read = |mut section: Section<'_>| {
        let expect = one(&mut section, script, report);
        section.finish(report);
        expect
    };
    sections.into_iter().filter_map(read).collect()
}

fn one(
    section: &mut Section<'_>,
    script: Option<&Script>,
    report: &mut Report<'_>,
) -> Option<Expect> {
    let at = section.at();
    let that = section.required_text("that", "failed=0,stale=0", report);
    let that = that.and_then(|text| match text.value.parse::<Objective>() {
        Ok(that) => Some(that),
        Err(error) => {
            report.mistake(text.at, &section.key("that"), error);
            None
        }
    });
    let since = section.text("since", "kill cache", report).optional()?;
    let that = that?;
    let Some(since) = since else {
        if let Some(condition) = that.only_of_events() {
            let wrong =
                format!("{condition} is about what followed an event; add `since` with its name");
            report.mistake(at, &section.key("that"), wrong);
            return None;
        }
        return Some(Expect { that, since: None });
    };
    if let Some(condition) = that.only_of_runs() {
        let wrong = format!("{condition} is known of the whole run alone; remove `since`");
        report.mistake(since.at, &section.key("since"), wrong);
        return None;
    }
    let known = script.map(labels);
    if let Some(known) = known.filter(|known| !known.iter().any(|label| label == since.value)) {
        let wrong =
            format!("there is no event {:?}; write one of: {}", since.value, known.join(", "));
        report.mistake(since.at, &section.key("since"), wrong);
        return None;
    }
    Some(Expect { that, since: Some(since.value.to_owned()) })
}

/// What events of a script are called.
fn labels(script: &Script) -> Vec<String> {
    let of_faults = script.faults.iter().flat_map(|fault| {
        let end = fault.lasts.map(|_| format!("end of {}", fault.name));
        [fault.name.clone()].into_iter().chain(end)
    });
    [BEGIN.to_owned()].into_iter().chain(of_faults).collect()
}

/// What was counted before the first event.
#[derive(Debug, Clone, Copy)]
pub(in crate::load) struct Begin {
    pub(in crate::load) window: Window,
    pub(in crate::load) silence_us: Option<u64>,
}

/// Adds what became of the expectations. They decide whether the run was good, together with whether everything went as
/// the scenario says.
pub(in crate::load) fn judged(
    expects: &[Expect],
    document: Document,
    begin: Option<Begin>,
    has_problems: bool,
) -> Document {
    if expects.is_empty() {
        return document;
    }
    let expectations: Vec<Expectation> =
        expects.iter().map(|expect| expect.judge(&document, begin)).collect();
    let is_done = document.events.iter().all(|event| event.error.is_none());
    let is_kept = expectations.iter().all(|one| one.is_kept);
    Document { is_good: is_kept && is_done && !has_problems, expectations, ..document }
}

impl Expect {
    fn judge(&self, document: &Document, begin: Option<Begin>) -> Expectation {
        let misses = match &self.since {
            None => self.misses_of_run(document),
            Some(label) if label == BEGIN => {
                let end_s = document.events.first().map_or(f64::MAX, |event| event.asked_s);
                match begin {
                    Some(Begin { window, silence_us }) => {
                        let times = (None, silence_us);
                        self.misses_since(document, &window, times, (0.0, end_s))
                    }
                    None => vec!["nothing was counted".to_owned()],
                }
            }
            Some(label) => self.misses_of_events(label, document),
        };
        let (that, since) = (self.that.to_string(), self.since.clone());
        Expectation { that, since, is_kept: misses.is_empty(), misses }
    }

    fn misses_of_run(&self, document: &Document) -> Vec<String> {
        let (latency, service) = (document.latency(), document.service.histogram.histogram());
        let measured = Measured::Run {
            latency: &latency,
            service: &service,
            counts: &document.total.counts,
            late_p99_us: document.generator.lateness.p99_us,
            offline: servers_out(&document.announcements, (0.0, f64::MAX)),
        };
        self.texts(measured)
    }

    /// Those behind each event with this label.
    fn misses_of_events(&self, label: &str, document: &Document) -> Vec<String> {
        let mut misses = Vec::new();
        let mut judged = 0;
        for (index, event) in document.events.iter().enumerate() {
            let Some(window) = event.after.filter(|_| event.label() == label) else { continue };
            let begin_s = event.done_s.unwrap_or(event.asked_s);
            let later = document.events[index + 1..].iter();
            let next = later.map(|next| next.asked_s).find(|next_s| *next_s > event.asked_s);
            let time = (begin_s, next.unwrap_or(f64::MAX));
            judged += 1;
            let times = (event.announced_us, event.silence_us);
            misses.extend(self.misses_since(document, &window, times, time));
        }
        if judged == 0 {
            misses.push(format!("nothing was counted behind {label:?}"));
        }
        misses
    }

    fn misses_since(
        &self,
        document: &Document,
        window: &Window,
        (announced_us, silence_us): (Option<u64>, Option<u64>),
        time: (f64, f64),
    ) -> Vec<String> {
        let offline = servers_out(&document.announcements, time);
        self.texts(Measured::Since { window, announced_us, silence_us, offline })
    }

    fn texts(&self, measured: Measured<'_>) -> Vec<String> {
        self.that.misses(measured).into_iter().map(|miss| miss.text).collect()
    }
}
