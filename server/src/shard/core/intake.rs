//! From received bytes to replies, in three passes over a wake-up's requests.
//!
//! ```text
//! received      chunk ─► frame ─► check ─► place ─► staged       no item is touched
//!                             └─ key not in its form ─► formed ─┘
//! serve_staged  staged ─► aim ─► node.serve ─► output buffer     memory is there by now
//!                  └─ output full ─► held ─► staged again when the loop has taken it
//! ```
//! Much that comes at once is staged, and served, in portions. In a protocol whose replies come in
//! order, a connection with too many unanswered requests is served no further until some of them
//! are answered.
//! A frame that can't be understood ends the connection, but not what came before it:
//! replies do not depend on the pieces in which the bytes came.

use std::ops::Range;

use slotmap::Key as _;
use standin_protocol::hash::shard_of;
use standin_protocol::time::Micros;

use super::conn::ConnKind;
use super::formed::Formed;
use super::{Buffers, ConnKey, Core, Effect, Io, Source, empty, recache};
use crate::node::{
    Action, Aimed, Answer, AnswerHead, Command, ConnId, Now, OwnedCommand, Place, ReplyTo, Status,
};
use crate::shard::codec::{Rejected, Request, Spelling, Surroundings, What};
use crate::shard::handshake::Step;
use crate::shard::mailbox::Message;

/// A whole request that waits for the second and the third pass.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    conn: ConnKey,
    source: Source,
    at: usize,
    request: Request,
    /// Where its key lies among those that were brought to their form, if it was.
    formed: Option<Range<usize>>,
    place: Place,
}

impl Staged {
    /// All of its bytes, where its source lies.
    #[inline]
    fn bytes<'a>(&self, source: &'a [u8]) -> &'a [u8] {
        &source[self.at..self.at + self.request.bytes as usize]
    }

    /// The key, in its form.
    #[inline]
    fn key<'a>(&self, bytes: &'a [u8], formed: &'a Formed) -> &'a [u8] {
        match &self.formed {
            None => &bytes[self.request.key()],
            Some(range) => &formed.bytes()[range.clone()],
        }
    }
}

/// The largest number of requests that are staged at once. The memory for them is a multiple of that
/// of their bytes.
const STAGED_MAX: usize = 4_096;

/// The largest number of requests that are aimed before the first of them is served: enough for the
/// loads of one to overlap with the work on others, and few enough for the loaded lines to be still
/// in the cache.
const AIMED_MAX: usize = 64;

const FORM_TOO_LARGE: &str = "in its keyspace's form the key is over the limit";

