//! One request, from being due to being recorded. The time is an argument.
//!
//! ```text
//! Job::next ─► Job ─ send ─► Flight, and what the target is asked ─ end ─► recorded; perhaps another Job
//!               └ a request for many keys: many.rs
//! ```

use std::ops::Deref;
use std::rc::Rc;

use bytes::Bytes;
use standin_protocol::frame::response_flags;
use standin_protocol::time::Micros;

use super::asked::Asked;
use super::judging::{Place, count, end, judge};
use super::rechecks::Shown;
use super::shared::Shared;
use super::{Notable, Plan};
use crate::checker::{Floor, Verdict, WriteKind, first_number};
use crate::live::Step;
use crate::recorder::{self, Displaced, Judged, OpKind, Sample};
use crate::request::{Access, Recorded, Request, ValueSizes};
use crate::rng::Random;
use crate::targets::operation::{Ending, Found, Kind};
use crate::value::{Stamp, VALUE_BYTES_MIN};

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
    /// What a trace says of it.
    recorded: Option<Recorded>,
    asked: Asked,
    place: Place,
    displaced: Displaced,
    is_fill: bool,
    /// `None`: it is due when it is sent.
    due: Option<Micros>,
    /// The schedule's phase, if it has phases.
    phase: Option<usize>,
}

/// A request for many keys, as it is sent.
pub(super) struct ManyKeys {
    pub(super) keys: Vec<u32>,
    pub(super) is_scheduled: bool,
    /// The schedule's.
    pub(super) phase: Option<usize>,
    pub(super) due: Micros,
    pub(super) sent: Micros,
}

/// A request that is given to the target.
pub(super) enum Sent {
    One(Flight, Asked),
    /// A request for many keys, which becomes a [`Many`](super::many::Many).
    Many(ManyKeys),
}

/// A request that was sent.
pub(super) struct Flight {
    key: u32,
    recorded: Option<Recorded>,
    kind: Kind,
    place: Place,
    /// The size and lifetime of the value that replaces what is read.
    replacement: Option<(u32, u32)>,
    floor: Option<Floor>,
    displaced: Displaced,
    is_fill: bool,
    is_scheduled: bool,
    /// The schedule's.
    phase: Option<usize>,
    due: Micros,
    sent: Micros,
}

impl Job {
    fn read(key: u32, displaced: Displaced) -> Self {
        Self {
            key,
            recorded: None,
            asked: Asked::Read,
            place: Place::None,
            displaced,
            is_fill: false,
            due: None,
            phase: None,
        }
    }

    /// The next request of the worker's supply; `None`: the supply is used up, or has none for the moment.
    pub(super) fn next(shared: &Shared, arrival: Option<Arrival>, now: Micros) -> Option<Self> {
        let due = arrival.map(|arrival| arrival.due);
        let passed = due.unwrap_or(now).since(shared.start);
        let (wanted, recorded) = shared.supply.borrow_mut().next_at(passed)?;
        let phase = arrival.filter(|_| shared.has_phases).map(|arrival| arrival.phase);
        Some(Self { due, phase, recorded, ..place(shared, wanted, now) })
    }

    /// The request is given to the target now.
    pub(super) fn send(self, shared: &Shared, now: Micros) -> Sent {
        let Self { key, recorded, asked, place, displaced, is_fill, due, phase } = self;
        // What follows from an answer has no time of its own, so it can't be late.
        let is_scheduled = due.is_some();
        let due = due.unwrap_or(now);
        if let Asked::ReadMany { others } = asked {
            let keys = std::iter::once(key).chain(others).collect();
            return Sent::Many(ManyKeys { keys, is_scheduled, phase, due, sent: now });
        }
        let kind = asked.action().kind();
        let replacement = match asked {
            Asked::ReadVersion { value_bytes, ttl_s } => Some((value_bytes, ttl_s)),
            _ => None,
        };
        // What says whether there is a value is judged.
        let is_asking = matches!(kind, Kind::Get | Kind::Gets | Kind::Add | Kind::Touch);
        let is_judged = is_asking && !matches!(place, Place::Refill(_));
        // Of a key that nobody writes there is nothing to judge.
        let checker = shared.plan.checker.as_deref();
        let checker = checker.filter(|checker| is_judged && key < checker.keys());
        // After the clock: a write acknowledged in between only makes the check milder.
        let floor = checker.map(|checker| checker.before_read(key, now));
        let flight = Flight {
            key,
            recorded,
            kind,
            place,
            replacement,
            floor,
            displaced,
            is_fill,
            is_scheduled,
            phase,
            due,
            sent: now,
        };
        Sent::One(flight, asked)
    }
}

