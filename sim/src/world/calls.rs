//! Calls of the servers to the origin: they wait in the server, are handed over, executed, and
//! answered.

use standin_protocol::time::Micros;
use standin_server::origin::{Call, Done, Operation, Outcome};

use super::World;
use super::events::Event;
use crate::origin::{GivesUp, Open, Queued, TIMEOUT, failure, sent_value};
use crate::random::mix;

impl World {
    /// Takes a shard's call, which goes to the threads that talk to the origin.
    pub(crate) fn call_origin(&mut self, server: usize, call: Call) {
        let Some(key) = self.cluster.keys.iter().position(|key| **key == *call.key) else {
            return self.violation("a call for a key that nobody has asked for".to_owned());
        };
        let is_write = is_write(&call);
        if self.setup.without_database {
            return self.violation("a call to a database that does not exist".to_owned());
        }
        if self.is_told && !is_write {
            self.fetches.push(self.time);
        }
        if !is_write && let Err(wrong) = self.checker.reads.read(self.time) {
            self.violation(wrong);
        }
        let life = self.servers[server].life;
        let reads = (!is_write).then_some(call.keyspace);
        let others = self.origin.others((server, life, key, reads));
        if let Err(wrong) = self.checker.may_call(is_write, others) {
            let letter = crate::plan::letter(server);
            self.violation(format!("server {letter}: {wrong} of k{key}"));
        }
        let slot = self.origin.enqueue(Queued { server, life, call, key });
        let waits = self.origin.waits(self.time, server, key, is_write);
        self.queue.push(self.time + waits, Event::Handed { server, life, slot });
    }

    /// Hands a call that has waited in its server to the origin.
    pub(crate) fn call_is_handed(&mut self, server: usize, life: u32, slot: usize) {
        let host = &mut self.servers[server];
        if host.life != life {
            return;
        }
        let Some(Queued { call, key, .. }) = self.origin.dequeue(slot) else { return };
        let (now, is_write) = (host.clock.local(self.time), is_write(&call));
        let Some(process) = host.process.as_mut() else { return };
        // After a pause this thread may be the first that resumes, or not.
        let looks = !process.was_stopped || mix(self.seed, self.time).is_multiple_of(2);
        if looks {
            process.heartbeat.beat(now);
            process.was_stopped = false;
        }
        let may_begin = !is_write || process.heartbeat.may_begin(now, call.made);
        let due = call.deadline.min(Micros(call.made.0 + TIMEOUT));
        let (shard, token) = (call.shard, call.token);
        if !may_begin || now >= due {
            self.refused_calls += u64::from(!may_begin);
            let gives_up = if is_write { GivesUp::Unavailable } else { GivesUp::Overdue };
            let done = Done { token, outcome: failure(gives_up, is_write), sent: None };
            return self.queue.push(self.time, Event::Answer { server, life, shard, done });
        }
        if let Operation::Put { value, .. } = &call.operation
            && let Err(wrong) =
                self.checker.pauses.goes(self.time, server, sent_value(value).unwrap_or(0))
        {
            self.violation(wrong);
        }
        let schedule = self.origin.schedule(self.time, server, key, is_write);
        let back = schedule.back;
        let open = Open { server, life, call, key, back, is_answered: schedule.gives_up.is_some() };
        let gives_up = schedule.gives_up;
        if let Some(at) = schedule.runs_at {
            let slot = self.origin.insert(open);
            self.queue.push(at, Event::Call(slot));
        }
        if let Some((at, gives_up)) = gives_up {
            let done = Done { token, outcome: failure(gives_up, is_write), sent: None };
            self.queue.push(at, Event::Answer { server, life, shard, done });
        }
    }

    /// Executes a call in the origin.
    pub(crate) fn call_runs(&mut self, slot: usize) {
        let Some(open) = self.origin.calls[slot].take() else { return };
        let is_orphan = self.servers[open.server].life != open.life
            || self.servers[open.server].process.is_none();
        let outcome = self.origin.run(self.time, open.key, &open.call.operation, is_orphan);
        if let Operation::Put { value, .. } = &open.call.operation {
            let id = sent_value(value).unwrap_or(0);
            let (process, history) = ((open.server, open.life), &self.origin.history[open.key]);
            if outcome != Outcome::changed(0)
                && let Err(wrong) = self.checker.executed(process, open.key, id, history)
            {
                self.violation(wrong);
            }
        }
        if self.is_told && !matches!(open.call.operation, Operation::Get) {
            let writer = self.origin.history[open.key].last().map_or(0, |last| last.writer);
            let late = if open.is_answered { ", late" } else { "" };
            let letter = crate::plan::letter(open.server);
            let text = match open.call.operation {
                Operation::Delete => format!("k{} is deleted", open.key),
                _ => format!("v{writer} of k{} is committed", open.key),
            };
            self.note(|| format!("{text} (server {letter}{late})"));
        }
        if open.is_answered {
            return;
        }
        let done = Done { token: open.call.token, outcome, sent: None };
        let (server, life, shard) = (open.server, open.life, open.call.shard);
        self.queue.push(self.time + open.back, Event::Answer { server, life, shard, done });
    }
}

fn is_write(call: &Call) -> bool {
    !matches!(call.operation, Operation::Get)
}