impl Core {
    /// Takes bytes that were received into a buffer of the loop. Complete requests are staged where
    /// they are; the rest is kept with the connection.
    pub fn received(&mut self, now: Now, key: ConnKey, buffer: u16, bytes: &[u8]) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.closing || conn.ended {
            return;
        }
        let skipped = usize::try_from(conn.skip).unwrap_or(usize::MAX).min(bytes.len());
        conn.skip -= skipped as u64;
        let bytes = &bytes[skipped..];
        let is_greeted = matches!(&conn.kind, ConnKind::Accepted(greeting) if greeting.is_done());
        if is_greeted && !conn.paused && conn.input.is_empty() {
            let source = Source::Buffer(buffer);
            let staged = self.stage(now, key, source, bytes, skipped);
            if let Some(conn) = self.conns.get_mut(key) {
                conn.input.extend_from_slice(&bytes[staged..]);
            }
            return;
        }
        conn.input.extend_from_slice(bytes);
        self.read_input(now, key);
    }

    /// Goes on with what lies in the connection's own input.
    pub(super) fn read_input(&mut self, now: Now, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get(key) else { return };
        match &conn.kind {
            ConnKind::Link(_) => self.link_received(now, key),
            ConnKind::Accepted(_) if conn.paused || conn.closing => {}
            ConnKind::Accepted(greeting) if greeting.is_done() => self.stage_input(now, key),
            ConnKind::Accepted(_) => self.greet(now, key),
        }
    }

    /// Stages what has come to lie in the connection's own input.
    fn stage_input(&mut self, now: Now, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        let input = std::mem::take(&mut conn.input);
        let from = conn.staged_to;
        let staged = self.stage(now, key, Source::Input, &input[from..], from);
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if from == 0 && staged > 0 {
            self.inputs_staged.push(key);
        }
        conn.input = input;
        conn.staged_to = from + staged;
    }

    /// First pass: the complete requests in `bytes`, which begin at `base` of their
    /// source. Says how many bytes they (and what was refused) took up.
    fn stage(
        &mut self,
        now: Now,
        key: ConnKey,
        source: Source,
        bytes: &[u8],
        base: usize,
    ) -> usize {
        let conn = &self.conns[key];
        let (caller, is_ordered) = (conn.caller(), conn.codec.is_ordered());
        let mut decoder = conn.decoder;
        let limits = self.limits.of(caller.is_peer);
        let names = self.names.take().expect("it is put back below");
        let (wall_ms, deadline_ms) = (now.wall_us / 1_000, self.deadline_ms);
        let around = Surroundings { limits, caller, names: &*names, wall_ms, deadline_ms };
        let mut at = 0;
        while at < bytes.len() && self.staged.len() < STAGED_MAX {
            let rest = &bytes[at..];
            match decoder.decode(rest, &around) {
                Ok(Some(mut request)) => {
                    let placed = match self.place(&request, rest, &around) {
                        Ok(placed) => Some(placed),
                        // It is answered when it is its turn.
                        Err(rejected) if is_ordered => {
                            request.what = What::Refused(rejected.status, FORM_TOO_LARGE);
                            Some((self.node.place(0, &[]), None))
                        }
                        Err(rejected) => {
                            self.reject(now.mono, key, &rejected, rest.len());
                            None
                        }
                    };
                    let end = at + request.bytes as usize;
                    if let Some((place, formed)) = placed {
                        let at = base + at;
                        let staged = Staged { conn: key, source, at, request, formed, place };
                        self.staged.push(staged);
                    }
                    at = end;
                }
                Ok(None) => break,
                Err(rejected) => {
                    self.reject(now.mono, key, &rejected, rest.len());
                    at += rejected.bytes.unwrap_or(rest.len()).min(rest.len());
                }
            }
        }
        self.names = Some(names);
        let is_full = self.staged.len() >= STAGED_MAX;
        if let Some(conn) = self.conns.get_mut(key) {
            conn.decoder = decoder;
            let unfinished = at < bytes.len() || conn.skip > 0 || decoder.is_inside();
            conn.unfinished_since = match (unfinished, conn.unfinished_since) {
                (false, _) => conn.idle_since(now.mono),
                // A frame that was begun earlier and is still the one waited for.
                (true, Some(since)) if at == 0 => Some(since),
                (true, _) => Some(now.mono),
            };
            if is_full && at < bytes.len() && !conn.has_more {
                conn.has_more = true;
                self.with_more.push(key);
            }
        }
        at
    }

    /// Where the key of a request belongs, and where the key lies if it had to be brought to its
    /// form.
    #[inline]
    fn place(
        &mut self,
        request: &Request,
        bytes: &[u8],
        around: &Surroundings<'_>,
    ) -> Result<(Place, Option<Range<usize>>), Rejected> {
        let head = match &request.what {
            What::Command(head) | What::Modify(head, _) => head,
            _ => return Ok((self.node.place(0, &[]), None)),
        };
        let name = match request.spelling {
            Spelling::Partition(partition) => {
                let key = around.names.flushes().key(head.keyspace, partition);
                key.expect("a flush is for a partition that there is")
            }
            _ => &bytes[request.key()],
        };
        match self.formed.form(head, name, request.spelling, around.limits.key_bytes) {
            Ok(None) => Ok((self.node.place(head.keyspace, name), None)),
            Ok(Some(range)) => {
                let name = &self.formed.bytes()[range.clone()];
                Ok((self.node.place(head.keyspace, name), Some(range)))
            }
            Err(error) => {
                let (status, text) = (Status::TooLarge, error.to_string());
                Err(Rejected {
                    tag: request.tag,
                    status,
                    text,
                    bytes: Some(request.bytes as usize),
                })
            }
        }
    }

    /// Answers what can't be served. A request whose end is known is skipped; `here` bytes have
    /// come of it and of what follows it. Otherwise nothing behind it is read; the connection
    /// closes when everything before it is answered.
    fn reject(&mut self, now: Micros, key: ConnKey, rejected: &Rejected, here: usize) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        let head = AnswerHead::under(rejected.status, self.node.map_tag());
        conn.codec.answer(rejected.tag, &head, rejected.text.as_bytes(), &mut conn.output);
        match rejected.bytes {
            Some(bytes) => {
                conn.skip = bytes.saturating_sub(here) as u64;
                self.flush(key);
                self.pause_if_full(now, key);
            }
            None => {
                conn.ended = true;
                self.ended.push(key);
                self.node.counters.connections_dropped += 1;
                self.flush(key);
            }
        }
    }

    /// The handshake of an accepted connection.
    pub(super) fn greet(&mut self, now: Now, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        let ConnKind::Accepted(greeting) = &mut conn.kind else { return };
        match greeting.step(&self.context, &conn.input, &mut conn.output) {
            Step::Wait => {}
            Step::More { used } => {
                conn.input.drain(..used);
                self.flush(key);
                self.greet(now, key);
            }
            Step::Refuse => {
                self.node.counters.connections_dropped += 1;
                self.close(key);
            }
            Step::NoPlace(role) => self.refuse_place(key, Some(role)),
            Step::Done { used, shard } => {
                conn.input.drain(..used);
                conn.begin(now.mono);
                self.handshakes.end(key);
                if shard == self.context.shard {
                    self.flush(key);
                    self.read_input(now, key);
                } else {
                    self.io.push_back(Io::HandOver(key, shard));
                }
            }
        }
    }

    /// Second and third pass: aims everything staged since the last call, then serves it.
    ///
    /// The clock must be read after the last byte was received. Otherwise a process that was
    /// stopped in between could mistake new requests for old ones, from when its lease was still
    /// valid (scenario 3).
    pub fn serve_staged(&mut self, now: Now, buffers: &impl Buffers) {
        self.begin(now);
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
        staged: &[Staged],
        aimed: &[Aimed],
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
        if conn.paused {
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
                    self.node.counters.requests += 1;
                    if self.outbound.is_worth_counting(conn) {
                        self.pause_if_full(now.mono, key);
                        return number;
                    }
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
            let shard = if shards == 1 { own } else { shard_of(place.partition, shards) };
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
        self.node.counters.requests += 1;
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
        self.node.counters.strayed += 1;
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
        self.node.counters.overloaded += 1;
        match message {
            Message::Stray { to, .. } => {
                self.node.counters.strayed -= 1;
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