/// Gives a request its place. A write of a key that is being written gets another key, or,
/// where keys are given, becomes a read: one write of a key is under way at a time. Both are
/// counted.
fn place(shared: &Shared, wanted: Request, now: Micros) -> Job {
    let Request { mut key, access } = wanted;
    let mut displaced = Displaced::default();
    let is_write = !matches!(access, Access::Read | Access::ReadMany { .. });
    assert!(!(is_write && shared.plan.is_read_only), "rows of somebody else are never written");
    let (kind, value_bytes) = match access {
        Access::Read => return Job::read(key, displaced),
        Access::ReadMany { keys } => {
            let others = shared.supply.borrow_mut().more_keys(key, keys.saturating_sub(1));
            return Job { asked: Asked::ReadMany { others }, ..Job::read(key, displaced) };
        }
        Access::Cas { value_bytes, ttl_s } => {
            let asked = Asked::ReadVersion { value_bytes, ttl_s };
            return Job { asked, ..Job::read(key, displaced) };
        }
        Access::Increment { by } => {
            let checker = shared.plan.checker.as_deref();
            let place = checker.map(|checker| checker.begin_increment(key, by));
            let place = place.map_or(Place::None, Place::Increment);
            return Job { asked: Asked::Increment { by }, place, ..Job::read(key, displaced) };
        }
        Access::SetCounter => {
            let value = first_number(shared.plan.run).to_string().into_bytes();
            let asked = Asked::Write { value, ttl_s: 0 };
            return Job { asked, ..Job::read(key, displaced) };
        }
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
        _ => unreachable!("the others have returned"),
    };
    let Some(checker) = &shared.plan.checker else {
        let asked = asked(&|| unjudged_value(shared, (key, 0), value_bytes));
        return Job { asked, ..Job::read(key, displaced) };
    };
    loop {
        if let Some(write) = checker.begin_write(key, kind, now) {
            let asked = asked(&|| checker.value(&write, value_bytes));
            return Job { asked, place: Place::Write(write), ..Job::read(key, displaced) };
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

/// A value that nobody judges. One that is too small to say what it is has digits only, so that a trace can increment it,
/// unless all values are of a form.
fn unjudged_value(shared: &Shared, (key, sequence): (u32, u32), value_bytes: u32) -> Vec<u8> {
    let Plan { run, form, .. } = &shared.plan;
    if value_bytes < VALUE_BYTES_MIN && !form.is_strict() {
        return vec![b'1'; value_bytes as usize];
    }
    Stamp { run: *run, key, sequence }.in_form(form, value_bytes)
}

/// Gives the write that fills a key its place; `None` if the key is being written.
fn fill(shared: &Shared, absent: Absent, sizes: ValueSizes, now: Micros) -> Option<Job> {
    let Absent { key, recorded } = absent;
    let value_bytes = match &recorded {
        Some(recorded) => recorded.value_bytes,
        None => sizes.draw(&mut Random::stream(shared.plan.seed, key.into())),
    };
    let (value, place) = match &shared.plan.checker {
        Some(checker) => {
            let write = checker.begin_write(key, WriteKind::Put, now)?;
            (checker.value(&write, value_bytes), Place::Write(write))
        }
        None => (unjudged_value(shared, (key, 0), value_bytes), Place::None),
    };
    let asked = Asked::Write { value, ttl_s: 0 };
    Some(Job { asked, place, recorded, is_fill: true, ..Job::read(key, Displaced::default()) })
}

/// A key of which a read has found nothing.
pub(super) struct Absent {
    pub(super) key: u32,
    pub(super) recorded: Option<Recorded>,
}

/// The request behind the answer to a request, of a closed loop; or the write that fills one of these keys, of which
/// a read has found nothing.
pub(super) fn after_read(
    shared: &Shared,
    now: Micros,
    absent: Option<Absent>,
    phase: Option<usize>,
) -> Option<Job> {
    absent
        .zip(shared.plan.fills)
        .and_then(|(absent, sizes)| fill(shared, absent, sizes, now))
        .map(|fill| Job { phase, ..fill })
        .or_else(|| next_of_loop(shared, now))
}

/// The next request of a chain of a closed loop; `None`: the loop is open, or over, or the supply has none, for the moment
/// or for good.
pub(super) fn next_of_loop(shared: &Shared, now: Micros) -> Option<Job> {
    if !shared.goes_on(now) {
        return None;
    }
    let next = Job::next(shared, None, now);
    if next.is_none() {
        shared.note_starved();
    }
    next
}

/// The bytes of a key.
pub(super) enum Name {
    /// Of a key that is made up.
    Made(Vec<u8>),
    /// Of one of a trace, shared with those around it.
    Recorded(Bytes),
}

impl Name {
    /// For those who keep it.
    pub(super) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Made(name) => name,
            Self::Recorded(name) => name.to_vec(),
        }
    }
}

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Made(name) => name,
            Self::Recorded(name) => name,
        }
    }
}

