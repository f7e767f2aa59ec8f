//! One request, from being due to being recorded.

use standin_client::monoio::Client;
use standin_client::{Action, Answer, ClientError, Operation, Outcome};
use standin_protocol::frame::response_flags;
use standin_protocol::time::Micros;

use super::Notable;
use super::shared::Shared;
use crate::checker::{Checker, Floor, Seen, Verdict, Write, WriteKind};
use crate::live::Step;
use crate::recorder::{Displaced, Ending, FailureKind, Logged, OpKind, Sample};
use crate::request::{Access, Request, ValueSizes};
use crate::rng::Random;

/// The largest number of times that another key is drawn for a write whose key is being written.
const REDRAWS_MAX: u8 = 8;

/// A request with its place in the checker's order.
pub(super) struct Ticket {
    key: u32,
    kind: TicketAction,
    displaced: Displaced,
    is_fill: bool,
}

impl Ticket {
    fn new(key: u32, kind: TicketAction, displaced: Displaced) -> Self {
        Self { key, kind, displaced, is_fill: false }
    }
}

enum TicketAction {
    Read,
    Write { value: Vec<u8>, ttl_s: u32, write: Option<Write> },
    Delete { write: Option<Write> },
}

/// Gives a request its place. A write of a key that is being written gets another key, or,
/// where keys are given, becomes a read: one write of a key is under way at a time. Both are
/// counted.
pub(super) fn ticket(shared: &Shared, wanted: Request) -> Ticket {
    let Request { key, access } = wanted;
    let mut displaced = Displaced::default();
    let (kind, value_bytes, ttl_s) = match access {
        Access::Read => return Ticket::new(key, TicketAction::Read, displaced),
        Access::Write { value_bytes, ttl_s } => (WriteKind::Put, value_bytes, ttl_s),
        Access::Delete => (WriteKind::Delete, 0, 0),
    };
    let Some(checker) = &shared.plan.checker else {
        let kind = match kind {
            WriteKind::Put => TicketAction::Write {
                value: Checker::first_value(shared.plan.run, key, value_bytes),
                ttl_s,
                write: None,
            },
            WriteKind::Delete => TicketAction::Delete { write: None },
        };
        return Ticket::new(key, kind, displaced);
    };
    let (mut key, now) = (key, Micros::boottime());
    loop {
        if let Some(write) = checker.begin_write(key, kind, now) {
            let kind = match kind {
                WriteKind::Put => {
                    let value = checker.value(&write, value_bytes);
                    TicketAction::Write { value, ttl_s, write: Some(write) }
                }
                WriteKind::Delete => TicketAction::Delete { write: Some(write) },
            };
            return Ticket::new(key, kind, displaced);
        }
        let other = shared.supply.borrow_mut().other_key();
        match other.filter(|_| displaced.redraws < REDRAWS_MAX) {
            Some(other) => key = other,
            None => break,
        }
        displaced.redraws += 1;
    }
    displaced.became_read = true;
    Ticket::new(key, TicketAction::Read, displaced)
}

/// Sends a request, waits for its end, judges and records it. If it is a read that finds nothing,
/// the key may be filled then.
pub(super) async fn perform(shared: &Shared, client: &Client, ticket: Ticket, due: Option<Micros>) {
    let (key, is_read) = (ticket.key, matches!(ticket.kind, TicketAction::Read));
    let is_absent = perform_one(shared, client, ticket, due).await;
    if is_read
        && is_absent
        && let Some(sizes) = shared.plan.fills
        && let Some(fill) = fill(shared, key, sizes)
    {
        perform_one(shared, client, fill, None).await;
    }
}

/// Gives the write that fills a key its place; `None` if the key is being written.
fn fill(shared: &Shared, key: u32, sizes: ValueSizes) -> Option<Ticket> {
    let value_bytes = sizes.draw(&mut Random::stream(shared.plan.seed, key.into()));
    let (value, write) = match &shared.plan.checker {
        Some(checker) => {
            let write = checker.begin_write(key, WriteKind::Put, Micros::boottime())?;
            (checker.value(&write, value_bytes), Some(write))
        }
        None => (Checker::first_value(shared.plan.run, key, value_bytes), None),
    };
    let kind = TicketAction::Write { value, ttl_s: 0, write };
    Some(Ticket { is_fill: true, ..Ticket::new(key, kind, Displaced::default()) })
}

