//! The second and the third pass over a wake-up's requests: aims what is staged (intake.rs), and serves
//! it. In a protocol whose replies come in order, a connection with too many unanswered requests is
//! served no further until some of them are answered.

use slotmap::Key as _;
use standin_protocol::users::KeyspaceSet;

use super::again::AUTH_BYTES;
use super::backend::Backend;
use super::outgoing::Outbound;
use super::staged::{Origin, Short, Staged, Staging};
use super::{Buffers, ConnKey, Core, Io, Source, empty, recache};
use crate::counted::COUNTED;
use crate::node::{Action, AnswerHead, Asked, Command, ConnId, Now, ReplyTo, Status};
use crate::shard::codec::standin::Standin;
use crate::shard::codec::{Answers, Codec, Memo, Read, Surroundings, What};
use crate::stats::answers::Hits;

/// The largest number of requests that are aimed before the first of them is served: enough for the
/// loads of one to overlap with the work on others, and few enough for the loaded lines to be still
/// in the cache.
const AIMED_MAX: usize = 64;

/// How serving goes on behind a row of hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// With the next row.
    Nothing,
    /// With a read that the cache does not answer.
    Missed,
    /// With any other request.
    Other,
}

/// The end of a row of hits.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Something else comes.
    Next(Next),
    /// The output has become so long that it has to be counted.
    Full,
    /// The read of this position has found a stale value, and goes on.
    Stale(Read, usize),
}

/// Requests that came on one connection, and what is the same for all of them.
#[derive(Debug)]
struct Row<'a> {
    conn: ConnKey,
    source: Source,
    /// All bytes of the source.
    bytes: &'a [u8],
    shard: u16,
    shards: u16,
    now: Now,
    sending_bytes: usize,
    outbound: &'a Outbound,
    /// The keyspaces in which its caller may write.
    writable: &'a KeyspaceSet,
}

impl Row<'_> {
    /// Serves the requests at the head as long as they belong to the row and are hits. Returns their
    /// number.
    #[inline(always)]
    fn serve<B: Backend>(
        &self,
        node: &mut B,
        counted: &mut Hits,
        codec: &mut impl Answers,
        output: &mut Vec<u8>,
        staged: &[Staged<B::Place>],
        aimed: &[B::Aimed],
    ) -> (usize, End) {
        for (number, (request, &place)) in staged.iter().zip(aimed).enumerate() {
            if request.from.conn != self.conn || request.from.source != self.source {
                return (number, End::Next(Next::Nothing));
            }
            let Short::Read(read) = &request.what else {
                return (number, End::Next(Next::Other));
            };
            if B::shard_of(place, self.shard, self.shards) != self.shard {
                return (number, End::Next(Next::Other));
            }
            let bytes = request.bytes(self.bytes);
            let mut is_stale = false;
            let is_hit =
                node.hit(self.now, read.keyspace, &bytes[read.key()], place, |head, value| {
                    is_stale = recache::is_due(&head)
                        && codec.recaches(read.tag)
                        && self.writable.has(read.keyspace);
                    if !is_stale {
                        codec.answer_read(read, bytes, head, value, output);
                        let is_absent = head.status != Status::Ok;
                        counted[usize::from(read.keyspace)][usize::from(is_absent)] +=
                            u64::from(COUNTED);
                    }
                });
            if !is_hit {
                return (number, End::Next(Next::Missed));
            }
            if is_stale {
                return (number, End::Stale(*read, request.from.at as usize));
            }
            if self.outbound.matters(output.len() + self.sending_bytes + codec.waiting_bytes()) {
                return (number + 1, End::Full);
            }
        }
        (staged.len(), End::Next(Next::Nothing))
    }
}