impl Flight {
    /// The key's bytes.
    pub(super) fn name(&self, shared: &Shared) -> Name {
        match &self.recorded {
            Some(recorded) => Name::Recorded(recorded.name.clone()),
            None => Name::Made(shared.plan.keys.name(self.key)),
        }
    }

    /// Judges and records the request. Returns the one that follows from it: the write that fills the key of
    /// a read that found nothing, or the next request of a closed loop.
    pub(super) fn end(
        mut self,
        shared: &Rc<Shared>,
        now: Micros,
        ending: Ending<'_>,
    ) -> Option<Job> {
        let (key, is_read) = (self.key, self.kind == Kind::Get);
        let phase = self.phase;
        let replacement = self.replacement(shared, now, &ending);
        let recorded = self.recorded.take();
        let is_absent = self.record(shared, now, ending);
        let absent = (is_read && is_absent).then_some(Absent { key, recorded });
        let replacement = replacement.map(|job| Job { phase, ..job });
        replacement.or_else(|| after_read(shared, now, absent, phase))
    }

    /// The write that follows the read of a compare-and-swap: of the next value if the version that was read is still
    /// there, or, if nothing was there, of a value if there is still none.
    fn replacement(&self, shared: &Shared, now: Micros, ending: &Ending<'_>) -> Option<Job> {
        let (key, (value_bytes, ttl_s)) = (self.key, self.replacement?);
        let Plan { checker, form, .. } = &shared.plan;
        let checker = checker.as_deref();
        let (asked, place) = match ending.as_ref().ok()?.found {
            Found::Versioned(expected, version) => {
                let stamp = Stamp::of(expected, form).ok().filter(|stamp| stamp.key == key);
                let (value, place) = match checker {
                    Some(checker) => {
                        // What is not a value of this run was judged.
                        let stamp = stamp?;
                        let swap = checker.begin_swap(key, stamp.sequence, now)?;
                        (checker.swapped_value(&swap, value_bytes), Place::Swap(swap))
                    }
                    // One that must differ from what was read.
                    None => {
                        let sequence = stamp.map_or(0, |stamp| stamp.sequence.wrapping_add(1));
                        (unjudged_value(shared, (key, sequence), value_bytes), Place::None)
                    }
                };
                (Asked::Swap { version, expected: expected.to_vec(), value, ttl_s }, place)
            }
            Found::Absent => {
                let (value, place) = match checker {
                    Some(checker) => {
                        let swap = checker.begin_refill(key, now)?;
                        (checker.swapped_value(&swap, value_bytes), Place::Refill(swap))
                    }
                    None => (unjudged_value(shared, (key, 0), value_bytes), Place::None),
                };
                (Asked::Add { value, ttl_s }, place)
            }
            // Its version is not known at the moment.
            _ => return None,
        };
        let recorded = self.recorded.clone();
        Some(Job { asked, place, recorded, ..Job::read(key, Displaced::default()) })
    }

