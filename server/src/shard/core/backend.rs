//! The seam between the core of a shard and what serves its commands: a server's node, or a proxy's
//! client of the cluster.
//!
//! ```text
//! Core ─ place, aim, hit, serve_missed ─► Backend   a command, and possibly its answer
//! Core ─ mail, received, … ─► Backend           what happened beside the callers' requests
//! Core ◄─ deliver, open_link, send, … ─ Backend     late answers, connections to servers
//! ```
//! Functions with the core as an argument may change its connections. The others may not, so that the
//! core can hold a connection while it calls them.

use std::fmt::Debug;
use std::sync::Arc;

use standin_protocol::map::Topology;
use standin_protocol::time::Micros;

use super::{ConnKey, Core, Effect};
use crate::node::counters::Counters;
use crate::node::routes::Redirect;
use crate::node::{Action, Answer, AnswerHead, Command, Left, Now, ReplyTo, Status};
use crate::shard::codec::flushes::Flushes;
use crate::shard::codec::slice::Slice;
use crate::shard::context::ShardContext;
use crate::shard::mailbox::Message;
use crate::stats::StatsHub;

/// How a connection that a shard has opened ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEnd {
    /// The other host refused it: nobody listens there.
    Refused,
    /// It could not be opened, was closed by the other side, or broke.
    Lost,
}

/// What serves the commands of a shard.
pub trait Backend: Sized {
    /// The place of a key, found for all requests of a wake-up before any of them is aimed.
    type Place: Copy + Debug;
    /// A place, and what was found of it before the request is served.
    type Aimed: Copy + Debug;
    /// What is kept of the connections that the shard has opened.
    type Links: Default;
    /// The threads beside the shards.
    type Threads;

    /// Whether the ports refuse connections as soon as the shard is to end. Those of a server stay open as
    /// long as any part of it can reach the origin.
    const CLOSES_PORTS: bool;

    /// The requests of which a flush of everything consists, as far as they are known at the start.
    fn flushes(context: &ShardContext) -> Flushes;

    /// The counters of the shard.
    fn counters(&mut self) -> &mut Counters;

    /// [`standin_protocol::map::MapEpoch::tag`] of the map in force; 0 if there is none.
    fn map_tag(&self) -> u32;

    /// The first pass over a request.
    fn place(&self, keyspace: u8, key: &[u8]) -> Self::Place;

    /// The second pass.
    fn aim(&self, place: Self::Place) -> Self::Aimed;

    /// The shard that carries the command out, of this many; `own` is this one.
    fn shard_of(aimed: Self::Aimed, own: u16, shards: u16) -> u16;

    /// The third pass over a read: answers it through `give` if its value is in the shard's memory, and
    /// returns whether it is. Otherwise [`Self::serve_missed`] goes on.
    #[inline]
    fn hit(
        &mut self,
        _now: Now,
        _keyspace: u8,
        _key: &[u8],
        _place: Self::Aimed,
        _give: impl FnOnce(AnswerHead, &[u8]),
    ) -> bool {
        false
    }

    /// The third pass over all other requests, and reads that were no [`Self::hit`]: answers through
    /// `give` and returns true, or has the answer delivered later. If `may_wait` is false because too
    /// many requests of the connection wait, a command that would have to wait is refused.
    fn serve_missed(
        &mut self,
        now: Now,
        to: ReplyTo,
        command: &Command<'_>,
        place: Self::Aimed,
        may_wait: bool,
        give: impl FnOnce(AnswerHead, &[u8]),
    ) -> bool;

    /// The third pass over any request.
    fn serve(
        &mut self,
        now: Now,
        to: ReplyTo,
        command: &Command<'_>,
        place: Self::Aimed,
        may_wait: bool,
        mut give: impl FnMut(AnswerHead, &[u8]),
    ) -> bool {
        let Command { head, key, .. } = *command;
        head.action == Action::Get && self.hit(now, head.keyspace, key, place, &mut give)
            || self.serve_missed(now, to, command, place, may_wait, give)
    }

    /// The number of parts of the shard's cache, which never changes; `None` if it has none.
    fn parts(&self) -> Option<u32> {
        None
    }

    /// Gives the cached keys of a part, each with its keyspace; only those of the slot, if there is one.
    /// Returns the number of items that were looked at.
    fn visit(
        &self,
        _now: Now,
        _part: u32,
        _slot: Option<u16>,
        _give: impl FnMut(u8, &[u8]),
    ) -> usize {
        0
    }

    /// The cluster, if it is known.
    fn topology(&self) -> Option<Arc<Topology>>;

    /// Asks a shard of another server for a slice of a walk. [`Core::walked`] is told what comes of it.
    fn ask_walk(core: &mut Core<Self>, now: Now, walk: u64, at: (u16, u16), slice: &Slice);

    /// Notes the time of the next event.
    fn begin(&mut self, now: Now);

    /// Notes the connections that bring no more requests.
    fn callers_left(&mut self, left: &[Left]);

    /// The number of requests that wait.
    fn in_flight(&self) -> usize;

    /// Whether [`Self::next_effect`] has something to do.
    fn has_output(&self) -> bool;

    /// The shard is about to end.
    fn stop(core: &mut Core<Self>);

    /// Brings the counters up to date that are not kept so all the time.
    fn refresh_counters(&mut self);

    /// The process was stopped for too long: drops what waits.
    fn drop_waiting(&mut self);

    /// Takes a message that is not about the callers' connections.
    fn mail(core: &mut Core<Self>, now: Now, message: Message);

    /// Returns the next task of another thread, after having done what comes before it in this shard.
    fn next_effect(core: &mut Core<Self>, now: Now) -> Option<Effect>;

    /// There is nothing more to do in this turn.
    fn end_outputs(core: &mut Core<Self>);

    /// Lets time pass.
    fn tick(core: &mut Core<Self>, now: Now);

    /// Returns the time at which [`Self::tick`] has something to do.
    fn next_deadline(core: &Core<Self>) -> Micros;

    /// A connection that the shard has opened is connected.
    fn connected(core: &mut Core<Self>, now: Now, key: ConnKey);

    /// Bytes came on such a connection.
    fn received(core: &mut Core<Self>, now: Now, key: ConnKey, bytes: &[u8]);

    /// The other side of such a connection sends no more.
    fn ended(core: &mut Core<Self>, now: Now, key: ConnKey);

    /// Such a connection is gone.
    fn closed(core: &mut Core<Self>, now: Now, key: ConnKey, end: LinkEnd);

    /// The process was stopped for too long: ends such a connection and drops what waits to be sent.
    fn abort(core: &mut Core<Self>, now: Now, key: ConnKey);

    /// The shard that serves a key, if clients are to be referred to another one than this.
    fn redirect(
        &mut self,
        _now: Now,
        _keyspace: u8,
        _key: &[u8],
        _place: Self::Aimed,
    ) -> Option<Redirect> {
        None
    }

    /// Returns the server that [`Self::redirect`] names.
    fn elsewhere(&self, _place: Self::Aimed) -> Option<u16> {
        None
    }

    /// Has the routes to all partitions delivered ([`crate::node::routes::Routes`]).
    fn routes(core: &mut Core<Self>, now: Now, to: ReplyTo) {
        core.deliver(now, to, Answer::status(Status::NotSupported));
    }

    /// Carries out an effect that another thread is to be told of.
    fn carry_out(
        core: &mut Core<Self>,
        threads: &Self::Threads,
        hub: &StatsHub,
        now: Now,
        effect: Effect,
    );
}
