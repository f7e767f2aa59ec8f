//! The first of three passes over a wake-up's requests: from received bytes to staged requests. The
//! other two are in serving.rs.
//!
//! ```text
//! received      chunk ─► frame ─► check ─► place ─► staged       no item is touched (staged.rs)
//!                             └─ key not in its form ─► formed ─┘
//! serve_staged  staged ─► aim ─► node.serve ─► output buffer     memory is there by now
//!                  └─ output full ─► held ─► staged again when the loop has taken it
//! ```
//! Much that comes at once is staged, and served, in portions. A frame that can't be understood ends
//! the connection, but not what came before it: replies do not depend on the pieces in which the bytes
//! came.

use standin_protocol::time::Micros;
use standin_protocol::users::Rights;

use super::backend::Backend;
use super::conn::ConnKind;
use super::staged::{FormedAt, Origin};
use super::{ConnKey, Core, Io, ReceiveMode, Source};
use crate::node::Asked;
use crate::node::{AnswerHead, Now, Status};
use crate::shard::codec::standin::Standin;
use crate::shard::codec::{
    Decoder, Read, Reads, Rejected, Request, Spelling, Surroundings, Told, What,
};
use crate::shard::handshake::Step;
use crate::shard::rights;

/// A place in what was received. No input is longer than a few values.
fn index(at: usize) -> u32 {
    u32::try_from(at).expect("an input is bounded")
}

const FORM_TOO_LARGE: &str = "in its keyspace's form the key is over the limit";

impl<B: Backend> Core<B> {
    /// Takes bytes that were received into a buffer of the loop. Complete requests are staged where
    /// they are; the rest is kept with the connection.
    pub fn received(&mut self, now: Now, key: ConnKey, buffer: u16, bytes: &[u8]) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.closing || conn.ended {
            return;
        }
        if conn.sealed.is_some() {
            return self.received_sealed(now, key, bytes);
        }
        let skipped = usize::try_from(conn.skip).unwrap_or(usize::MAX).min(bytes.len());
        conn.skip -= skipped as u64;
        let bytes = &bytes[skipped..];
        if matches!(conn.kind, ConnKind::Link) {
            return B::received(self, now, key, bytes);
        }
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

    /// Returns how the loop may receive from a connection.
    #[must_use]
    pub fn receive_mode(&self, key: ConnKey) -> ReceiveMode {
        // It has been closed.
        let Some(conn) = self.conns.get(key) else { return ReceiveMode::None };
        match &conn.kind {
            _ if conn.closing || conn.ended => ReceiveMode::None,
            ConnKind::Accepted(greeting) if !greeting.is_done() => match conn.leaving() {
                None => ReceiveMode::Single,
                Some(0) => ReceiveMode::None,
                Some(bytes) => ReceiveMode::Part(index(bytes)),
            },
            ConnKind::Accepted(greeting) if greeting.is_for_another(self.context.shard) => {
                ReceiveMode::None
            }
            _ => ReceiveMode::Multi,
        }
    }

    /// Goes on with what lies in the connection's own input.
    pub(super) fn read_input(&mut self, now: Now, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get(key) else { return };
        match &conn.kind {
            ConnKind::Link => {}
            ConnKind::Accepted(_) if conn.paused || conn.closing => {}
            ConnKind::Accepted(greeting) if greeting.is_done() => self.stage_input(now, key),
            ConnKind::Accepted(_) => self.greet(now, key),
        }
    }

    /// Has a connection's own input read once more in this turn.
    pub(super) fn read_again(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.has_more
        {
            conn.has_more = true;
            self.with_more.push(key);
        }
    }

    /// Stages what has come to lie in the connection's own input.
    fn stage_input(&mut self, now: Now, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.has_more {
            // It is read when what is staged has been served.
            return;
        }
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
        let mut decoder = conn.decoder;
        let caller = conn.caller();
        let limits = self.limits.of(caller.is_peer);
        let names = self.names.take().expect("it is put back below");
        let (wall_ms, deadline_ms) = (now.wall_ms(), self.deadline_ms);
        let around = Surroundings { limits, caller, names: &names, wall_ms, deadline_ms };
        let rights = conn.grant.rights;
        // Positions in it fit into 32 bits.
        index(base + bytes.len());
        let (mut at, mut is_halted) = (0, false);
        while at < bytes.len() && !self.staged.is_full() && !is_halted {
            let from = Origin { conn: key, source, at: (base + at) as u32 };
            // The loop is compiled for each protocol.
            at += match &mut decoder {
                Decoder::Standin => {
                    self.stage_reads(&mut Standin, from, &bytes[at..], &around, &rights)
                }
                Decoder::Memcached(decoder) => {
                    self.stage_reads(decoder, from, &bytes[at..], &around, &rights)
                }
                Decoder::Redis(decoder) => {
                    self.stage_reads(decoder, from, &bytes[at..], &around, &rights)
                }
            };
            if at == bytes.len() || self.staged.is_full() {
                break;
            }
            let rest = &bytes[at..];
            let from = Origin { at: (base + at) as u32, ..from };
            if at == 0 && self.conns[key].is_tls_unwanted(rest) {
                self.refuse_tls(key);
                break;
            }
            match decoder.decode(rest, &around) {
                Ok(Some(mut request)) => {
                    at += request.bytes as usize;
                    // What takes its place comes before the rest.
                    is_halted = request.halts();
                    if let Err(text) = rights::check(&request.what, &rights) {
                        request.what = What::Refused(Status::NotPermitted, text);
                    }
                    self.stage_request(now.mono, from, request, rest, &around);
                }
                Ok(None) => break,
                Err(rejected) => {
                    self.reject(now.mono, key, &rejected, rest.len());
                    at += rejected.bytes.unwrap_or(rest.len()).min(rest.len());
                }
            }
        }
        self.names = Some(names);
        let is_full = self.staged.is_full();
        if let Some(conn) = self.conns.get_mut(key) {
            conn.decoder = decoder;
            conn.is_new &= bytes.is_empty();
            let unfinished = at < bytes.len() || conn.skip > 0 || decoder.is_inside();
            conn.unfinished_since = match (unfinished, conn.unfinished_since) {
                (false, _) => conn.idle_since(now.mono),
                // A frame that was begun earlier and is still the one waited for.
                (true, Some(since)) if at == 0 => Some(since),
                (true, _) => Some(now.mono),
            };
            if (is_full || is_halted) && at < bytes.len() && !conn.has_more {
                conn.has_more = true;
                self.with_more.push(key);
            }
        }
        at
    }