    /// Returns whether it was answered that there is nothing.
    fn record(self, shared: &Rc<Shared>, ended: Micros, ending: Ending<'_>) -> bool {
        let Self { key, kind, place, floor, displaced, is_fill, is_scheduled, .. } = self;
        let Self { phase, due, sent, .. } = self;
        let checker = shared.plan.checker.as_deref();
        // Before the own write counts.
        let verdict = judge(checker, key, kind, floor, &ending);
        let verdict = checker.and_then(|checker| end(checker, place, ended, &ending)).or(verdict);
        let answer = ending.as_ref().ok();
        let shown = answer.and_then(|answer| Shown::of(shared, key, answer.found.seen()));
        let verdict = verdict.or(shown.and_then(Shown::verdict));
        let op = if kind.is_read() { OpKind::Read } else { OpKind::Write };
        let phase = shared.phase(phase, due, ended);
        report(shared, phase, ended, &ending);
        let (told, sends) = match &ending {
            Ok(answer) => {
                let is_absent = answer.found == Found::Absent;
                let flags = answer.flags;
                (recorder::Ending::Answered { flags, is_absent, verdict }, answer.sends)
            }
            Err(failure) => (recorder::Ending::Failed(failure.kind), 1),
        };
        let sample = Sample {
            op,
            is_fill,
            is_scheduled,
            phase,
            due,
            sent,
            ended,
            sends,
            displaced,
            ending: told,
        };
        let mut recorder = shared.recorder.borrow_mut();
        recorder.record(key, &sample);
        count(recorder.counts_mut(phase), kind, &ending);
        if is_complaint(&ending, verdict) {
            let at_ms = sent.since(shared.start).as_millis();
            recorder.quote(|| {
                format!("{at_ms} ms, {} of key {key}: {}", op.name(), complaint(&ending, verdict))
            });
        }
        drop(recorder);
        shared.live.add(shared.number, step(&sample));
        if let Some((shown, answer)) = shown.zip(ending.as_ref().ok()) {
            shown.settle(shared, key, (sent, answer.server), Judged { phase, due, ended });
        }
        matches!(told, recorder::Ending::Answered { is_absent: true, .. })
    }
}

fn is_complaint(ending: &Ending<'_>, verdict: Option<Verdict>) -> bool {
    ending.is_err() || verdict.is_some_and(Verdict::is_bad)
}

fn complaint(ending: &Ending<'_>, verdict: Option<Verdict>) -> String {
    match ending {
        Err(failure) => failure.text.clone(),
        Ok(answer) => {
            let said = verdict.and_then(Verdict::complaint).unwrap_or_default();
            format!("{said}, from server {} with flags {:#04x}", answer.server, answer.flags)
        }
    }
}

fn report(shared: &Shared, phase: usize, at: Micros, ending: &Ending<'_>) {
    // A failure is recorded, but no server has answered.
    let Ok(answer) = ending else { return };
    report_answer(shared, phase, at, (answer.server, answer.flags));
}

/// Tells of the first answer of a server in a phase.
pub(super) fn report_answer(shared: &Shared, phase: usize, at: Micros, (server, flags): (u16, u8)) {
    let is_stand_in = flags & response_flags::STAND_IN != 0;
    if shared.is_first(phase, server, is_stand_in) {
        // Nobody listens any more: the run goes on.
        let _ = shared.notables.send(Notable::FirstAnswer { at, phase, server, is_stand_in });
    }
}

fn step(sample: &Sample) -> Step {
    let is_read = sample.op == OpKind::Read;
    let latency_us = sample.ended.0.saturating_sub(sample.due.0);
    match sample.ending {
        recorder::Ending::Failed(_) => Step { latency_us, is_failed: true, ..Step::default() },
        recorder::Ending::Answered { flags, verdict, .. } => Step {
            latency_us,
            is_failed: false,
            is_read_answer: is_read,
            is_hit: is_read && flags & response_flags::HIT != 0,
            is_bad: verdict.is_some_and(Verdict::is_bad),
        },
    }
}
