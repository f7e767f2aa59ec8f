//! Replies that callers have not taken yet: how many bytes of them this shard keeps, which callers
//! have to wait because of that, and for how long. The bytes of every connection are counted when
//! they are given to the kernel and when it has taken them, and earlier if they are many. For a hit
//! this costs a comparison.
//!
//! ```text
//! a connection above its bound           is served, and read, no further
//! all together above half of theirs      new fetches wait (the node's gate)
//! all together above three quarters      large late replies to a connection above twice its bound
//!                                         become OVERLOADED
//! all together above theirs              large late replies to whoever has not taken the last one
//!                                         become OVERLOADED, connections wait sooner and whoever
//!                                         takes nothing is closed soon
//! all together above one and a half      reads become OVERLOADED, and whoever has taken nothing for
//!                                         longest is closed at once
//! ```

use std::time::Duration;

use slotmap::KeyData;
use standin_protocol::queue::Queue;
use standin_protocol::time::Micros;
use tracing::warn;

use super::backend::Backend;
use super::conn::{Conn, ConnKind};
use super::under_way::UnderWay;
use super::{ConnKey, Core, Effect, Io, recache};
use crate::node::Asked;
use crate::node::answer::VALUE_BYTES_MAX;
use crate::node::{Answer, AnswerHead, Now, ReplyTo};
use crate::shard::mailbox::Message;

/// The number of unsent bytes that a connection may have, and the size that a reply may have, even
/// if there is little room.
const SMALL: usize = 64 << 10;

/// The time for which a connection may take nothing while there is no room.
const URGENT: Duration = Duration::from_secs(1);
/// The time for which a connection may take nothing while others are refused because of it.
const FLOODED: Duration = Duration::from_millis(100);

/// The interval at which connections that read nothing are looked for.
const LOOK: Duration = Duration::from_millis(500);
const LOOK_FLOODED: Duration = Duration::from_millis(50);
/// The shortest interval between two log lines about connections that were closed.
const TELL: Duration = Duration::from_secs(1);

/// The replies that a shard's connections have not read.
#[derive(Debug)]
pub(super) struct Outbound {
    /// A connection with more is served no further.
    per_connection: usize,
    /// All together.
    total: usize,
    /// Three quarters of it: for connections that have more than twice of theirs.
    hogs: usize,
    /// One and a half of it.
    flood: usize,
    /// What a connection has unsent is not counted before the end of a turn unless it is more.
    small: usize,
    unsent: usize,
    /// A connection that takes nothing for so long is closed.
    pub(super) timeout: Duration,
    /// The time at which such connections were last looked for.
    looked: Micros,
    /// The time of the last log line about closed connections, and their number since.
    told: Micros,
    dropped: u64,
}

impl Outbound {
    pub(super) fn new(per_connection: usize, total: usize, timeout: Duration) -> Self {
        let (hogs, flood) = (total / 4 * 3, total.saturating_add(total / 2));
        let (looked, told) = (Micros(0), Micros(0));
        let (unsent, dropped, small) = (0, 0, SMALL.min(per_connection));
        Self { per_connection, total, hogs, flood, small, unsent, timeout, looked, told, dropped }
    }

    /// Bytes written and not taken.
    pub(super) fn unsent(&self) -> usize {
        self.unsent
    }

    /// At most so many bytes are unsent after a turn: the last value may be a large one, and small
    /// replies are always kept.
    pub(super) fn bound(&self, connections: usize, value_bytes: usize) -> usize {
        self.total + self.total / 2 + value_bytes + connections * SMALL
    }

    /// Returns the number of bytes that one connection may have unsent now.
    #[inline]
    pub(super) fn limit(&self) -> usize {
        if self.unsent > self.total { self.small } else { self.per_connection }
    }

