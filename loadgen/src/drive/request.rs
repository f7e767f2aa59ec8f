//! One request, from being due to being recorded. The time is an argument.
//!
//! ```text
//! Job::next ─► Job ─ send ─► Flight, and what the target is asked ─ end ─► recorded; perhaps another Job
//! ```

use standin_protocol::frame::response_flags;
use standin_protocol::time::Micros;

use super::Notable;
use super::shared::Shared;
use crate::checker::{Checker, Floor, Seen, Verdict, Write, WriteKind};
use crate::live::Step;
use crate::recorder::{self, Displaced, Logged, OpKind, Sample};
use crate::request::{Access, Request, ValueSizes};
use crate::rng::Random;
use crate::targets::operation::{Ending, Found, Kind};

/// The largest number of times that another key is drawn for a write whose key is being written.
const REDRAWS_MAX: u8 = 8;

/// A request's place in the schedule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) due: Micros,
    /// The schedule's phase.
    pub(super) phase: usize,
}

/// A request with its place in the checker's order.
pub(super) struct Job {
    key: u32,
    asked: Asked,
    write: Option<Write>,
    displaced: Displaced,
    is_fill: bool,
    /// `None`: it is due when it is sent.
    due: Option<Micros>,
    /// The schedule's phase; `None`: the one in which it is sent.
    phase: Option<usize>,
}

/// The action that the target is asked for.
pub(super) enum Asked {
    Read,
    Write { value: Vec<u8>, ttl_s: u32 },
    Add { value: Vec<u8>, ttl_s: u32 },
    Touch { ttl_s: u32 },
    Delete,
}

/// A request that was sent.
pub(super) struct Flight {
    key: u32,
    kind: Kind,
    write: Option<Write>,
    floor: Option<Floor>,
    displaced: Displaced,
    is_fill: bool,
    phase: usize,
    due: Micros,
    sent: Micros,
}

impl Job {
    fn read(key: u32, displaced: Displaced) -> Self {
        Self {
            key,
            asked: Asked::Read,
            write: None,
            displaced,
            is_fill: false,
            due: None,
            phase: None,
        }
    }

    /// The next request of the worker's supply; `None`: the supply is used up.
    pub(super) fn next(shared: &Shared, arrival: Option<Arrival>, now: Micros) -> Option<Self> {
        let wanted = shared.supply.borrow_mut().next()?;
        let due = arrival.map(|arrival| arrival.due);
        let phase = arrival.filter(|_| shared.has_phases).map(|arrival| arrival.phase);
        Some(Self { due, phase, ..place(shared, wanted, now) })
    }

    /// The request is given to the target now.
    pub(super) fn send(self, shared: &Shared, now: Micros) -> (Flight, Asked) {
        let Self { key, asked, write, displaced, is_fill, due, phase } = self;
        let kind = match asked {
            Asked::Read => Kind::Get,
            Asked::Write { .. } => Kind::Put,
            Asked::Add { .. } => Kind::Add,
            Asked::Touch { .. } => Kind::Touch,
            Asked::Delete => Kind::Delete,
        };
        // What says whether there is a value is judged.
        let is_asking = matches!(kind, Kind::Get | Kind::Add | Kind::Touch);
        let checker = shared.plan.checker.as_deref().filter(|_| is_asking);
        // After the clock: a write acknowledged in between only makes the check milder.
        let floor = checker.map(|checker| checker.before_read(key, now));
        let phase = phase.unwrap_or_else(|| shared.live.phase());
        let due = due.unwrap_or(now);
        (Flight { key, kind, write, floor, displaced, is_fill, phase, due, sent: now }, asked)
    }
}

