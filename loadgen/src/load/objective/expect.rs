//! `[[expect]]` of a scenario, and `--expect`: what a run must have kept for its exit code to be 0.

use std::str::FromStr;
use std::time::Duration;

use standin_config::{Report, Section};

use super::Objective;
use super::figure::{Measured, OriginReads};
use crate::faults::script::{FaultSpec, Script};
use crate::observer::Reads;
use crate::observer::told::Risen;
use crate::recorder::Window;
use crate::report::document::Document;
use crate::report::expectations::{Expectation, servers_out};

/// Stands for the time before anything has happened.
const BEGIN: &str = "begin";
/// Before the name of a fault: its end.
const END_OF: &str = "end of ";

/// Whether a fault of this name could not be told from the beginning, or from another's end.
pub(in crate::load) fn is_reserved(name: &str) -> bool {
    name == BEGIN || name.starts_with(END_OF)
}

/// What is expected of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    /// The conditions.
    pub that: Objective,
    /// The event behind which they must be kept, by its label; `None`: in the whole run.
    pub since: Option<String>,
}

impl Expect {
    /// Whether it is about the time before the first event.
    #[must_use]
    pub fn is_about_begin(&self) -> bool {
        self.since.as_deref() == Some(BEGIN)
    }
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
    let never = script.filter(|script| that.announces() && !is_of_servers(script, since.value));
    if never.is_some() {
        let wrong = "announced is known of the beginning of a fault of one server of a Standin cluster; name one, or leave \
                     the condition out";
        report.mistake(since.at, &section.key("since"), wrong);
        return None;
    }
    Some(Expect { that, since: Some(since.value.to_owned()) })
}

/// Whether all faults of this name are of a server whose state a master announces.
fn is_of_servers(script: &Script, name: &str) -> bool {
    let servers = script.servers();
    let is = |fault: &FaultSpec| {
        fault.deed.server().is_some_and(|one| servers.iter().any(|server| server == one))
    };
    let mut named = script.faults.iter().filter(|fault| fault.name == name).peekable();
    named.peek().is_some() && named.all(is)
}

/// What events of a script are called.
fn labels(script: &Script) -> Vec<String> {
    let of_faults = script.faults.iter().flat_map(|fault| {
        let end = fault.lasts.map(|_| format!("{END_OF}{}", fault.name));
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

/// What was observed beside the requests.
#[derive(Debug)]
pub(in crate::load) struct Beside {
    /// The load of the database.
    pub(in crate::load) reads: Reads,
    /// By how much counters of the servers have risen.
    pub(in crate::load) risen: Risen,
}

impl Beside {
    /// The load of the database between two times, in seconds.
    fn origin(&self, document: &Document, (from_s, until_s): (f64, f64)) -> OriginReads {
        let time = |s: f64| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX);
        let first = document.events.first();
        OriginReads {
            peak: self.reads.peak_per_s(time(from_s), time(until_s)),
            before: first.and_then(|event| self.reads.mean_per_s(time(event.asked_s))),
        }
    }
}

/// Adds what became of the expectations. They decide whether the run was good, together with whether everything went as
/// the scenario says.
pub(in crate::load) fn judged(
    expects: &[Expect],
    document: Document,
    begin: Option<Begin>,
    beside: &Beside,
    has_problems: bool,
) -> Document {
    if expects.is_empty() {
        return document;
    }
    let expectations: Vec<Expectation> =
        expects.iter().map(|expect| expect.judge((&document, beside), begin)).collect();
    let is_done = document.events.iter().all(|event| event.error.is_none());
    let is_kept = expectations.iter().all(|one| one.is_kept);
    Document { is_good: is_kept && is_done && !has_problems, expectations, ..document }
}

impl Expect {
    fn judge(&self, seen: (&Document, &Beside), begin: Option<Begin>) -> Expectation {
        let (document, _) = seen;
        let misses = match &self.since {
            None => self.misses_of_run(seen),
            Some(label) if label == BEGIN => {
                let end_s = document.events.first().map_or(f64::MAX, |event| event.asked_s);
                match begin {
                    Some(Begin { window, silence_us }) => {
                        let times = (None, silence_us);
                        self.misses_since(seen, &window, times, (0.0, end_s))
                    }
                    None => vec!["nothing was counted".to_owned()],
                }
            }
            Some(label) => self.misses_of_events(label, seen),
        };
        let (that, since) = (self.that.to_string(), self.since.clone());
        Expectation { that, since, is_kept: misses.is_empty(), misses }
    }

    fn misses_of_run(&self, (document, beside): (&Document, &Beside)) -> Vec<String> {
        let (latency, service) = (document.latency(), document.service.histogram.histogram());
        let measured = Measured::Run {
            latency: &latency,
            service: &service,
            counts: &document.total.counts,
            late_p99_us: document.generator.lateness.p99_us,
            offline: servers_out(&document.announcements, (0.0, f64::MAX)),
            origin: beside.origin(document, (0.0, f64::MAX)),
            risen: &beside.risen,
        };
        self.texts(measured)
    }

    /// Those behind each event with this label.
    fn misses_of_events(&self, label: &str, seen: (&Document, &Beside)) -> Vec<String> {
        let (document, _) = seen;
        let mut misses = Vec::new();
        let mut judged = 0;
        // What was undone because the run was over is not behind it.
        let in_run = |at_s: f64| at_s < document.total.seconds;
        let named = document.events.iter().enumerate().filter(|(_, one)| one.label() == label);
        for (index, event) in named.filter(|(_, one)| in_run(one.asked_s)) {
            let Some(window) = event.after else {
                judged += 1;
                misses.push(format!(
                    "nothing was counted behind {label:?} at {:.3} s",
                    event.asked_s
                ));
                continue;
            };
            let begin_s = event.done_s.unwrap_or(event.asked_s);
            let later = document.events[index + 1..].iter();
            let next = later.map(|next| next.asked_s).find(|next_s| *next_s > event.asked_s);
            let time = (begin_s, next.unwrap_or(f64::MAX));
            judged += 1;
            let times = (event.announced_us, event.silence_us);
            misses.extend(self.misses_since(seen, &window, times, time));
        }
        if judged == 0 {
            misses.push(format!("nothing was counted behind {label:?}"));
        }
        misses
    }

    fn misses_since(
        &self,
        (document, beside): (&Document, &Beside),
        window: &Window,
        (announced_us, silence_us): (Option<u64>, Option<u64>),
        time: (f64, f64),
    ) -> Vec<String> {
        let offline = servers_out(&document.announcements, time);
        let origin = beside.origin(document, time);
        self.texts(Measured::Since { window, announced_us, silence_us, offline, origin })
    }

    fn texts(&self, measured: Measured<'_>) -> Vec<String> {
        self.that.misses(measured).into_iter().map(|miss| miss.text).collect()
    }
}
