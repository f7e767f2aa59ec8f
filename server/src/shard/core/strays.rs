//! Requests that arrived at the wrong shard: they are handed to the shard that their key belongs to, and
//! answered by the one that has the connection.

use bytes::Bytes;
use standin_protocol::time::Micros;

use super::backend::Backend;
use super::{ConnKey, Core, Effect};
use crate::node::{Answer, AnswerHead, CommandHead, Now, OwnedCommand, ReplyTo, Status, Walked};
use crate::shard::mailbox::Message;

impl<B: Backend> Core<B> {
    /// Hands a request to the shard that its key belongs to.
    pub(super) fn stray(
        &mut self,
        now: Now,
        key: ConnKey,
        to: ReplyTo,
        shard: u16,
        command: OwnedCommand,
    ) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.in_flight >= self.context.cluster.limits.in_flight_per_connection {
            return self.refuse_overloaded(now, key, to.tag, to.asked);
        }
        let message = Message::Stray { to, command, at: now.mono };
        self.effects.push_back(Effect::Post { shard, message });
        self.node.counters().strayed += 1;
        conn.in_flight += 1;
        conn.has_strayed = true;
        self.tell_end_again(key);
        self.pause_if_full(now.mono, key);
        self.pause_if_busy(key);
    }

    /// A request of another shard's connection.
    pub(super) fn serve_stray(
        &mut self,
        now: Now,
        to: ReplyTo,
        command: &OwnedCommand,
        at: Micros,
    ) {
        if self.is_of_before(now, at) {
            return self.deliver(now, to, Answer::status(Status::Unavailable));
        }
        let CommandHead { action, keyspace, .. } = command.head;
        if action.has_key() && self.hot.is_due(1) {
            self.hot.take(1, |_| (keyspace, &*command.key));
        }
        let place = self.node.aim(self.node.place(command.head.keyspace, &command.key));
        let mut answer = None;
        self.node.serve(now, to, &command.as_command(), place, true, |head, value| {
            answer = Some(Answer { head, value: Bytes::copy_from_slice(value) });
        });
        if let Some(answer) = answer {
            self.deliver(now, to, answer);
        }
    }

    /// There is no room for what [`Effect::Post`] was to bring to another shard.
    pub fn post_refused(&mut self, now: Now, shard: u16, message: Message) {
        match message {
            Message::Stray { to, .. } => {
                self.node.counters().overloaded += 1;
                self.node.counters().strayed -= 1;
                let map_tag = self.node.map_tag();
                self.deliver(now, to, AnswerHead { map_tag, ..AnswerHead::overloaded() }.into());
            }
            Message::Slice { walk, .. } => {
                self.walked(now, walk, Walked::Refused(Status::Overloaded));
            }
            Message::Walked { walk, .. } => {
                let walked = Walked::Refused(Status::Overloaded);
                let message = Message::Walked { walk, walked };
                self.effects.push_back(Effect::Post { shard, message });
            }
            Message::StrayReply { to, mut answer } => {
                self.node.counters().overloaded += 1;
                // Without its value it needs no room.
                answer.overload(to.asked.is_write());
                let message = Message::StrayReply { to, answer };
                self.effects.push_back(Effect::Post { shard, message });
            }
            _ => debug_assert!(false, "nothing else is bounded"),
        }
    }
}
