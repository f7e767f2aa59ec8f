//! A request for many keys, from being sent to being recorded. It ends with the last of its answers, and has one
//! latency; each key's answer is judged by itself. It has failed if the answer for any of its keys has.

use std::rc::Rc;

use standin_protocol::frame::response_flags;
use standin_protocol::time::Micros;

use super::rechecks::Shown;
use super::request::{Absent, Job, ManyKeys, after_read, report_answer};
use super::shared::Shared;
use crate::checker::{Floor, Seen, Verdict};
use crate::live::Step;
use crate::recorder::{self, Counts, Displaced, Judged, OpKind, Sample};
use crate::targets::operation::Failure;

/// The answer for one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyAnswer<'a> {
    /// `None`: nothing has this key.
    pub(super) value: Option<&'a [u8]>,
    /// Bits of [`response_flags`].
    pub(super) flags: u8,
    /// The server that answered.
    pub(super) server: u16,
    /// The number of times that the request was sent.
    pub(super) sends: u32,
}

/// See the head of the file.
pub(super) struct Many {
    keys: Vec<u32>,
    /// Of each key, if answers are judged.
    floors: Vec<Floor>,
    /// Whether it has failed for each key.
    has_failed: Vec<bool>,
    is_scheduled: bool,
    /// The schedule's.
    phase: Option<usize>,
    due: Micros,
    sent: Micros,
    open: usize,
    failure: Option<Failure>,
    sends: u32,
    /// What was counted for its keys.
    counts: Counts,
    first_absent: Option<u32>,
}

impl Many {
    /// A request that is sent now.
    pub(super) fn new(shared: &Shared, asked: ManyKeys) -> Self {
        let ManyKeys { keys, is_scheduled, phase, due, sent } = asked;
        let checker = shared.plan.checker.as_deref();
        let floor = |key: &u32| checker.map(|checker| checker.before_read(*key, sent));
        Self {
            floors: keys.iter().filter_map(floor).collect(),
            has_failed: vec![false; keys.len()],
            open: keys.len(),
            keys,
            is_scheduled,
            phase,
            due,
            sent,
            failure: None,
            sends: 1,
            counts: Counts::default(),
            first_absent: None,
        }
    }

    /// The names of its keys.
    pub(super) fn names(&self, shared: &Shared) -> Vec<Vec<u8>> {
        self.keys.iter().map(|key| shared.plan.keys.name(*key)).collect()
    }

    /// The key at this place is answered.
    pub(super) fn answered(
        &mut self,
        shared: &Rc<Shared>,
        now: Micros,
        place: usize,
        answer: KeyAnswer<'_>,
    ) {
        let KeyAnswer { value, flags, server, sends } = answer;
        let key = self.keys[place];
        self.open -= 1;
        self.sends = self.sends.max(sends);
        let seen = value.map_or(Seen::Absent, Seen::Value);
        let checker = shared.plan.checker.as_deref().zip(self.floors.get(place));
        let verdict = checker.map(|(checker, floor)| checker.after_read(key, *floor, seen));
        let shown = Shown::of(shared, key, seen);
        let verdict = verdict.or(shown.and_then(Shown::verdict));
        self.counts.add_answer(OpKind::Read, flags, value.is_none(), verdict);
        self.counts.multi_keys += 1;
        if value.is_none() {
            self.first_absent.get_or_insert(key);
        }
        let phase = shared.phase(self.phase, self.due, now);
        report_answer(shared, phase, now, (server, flags));
        if let Some(shown) = shown {
            let answer = Judged { phase, due: self.due, ended: now };
            shown.settle(shared, key, (self.sent, server), answer);
        }
        if let Some(said) = verdict.and_then(Verdict::complaint) {
            self.quote(shared, key, &format!("{said}, from server {server}"));
        }
    }

    /// These keys have failed.
    pub(super) fn failed(&mut self, shared: &Shared, places: &[usize], failure: Failure) {
        self.open -= places.len();
        self.counts.multi_keys_failed += places.len() as u64;
        places.iter().for_each(|place| self.has_failed[*place] = true);
        if let Some(place) = places.first() {
            self.quote(shared, self.keys[*place], &failure.text);
        }
        self.failure.get_or_insert(failure);
    }

    fn quote(&self, shared: &Shared, key: u32, what: &str) {
        let at_ms = self.sent.since(shared.start).as_millis();
        let keys = self.keys.len();
        let text = || format!("{at_ms} ms, read of {keys} keys, of key {key}: {what}");
        shared.recorder.borrow_mut().quote(text);
    }

    /// Whether all keys have ended.
    pub(super) fn is_ended(&self) -> bool {
        self.open == 0
    }

    /// Records it. Returns the request that follows from it.
    pub(super) fn end(self, shared: &Shared, ended: Micros) -> Option<Job> {
        assert!(self.is_ended(), "a request for many keys ends with the last of them");
        let Self { keys, has_failed, is_scheduled, phase, due, sent, .. } = self;
        let Self { failure, sends, mut counts, .. } = self;
        let followed = phase;
        let phase = shared.phase(followed, due, ended);
        counts.multi_gets = 1;
        counts.multi_gets_partial = u64::from(failure.is_some() && counts.multi_keys > 0);
        let has_hits = counts.hits > 0 && counts.absent == 0;
        let flags = if has_hits { response_flags::HIT } else { 0 };
        let ending = match &failure {
            Some(failure) => recorder::Ending::Failed(failure.kind),
            None => recorder::Ending::Answered { flags, is_absent: false, verdict: None },
        };
        let displaced = Displaced::default();
        let op = OpKind::Read;
        let sample = Sample {
            op,
            is_fill: false,
            is_scheduled,
            phase,
            due,
            sent,
            ended,
            sends,
            displaced,
            ending,
        };
        let step = Step {
            latency_us: ended.0.saturating_sub(due.0),
            is_failed: failure.is_some(),
            is_read_answer: failure.is_none(),
            is_hit: has_hits,
            is_bad: counts.stale + counts.wrong > 0,
        };
        let mut recorder = shared.recorder.borrow_mut();
        recorder.record_many(&sample, &counts, keys.iter().copied().zip(has_failed));
        drop(recorder);
        shared.live.add(shared.number, step);
        // Traces have no such requests.
        let absent = self.first_absent.map(|key| Absent { key, recorded: None });
        after_read(shared, ended, absent, followed)
    }
}