/// Performs one request. Returns whether it was answered that there is nothing.
async fn perform_one(
    shared: &Shared,
    client: &Client,
    ticket: Ticket,
    due: Option<Micros>,
) -> bool {
    let phase_sent = shared.live.phase();
    let Ticket { key, displaced, is_fill, .. } = ticket;
    let checker = shared.plan.checker.as_deref();
    let (action, op, write) = match ticket.kind {
        TicketAction::Read => (Action::Get, OpKind::Read, None),
        TicketAction::Write { value, ttl_s, write } => {
            (Action::Put { value, ttl_s }, OpKind::Write, write)
        }
        TicketAction::Delete { write } => (Action::Delete, OpKind::Write, write),
    };
    let operation =
        Operation { keyspace: shared.plan.keyspace, key: shared.plan.keys.name(key), action };
    let sent = Micros::boottime();
    // After the clock: a write acknowledged in between only makes the check milder.
    let floor =
        checker.filter(|_| op == OpKind::Read).map(|checker| checker.before_read(key, sent));
    let result = client.run(operation).await;
    let ended = Micros::boottime();
    if let (Some(checker), Some(write)) = (checker, write) {
        checker.end_write(write, ended, result.is_ok());
    }
    let verdict = judge(checker, key, floor, &result);
    let phase = phase_of(phase_sent, shared.live.phase());
    let due = due.unwrap_or(sent);
    report(shared, phase, ended, &result);
    let (ending, sends) = match &result {
        Ok(answer) => {
            let is_absent = answer.outcome == Outcome::NotFound;
            (Ending::Answered { flags: answer.flags, is_absent, verdict }, answer.sends)
        }
        Err(error) => (Ending::Failed(FailureKind::from(error)), 1),
    };
    let sample = Sample { op, is_fill, phase, due, sent, ended, sends, displaced, ending };
    let mut recorder = shared.recorder.borrow_mut();
    recorder.record(&sample);
    if shared.plan.is_logged {
        let served_by = result.as_ref().ok().map(|answer| answer.served_by);
        recorder.log(Logged { worker: shared.number, key, served_by, sample });
    }
    if let Some(what) = complaint(&result, verdict) {
        let at_ms = sent.since(shared.start).as_millis();
        recorder.quote(|| format!("{at_ms} ms, {} of key {key}: {what}", op.name()));
    }
    drop(recorder);
    shared.live.add(shared.number, step(&sample));
    matches!(sample.ending, Ending::Answered { is_absent: true, .. })
}

/// A request belongs to the phase in which it was sent; but what is under way when the first
/// phase ends has to do with what ended it.
fn phase_of(sent: usize, ended: usize) -> usize {
    if sent == 0 && ended > 0 { 1 } else { sent }
}

fn judge(
    checker: Option<&Checker>,
    key: u32,
    floor: Option<Floor>,
    result: &Result<Answer, ClientError>,
) -> Option<Verdict> {
    let (checker, floor) = (checker?, floor?);
    let seen = match &result.as_ref().ok()?.outcome {
        Outcome::Value(value) => Seen::Value(&value.bytes),
        _ => Seen::Absent,
    };
    Some(checker.after_read(key, floor, seen))
}

fn complaint(result: &Result<Answer, ClientError>, verdict: Option<Verdict>) -> Option<String> {
    match (result, verdict) {
        (Err(error), _) => Some(error.to_string()),
        (Ok(answer), Some(Verdict::Stale { behind, age, .. })) => Some(format!(
            "stale by {behind} writes and {age:?}, from server {} with flags {:#04x}",
            answer.served_by, answer.flags
        )),
        (Ok(answer), Some(Verdict::Wrong(wrong))) => {
            Some(format!("wrong value ({wrong:?}) from server {}", answer.served_by))
        }
        (Ok(_), _) => None,
    }
}

fn report(shared: &Shared, phase: usize, at: Micros, result: &Result<Answer, ClientError>) {
    // A failure is recorded, but no server has answered.
    let Ok(answer) = result else { return };
    let is_stand_in = answer.is_stand_in();
    if shared.is_first(phase, answer.served_by, is_stand_in) {
        let server = answer.served_by;
        // Nobody listens any more: the run goes on.
        let _ = shared.notables.send(Notable::FirstAnswer { at, phase, server, is_stand_in });
    }
}

fn step(sample: &Sample) -> Step {
    let is_read = sample.op == OpKind::Read;
    match sample.ending {
        Ending::Failed(_) => Step { is_failed: true, ..Step::default() },
        Ending::Answered { flags, verdict, .. } => Step {
            is_failed: false,
            is_read_answer: is_read,
            is_hit: is_read && flags & response_flags::HIT != 0,
            is_bad: matches!(verdict, Some(Verdict::Stale { .. } | Verdict::Wrong(_))),
        },
    }
}
