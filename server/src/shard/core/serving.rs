//! The second and the third pass over a wake-up's requests: aims what is staged (intake.rs), and serves
//! it. In a protocol whose replies come in order, a connection with too many unanswered requests is
//! served no further until some of them are answered.

use slotmap::Key as _;

use super::backend::Backend;
use super::intake::Staged;
use super::{Buffers, ConnKey, Core, Effect, Io, Source, empty, recache};
use crate::node::{
    Action, Answer, AnswerHead, Command, ConnId, Now, OwnedCommand, ReplyTo, Status,
};
use crate::shard::codec::What;
use crate::shard::mailbox::Message;

/// The largest number of requests that are aimed before the first of them is served: enough for the
/// loads of one to overlap with the work on others, and few enough for the loaded lines to be still
/// in the cache.
const AIMED_MAX: usize = 64;

/// The largest number of bytes that are moved in a turn because other requests take the place of some.
const AGAIN_BYTES_MAX: usize = 8 << 20;

/// Requests whose place others take (`What::Again`): what is behind them is moved, so that their number
/// in a turn is bounded.
#[derive(Debug, Default)]
pub(super) struct Agains {
    /// The bytes that were moved in this turn.
    bytes: usize,
    /// Connections that go on in the next turn.
    deferred: Vec<ConnKey>,
}

impl Agains {
    fn is_used_up(&self) -> bool {
        self.bytes > AGAIN_BYTES_MAX
    }

    pub(super) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }
}

