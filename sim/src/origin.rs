//! The model origin. It has, for each key, all values that were ever committed, in order, with
//! their times. Its calls take time. It can be slow, down, or unreachable from one server, or
//! commit a write that it has reported as unknown.
//!
//! It stores a different value from the one sent, as columns with a normal form, triggers and functions
//! do. So a client that reads the value as sent got it from a cache that has not asked the origin.
//!
//! It guarantees what the server's origin drivers guarantee: each call is answered within the
//! timeout, a write that may still happen is answered with `OutcomeUnknown`, and a statement, read
//! or write, that has not begun within the driver's bound never begins.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use standin_protocol::time::Micros;
use standin_server::origin::{Call, Failure, Health, Operation, Outcome, Stored};

use crate::clock::{MS, S, Time};
use crate::plan::Setup;
use crate::random::mix;

/// A value, identified by the operation that wrote it. 0 is the initial value.
pub(crate) type Value = u32;

/// The time for which a server waits for a call.
pub(crate) const TIMEOUT: Time = S;
/// The time within which a write commits after it was reported as unknown. The servers allow twice
/// the timeout, on clocks that may be a tenth fast.
pub(crate) const LATE_MAX: Time = S + 500 * MS;

/// A committed change: `None` is a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) at: Time,
    pub(crate) writer: Value,
    pub(crate) is_delete: bool,
    /// Whether its server had died before, so that no party can tell the caches.
    pub(crate) is_orphan: bool,
}

/// The calls that a server's shards submit, until the simulator takes them.
#[derive(Debug)]
pub(crate) struct Gate {
    calls: Mutex<Vec<Call>>,
    open: AtomicUsize,
    open_max: usize,
    is_down: AtomicBool,
}

impl Gate {
    pub(crate) fn new(open_max: usize) -> Self {
        let (calls, open) = (Mutex::default(), AtomicUsize::new(0));
        Self { calls, open, open_max, is_down: AtomicBool::new(false) }
    }

    pub(crate) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that a call of the server has been answered, so that there is room for another.
    pub(crate) fn answered(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.is_down.store(down, Ordering::Relaxed);
    }

    /// Takes a call, or returns it if too many are open.
    pub(crate) fn submit(&self, call: Call) -> Result<(), Call> {
        if self.open.load(Ordering::Relaxed) >= self.open_max {
            return Err(call);
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        Ok(())
    }

    pub(crate) fn health(&self) -> Health {
        match self.is_down.load(Ordering::Relaxed) {
            true => Health::Down { since: Micros(1) },
            false => Health::Up,
        }
    }
}

/// The fault of the connection from one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Path {
    pub(crate) refuses: u8,
    pub(crate) hangs: u8,
}

/// A call that the origin has taken.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) server: usize,
    pub(crate) life: u32,
    pub(crate) call: Call,
    pub(crate) key: usize,
    /// The time that its answer takes.
    pub(crate) back: Time,
    /// Whether its server has already been answered, so that only the effect remains.
    pub(crate) is_answered: bool,
}

/// A call that waits in its server.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) server: usize,
    pub(crate) life: u32,
    pub(crate) call: Call,
    pub(crate) key: usize,
}

