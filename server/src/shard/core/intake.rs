//! From received bytes to replies, in two passes over a wake-up's requests.
//!
//! ```text
//! received      chunk ─► frame ─► check ─► place ─► staged       no item is touched
//!                             └─ key not in its form ─► formed ─┘
//! serve_staged  staged ─► node.serve ─► output buffer            memory is there by now
//!                  └─ output full ─► held ─► staged again when the loop has taken it
//! ```
//! A frame that can't be understood ends the connection, but not what came before it:
//! replies do not depend on the pieces in which the bytes came.

use slotmap::Key as _;
use standin_protocol::frame::{
    FrameError, HEADER_BYTES, Opcode, Request, RequestHeader, Response, ResponseHeader, Status,
};
use standin_protocol::hash::shard_of;
use standin_protocol::time::Micros;

use super::conn::Kind;
use super::{Buffers, ConnKey, Core, Effect, Io, Source, empty};
use crate::node::{Aimed, ConnId, LateReply, Now, Place, RETRY_AFTER_MS};
use crate::shard::handshake::Step;
use crate::shard::mailbox::Message;
use crate::shard::unreadable::unreadable;

/// A whole request that waits for the second pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staged {
    conn: ConnKey,
    source: Source,
    at: usize,
    header: RequestHeader,
    place: Place,
}

impl Staged {
    /// The whole frame, where its source lies.
    #[inline]
    fn frame<'a>(&self, source: &'a [u8]) -> &'a [u8] {
        &source[self.at..self.at + self.header.frame_bytes()]
    }
}

/// Requests that are aimed before the first of them is served: enough for the loads of one to
/// overlap with the work on others, and few enough for what was loaded to be there still.
const AIMED_MAX: usize = 64;

impl Core {
    /// Bytes have come into a buffer of the loop's. Complete requests are staged where they
    /// lie; the rest is kept with the connection.
    pub fn received(&mut self, now: Now, key: ConnKey, buffer: u16, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.closing || conn.ended {
            return;
        }
        let skipped = usize::try_from(conn.skip).unwrap_or(usize::MAX).min(bytes.len());
        conn.skip -= skipped as u64;
        let bytes = &bytes[skipped..];
        let settled = matches!(&conn.kind, Kind::Accepted(greeting) if greeting.is_done());
        if settled && !conn.paused && conn.input.is_empty() {
            let source = Source::Buffer(buffer);
            let staged = self.stage(now.mono, key, source, bytes, skipped);
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
        let Some(conn) = self.conns.get(key) else { return };
        match &conn.kind {
            Kind::Link(_) => self.link_received(now, key),
            Kind::Accepted(_) if conn.paused || conn.closing => {}
            Kind::Accepted(greeting) if greeting.is_done() => self.stage_input(now.mono, key),
            Kind::Accepted(_) => self.greet(now, key),
        }
    }

    /// Stages what has come to lie in the connection's own input.
    fn stage_input(&mut self, now: Micros, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let input = std::mem::take(&mut conn.input);
        let from = conn.staged_to;
        let staged = self.stage(now, key, Source::Input, &input[from..], from);
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
        now: Micros,
        key: ConnKey,
        source: Source,
        bytes: &[u8],
        base: usize,
    ) -> usize {
        let is_peer = self.conns.get(key).is_some_and(|conn| conn.caller().is_peer);
        let limits = self.limits.of(is_peer);
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match Request::parse(rest, limits) {
                Ok(Some(request)) if request.header.opcode == Opcode::Hello as u8 => {
                    let text = "a connection has one HELLO, its first request";
                    self.refuse(key, &request.header, Status::Malformed, text);
                    at = bytes.len();
                }
                Ok(Some(request)) => {
                    let header = request.header;
                    match self.formed.form(&request, limits) {
                        Ok(None) => {
                            let place = self.node.place(header.keyspace, request.key);
                            let at = base + at;
                            self.staged.push(Staged { conn: key, source, at, header, place });
                        }
                        Ok(Some((at, header))) => {
                            let name = self.formed.key(at, &header);
                            let place = self.node.place(header.keyspace, name);
                            let source = Source::Formed;
                            self.staged.push(Staged { conn: key, source, at, header, place });
                        }
                        Err(error) => {
                            self.skip(key, rest, &error.to_string());
                        }
                    }
                    at += header.frame_bytes();
                }
                Ok(None) => break,
                Err(
                    error @ (FrameError::KeyTooLarge { .. } | FrameError::ValueTooLarge { .. }),
                ) => {
                    at += self.skip(key, rest, &error.to_string());
                }
                Err(error) => {
                    let (header, status) = unreadable(rest, error);
                    self.refuse(key, &header, status, &error.to_string());
                    at = bytes.len();
                }
            }
        }
        if let Some(conn) = self.conns.get_mut(key) {
            let unfinished = at < bytes.len() || conn.skip > 0;
            conn.unfinished_since = match (unfinished, conn.unfinished_since) {
                (false, _) => None,
                // A frame that was begun earlier and is still the one waited for.
                (true, Some(since)) if at == 0 => Some(since),
                (true, _) => Some(now),
            };
        }
        at
    }

