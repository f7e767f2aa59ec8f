//! Requests that concern no key and are answered later: for the counters of the server, for its hottest
//! keys, and for the routes to all partitions. Walks through its keys have files of their own (walking.rs, slicing.rs).

use slotmap::Key as _;

use super::backend::Backend;
use super::{ConnKey, Core, Effect};
use crate::node::Asked;
use crate::node::{Answer, AnswerHead, ConnId, Now, ReplyTo, Status};

impl<B: Backend> Core<B> {
    /// Counts a request that is answered later, and returns the place of its answer. `None` if too many
    /// requests of the connection wait: it has been refused then. A server's wait for many clients, and are
    /// bounded elsewhere.
    pub(super) fn answer_later(&mut self, now: Now, key: ConnKey, tag: u64) -> Option<ReplyTo> {
        // It has been closed.
        let conn = self.conns.get_mut(key)?;
        let is_full = conn.in_flight >= self.context.cluster.limits.in_flight_per_connection;
        if is_full && !conn.caller().is_peer {
            self.refuse_overloaded(now, key, tag, Asked::other(now.mono));
            return None;
        }
        conn.in_flight += 1;
        self.tell_end_again(key);
        let conn = ConnId { shard: self.context.shard, conn: key.data().as_ffi() };
        Some(ReplyTo { conn, tag, asked: Asked::other(now.mono) })
    }

    /// The counters of the server, which no shard's node knows.
    pub(super) fn serve_stats(&mut self, now: Now, key: ConnKey, tag: u64) {
        // The replies are written at the end of the turn: until then nothing else bounds them.
        let Some(to) = self.answer_later(now, key, tag) else { return };
        self.node.counters().requests += 1;
        self.effects.push_back(Effect::Stats { to });
    }

    /// The keys that the server is asked for most, of all its shards.
    pub(super) fn serve_hot(&mut self, now: Now, key: ConnKey, tag: u64) {
        let Some(to) = self.answer_later(now, key, tag) else { return };
        self.node.counters().requests += 1;
        self.effects.push_back(Effect::Hot { to });
    }

    /// What [`Effect::Stats`] or [`Effect::Hot`] asks for.
    pub fn told(&mut self, now: Now, to: ReplyTo, value: Vec<u8>) {
        let head = AnswerHead::under(Status::Ok, self.node.map_tag());
        self.deliver(now, to, Answer { head, value: value.into() });
    }

    /// The routes to all partitions, which are answered when the node knows them.
    pub(super) fn serve_routes(&mut self, now: Now, key: ConnKey, tag: u64) {
        let Some(to) = self.answer_later(now, key, tag) else { return };
        B::routes(self, now, to);
    }
}