/// The course of a call that is submitted now: when it is executed, if at all, and when and how its
/// server is answered if that is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallSchedule {
    pub(crate) runs_at: Option<Time>,
    /// The time from then until the server gets the answer.
    pub(crate) back: Time,
    pub(crate) gives_up: Option<(Time, GivesUp)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivesUp {
    Unavailable,
    Overdue,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Origin {
    seed: u64,
    value_bytes: usize,
    /// Whether some puts change no row.
    some_puts_change_nothing: bool,
    pub(crate) history: Vec<Vec<Commit>>,
    /// By key and server, the time at which the server's last write under way is executed. Its
    /// later writes come after it.
    busy_until: Vec<Vec<Time>>,
    /// The delays in force: (server, or all; delay).
    pub(crate) slow_by: Vec<(Option<usize>, Time)>,
    pub(crate) down: u8,
    pub(crate) paths: Vec<Path>,
    /// The late writes in force: (percentage, longest delay).
    pub(crate) late: Vec<(u8, Time)>,
    pub(crate) calls: Vec<Option<Open>>,
    pub(crate) queued: Vec<Option<Queued>>,
    pub(crate) late_commits: u64,
}

impl Origin {
    pub(crate) fn new(seed: u64, setup: &Setup) -> Self {
        let (keys, servers, value_bytes) = (setup.keys, setup.servers(), setup.value_bytes);
        let first = Commit { at: 0, writer: 0, is_delete: false, is_orphan: false };
        Self {
            seed,
            value_bytes,
            some_puts_change_nothing: setup.some_puts_change_nothing,
            history: vec![vec![first]; keys],
            busy_until: vec![vec![0; keys]; servers],
            slow_by: Vec::new(),
            down: 0,
            paths: vec![Path::default(); servers],
            late: Vec::new(),
            calls: Vec::new(),
            queued: Vec::new(),
            late_commits: 0,
        }
    }

    /// Returns how long a call waits in its server, which hands calls over one after another while
    /// the origin is slow.
    pub(crate) fn waits(&self, now: Time, server: usize, key: usize, is_write: bool) -> Time {
        let hash = mix(self.seed ^ now, (server * 64 + key * 2 + usize::from(is_write)) as u64);
        let is_of = |(of, _): &&(Option<usize>, Time)| of.is_none_or(|of| of == server);
        let slow_by: Time = self.slow_by.iter().filter(is_of).map(|(_, by)| by).sum();
        let share = if (hash >> 4).is_multiple_of(3) { slow_by / 2 } else { 0 };
        1 + hash % 30 + (hash >> 8) % (share + 1)
    }

    /// Returns the number of a server's open calls for a key: writes, or the reads of one keyspace.
    pub(crate) fn others(&self, name: (usize, u32, usize, Option<u8>)) -> usize {
        let reads = |call: &Call| matches!(call.operation, Operation::Get).then_some(call.keyspace);
        let queued = self.queued.iter().flatten();
        let queued = queued.filter(|q| (q.server, q.life, q.key, reads(&q.call)) == name);
        let open = self.calls.iter().flatten().filter(|open| !open.is_answered);
        open.filter(|o| (o.server, o.life, o.key, reads(&o.call)) == name).count() + queued.count()
    }

    /// Adds a call that waits.
    pub(crate) fn enqueue(&mut self, queued: Queued) -> usize {
        fill(&mut self.queued, queued)
    }

    /// Drops the calls that wait in a server when its process ends.
    pub(crate) fn server_ended(&mut self, server: usize) {
        for queued in &mut self.queued {
            queued.take_if(|queued| queued.server == server);
        }
    }

    /// Takes a call that has waited.
    pub(crate) fn dequeue(&mut self, slot: usize) -> Option<Queued> {
        self.queued[slot].take()
    }

    /// Decides the schedule of a call.
    pub(crate) fn schedule(
        &mut self,
        now: Time,
        server: usize,
        key: usize,
        is_write: bool,
    ) -> CallSchedule {
        let hash = mix(self.seed ^ now, (server * 64 + key * 2 + usize::from(is_write)) as u64);
        let there = 50 + hash % 300;
        let path = self.paths[server];
        if self.down > 0 || path.refuses > 0 {
            let gives_up = Some((now + there, GivesUp::Unavailable));
            return CallSchedule { runs_at: None, back: 0, gives_up };
        }
        let overdue = Some((now + TIMEOUT, GivesUp::Overdue));
        if path.hangs > 0 {
            // The statement may have got through before the connection was lost.
            let runs_at = (is_write && (hash >> 20).is_multiple_of(4)).then_some(now + there);
            return CallSchedule { runs_at, back: 0, gives_up: overdue };
        }
        let is_of = |(of, _): &&(Option<usize>, Time)| of.is_none_or(|of| of == server);
        let slow_by: Time = self.slow_by.iter().filter(is_of).map(|(_, by)| by).sum();
        let takes = slow_by / 2 + (hash >> 8) % (slow_by / 2 + 1);
        // The delay may come before the execution, or before the answer.
        let before = match (hash >> 24) % 3 {
            0 => 0,
            1 => takes,
            _ => takes * ((hash >> 26) % 101) / 100,
        };
        let mut runs_at = now + there + before;
        let back = 50 + (hash >> 40) % 300 + takes - before;
        if is_write {
            for (percent, by_max) in self.late.clone() {
                if (hash >> 32) % 100 >= u64::from(percent) {
                    continue;
                }
                // The connection is lost. The statement may or may not have reached the server.
                let told_at = now + (hash >> 40) % (20 * MS);
                let never = (hash >> 50).is_multiple_of(4);
                let late_by = mix(hash, 1) % (by_max.min(LATE_MAX) + 1);
                self.late_commits += u64::from(!never);
                return CallSchedule {
                    runs_at: (!never).then_some(told_at + late_by),
                    back: 0,
                    gives_up: Some((told_at, GivesUp::Overdue)),
                };
            }
            runs_at = runs_at.max(self.busy_until[server][key] + 1);
        }
        if runs_at > now + TIMEOUT + LATE_MAX {
            // It is cancelled before it begins.
            return CallSchedule { runs_at: None, back: 0, gives_up: overdue };
        }
        if is_write {
            self.busy_until[server][key] = runs_at;
        }
        let is_overdue = runs_at + back >= now + TIMEOUT;
        CallSchedule { runs_at: Some(runs_at), back, gives_up: overdue.filter(|_| is_overdue) }
    }

    /// Keeps a call until it has ended.
    pub(crate) fn insert(&mut self, open: Open) -> usize {
        fill(&mut self.calls, open)
    }

    /// Changes a row directly in the database, of which no cache is told.
    pub(crate) fn changed_behind(&mut self, at: Time, key: usize, writer: Value) {
        self.history[key].push(Commit { at, writer, is_delete: false, is_orphan: true });
    }

    /// Executes a call.
    pub(crate) fn run(
        &mut self,
        at: Time,
        key: usize,
        operation: &Operation,
        is_orphan: bool,
    ) -> Outcome {
        let history = &mut self.history[key];
        let exists = history.last().is_some_and(|last| !last.is_delete);
        match operation {
            Operation::Get => {
                let last = history.last().filter(|last| !last.is_delete);
                Outcome::Value(last.map(|last| stored_bytes(last.writer, self.value_bytes).into()))
            }
            Operation::Put { value, .. } => {
                let writer = sent_value(value).unwrap_or(0);
                if self.some_puts_change_nothing
                    && mix(self.seed ^ at, u64::from(writer)).is_multiple_of(8)
                {
                    return Outcome::changed(0);
                }
                history.push(Commit { at, writer, is_delete: false, is_orphan });
                let row = stored_bytes(writer, self.value_bytes).into();
                Outcome::Written { rows: 1, stored: Stored::Row(Some(row)) }
            }
            Operation::Delete => {
                // A delete call does not say which operation it belongs to, so the checker treats
                // all deletes alike.
                if exists {
                    history.push(Commit { at, writer: 0, is_delete: true, is_orphan });
                }
                Outcome::changed(u64::from(exists))
            }
        }
    }
}

/// Puts a value into the first free place.
fn fill<T>(places: &mut Vec<Option<T>>, it: T) -> usize {
    match places.iter().position(Option::is_none) {
        Some(at) => {
            places[at] = Some(it);
            at
        }
        None => {
            places.push(Some(it));
            places.len() - 1
        }
    }
}

/// Returns the answer to a call that was not answered in time.
pub(crate) fn failure(gives_up: GivesUp, is_write: bool) -> Outcome {
    Outcome::Failed(match gives_up {
        GivesUp::Unavailable => Failure::Unavailable,
        GivesUp::Overdue if is_write => Failure::OutcomeUnknown,
        GivesUp::Overdue => Failure::Timeout,
    })
}

const SENT: u64 = 0x5AA5_0000_0000_0000;
const STORED: u64 = 0xC33C_0000_0000_0000;

/// Returns a value as clients send it: its number, filled up to this length.
pub(crate) fn sent_bytes(value: Value, length: usize) -> Vec<u8> {
    bytes_of(value, SENT, length)
}

/// Returns the value as the row stores it.
fn stored_bytes(value: Value, length: usize) -> Vec<u8> {
    bytes_of(value, STORED, length)
}

fn bytes_of(value: Value, form: u64, length: usize) -> Vec<u8> {
    let name = (u64::from(value) ^ form).to_le_bytes();
    let mut bytes = Vec::with_capacity(length.max(name.len()));
    bytes.extend_from_slice(&name);
    bytes.resize(length.max(name.len()), 0);
    bytes
}

/// Returns the value of which these are the bytes sent.
pub(crate) fn sent_value(bytes: &[u8]) -> Option<Value> {
    value_of(bytes, SENT)
}

/// Returns the value of which these are the bytes stored.
pub(crate) fn stored_value(bytes: &[u8]) -> Option<Value> {
    value_of(bytes, STORED)
}

fn value_of(bytes: &[u8], form: u64) -> Option<Value> {
    let (bytes, _) = bytes.split_first_chunk()?;
    u32::try_from(u64::from_le_bytes(*bytes) ^ form).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_begins_long_after_it_was_given_up() {
        let setup = crate::plan::script(1).with(|setup| setup.keys = 4).plan().setup;
        let mut origin = Origin::new(1, &setup);
        origin.slow_by = vec![(None, 2 * S), (None, 2 * S), (None, 2 * S)];
        let (mut late, mut never) = (0, 0);
        for now in (0..20 * S).step_by(50_000) {
            for is_write in [false, true] {
                let schedule = origin.schedule(now, 0, (now / 50_000 % 4) as usize, is_write);
                let is_given_up = matches!(schedule.gives_up, Some((_, GivesUp::Overdue)));
                assert!(schedule.runs_at.is_none_or(|at| at <= now + TIMEOUT + LATE_MAX));
                late += u32::from(is_given_up && schedule.runs_at.is_some());
                never += u32::from(is_given_up && schedule.runs_at.is_none());
            }
        }
        assert!(late > 0 && never > 0, "{late} late, {never} never");
    }
}