    /// Stages the requests at the head of `bytes` as long as they are reads of the most frequent kind, which
    /// the caller may make.
    /// Returns the number of their bytes.
    #[inline(always)]
    fn stage_reads(
        &mut self,
        decoder: &mut impl Reads,
        from: Origin,
        bytes: &[u8],
        around: &Surroundings<'_>,
        rights: &Rights,
    ) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.staged.is_full() {
            let (rest, before) = (&bytes[at..], *decoder);
            let Some(read) = decoder.read(rest, around) else { break };
            let name = &rest[read.key()];
            if !rights.read.has(read.keyspace) || !self.formed.is_in_form(read.keyspace, name) {
                *decoder = before;
                break;
            }
            let from = Origin { at: from.at + at as u32, ..from };
            self.staged.push_read(from, self.node.place(read.keyspace, name), read);
            at += read.bytes();
        }
        at
    }

    /// Stages a request that is no read of the most frequent kind.
    fn stage_request(
        &mut self,
        now: Micros,
        from: Origin,
        mut request: Request,
        bytes: &[u8],
        around: &Surroundings<'_>,
    ) {
        let (place, formed) = match self.place(&request, bytes, around) {
            Ok(placed) => placed,
            // It is answered when it is its turn.
            Err(rejected) if self.conns[from.conn].codec.is_ordered() => {
                request.what = What::Refused(rejected.status, FORM_TOO_LARGE);
                (self.node.place(0, &[]), None)
            }
            Err(rejected) => return self.reject(now, from.conn, &rejected, bytes.len()),
        };
        match Read::of(&request).filter(|_| formed.is_none()) {
            Some(read) => self.staged.push_read(from, place, read),
            None => self.staged.push_other(from, place, request, formed),
        }
    }

    /// Where the key of a request belongs, and where the key lies if it had to be brought to its
    /// form.
    fn place(
        &mut self,
        request: &Request,
        bytes: &[u8],
        around: &Surroundings<'_>,
    ) -> Result<(B::Place, Option<FormedAt>), Rejected> {
        let head = match &request.what {
            What::Command(head)
            | What::Modify(head, _)
            | What::Alone(head, _)
            | What::Held(head) => head,
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
                let formed = (index(range.start), index(range.end));
                Ok((self.node.place(head.keyspace, name), Some(formed)))
            }
            Err(error) => {
                let (tag, status, text) = (request.tag, Status::TooLarge, error.to_string());
                Err(Rejected { tag, status, text, bytes: Some(request.bytes as usize) })
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
        self.answers.note(Asked::other(now), head.status, head.flags);
        match rejected.bytes {
            Some(bytes) => {
                conn.skip = bytes.saturating_sub(here) as u64;
                self.flush(key);
                self.pause_if_full(now, key);
            }
            None => {
                conn.ended = true;
                self.ended.push(key);
                self.node.counters().connections_dropped += 1;
                self.flush(key);
            }
        }
    }

    /// The handshake of an accepted connection.
    pub(super) fn greet(&mut self, now: Now, key: ConnKey) {
        loop {
            // It has been closed.
            let Some(conn) = self.conns.get_mut(key) else { return };
            if conn.is_tls_unwanted(&conn.input) {
                return self.refuse_tls(key);
            }
            let ConnKind::Accepted(greeting) = &mut conn.kind else { return };
            let step = greeting.step(&self.context, &conn.input, &mut conn.output);
            let failed = greeting.take_failed_logins();
            match step {
                Step::Wait => return,
                // Many attempts may have come at once.
                Step::More { used } => {
                    conn.input.drain(..used);
                    self.login_failed(key, failed);
                    self.flush(key);
                }
                Step::Refuse => {
                    self.login_failed(key, failed);
                    self.node.counters().connections_dropped += 1;
                    return self.close(key);
                }
                Step::NoPlace(role) => return self.refuse_place(key, Some(role)),
                Step::Done { used, shard } => {
                    conn.input.drain(..used);
                    return self.greeted(now, key, shard);
                }
            }
        }
    }

    /// The caller has been accepted, and the connection belongs to this shard of the server.
    fn greeted(&mut self, now: Now, key: ConnKey, shard: u16) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        self.begun += 1;
        let number = number(self.begun, shard, self.context.shards);
        let (nodes, admission) = (self.nodes.as_ref(), &self.context.admission);
        conn.begin(now.mono, &Told { number, nodes, admission });
        self.handshakes.end(key);
        if shard == self.context.shard {
            self.flush(key);
            self.read_input(now, key);
        } else {
            self.io.push_back(Io::HandOver(key, shard));
        }
    }
}

/// The number of a connection that is the `begun`th of its shard, by which its client knows it.
pub(super) fn number(begun: u64, shard: u16, shards: u16) -> u64 {
    (begun - 1) * u64::from(shards) + u64::from(shard) + 1
}
