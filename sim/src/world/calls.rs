//! Calls of the servers to the origin: handed over, carried out, answered.

use standin_server::origin::{Call, Done, Operation, Outcome};

use super::World;
use super::events::Event;
use crate::origin::{Open, failure};

impl World {
    /// A shard hands over a call.
    pub(crate) fn call_origin(&mut self, server: usize, call: Call) {
        let Some(key) = self.cluster.keys.iter().position(|key| **key == *call.key) else {
            return self.violation("a call for a key that nobody has asked for".to_owned());
        };
        let is_write = !matches!(call.operation, Operation::Get);
        if self.is_told && !is_write {
            self.fetches.push(self.time);
        }
        let life = self.servers[server].life;
        let same = |open: &&Open| {
            (open.server, open.life, open.key, open.is_answered) == (server, life, key, false)
                && !matches!(open.call.operation, Operation::Get) == is_write
        };
        let others = self.origin.calls.iter().flatten().filter(same).count();
        if let Err(wrong) = self.checker.may_call(is_write, others) {
            let letter = crate::plan::letter(server);
            self.violation(format!("server {letter}: {wrong} of k{key}"));
        }
        let fate = self.origin.fate(self.time, server, key, is_write);
        let (shard, token) = (call.shard, call.token);
        let back = fate.back;
        let open = Open { server, life, call, key, back, is_answered: fate.gives_up.is_some() };
        let gives_up = fate.gives_up;
        if let Some(at) = fate.runs_at {
            let slot = self.origin.insert(open);
            self.queue.push(at, Event::Call(slot));
        }
        if let Some((at, gives_up)) = gives_up {
            let done = Done { token, outcome: failure(gives_up, is_write) };
            self.queue.push(at, Event::Answer { server, life, shard, done });
        }
    }

    /// The origin carries out a call.
    pub(crate) fn call_runs(&mut self, slot: usize) {
        let Some(open) = self.origin.calls[slot].take() else { return };
        let is_orphan = self.servers[open.server].life != open.life
            || self.servers[open.server].process.is_none();
        let outcome = self.origin.run(self.time, open.key, &open.call.operation, is_orphan);
        if let Operation::Put { value } = &open.call.operation {
            let id = crate::origin::sent_value(value).unwrap_or(0);
            if outcome != Outcome::changed(0) {
                self.checker.executed(open.key, id, &self.origin.history[open.key]);
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
        let done = Done { token: open.call.token, outcome };
        let (server, life, shard) = (open.server, open.life, open.call.shard);
        self.queue.push(self.time + open.back, Event::Answer { server, life, shard, done });
    }
}
