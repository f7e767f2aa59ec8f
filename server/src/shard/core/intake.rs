//! The first of three passes over a wake-up's requests: from received bytes to staged requests. The
//! other two are in serving.rs.
//!
//! ```text
//! received      chunk ─► frame ─► check ─► place ─► staged       no item is touched
//!                             └─ key not in its form ─► formed ─┘
//! serve_staged  staged ─► aim ─► node.serve ─► output buffer     memory is there by now
//!                  └─ output full ─► held ─► staged again when the loop has taken it
//! ```
//! Much that comes at once is staged, and served, in portions. A frame that can't be understood ends
//! the connection, but not what came before it: replies do not depend on the pieces in which the bytes
//! came.

use std::ops::Range;

use standin_protocol::time::Micros;

use super::backend::Backend;
use super::conn::ConnKind;
use super::formed::Formed;
use super::{ConnKey, Core, Io, Source};
use crate::node::{AnswerHead, Now, Status};
use crate::shard::codec::{Rejected, Request, Spelling, Surroundings, What};
use crate::shard::handshake::Step;

/// A whole request that waits for the second and the third pass.
#[derive(Debug, Clone)]
pub(super) struct Staged<P> {
    pub(super) conn: ConnKey,
    pub(super) source: Source,
    at: u32,
    pub(super) request: Request,
    /// Where its key lies among those that were brought to their form, or [`AS_SENT`].
    formed: (u32, u32),
    pub(super) place: P,
}

impl<P> Staged<P> {
    /// All of its bytes, where its source lies.
    #[inline]
    pub(super) fn bytes<'a>(&self, source: &'a [u8]) -> &'a [u8] {
        let at = self.at as usize;
        &source[at..at + self.request.bytes as usize]
    }

    /// The key, in its form.
    #[inline]
    pub(super) fn key<'a>(&self, bytes: &'a [u8], formed: &'a Formed) -> &'a [u8] {
        match self.formed {
            AS_SENT => &bytes[self.request.key()],
            (from, to) => &formed.bytes()[from as usize..to as usize],
        }
    }
}

/// The largest number of requests that are staged at once. The memory for them is a multiple of that
/// of their bytes.
const STAGED_MAX: usize = 4_096;

/// [`Staged::formed`] of a key that is in its form, or has none.
const AS_SENT: (u32, u32) = (u32::MAX, 0);

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
        let (caller, is_ordered) = (conn.caller(), conn.codec.is_ordered());
        let mut decoder = conn.decoder;
        let limits = self.limits.of(caller.is_peer);
        let names = self.names.take().expect("it is put back below");
        let (wall_ms, deadline_ms) = (now.wall_us / 1_000, self.deadline_ms);
        let around = Surroundings { limits, caller, names: &names, wall_ms, deadline_ms };
        let (mut at, mut is_halted) = (0, false);
        while at < bytes.len() && self.staged.len() < STAGED_MAX && !is_halted {
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
                    // What takes its place comes before the rest.
                    is_halted = request.what == What::Again;
                    if let Some((place, formed)) = placed {
                        let at = index(base + at);
                        let formed =
                            formed.map_or(AS_SENT, |range| (index(range.start), index(range.end)));
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
            if (is_full || is_halted) && at < bytes.len() && !conn.has_more {
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
    ) -> Result<(B::Place, Option<Range<usize>>), Rejected> {
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
                self.node.counters().connections_dropped += 1;
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
                self.node.counters().connections_dropped += 1;
                self.close(key);
            }
            Step::NoPlace(role) => self.refuse_place(key, Some(role)),
            Step::Done { used, shard } => {
                conn.input.drain(..used);
                self.begun += 1;
                conn.begin(now.mono, number(self.begun, shard, self.context.shards));
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
}

/// The number of a connection that is the `begun`th of its shard, by which its client knows it.
pub(super) fn number(begun: u64, shard: u16, shards: u16) -> u64 {
    (begun - 1) * u64::from(shards) + u64::from(shard) + 1
}
