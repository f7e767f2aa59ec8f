//! A shard without its sockets: connections, the node, links to peers. The ring loop and
//! the epoll loop move bytes in and out of it; the simulator can too.
//!
//! ```text
//! received, serve_staged  bytes ─► requests ─► replies: see core/intake.rs, core/serving.rs
//! mail                    messages from other threads
//! poll                    node outputs ─► connections, links, effects for other threads
//! io                      what the loop has to do on sockets: flush, close, connect, …
//! drop_if_stopped         what goes if the process was stopped: see core/pause.rs
//! ```

mod accepting;
mod again;
pub mod backend;
mod conn;
mod control_watch;
mod formed;
mod intake;
mod interface;
mod lag;
mod later;
mod links;
mod logins;
mod of_node;
mod outgoing;
mod pause;
mod peers;
mod recache;
mod redirecting;
mod sealed;
mod serving;
mod slicing;
mod staged;
mod strays;
#[cfg(test)]
pub(super) mod testing;
mod to_kernel;
mod under_way;
mod walking;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use slotmap::{Key as _, SlotMap};
use standin_protocol::time::Micros;

use self::again::Agains;
use self::backend::{Backend, LinkEnd};
use self::conn::{Conn, ConnKind};
use self::formed::Formed;
pub use self::interface::{Buffers, Effect, Io, Mishap, ReceiveMode, Source};
use self::lag::LoopLag;
use self::logins::FailedLogins;
use self::outgoing::Outbound;
pub use self::peers::Links;
use self::sealed::Failures;
use self::slicing::{Asker, Slices};
use self::staged::Staging;
use self::walking::Walks;
use super::admission::{Handshakes, Refusals};
use super::codec::flushes::Flushes;
use super::codec::names::Names;
use super::context::ShardContext;
pub use super::key::ConnKey;
use super::limits::Frames;
use super::mailbox::Message;
use super::nodes::Nodes;
use crate::budget::output_bytes;
use crate::hot::Hot;
use crate::node::{ConnId, Left, Node, Now};
use crate::stats::StatsHub;
use crate::stats::answers::{Answers, Layout};

/// One shard's state.
pub struct Core<B: Backend = Node> {
    /// The node, which decides on requests, or what serves them in a proxy.
    pub node: B,
    pub(super) context: ShardContext,
    conns: SlotMap<ConnKey, Conn>,
    accepted: u32,
    begun: u64,
    agains: Agains,
    walks: Walks,
    slices: Slices,
    handshakes: Handshakes,
    refusals: Refusals,
    failures: Failures,
    /// The time until which connections that are accepted do not go to the kernel.
    kernel_paused_until: Micros,
    logins: FailedLogins,
    /// What was decrypted last; empty but while it is taken.
    plain: Vec<u8>,
    /// The shard to which the next connection goes that does not ask for one.
    next_shard: u16,
    /// The nodes of Redis Cluster, if shards are some.
    nodes: Option<Arc<Nodes>>,
    /// Taken while requests are decoded.
    names: Option<Box<Names>>,
    /// The deadline of requests that bring none, in milliseconds.
    deadline_ms: u32,
    staged: Staging<B::Place>,
    formed: Formed,
    aimed: Vec<B::Aimed>,
    /// Connections whose own input is staged.
    inputs_staged: Vec<ConnKey>,
    /// Connections with staged requests that could not be served because they are paused.
    with_unserved: Vec<ConnKey>,
    /// Connections with bytes that were not staged, because enough was.
    with_more: Vec<ConnKey>,
    ended: Vec<ConnKey>,
    /// Empty but while [`Self::close_ended`] looks at them.
    ending: Vec<ConnKey>,
    /// Connections with requests under way whose other sides have left; the node is told at once.
    left: Vec<Left>,
    links: B::Links,
    /// Tasks of other threads.
    effects: VecDeque<Effect>,
    pub(super) io: VecDeque<Io>,
    limits: Frames,
    outbound: Outbound,
    stopping: bool,
    swept: Micros,
    refreshed: Micros,
    /// The longest pause of the process after which it continues with the requests that it has.
    pause_max: Duration,
    lag: LoopLag,
    answers: Answers,
    hot: Hot,
    /// Something for a peer was put into an output since the loop last looked at the clock.
    pub(super) has_sent_on: bool,
}