/// The keyspace and the key of a read that was a hit.
fn key_of<'a, P>(staged: &Staged<P>, source: &'a [u8]) -> (u8, &'a [u8]) {
    let Short::Read(read) = &staged.what else { unreachable!("only reads are hits of a row") };
    (read.keyspace, &staged.bytes(source)[read.key()])
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
        let deferred = self.begin_deferred(now);
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
        self.end_deferred(deferred);
        self.carry_out_slice(now);
        self.close_ended();
    }

    /// Aims and serves what is staged.
    fn serve_all(&mut self, now: Now, buffers: &impl Buffers) {
        let staging = std::mem::take(&mut self.staged);
        let mut aimed = std::mem::take(&mut self.aimed);
        for staged in staging.requests().chunks(AIMED_MAX) {
            aimed.clear();
            aimed.extend(staged.iter().map(|request| self.node.aim(request.place)));
            let mut served = 0;
            while served < staged.len() {
                let (rest, places) = (&staged[served..], &aimed[served..]);
                let (hits, next) = self.serve_hits(now, buffers, rest, places);
                served += hits;
                if next != Next::Nothing {
                    self.serve_one(now, buffers, &staging, &rest[hits], places[hits], next);
                    if staging.is_alone(&rest[hits]) {
                        self.go_on_behind(rest[hits].from.conn);
                    }
                    served += 1;
                }
            }
        }
        assert!(self.staged.is_empty(), "serving stages nothing: it would be lost here");
        self.aimed = aimed;
        self.staged = staging;
        self.staged.clear();
        self.formed.clear();
    }

    /// Serves the requests at the head that came on one connection, as long as they are reads that the
    /// cache answers. Returns their number, and how to go on.
    fn serve_hits(
        &mut self,
        now: Now,
        buffers: &impl Buffers,
        staged: &[Staged<B::Place>],
        aimed: &[B::Aimed],
    ) -> (usize, Next) {
        let Origin { conn: key, source, .. } = staged[0].from;
        // It was closed after it had sent this.
        let Some(conn) = self.conns.get_mut(key) else { return (1, Next::Nothing) };
        let is_free = conn.under_way.is_empty() && !conn.is_held();
        if conn.closing || !is_free || self.outbound.is_flooded() {
            return (0, Next::Other);
        }
        if !conn.dirty {
            conn.dirty = true;
            self.io.push_back(Io::Flush(key));
        }
        let source_bytes = match source {
            Source::Buffer(buffer) => buffers.bytes(buffer),
            Source::Input => &conn.input,
        };
        let row = Row {
            conn: key,
            source,
            bytes: source_bytes,
            shard: self.context.shard,
            shards: self.context.shards,
            now,
            sending_bytes: conn.sending_bytes,
            outbound: &self.outbound,
            writable: &conn.grant.rights.write,
        };
        let is_counted = COUNTED && !conn.caller().is_peer;
        let (node, output) = (&mut self.node, &mut conn.output);
        let counted = self.answers.hits();
        // The loop is compiled for each protocol.
        let (hits, end) = match &mut conn.codec {
            Codec::Standin => row.serve(node, counted, &mut Standin, output, staged, aimed),
            Codec::Memcached(replies) => {
                row.serve(node, counted, &mut **replies, output, staged, aimed)
            }
            Codec::Redis(replies) => {
                row.serve(node, counted, &mut **replies, output, staged, aimed)
            }
        };
        if is_counted {
            *conn.codec.counter(self.node.counters()) += hits as u64;
        }
        self.answers.hit_row(now.mono, hits);
        if self.hot.is_due(hits) {
            self.hot.take(hits, |at| key_of(&staged[at], source_bytes));
        }
        match end {
            End::Next(next) => (hits, next),
            End::Full => {
                self.pause_if_full(now.mono, key);
                (hits, Next::Nothing)
            }
            End::Stale(read, at) => {
                let echo = read.memo(&source_bytes[at..]).echo.to_vec();
                let asked = Asked::command(now.mono, &read.head());
                self.go_on(now, key, Memo { tag: read.tag, echo: &echo }, asked);
                (hits + 1, Next::Nothing)
            }
        }
    }

    /// Serves a request that is no hit, or keeps it for later if its connection is held.
    #[inline(never)]
    fn serve_one(
        &mut self,
        now: Now,
        buffers: &impl Buffers,
        staging: &Staging<B::Place>,
        staged: &Staged<B::Place>,
        place: B::Aimed,
        next: Next,
    ) {
        let Origin { conn: key, source, .. } = staged.from;
        // It was closed after it had sent this.
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.closing) else { return };
        let request = &*staging.request(staged);
        let source_bytes = match source {
            Source::Buffer(buffer) => buffers.bytes(buffer),
            Source::Input => &conn.input,
        };
        let bytes = &staged.bytes(source_bytes)[..request.bytes as usize];
        if !conn.is_held() {
            if !conn.dirty {
                conn.dirty = true;
                self.io.push_back(Io::Flush(key));
            }
            if matches!(request.what, What::Again | What::Auth) && self.agains.is_used_up() {
                self.agains.deferred.push(key);
                conn.is_deferred = true;
                conn.paused = true;
                self.io.push_back(Io::Pause(key));
            }
        }
        let name = match staging.formed(staged) {
            None => &bytes[request.key()],
            Some(range) => &self.formed.bytes()[range],
        };
        if !conn.is_held()
            && !conn.under_way.is_empty()
            && let What::Command(head) | What::Modify(head, _) | What::Alone(head, _) =
                &request.what
            && !conn.under_way.may_begin(head.action, name)
        {
            conn.paused = true;
            self.io.push_back(Io::Pause(key));
        }
        if conn.is_held() {
            let unserved = conn.unserved.get_or_insert_with(|| {
                self.with_unserved.push(key);
                conn.decoder = conn.decoder.before(request.tag);
                Vec::new()
            });
            return unserved.extend_from_slice(bytes);
        }
        if request.is_counted() && !conn.caller().is_peer {
            *conn.codec.counter(self.node.counters()) += 1;
        }
        let (tag, memo) = (conn.codec.tag(request.tag), request.memo(bytes));
        let (head, modify) = match &request.what {
            What::Command(head) => (*head, None),
            What::Modify(head, modify) => (*head, Some(&**modify)),
            What::Alone(head, modify) => (*head, modify.as_deref()),
            What::Said => {
                self.node.counters().requests += 1;
                let head = AnswerHead::status(Status::Ok);
                conn.codec.answer_now(memo, &head, &[], &mut conn.output);
                self.answers.note(Asked::other(now.mono), head.status, head.flags);
                return self.pause_if_worth_counting(now.mono, key);
            }
            What::Again => {
                self.node.counters().requests += 1;
                self.agains.bytes += conn.input.len() + bytes.len();
                let names = self.names.as_ref().expect("no request is being decoded");
                let (limits, caller) = (self.limits.of(false), conn.caller());
                let (wall_ms, deadline_ms) = (now.wall_ms(), self.deadline_ms);
                let around = Surroundings { limits, caller, names, wall_ms, deadline_ms };
                if let Some(again) = conn.codec.again(memo, &around, &mut conn.output) {
                    self.decode_first(key, again);
                }
                return;
            }
            What::Auth => {
                self.node.counters().requests += 1;
                self.agains.bytes += AUTH_BYTES + conn.input.len() + bytes.len();
                let (user, password) = (&bytes[request.key()], &bytes[request.value()]);
                let status = match self.context.authenticate(user, password) {
                    Ok(grant) => {
                        conn.grant = grant;
                        Status::Ok
                    }
                    Err(status) => status,
                };
                let (head, name) = (AnswerHead::status(status), conn.grant.name().as_bytes());
                self.answers.note(Asked::other(now.mono), head.status, head.flags);
                conn.codec.answer_now(memo, &head, name, &mut conn.output);
                if status == Status::Ok {
                    // Another buffer of this turn may have been staged behind it.
                    return self.decode_behind(key, request.tag);
                }
                if status == Status::AuthFailed {
                    self.login_failed(key, 1);
                }
                return self.pause_if_worth_counting(now.mono, key);
            }
            What::Nothing => return,
            What::Last => {
                conn.ended = true;
                return self.ended.push(key);
            }
            What::Held(head) => {
                self.node.counters().requests += 1;
                let found = conn.redirections.answer(&mut self.node, now, head, [name, &[]], place);
                let (status, value) = found.unwrap_or((Status::Ok, Vec::new()));
                let answer = AnswerHead::status(status);
                conn.codec.answer_now(memo, &answer, &value, &mut conn.output);
                self.answers.note(Asked::other(now.mono), status, answer.flags);
                return self.pause_if_worth_counting(now.mono, key);
            }
            What::Routes => {
                conn.codec.wait(memo);
                return self.serve_routes(now, key, tag);
            }
            What::Hot => {
                conn.codec.wait(memo);
                return self.serve_hot(now, key, tag);
            }
            What::Stats => {
                conn.codec.wait(memo);
                return self.serve_stats(now, key, tag);
            }
            What::Walk(walk) => {
                let walk = walk.clone();
                conn.codec.wait(memo);
                return self.serve_walk(now, key, tag, walk);
            }
            What::Slice(slice) => {
                let slice = slice.clone();
                conn.codec.wait(memo);
                return self.serve_slice(now, key, tag, slice);
            }
            What::Refused(status, text) => {
                conn.codec.wait(memo);
                self.refuse(now, key, tag, *status, text);
                // It may have been a forbidden one that is alone.
                return self.go_on_behind(key);
            }
        };
        let asked = Asked::command(now.mono, &head);
        if head.action == Action::Get && self.outbound.is_flooded() {
            conn.codec.wait(memo);
            return self.refuse_overloaded(now, key, tag, asked);
        }
        let sent = [name, &bytes[request.value()]];
        let found = conn.redirections.answer(&mut self.node, now, &head, sent, place);
        if let Some((status, value)) = found {
            self.node.counters().requests += 1;
            let head = AnswerHead::status(status);
            conn.codec.answer_now(memo, &head, &value, &mut conn.output);
            self.answers.note(asked, status, head.flags);
            return self.pause_if_worth_counting(now.mono, key);
        }
        let command = Command { head, key: name, value: &bytes[request.value()], modify };
        let own = self.context.shard;
        let to = ReplyTo { conn: ConnId { shard: own, conn: key.data().as_ffi() }, tag, asked };
        let shard = B::shard_of(place, own, self.context.shards);
        // A shard that stops answers at once: the other one may be gone already.
        if shard != own && head.action.has_key() && !self.stopping {
            conn.under_way.begun(&conn.codec, head.action, name);
            let command = command.into_owned();
            conn.codec.wait(memo);
            return self.stray(now, key, to, shard, command);
        }
        // What is forwarded is counted where it goes.
        let is_here = head.action.has_key() && self.node.elsewhere(place).is_none();
        if is_here && self.hot.is_due(1) {
            self.hot.take(1, |_| (head.keyspace, name));
        }
        let in_flight_max = self.context.cluster.limits.in_flight_per_connection;
        // A server forwards requests of many clients. The shard as a whole is bounded.
        let may_wait = head.is_peer || conn.in_flight < in_flight_max;
        let (codec, output, mut goes_on) = (&mut conn.codec, &mut conn.output, false);
        let answers = &mut self.answers;
        let may_go_on = head.action == Action::Get && conn.grant.rights.write.has(head.keyspace);
        let give = |head: AnswerHead, value: &[u8]| {
            goes_on = may_go_on && recache::is_due(&head) && codec.recaches(memo.tag);
            if !goes_on {
                codec.answer_now(memo, &head, value, output);
                answers.note(asked, head.status, head.flags);
            }
        };
        let is_answered = match next {
            Next::Missed => self.node.serve_missed(now, to, &command, place, may_wait, give),
            _ => self.node.serve(now, to, &command, place, may_wait, give),
        };
        if goes_on {
            let echo = memo.echo.to_vec();
            return self.go_on(now, key, Memo { tag: request.tag, echo: &echo }, asked);
        }
        if !is_answered {
            conn.under_way.begun(&conn.codec, head.action, name);
            conn.codec.wait(memo);
            conn.in_flight += 1;
            if conn.is_busy(in_flight_max) {
                return self.pause(key);
            }
            if conn.ended {
                conn.is_end_told = false;
                self.ended.push(key);
            }
        }
        self.pause_if_worth_counting(now.mono, key);
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

    /// A request that is no command.
    pub(super) fn refuse(&mut self, now: Now, key: ConnKey, tag: u64, status: Status, text: &str) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        self.node.counters().requests += 1;
        let head = AnswerHead::under(status, self.node.map_tag());
        conn.codec.answer(tag, &head, text.as_bytes(), &mut conn.output);
        self.answers.note(Asked::other(now.mono), status, head.flags);
        if self.outbound.is_worth_counting(conn) {
            self.pause_if_full(now.mono, key);
        }
    }

    /// A connection whose other side has ended has one more request under way: the node is told
    /// again when the turn ends.
    pub(super) fn tell_end_again(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.ended) {
            conn.is_end_told = false;
            self.ended.push(key);
        }
    }
}