    /// A connection has this much unsent now. Links to peers do not count: what is on them are
    /// copies of requests, which have a bound of their own.
    #[inline]
    pub(super) fn count(&mut self, conn: &mut Conn) {
        // The loop frees an aborted connection at the end of this turn.
        let waiting = if conn.is_aborted { 0 } else { conn.codec.waiting_bytes() };
        let unsent = match conn.kind {
            ConnKind::Accepted(_) if conn.is_aborted => 0,
            ConnKind::Accepted(_) => conn.output_bytes() + conn.sending_bytes + waiting,
            ConnKind::Link => 0,
        };
        conn.waiting_bytes = waiting;
        self.unsent = self.unsent - conn.unsent_bytes + unsent;
        conn.unsent_bytes = unsent;
    }

    /// Whether it has written so much that it matters before the end of the turn, when all is
    /// counted.
    #[inline]
    pub(super) fn is_worth_counting(&self, conn: &Conn) -> bool {
        self.matters(conn.output.len() + conn.sending_bytes + conn.codec.waiting_bytes())
    }

    /// Whether a connection with this many unsent bytes has to be counted before the end of the turn.
    #[inline]
    pub(super) fn matters(&self, unsent: usize) -> bool {
        unsent > self.small
    }

    /// Counts what a connection has unsent; says whether it is to be served no further.
    pub(super) fn recount(&mut self, conn: &mut Conn) -> bool {
        self.count(conn);
        conn.unsent_bytes > self.limit()
    }

    /// A connection is gone.
    pub(super) fn forget(&mut self, conn: &Conn) {
        self.unsent -= conn.unsent_bytes;
    }

    /// Whether a reply of so many bytes can't be kept for this connection.
    fn has_no_room(&self, conn: &Conn, bytes: usize) -> bool {
        let is_large = bytes > SMALL || conn.unsent_bytes > SMALL;
        let takes_too_much = conn.unsent_bytes + bytes > self.per_connection.saturating_mul(2);
        let most = match conn.unsent_bytes {
            // It takes what it asks for, and is served as long as anybody is.
            0 => self.flood,
            _ if takes_too_much => self.hogs,
            _ => self.total,
        };
        is_large && self.unsent + bytes > most
    }

    /// Returns the time for which a connection may read nothing.
    fn patience(&self) -> Duration {
        match self.unsent {
            unsent if unsent > self.total => self.timeout.min(URGENT),
            unsent if unsent > self.total / 2 => self.timeout / 4,
            _ => self.timeout,
        }
    }

    /// Returns the time at which connections that read nothing are looked for again.
    pub(super) fn next_look(&self) -> Micros {
        self.looked + if self.is_flooded() { LOOK_FLOODED } else { LOOK }
    }

    /// Whether no more values are sent until a caller has taken some, or was closed.
    #[inline]
    pub(super) fn is_flooded(&self) -> bool {
        self.unsent > self.flood
    }
}

impl<B: Backend> Core<B> {
    /// Bytes that connections have not taken, and the most that they may be.
    pub(in crate::shard) fn unsent_queue(&self) -> Queue {
        let bound = self.outbound.bound(self.conns.len(), VALUE_BYTES_MAX);
        Queue::new("bytes not taken", self.outbound.unsent(), bound)
    }

    /// A late reply to a connection of this shard or another.
    pub fn deliver(&mut self, now: Now, to: ReplyTo, mut answer: Answer) {
        let shard = to.conn.shard;
        if shard != self.context.shard {
            let message = Message::StrayReply { to, answer };
            self.effects.push_back(Effect::Post { shard, message });
            return;
        }
        let key = ConnKey::from(KeyData::from_ffi(to.conn.conn));
        if recache::is_due(&answer.head)
            && let Some(command) = self.recaching(to)
        {
            return self.serve_again(now, to, command);
        }
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.in_flight = conn.in_flight.saturating_sub(1);
        if conn.in_flight == 0 {
            conn.under_way = UnderWay::default();
        }
        if answer.read_bytes().is_some_and(|bytes| self.outbound.has_no_room(conn, bytes)) {
            self.node.counters().overloaded += 1;
            answer.overload(to.asked.is_write());
        }
        conn.codec.answer(to.tag, &answer.head, &answer.value, &mut conn.output);
        self.answers.note(to.asked, answer.head.status, answer.head.flags);
        let is_ordered = conn.codec.is_ordered();
        if conn.ended {
            self.ended.push(key);
        }
        self.flush(key);
        self.pause_if_full(now.mono, key);
        if is_ordered {
            self.resume_if_room(now, key);
        }
    }