/// The interval at which connections are checked for stalled handshakes and the store is counted.
const SWEEP: Duration = Duration::from_millis(500);
/// The interval at which counters are published.
const REFRESH: Duration = Duration::from_millis(100);

impl<B: Backend> Core<B> {
    /// A shard without connections.
    #[must_use]
    pub fn new(node: B, context: ShardContext, now: Micros) -> Self {
        let limits = &context.cluster.limits;
        let outbound = Outbound::new(
            limits.output_bytes_per_connection as usize,
            output_bytes(&context.cluster, context.server),
            limits.output_timeout,
        );
        let limits = Frames::new(limits, context.topology.partitions);
        let names = Names::new(&context.cluster, B::flushes(&context));
        let deadline = context.cluster.timings.operation_timeout.as_millis();
        let deadline_ms = u32::try_from(deadline).unwrap_or(u32::MAX);
        Self {
            node,
            conns: SlotMap::with_key(),
            accepted: 0,
            begun: 0,
            agains: Agains::default(),
            walks: Walks::default(),
            slices: Slices::default(),
            handshakes: Handshakes::default(),
            refusals: Refusals::default(),
            failures: Failures::default(),
            kernel_paused_until: Micros(0),
            logins: FailedLogins::default(),
            plain: Vec::new(),
            next_shard: 0,
            nodes: Nodes::of(&context).map(Arc::new),
            names: Some(Box::new(names)),
            deadline_ms,
            staged: Staging::default(),
            formed: Formed::new(context.topology.key_forms.clone()),
            aimed: Vec::new(),
            inputs_staged: Vec::new(),
            with_unserved: Vec::new(),
            with_more: Vec::new(),
            ended: Vec::new(),
            ending: Vec::new(),
            left: Vec::new(),
            links: B::Links::default(),
            effects: VecDeque::new(),
            io: VecDeque::new(),
            limits,
            outbound,
            stopping: false,
            swept: now,
            refreshed: now,
            pause_max: context.cluster.timings.pause_max(),
            lag: LoopLag::default(),
            answers: Answers::new(Layout::of(&context.cluster)),
            hot: Hot::new(u64::from(context.shard), now),
            has_sent_on: false,
            context,
        }
    }

    /// Takes a message from another thread (all but `Adopt`, which contains a socket). The clock
    /// must be read after the message was taken out, see [`Self::serve_staged`].
    pub fn mail(&mut self, now: Now, message: Message) {
        self.begin(now);
        match message {
            Message::Adopt { .. } => debug_assert!(false, "the loop takes sockets in"),
            Message::Stray { to, command, at } => self.serve_stray(now, to, &command, at),
            Message::StrayReply { to, answer } => self.deliver(now, to, answer),
            Message::Slice { shard, walk, slice } => {
                self.take_slice(now, Asker::Walk { shard, walk }, slice);
            }
            Message::Walked { walk, walked } => self.walked(now, walk, walked),
            Message::Left(left) => self.left.push(left),
            Message::Limits(cluster) => {
                self.outbound.timeout = cluster.limits.output_timeout;
                self.context.cluster = cluster;
            }
            Message::Access(access) => self.take_access(access),
            Message::Stop { .. } => {
                self.stopping = true;
                self.tell_mishaps(now.mono);
                if self.node.parts().is_some() {
                    self.stop_walks(now);
                }
                B::stop(self);
            }
            message => B::mail(self, now, message),
        }
    }

    /// Begins the outputs of a turn: tells the node which callers have left.
    pub fn begin_outputs(&mut self) {
        self.tell_who_left();
    }

    /// Returns the next effect for other threads: first those that the core has noted, then those
    /// that the node requests. The caller executes each before it asks for the next.
    pub fn poll(&mut self, now: Now) -> Option<Effect> {
        match self.effects.pop_front() {
            Some(effect) => Some(effect),
            None => B::next_effect(self, now),
        }
    }

