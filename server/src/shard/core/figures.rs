//! The counters of the server, for callers who ask for them.

use slotmap::Key as _;

use super::backend::Backend;
use super::{ConnKey, Core, Effect};
use crate::node::{Answer, AnswerHead, ConnId, Now, ReplyTo, Status};

impl<B: Backend> Core<B> {
    /// The counters of the server, which no shard's node knows.
    pub(super) fn serve_stats(&mut self, now: Now, key: ConnKey, tag: u64) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        // The replies are written at the end of the turn: until then nothing else bounds them.
        if conn.in_flight >= self.context.cluster.limits.in_flight_per_connection {
            return self.refuse_overloaded(now, key, tag);
        }
        conn.in_flight += 1;
        self.tell_end_again(key);
        let conn = ConnId { shard: self.context.shard, conn: key.data().as_ffi() };
        self.effects.push_back(Effect::Stats { to: ReplyTo { conn, tag } });
    }

    /// What the whole server counts, as [`Effect::Stats`] asks.
    pub fn stats(&mut self, now: Now, to: ReplyTo, counters: Vec<u8>) {
        let head = AnswerHead::under(Status::Ok, self.node.map_tag());
        self.deliver(now, to, Answer { head, value: counters.into() });
    }
}