impl<B: Backend> Core<B> {
    /// Second and third pass: aims everything staged since the last call, then serves it.
    ///
    /// The clock must be read after the last byte was received. Otherwise a process that was
    /// stopped in between could mistake new requests for old ones, from when its lease was still
    /// valid (scenario 3).
    pub fn serve_staged(&mut self, now: Now, buffers: &impl Buffers) {
        self.begin(now);
        self.agains.bytes = 0;
        for key in std::mem::take(&mut self.agains.deferred) {
            self.resume_if_room(now, key);
        }
        loop {
            self.serve_all(now, buffers);
            self.drop_served_input();
            if self.with_more.is_empty() {
                break;
            }
            for key in std::mem::take(&mut self.with_more) {
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.has_more = false;
                }
                self.read_input(now, key);
            }
        }
        self.close_ended();
    }

    /// Aims and serves what is staged.
    fn serve_all(&mut self, now: Now, buffers: &impl Buffers) {
        let staged = std::mem::take(&mut self.staged);
        let mut aimed = std::mem::take(&mut self.aimed);
        for staged in staged.chunks(AIMED_MAX) {
            aimed.clear();
            aimed.extend(staged.iter().map(|request| self.node.aim(request.place)));
            let mut served = 0;
            while served < staged.len() {
                served += self.serve_some(now, buffers, &staged[served..], &aimed[served..]);
            }
        }
        assert!(self.staged.is_empty(), "serving stages nothing: it would be lost here");
        self.aimed = aimed;
        self.staged = staged;
        self.staged.clear();
        self.formed.clear();
    }

    /// Serves the requests at the head that came on one connection, as long as none of them
    /// changes how it is to be served; says how many these are, at least one.
    fn serve_some(
        &mut self,
        now: Now,
        buffers: &impl Buffers,
        staged: &[Staged<B::Place>],
        aimed: &[B::Aimed],
    ) -> usize {
        let Staged { conn: key, source, .. } = staged[0];
        // It was closed after it had sent this.
        let Some(conn) = self.conns.get_mut(key) else { return 1 };
        if conn.closing {
            return 1;
        }
        let source_bytes = match source {
            Source::Buffer(buffer) => buffers.bytes(buffer),
            Source::Input => &conn.input,
        };
        if conn.paused || conn.unserved.is_some() {
            let bytes = staged[0].bytes(source_bytes);
            let unserved = conn.unserved.get_or_insert_with(|| {
                self.with_unserved.push(key);
                conn.decoder = conn.decoder.before(&staged[0].request);
                Vec::new()
            });
            unserved.extend_from_slice(bytes);
            return 1;
        }
        if !conn.dirty {
            conn.dirty = true;
            self.io.push_back(Io::Flush(key));
        }
        let (own, shards) = (self.context.shard, self.context.shards);
        let in_flight_max = self.context.cluster.limits.in_flight_per_connection;
        let is_flooded = self.outbound.is_flooded();
        let id = ConnId { shard: own, conn: key.data().as_ffi() };
        for (number, (request, &place)) in (1..).zip(staged.iter().zip(aimed)) {
            if request.conn != key || request.source != source {
                return number - 1;
            }
            let (tag, bytes) = (conn.codec.tag(&request.request), request.bytes(source_bytes));
            let (head, modify) = match &request.request.what {
                What::Command(head) => (*head, None),
                What::Modify(head, modify) => (*head, Some(&**modify)),
                What::Said => {
                    let (head, output) = (AnswerHead::status(Status::Ok), &mut conn.output);
                    conn.codec.answer_now(&request.request, bytes, &head, &[], output);
                    self.node.counters().requests += 1;
                    if self.outbound.is_worth_counting(conn) {
                        self.pause_if_full(now.mono, key);
                        return number;
                    }
                    continue;
                }
                What::Again if self.agains.is_used_up() => {
                    self.agains.deferred.push(key);
                    self.pause(key);
                    return number - 1;
                }
                What::Again => {
                    self.agains.bytes += conn.input.len() + bytes.len();
                    let again = conn.codec.again(&request.request, bytes, &mut conn.output);
                    self.node.counters().requests += 1;
                    if let Some(again) = again {
                        conn.decoder = conn.decoder.again(&request.request);
                        conn.unserved = Some(again);
                        self.with_unserved.push(key);
                        self.read_again(key);
                        return number;
                    }
                    continue;
                }
                What::Auth => {
                    let (user, password) =
                        (&bytes[request.request.key()], &bytes[request.request.value()]);
                    let head = AnswerHead::status(self.context.authenticate(user, password));
                    conn.codec.answer_now(&request.request, bytes, &head, &[], &mut conn.output);
                    self.node.counters().requests += 1;
                    continue;
                }
                What::Nothing => continue,
                What::Last => {
                    conn.ended = true;
                    self.ended.push(key);
                    return number;
                }
                What::Stats => {
                    conn.codec.wait(&request.request, bytes);
                    self.serve_stats(now, key, tag);
                    return number;
                }
                What::Refused(status, text) => {
                    conn.codec.wait(&request.request, bytes);
                    self.refuse(now, key, tag, *status, text);
                    return number;
                }
            };
            if is_flooded && head.action == Action::Get {
                conn.codec.wait(&request.request, bytes);
                self.refuse_overloaded(now, key, tag);
                return number;
            }
            let (name, value) = (request.key(bytes, &self.formed), &bytes[request.request.value()]);
            let command = Command { head, key: name, value, modify };
            let to = ReplyTo { conn: id, tag };
            let shard = B::shard_of(place, own, shards);
            // A shard that stops answers at once: the other one may be gone already.
            if shard != own && head.action.has_key() && !self.stopping {
                let command = command.into_owned();
                conn.codec.wait(&request.request, bytes);
                self.stray(now, key, to, shard, command);
                return number;
            }
            // A server forwards requests of many clients. The shard as a whole is bounded.
            let may_wait = head.is_peer || conn.in_flight < in_flight_max;
            let (output, mut goes_on) = (&mut conn.output, false);
            let is_answered = self.node.serve(now, to, &command, place, may_wait, |head, value| {
                goes_on = recache::is_due(&head) && conn.codec.recaches(&request.request);
                if !goes_on {
                    conn.codec.answer_now(&request.request, bytes, &head, value, output);
                }
            });
            if goes_on {
                let bytes = bytes.to_vec();
                self.go_on(now, key, &request.request, &bytes);
                return number;
            }
            if !is_answered {
                conn.codec.wait(&request.request, bytes);
                conn.in_flight += 1;
                if conn.is_busy(in_flight_max) {
                    self.pause(key);
                    return number;
                }
                if conn.ended {
                    conn.is_end_told = false;
                    self.ended.push(key);
                }
            }
            if self.outbound.is_worth_counting(conn) {
                self.pause_if_full(now.mono, key);
                return number;
            }
        }
        staged.len()
    }

    /// Drops what was served of the connections' own inputs, and puts what was held back before
    /// the rest.
    fn drop_served_input(&mut self) {
        for key in self.inputs_staged.drain(..) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.input.drain(..conn.staged_to);
                conn.staged_to = 0;
                if conn.input.is_empty() {
                    empty(&mut conn.input);
                }
            }
        }
        for key in self.with_unserved.drain(..) {
            if let Some(conn) = self.conns.get_mut(key)
                && let Some(mut input) = conn.unserved.take()
            {
                input.append(&mut conn.input);
                conn.input = input;
            }
        }
    }

    /// Has a connection's own input read once more in this turn.
    fn read_again(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.has_more
        {
            conn.has_more = true;
            self.with_more.push(key);
        }
    }

    /// The counters of the server, which no shard's node knows.
    fn serve_stats(&mut self, now: Now, key: ConnKey, tag: u64) {
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

    /// A request that is no command.
    fn refuse(&mut self, now: Now, key: ConnKey, tag: u64, status: Status, text: &str) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        self.node.counters().requests += 1;
        let head = AnswerHead::under(status, self.node.map_tag());
        conn.codec.answer(tag, &head, text.as_bytes(), &mut conn.output);
        if self.outbound.is_worth_counting(conn) {
            self.pause_if_full(now.mono, key);
        }
    }

    /// Hands a request to the shard that its key belongs to.
    fn stray(&mut self, now: Now, key: ConnKey, to: ReplyTo, shard: u16, command: OwnedCommand) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.in_flight >= self.context.cluster.limits.in_flight_per_connection {
            return self.refuse_overloaded(now, key, to.tag);
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

    /// A connection whose other side has ended has one more request under way: the node is told
    /// again when the turn ends.
    pub(super) fn tell_end_again(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.ended) {
            conn.is_end_told = false;
            self.ended.push(key);
        }
    }

    /// What the whole server counts, as [`Effect::Stats`] asks.
    pub fn stats(&mut self, now: Now, to: ReplyTo, counters: Vec<u8>) {
        let head = AnswerHead::under(Status::Ok, self.node.map_tag());
        self.deliver(now, to, Answer { head, value: counters.into() });
    }

    /// There is no room for what [`Effect::Post`] was to bring to another shard.
    pub fn post_refused(&mut self, now: Now, shard: u16, message: Message) {
        self.node.counters().overloaded += 1;
        match message {
            Message::Stray { to, .. } => {
                self.node.counters().strayed -= 1;
                let map_tag = self.node.map_tag();
                self.deliver(now, to, AnswerHead { map_tag, ..AnswerHead::overloaded() }.into());
            }
            Message::StrayReply { to, mut answer } => {
                // Without its value it needs no room.
                answer.overload();
                let message = Message::StrayReply { to, answer };
                self.effects.push_back(Effect::Post { shard, message });
            }
            _ => debug_assert!(false, "nothing else is bounded"),
        }
    }
}