    /// The node asks for nothing more in this turn.
    pub fn end_outputs(&mut self) {
        B::end_outputs(self);
        // Answers may have had more of a connection's input staged. What has ended is looked at again when
        // that is served, in the next turn.
        if self.staged.is_empty() {
            self.close_ended();
        }
    }

    /// Returns the next task that the core has noted for other threads.
    pub fn effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The number of this shard.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.context.shard
    }

    /// Notes that the other side will send no more. It may still wait for answers.
    pub fn end_of_input(&mut self, now: Now, key: ConnKey) {
        self.begin(now);
        // What is decrypted waited for the kernel, which does not get a connection that has ended.
        self.keep_from_kernel(now, key);
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.ended = true;
        match conn.kind {
            ConnKind::Link => B::ended(self, now, key),
            // On its way to its own shard, which answers what came with the end (`adopt`).
            ConnKind::Accepted(ref greeting) if greeting.is_for_another(self.context.shard) => {}
            // What came with the end is staged and counts as waiting once it is served.
            ConnKind::Accepted(_) => self.ended.push(key),
        }
    }

    /// Closes the connections that have ended and whose last request is answered. Called
    /// when nothing is staged.
    fn close_ended(&mut self) {
        if self.ended.is_empty() {
            return;
        }
        let mut ending = std::mem::replace(&mut self.ended, std::mem::take(&mut self.ending));
        for key in ending.drain(..) {
            // It has been closed.
            let Some(conn) = self.conns.get_mut(key) else { continue };
            if conn.in_flight > 0 && !std::mem::replace(&mut conn.is_end_told, true) {
                self.note_left(key, false);
            } else if conn.in_flight == 0 && !conn.paused {
                self.close(key);
            }
        }
        self.ending = ending;
    }

    /// Tells the node that a connection's input has ended, or that the connection is gone.
    fn note_left(&mut self, key: ConnKey, is_gone: bool) {
        let conn = ConnId { shard: self.context.shard, conn: key.data().as_ffi() };
        let left = Left { conn, is_gone };
        self.left.push(left);
        if self.conns.get(key).is_some_and(|conn| conn.has_strayed) {
            let others = (0..self.context.shards).filter(|shard| *shard != self.context.shard);
            let message = |shard| Effect::Post { shard, message: Message::Left(left) };
            self.effects.extend(others.map(message));
        }
    }

    fn tell_who_left(&mut self) {
        if !self.left.is_empty() {
            self.node.callers_left(&self.left);
            self.left.clear();
        }
    }

    /// The connection is gone: closed by the other side, broken, or closed by the loop
    /// as asked.
    pub fn closed(&mut self, now: Now, key: ConnKey) {
        self.begin(now);
        if self.conns.get(key).is_some_and(|conn| conn.in_flight > 0) {
            self.note_left(key, true);
        }
        // It has been closed.
        let Some(conn) = self.conns.remove(key) else { return };
        self.outbound.forget(&conn);
        match conn.kind {
            ConnKind::Accepted(greeting) => self.leave_place(key, &greeting),
            ConnKind::Link => B::closed(self, now, key, LinkEnd::Lost),
        }
    }

    /// The connection that [`Io::Connect`] asked for was refused: nobody listens there.
    pub fn refused(&mut self, now: Now, key: ConnKey) {
        self.begin(now);
        // It has been closed.
        let Some(conn) = self.conns.remove(key) else { return };
        self.outbound.forget(&conn);
        if matches!(conn.kind, ConnKind::Link) {
            B::closed(self, now, key, LinkEnd::Refused);
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Now) {
        self.begin(now);
        B::tick(self, now);
        if now.mono >= self.refreshed + REFRESH {
            self.refreshed = now.mono;
            self.node.counters().connections = u64::from(self.accepted);
            self.node.counters().in_flight = self.node.in_flight() as u64;
            self.node.counters().output_bytes = self.outbound.unsent() as u64;
            self.effects.push_back(Effect::Refresh);
            self.tell_mishaps(now.mono);
        }
        if now.mono >= self.swept + SWEEP {
            self.swept = now.mono;
            self.node.refresh_counters();
            self.sweep(now.mono);
        }
        if now.mono >= self.outbound.next_look() {
            self.close_stalled(now.mono);
        }
    }

    /// Publishes the counters of the shard.
    pub fn publish(&mut self, now: Now, hub: &StatsHub) {
        let shard = self.context.shard;
        hub.publish(shard, now.mono, self.node.counters(), &self.answers);
        self.hot.adapt();
        self.hot.end_seconds(now.mono, |sketch| hub.publish_hot(shard, sketch));
    }

    /// Notes that a turn of the loop which began at `start` has ended at `end`.
    pub fn turn_ended(&mut self, start: Micros, end: Micros) {
        self.answers.turn_ended(end);
        let counters = self.node.counters();
        counters.loop_lag_us = self.lag.turn(start, end);
        counters.busy_us += end.0.saturating_sub(start.0);
    }

    /// Returns the time at which [`Self::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Micros {
        let housekeeping = (self.refreshed + REFRESH).min(self.swept + SWEEP);
        let housekeeping = housekeeping.min(self.outbound.next_look());
        housekeeping.min(B::next_deadline(self))
    }

    /// Closes connections that began a hello or a frame and do not finish it, and idle observers.
    fn sweep(&mut self, now: Micros) {
        let bound = self.context.cluster.limits.handshake_timeout;
        let is_over = |since: Option<Micros>| since.is_some_and(|since| now >= since + bound);
        let is_inside = |conn: &Conn| conn.sealed.as_ref().and_then(|sealed| sealed.inside_since());
        let is_late = |conn: &Conn| is_over(conn.unfinished_since) || is_over(is_inside(conn));
        let is_accepted = |conn: &Conn| matches!(conn.kind, ConnKind::Accepted(_));
        let late: Vec<ConnKey> = self
            .conns
            .iter()
            .filter(|(_, conn)| is_accepted(conn) && is_late(conn))
            // While a connection is paused it is this side that lets it wait.
            .filter(|(_, conn)| !conn.paused && !conn.closing)
            .map(|(key, _)| key)
            .collect();
        for key in late {
            self.node.counters().connections_dropped += 1;
            self.close(key);
        }
    }

    /// Returns the loop's next task on a socket.
    pub fn io(&mut self) -> Option<Io> {
        loop {
            match self.io.pop_front()? {
                // Its output has been taken since this was asked for.
                Io::Pause(key) if !self.conns.get(key).is_some_and(|conn| conn.paused) => {}
                io => return Some(io),
            }
        }
    }

    /// Whether there is something to do that no event will announce.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let has_io = !self.ended.is_empty() || !self.io.is_empty() || !self.effects.is_empty();
        let has_input = !self.staged.is_empty() || self.agains.has_deferred();
        has_io
            || has_input
            || !self.slices.is_empty()
            || !self.left.is_empty()
            || self.node.has_output()
    }

    /// Reads nothing more from callers. Their connections are closed when everything that has been read
    /// is answered.
    pub fn end_inputs(&mut self) {
        for (key, conn) in &mut self.conns {
            if matches!(conn.kind, ConnKind::Accepted(_)) {
                conn.ended = true;
                self.ended.push(key);
            }
        }
    }

    /// Sets the requests of which a flush of everything consists.
    pub fn set_flushes(&mut self, flushes: Flushes) {
        self.names.as_mut().expect("no request is being decoded").set_flushes(flushes);
    }

    /// Whether the shard was told to stop and nothing waits any more.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.stopping
            && self.node.in_flight() == 0
            && self.walks.is_empty()
            && self.slices.is_empty()
            && self.conns.values().all(|conn| !conn.has_output() && conn.in_flight == 0)
    }

    pub(super) fn flush(&mut self, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !conn.dirty {
            conn.dirty = true;
            self.io.push_back(Io::Flush(key));
        }
    }

    pub(super) fn close(&mut self, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !conn.closing {
            conn.closing = true;
            self.handshakes.heard(key);
            self.io.push_back(Io::Close(key));
        }
    }
}

/// Capacity that an empty buffer of a connection may keep.
const KEPT_BYTES: usize = 64 << 10;

/// Empties a buffer. A large one is freed. Otherwise thousands of connections would keep the memory
/// that each has needed once.
pub(super) fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(KEPT_BYTES);
}