/// Gives a request its place. A write of a key that is being written gets another key, or,
/// where keys are given, becomes a read: one write of a key is under way at a time. Both are
/// counted.
fn place(shared: &Shared, wanted: Request, now: Micros) -> Job {
    let Request { mut key, access } = wanted;
    let mut displaced = Displaced::default();
    let (kind, value_bytes) = match access {
        Access::Read => return Job::read(key, displaced),
        // It writes nothing that a read could show.
        Access::Touch { ttl_s } => {
            return Job { asked: Asked::Touch { ttl_s }, ..Job::read(key, displaced) };
        }
        Access::Write { value_bytes, .. } | Access::Add { value_bytes, .. } => {
            (WriteKind::Put, value_bytes)
        }
        Access::Delete => (WriteKind::Delete, 0),
    };
    let asked = |value: &dyn Fn() -> Vec<u8>| match access {
        Access::Write { ttl_s, .. } => Asked::Write { value: value(), ttl_s },
        Access::Add { ttl_s, .. } => Asked::Add { value: value(), ttl_s },
        Access::Delete => Asked::Delete,
        Access::Read | Access::Touch { .. } => unreachable!("they have returned"),
    };
    let Some(checker) = &shared.plan.checker else {
        let asked = asked(&|| Checker::first_value(shared.plan.run, key, value_bytes));
        return Job { asked, ..Job::read(key, displaced) };
    };
    loop {
        if let Some(write) = checker.begin_write(key, kind, now) {
            let asked = asked(&|| checker.value(&write, value_bytes));
            return Job { asked, write: Some(write), ..Job::read(key, displaced) };
        }
        let other = shared.supply.borrow_mut().other_key();
        match other.filter(|_| displaced.redraws < REDRAWS_MAX) {
            Some(other) => key = other,
            None => break,
        }
        displaced.redraws += 1;
    }
    displaced.became_read = true;
    Job::read(key, displaced)
}

/// Gives the write that fills a key its place; `None` if the key is being written.
fn fill(shared: &Shared, key: u32, sizes: ValueSizes, now: Micros) -> Option<Job> {
    let value_bytes = sizes.draw(&mut Random::stream(shared.plan.seed, key.into()));
    let (value, write) = match &shared.plan.checker {
        Some(checker) => {
            let write = checker.begin_write(key, WriteKind::Put, now)?;
            (checker.value(&write, value_bytes), Some(write))
        }
        None => (Checker::first_value(shared.plan.run, key, value_bytes), None),
    };
    let asked = Asked::Write { value, ttl_s: 0 };
    Some(Job { asked, write, is_fill: true, ..Job::read(key, Displaced::default()) })
}

impl Flight {
    /// Index of the key.
    pub(super) fn key(&self) -> u32 {
        self.key
    }

    /// Judges and records the request. Returns the one that follows from it: the write that fills the key of
    /// a read that found nothing, or the next request of a closed loop.
    pub(super) fn end(self, shared: &Shared, now: Micros, ending: Ending<'_>) -> Option<Job> {
        let (key, is_read) = (self.key, self.kind == Kind::Get);
        let phase = shared.has_phases.then_some(self.phase);
        let is_absent = self.record(shared, now, ending);
        let sizes = shared.plan.fills.filter(|_| is_read && is_absent);
        sizes
            .and_then(|sizes| fill(shared, key, sizes, now))
            .map(|fill| Job { phase, ..fill })
            .or_else(|| shared.goes_on(now).then(|| Job::next(shared, None, now))?)
    }