    /// Answers a frame over the limits, which begins `rest`, and skips it; says how many
    /// bytes of it there are already.
    fn skip(&mut self, key: ConnKey, rest: &[u8], text: &str) -> usize {
        let Some(conn) = self.conns.get_mut(key) else { return rest.len() };
        let header = RequestHeader::read(rest).unwrap_or_default();
        let reply = ResponseHeader {
            map_epoch: self.node.map_tag(),
            ..ResponseHeader::reply_to(&header, Status::TooLarge)
        };
        Response::write(reply, text.as_bytes(), &mut conn.output);
        let frame_bytes = header.frame_bytes();
        let here = frame_bytes.min(rest.len());
        conn.skip = (frame_bytes - here) as u64;
        self.flush(key);
        self.pause_if_full(key);
        here
    }

    /// Answers what can't be accepted. Nothing behind it is read; the connection closes
    /// when everything before it is answered.
    fn refuse(&mut self, key: ConnKey, header: &RequestHeader, status: Status, text: &str) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let reply = ResponseHeader {
            map_epoch: self.node.map_tag(),
            ..ResponseHeader::reply_to(header, status)
        };
        Response::write(reply, text.as_bytes(), &mut conn.output);
        conn.ended = true;
        self.ended.push(key);
        self.node.counters.connections_dropped += 1;
        self.flush(key);
    }

    /// The handshake of an accepted connection.
    fn greet(&mut self, now: Now, key: ConnKey) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Kind::Accepted(greeting) = &mut conn.kind else { return };
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
            Step::NoPlace => self.refuse_place(key),
            Step::Done { used, shard } => {
                conn.input.drain(..used);
                conn.unfinished_since = None;
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
    /// The clock is to be read after the last byte of what is served was received: a process
    /// that was stopped in between would take requests of afterwards for ones of before, when
    /// its lease still held (scenario 3).
    pub fn serve_staged(&mut self, now: Now, buffers: &impl Buffers) {
        self.begin(now);
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
        self.drop_served_input();
        self.close_the_ended();
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
            Source::Formed => self.formed.bytes(),
        };
        if conn.paused {
            if conn.held.is_empty() {
                self.held.push(key);
            }
            conn.held.extend_from_slice(staged[0].frame(source_bytes));
            return 1;
        }
        if !conn.dirty {
            conn.dirty = true;
            self.io.push_back(Io::Flush(key));
        }
        let (own, shards) = (self.context.shard, self.context.shards);
        let in_flight_max = self.context.cluster.limits.in_flight_per_connection;
        let is_flooded = self.outbound.is_flooded();
        let caller = conn.caller();
        let id = ConnId { shard: own, conn: key.data().as_ffi() };
        for (number, (request, &place)) in (1..).zip(staged.iter().zip(aimed)) {
            if request.conn != key || request.source != source {
                return number - 1;
            }
            let header = request.header;
            if is_flooded && header.opcode == Opcode::Get as u8 {
                self.refuse_read(key, &header);
                return number;
            }
            let shard = if shards == 1 { own } else { shard_of(place.partition, shards) };
            // A shard that stops answers at once: the other one may be gone already.
            let strays = shard != own && Opcode::has_key(header.opcode) && !self.stopping;
            let frame = request.frame(source_bytes);
            if strays || header.opcode == Opcode::Stats as u8 {
                let frame = frame.to_vec();
                self.serve_elsewhere(now, key, &header, strays.then_some(shard), frame);
                return number;
            }
            let (name, value) = frame[HEADER_BYTES..].split_at(usize::from(header.key_len));
            let frame = Request { header, key: name, value };
            // A server sends on what many clients wait for; the shard as a whole is bounded.
            let may_wait = caller.is_peer || conn.in_flight < in_flight_max;
            let output = &mut conn.output;
            if !self.node.serve(now, id, &frame, place, may_wait, caller, output) {
                conn.in_flight += 1;
                if conn.ended {
                    conn.is_end_told = false;
                    self.ended.push(key);
                }
            }
            if self.outbound.is_worth_counting(conn) {
                conn.waits_since(now.mono);
                self.pause_if_full(key);
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
        for key in self.held.drain(..) {
            if let Some(conn) = self.conns.get_mut(key) {
                let mut input = std::mem::take(&mut conn.held);
                input.append(&mut conn.input);
                conn.input = input;
            }
        }
    }

    /// What this shard's node does not answer: the server's counters, and a request for
    /// another shard.
    fn serve_elsewhere(
        &mut self,
        now: Now,
        key: ConnKey,
        request: &RequestHeader,
        shard: Option<u16>,
        frame: Vec<u8>,
    ) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        match shard {
            None => {
                conn.in_flight += 1;
                let conn = ConnId { shard: self.context.shard, conn: key.data().as_ffi() };
                self.effects.push_back(Effect::Stats { conn, request: *request });
            }
            Some(shard)
                if conn.in_flight < self.context.cluster.limits.in_flight_per_connection =>
            {
                let (own, name, at) = (self.context.shard, key.data().as_ffi(), now.mono);
                let caller = conn.caller();
                let message = Message::Stray { shard: own, conn: name, caller, frame, at };
                self.effects.push_back(Effect::Post { shard, message });
                self.node.counters.strayed += 1;
                conn.in_flight += 1;
                conn.has_strayed = true;
            }
            Some(_) => {
                let header = ResponseHeader {
                    map_epoch: self.node.map_tag(),
                    retry_after_ms: RETRY_AFTER_MS,
                    ..ResponseHeader::reply_to(request, Status::Overloaded)
                };
                self.node.counters.overloaded += 1;
                Response::write(header, &[], &mut conn.output);
            }
        }
        self.pause_if_full(key);
    }

    /// What the whole server counts, as [`Effect::Stats`] asks.
    pub fn stats(&mut self, now: Now, conn: ConnId, request: &RequestHeader, counters: &[u8]) {
        let header = ResponseHeader {
            map_epoch: self.node.map_tag(),
            ..ResponseHeader::reply_to(request, Status::Ok)
        };
        let mut frame = Vec::new();
        Response::write(header, counters, &mut frame);
        let reply = LateReply::from_frame(frame).expect("a frame that was written here");
        self.deliver(now, conn, reply);
    }

    /// There is no room for what [`Effect::Post`] was to bring to another shard.
    pub fn post_refused(&mut self, now: Now, shard: u16, message: Message) {
        self.node.counters.overloaded += 1;
        match message {
            Message::Stray { conn, caller, frame, .. } => {
                self.node.counters.strayed -= 1;
                let limits = self.limits.of(caller.is_peer);
                let request = Request::parse(&frame, limits).ok().flatten();
                let request = request.expect("it was a request when it came");
                let reply = LateReply::overloaded(&request.header, self.node.map_tag());
                self.deliver(now, ConnId { shard: self.context.shard, conn }, reply);
            }
            Message::StrayReply { conn, mut reply } => {
                // Without its value it needs no room.
                reply.overload();
                let message = Message::StrayReply { conn, reply };
                self.effects.push_back(Effect::Post { shard, message });
            }
            _ => debug_assert!(false, "nothing else is bounded"),
        }
    }
}