    /// Counts a connection's unsent replies, the first of which waits from now on. If it does not
    /// take them, it is served, and read, no further.
    pub(super) fn pause_if_full(&mut self, now: Micros, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.waits_since(now);
        if self.outbound.recount(conn) {
            self.pause(key);
        }
    }

    /// Does what [`Self::pause_if_full`] does if it may be necessary before the end of the turn.
    #[inline]
    pub(super) fn pause_if_worth_counting(&mut self, now: Micros, key: ConnKey) {
        if self.conns.get(key).is_some_and(|conn| self.outbound.is_worth_counting(conn)) {
            self.pause_if_full(now, key);
        }
    }

    /// Serves, and reads, a connection no further if too many of its requests are unanswered.
    pub(super) fn pause_if_busy(&mut self, key: ConnKey) {
        let in_flight_max = self.context.cluster.limits.in_flight_per_connection;
        if self.conns.get(key).is_some_and(|conn| conn.is_busy(in_flight_max)) {
            self.pause(key);
        }
    }

    pub(super) fn pause(&mut self, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !conn.paused {
            conn.paused = true;
            self.io.push_back(Io::Pause(key));
        }
    }

    /// Swaps the connection's output with the (empty) buffer that the loop sends from.
    pub fn take_output(&mut self, now: Now, key: ConnKey, sending: &mut Vec<u8>) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.dirty = false;
        debug_assert!(sending.is_empty(), "the last send is done");
        let is_worn_out = conn.give_output(sending);
        conn.sending_bytes = sending.len();
        conn.waits_since(now.mono);
        self.outbound.count(conn);
        if is_worn_out {
            self.end_worn_out(key);
        }
        self.resume_if_room(now, key);
    }

    /// All that [`Self::take_output`] gave has been sent; says whether there is more. A
    /// connection that was paused may be read again.
    pub fn sent(&mut self, now: Now, key: ConnKey) -> bool {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return false };
        conn.sending_bytes = 0;
        conn.taken_at = now.mono;
        self.outbound.count(conn);
        let has_output = conn.has_output();
        // A flush that was asked for meanwhile had to wait for this, and has nothing to do.
        conn.dirty &= has_output;
        self.give_if_ready(key);
        self.resume_if_room(now, key);
        has_output
    }

    /// Some of it has been sent.
    pub fn sent_some(&mut self, now: Now, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.taken_at = now.mono;
        }
    }

    pub(super) fn resume_if_room(&mut self, now: Now, key: ConnKey) {
        let is_deferred = self.conns.get(key).is_some_and(|conn| conn.is_deferred);
        if !is_deferred && self.unpause(now, key) {
            self.io.push_back(Io::Resume(key));
            self.read_input(now, key);
        }
    }

    /// There is no room for a request or its value: the caller hears so, and may ask again.
    pub(super) fn refuse_overloaded(&mut self, now: Now, key: ConnKey, tag: u64, asked: Asked) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        let head = AnswerHead { map_tag: self.node.map_tag(), ..AnswerHead::overloaded() };
        self.node.counters().overloaded += 1;
        conn.codec.answer(tag, &head, &[], &mut conn.output);
        self.answers.note(asked, head.status, head.flags);
        self.pause_if_full(now.mono, key);
    }

    /// Closes connections that take no replies: after the bound, or sooner if all connections
    /// together have too many bytes waiting. If others are refused because of them, those that have
    /// taken nothing for longest are closed until there is room again.
    pub(super) fn close_stalled(&mut self, now: Micros) {
        self.outbound.looked = now;
        let is_flooded = self.outbound.is_flooded();
        let is_accepted =
            |conn: &Conn| matches!(conn.kind, ConnKind::Accepted(_)) && !conn.is_aborted;
        let mut waiting: Vec<(Micros, ConnKey)> = self
            .conns
            .iter()
            .filter(|(_, conn)| is_accepted(conn) && conn.unsent_bytes > conn.waiting_bytes)
            .map(|(key, conn)| (conn.taken_at, key))
            .collect();
        waiting.sort_unstable();
        for (taken_at, key) in waiting {
            let makes_room = is_flooded && self.outbound.unsent > self.outbound.total;
            let patience = self.outbound.patience();
            if now < taken_at + if makes_room { patience.min(FLOODED) } else { patience } {
                break;
            }
            self.abort(key);
            self.outbound.dropped += 1;
            self.node.counters().connections_dropped += 1;
        }
        if self.outbound.dropped > 0 && now >= self.outbound.told + TELL {
            self.outbound.told = now;
            warn!(
                dropped = std::mem::take(&mut self.outbound.dropped),
                unsent_bytes = self.outbound.unsent(),
                "closed connections that did not read their replies (limits.output_timeout, \
                 limits.output_bytes)"
            );
        }
    }

    /// Has the loop close a connection with what is still to be sent.
    pub(super) fn abort(&mut self, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.output = Vec::new();
        // The loop frees the rest at the end of this turn.
        conn.sending_bytes = 0;
        conn.is_aborted = true;
        self.outbound.count(conn);
        self.close(key);
        self.io.push_back(Io::Abort(key));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use standin_config::{ClusterConfig, ServiceProtocol};
    use standin_protocol::frame::FrameLimits;

    use super::*;
    use crate::node::Status;
    use crate::shard::admission::{Admission, Places};
    use crate::shard::codec::flushes::Flushes;
    use crate::shard::codec::names::Names;
    use crate::shard::codec::{Caller, Surroundings, Told};
    use crate::shard::handshake::Greeting;
    use crate::shard::listeners::Service;

    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;

    fn conn() -> Conn {
        Conn::new(ConnKind::Accepted(Greeting::default()), Micros(0))
    }

    fn outbound() -> Outbound {
        Outbound::new(MIB, 8 * MIB, Duration::from_secs(20))
    }

    fn with_unsent(all: &mut Outbound, bytes: usize) -> Conn {
        let mut conn = conn();
        conn.output = vec![0; bytes];
        all.count(&mut conn);
        conn
    }

    #[test]
    fn what_is_being_sent_counts_until_it_is_taken() {
        let mut all = outbound();
        let mut conn = with_unsent(&mut all, 700 * KIB);
        conn.sending_bytes = std::mem::take(&mut conn.output).len();
        all.count(&mut conn);
        assert_eq!(all.unsent(), 700 * KIB);
        conn.output = vec![0; 400 * KIB];
        assert!(all.recount(&mut conn), "both together are over the bound");
        all.forget(&conn);
        assert_eq!(all.unsent(), 0);
    }

    #[test]
    fn answers_whose_turn_has_not_come_count_but_are_not_held_against_the_caller() {
        let mut all = outbound();
        let mut conn = conn();
        let service = Service::Other(ServiceProtocol::Memcached);
        conn.kind = ConnKind::Accepted(Greeting::new(service, 0));
        let places = Places { clients: 1, peers: 0, masters: 0, observers: 0, handshakes: 1 };
        let admission = Arc::new(Admission::new(places));
        conn.begin(Micros(0), &Told { number: 1, nodes: None, admission: &admission });
        let mut cluster = ClusterConfig::new("c", ([127, 0, 0, 1], 1).into(), None);
        cluster.naming.default_keyspace = Some(1);
        let names = Names::new(&cluster, Flushes::default());
        let around = Surroundings {
            limits: FrameLimits::default(),
            caller: Caller::default(),
            names: &names,
            wall_ms: 0,
            deadline_ms: 0,
        };
        let request = conn.decoder.decode(b"get a\n", &around).unwrap().unwrap();
        let mut wait = || {
            let tag = conn.codec.tag(request.tag);
            conn.codec.wait(request.memo(b"get a\n"));
            tag
        };
        let (first, second) = (wait(), wait());
        let head = AnswerHead::status(Status::Ok);
        conn.codec.answer(second, &head, &vec![7; 2 * MIB], &mut conn.output);
        assert!(all.is_worth_counting(&conn) && all.recount(&mut conn));
        assert_eq!(all.unsent(), conn.waiting_bytes);
        assert!(conn.waiting_bytes > 2 * MIB);
        conn.waits_since(Micros(9));
        assert_eq!(conn.taken_at, Micros(9), "it could read nothing until now");
        conn.codec.answer(first, &head, &[], &mut conn.output);
        all.count(&mut conn);
        let replies = "VALUE a 0 0\r\n\r\nEND\r\nVALUE a 0 2097152\r\n\r\nEND\r\n".len();
        assert_eq!((all.unsent(), conn.waiting_bytes), (2 * MIB + replies, 0));
        conn.is_aborted = true;
        conn.output = Vec::new();
        all.count(&mut conn);
        assert_eq!(all.unsent(), 0);
    }

    #[test]
    fn where_all_have_too_much_a_connection_waits_sooner() {
        let mut all = outbound();
        let mut mine = with_unsent(&mut all, 100 * KIB);
        assert!(!all.recount(&mut mine));
        let others: Vec<Conn> = (0..8).map(|_| with_unsent(&mut all, MIB)).collect();
        assert!(all.recount(&mut mine));
        others.iter().for_each(|other| all.forget(other));
        assert!(!all.recount(&mut mine));
    }

    #[test]
    fn large_replies_find_no_room_and_small_ones_do() {
        let mut all = outbound();
        let fresh = conn();
        assert!(!all.has_no_room(&fresh, 5 * MIB), "alone it may take more than its bound");
        let mine = with_unsent(&mut all, KIB);
        let mut hog = with_unsent(&mut all, 5 * MIB);
        assert!(!all.has_no_room(&hog, MIB / 2));
        assert!(all.has_no_room(&hog, 2 * MIB), "the last quarter is for others");
        assert!(!all.has_no_room(&mine, MIB));
        hog.output.clear();
        all.count(&mut hog);
        let _others: Vec<Conn> = (0..8).map(|_| with_unsent(&mut all, MIB)).collect();
        assert!(all.has_no_room(&mine, 100 * KIB));
        assert!(!all.has_no_room(&mine, KIB));
        assert!(!all.has_no_room(&fresh, 100 * KIB), "it has taken all that it has asked for");
        let _more: Vec<Conn> = (0..4).map(|_| with_unsent(&mut all, MIB)).collect();
        assert!(all.has_no_room(&fresh, 100 * KIB));
        assert!(!all.has_no_room(&fresh, KIB));
    }

    #[test]
    fn patience_ends_sooner_where_room_is_short() {
        let mut all = outbound();
        assert_eq!(all.patience(), Duration::from_secs(20));
        let _others: Vec<Conn> = (0..5).map(|_| with_unsent(&mut all, MIB)).collect();
        assert_eq!(all.patience(), Duration::from_secs(5));
        assert!(!all.is_flooded());
        let _full: Vec<Conn> = (0..4).map(|_| with_unsent(&mut all, MIB)).collect();
        assert_eq!((all.patience(), all.is_flooded()), (URGENT, false));
        let _more: Vec<Conn> = (0..4).map(|_| with_unsent(&mut all, MIB)).collect();
        assert!(all.is_flooded());
    }
}