    /// Returns whether it was answered that there is nothing.
    fn record(self, shared: &Shared, ended: Micros, ending: Ending<'_>) -> bool {
        let Self { key, kind, write, floor, displaced, is_fill, phase, due, sent } = self;
        let checker = shared.plan.checker.as_deref();
        // Before the own write counts.
        let verdict = judge(checker, key, kind, floor, &ending);
        if let (Some(checker), Some(write)) = (checker, write) {
            match &ending {
                Ok(answer) if answer.found == Found::Exists => checker.withdraw_write(write),
                Ok(_) | Err(_) => checker.end_write(write, ended, ending.is_ok()),
            }
        }
        let op = if kind == Kind::Get { OpKind::Read } else { OpKind::Write };
        let phase = match shared.has_phases {
            true => phase,
            false => phase_of(phase, shared.live.phase()),
        };
        report(shared, phase, ended, &ending);
        let (told, sends) = match &ending {
            Ok(answer) => {
                let is_absent = answer.found == Found::Absent;
                let flags = answer.flags;
                (recorder::Ending::Answered { flags, is_absent, verdict }, answer.sends)
            }
            Err(failure) => (recorder::Ending::Failed(failure.kind), 1),
        };
        let sample =
            Sample { op, is_fill, phase, due, sent, ended, sends, displaced, ending: told };
        let mut recorder = shared.recorder.borrow_mut();
        recorder.record(&sample);
        if shared.plan.is_logged {
            let served_by = ending.as_ref().ok().map(|answer| answer.server);
            recorder.log(Logged { worker: shared.number, key, served_by, sample });
        }
        if is_complaint(&ending, verdict) {
            let at_ms = sent.since(shared.start).as_millis();
            recorder.quote(|| {
                format!("{at_ms} ms, {} of key {key}: {}", op.name(), complaint(&ending, verdict))
            });
        }
        drop(recorder);
        shared.live.add(shared.number, step(&sample));
        matches!(told, recorder::Ending::Answered { is_absent: true, .. })
    }
}

/// A request belongs to the phase in which it was sent; but what is under way when the first
/// phase ends has to do with what ended it.
fn phase_of(sent: usize, ended: usize) -> usize {
    if sent == 0 && ended > 0 { 1 } else { sent }
}

fn judge(
    checker: Option<&Checker>,
    key: u32,
    kind: Kind,
    floor: Option<Floor>,
    ending: &Ending<'_>,
) -> Option<Verdict> {
    let (checker, floor) = (checker?, floor?);
    let seen = match (kind, ending.as_ref().ok()?.found) {
        (Kind::Get, found) => found.seen(),
        (Kind::Add, Found::Done) | (Kind::Touch, Found::Absent) => Seen::Absent,
        // There is a value; which one is unknown.
        _ => return None,
    };
    Some(checker.after_read(key, floor, seen))
}

fn is_complaint(ending: &Ending<'_>, verdict: Option<Verdict>) -> bool {
    ending.is_err() || matches!(verdict, Some(Verdict::Stale { .. } | Verdict::Wrong(_)))
}

fn complaint(ending: &Ending<'_>, verdict: Option<Verdict>) -> String {
    match (ending, verdict) {
        (Err(failure), _) => failure.text.clone(),
        (Ok(answer), Some(Verdict::Stale { behind, age, .. })) => format!(
            "stale by {behind} writes and {age:?}, from server {} with flags {:#04x}",
            answer.server, answer.flags
        ),
        (Ok(answer), Some(Verdict::Wrong(wrong))) => {
            format!("wrong value ({wrong:?}) from server {}", answer.server)
        }
        (Ok(_), _) => String::new(),
    }
}

fn report(shared: &Shared, phase: usize, at: Micros, ending: &Ending<'_>) {
    // A failure is recorded, but no server has answered.
    let Ok(answer) = ending else { return };
    let is_stand_in = answer.flags & response_flags::STAND_IN != 0;
    if shared.is_first(phase, answer.server, is_stand_in) {
        let server = answer.server;
        // Nobody listens any more: the run goes on.
        let _ = shared.notables.send(Notable::FirstAnswer { at, phase, server, is_stand_in });
    }
}

fn step(sample: &Sample) -> Step {
    let is_read = sample.op == OpKind::Read;
    match sample.ending {
        recorder::Ending::Failed(_) => Step { is_failed: true, ..Step::default() },
        recorder::Ending::Answered { flags, verdict, .. } => Step {
            is_failed: false,
            is_read_answer: is_read,
            is_hit: is_read && flags & response_flags::HIT != 0,
            is_bad: matches!(verdict, Some(Verdict::Stale { .. } | Verdict::Wrong(_))),
        },
    }
}
