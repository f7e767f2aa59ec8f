//! Reads that find a stale value which nobody has been told to compute again: the reader is told so,
//! which a read alone can't do, because only one may be told. So the read goes on as a
//! read-modify-write (`Edit::Herd`), unless its caller may not write: a caller who can't store the new
//! value must not be the one who is told.

use bytes::Bytes;
use slotmap::{Key as _, KeyData};

use super::backend::Backend;
use super::{ConnKey, Core, Effect};
use crate::node::Asked;
use crate::node::answer::marks;
use crate::node::{Answer, AnswerHead, ConnId, Now, OwnedCommand, ReplyTo, Status};
use crate::shard::codec::{Memo, Spelling};
use crate::shard::mailbox::Message;

/// Whether an answer has found a stale value that nobody has been told to compute again.
#[inline]
pub(super) fn is_due(head: &AnswerHead) -> bool {
    const ALL: u8 = marks::STALE | marks::WON | marks::WINS;
    head.marks & ALL == marks::STALE && head.status == Status::Ok
}

impl<B: Backend> Core<B> {
    /// Goes on with a read of this connection that was answered at once.
    #[cold]
    pub(super) fn go_on(&mut self, now: Now, key: ConnKey, memo: Memo<'_>, asked: Asked) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        let tag = conn.codec.tag(memo.tag);
        conn.codec.wait(memo);
        conn.in_flight += 1;
        self.tell_end_again(key);
        let id = ConnId { shard: self.context.shard, conn: key.data().as_ffi() };
        let to = ReplyTo { conn: id, tag, asked };
        let Some(command) = self.recaching(to) else {
            unreachable!("the codec knows the request: it was told to wait")
        };
        if let Some(conn) = self.conns.get_mut(key) {
            conn.under_way.begun(&conn.codec, command.head.action, &command.key);
        }
        self.serve_again(now, to, command);
    }

    /// The read-modify-write by which a read goes on that waits for its answer; `None` if the request
    /// is no such read, or its caller may not write.
    pub(super) fn recaching(&mut self, to: ReplyTo) -> Option<OwnedCommand> {
        let conn = self.conns.get(ConnKey::from(KeyData::from_ffi(to.conn.conn)))?;
        let names = self.names.as_ref().expect("no request is being decoded");
        let mut command = conn.codec.recaching(to.tag, names, self.deadline_ms)?;
        if !conn.grant.rights.write.has(command.head.keyspace) {
            return None;
        }
        let key_bytes_max = self.context.cluster.limits.key_bytes;
        let formed = self.formed.form(&command.head, &command.key, Spelling::Plain, key_bytes_max);
        if let Ok(Some(range)) = formed {
            command.key = self.formed.bytes()[range].into();
        }
        Some(command)
    }

    /// Serves a command whose request waits for its answer.
    pub(super) fn serve_again(&mut self, now: Now, to: ReplyTo, command: OwnedCommand) {
        let place = self.node.aim(self.node.place(command.head.keyspace, &command.key));
        let shard = B::shard_of(place, self.context.shard, self.context.shards);
        if shard != self.context.shard && !self.stopping {
            let message = Message::Stray { to, command, at: now.mono };
            self.effects.push_back(Effect::Post { shard, message });
            return;
        }
        let mut answer = None;
        self.node.serve(now, to, &command.as_command(), place, true, |head, value| {
            answer = Some(Answer { head, value: Bytes::copy_from_slice(value) });
        });
        if let Some(answer) = answer {
            self.deliver(now, to, answer);
        }
    }
}
