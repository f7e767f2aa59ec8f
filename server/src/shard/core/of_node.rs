//! The node of a server as the backend of a shard.

use std::sync::Arc;

use standin_protocol::hash::shard_of;
use standin_protocol::map::Topology;
use standin_protocol::time::Micros;

use super::backend::{Backend, LinkEnd};
use super::peers::Links;
use super::{ConnKey, Core, Effect};
use crate::control::agent::Input;
use crate::node::counters::Counters;
use crate::node::routes::Redirect;
use crate::node::{
    Aimed, AnswerHead, Command, ForwardFailure, Left, Node, Now, Output, Place, ReplyTo,
};
use crate::origin::{Done, Failure, Health, Outcome};
use crate::shard::codec::flushes::Flushes;
use crate::shard::codec::slice::Slice;
use crate::shard::context::ShardContext;
use crate::shard::mailbox::Message;
use crate::shard::outside::ServerThreads;
use crate::stats::StatsHub;

impl Backend for Node {
    type Place = Place;
    type Aimed = Aimed;
    type Links = Links;
    type Threads = ServerThreads;

    const CLOSES_PORTS: bool = false;

    /// None, if the server has no port on which a flush can be asked for.
    fn flushes(context: &ShardContext) -> Flushes {
        let cluster = &context.cluster;
        match cluster.servers[usize::from(context.server)].services.is_empty() {
            true => Flushes::default(),
            false => Flushes::new(cluster.keyspaces.iter().map(|k| k.id), &context.topology),
        }
    }

    #[inline]
    fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    #[inline]
    fn map_tag(&self) -> u32 {
        Self::map_tag(self)
    }

    #[inline]
    fn place(&self, keyspace: u8, key: &[u8]) -> Place {
        Self::place(self, keyspace, key)
    }

    #[inline]
    fn aim(&self, place: Place) -> Aimed {
        Self::aim(self, place)
    }

    #[inline]
    fn shard_of(aimed: Aimed, own: u16, shards: u16) -> u16 {
        if shards == 1 { own } else { shard_of(aimed.partition, shards) }
    }

    #[inline(always)]
    fn hit(
        &mut self,
        now: Now,
        keyspace: u8,
        key: &[u8],
        place: Aimed,
        give: impl FnOnce(AnswerHead, &[u8]),
    ) -> bool {
        Self::hit(self, now, keyspace, key, place, give)
    }

    fn serve_missed(
        &mut self,
        now: Now,
        to: ReplyTo,
        command: &Command<'_>,
        place: Aimed,
        may_wait: bool,
        give: impl FnOnce(AnswerHead, &[u8]),
    ) -> bool {
        Self::serve_missed(self, now, to, command, place, may_wait, give)
    }

    fn parts(&self) -> Option<u32> {
        Some(Self::parts(self))
    }

    fn visit(&self, now: Now, part: u32, slot: Option<u16>, give: impl FnMut(u8, &[u8])) -> usize {
        Self::visit(self, now, part, slot, give)
    }

    fn topology(&self) -> Option<Arc<Topology>> {
        Some(Arc::clone(Self::topology(self)))
    }

    fn ask_walk(core: &mut Core, now: Now, walk: u64, at: (u16, u16), slice: &Slice) {
        core.node.ask_walk(now, walk, at, slice.to_bytes().into());
    }

    #[inline]
    fn begin(&mut self, now: Now) {
        Self::begin(self, now);
    }

    fn callers_left(&mut self, left: &[Left]) {
        Self::callers_left(self, left);
    }

    fn in_flight(&self) -> usize {
        Self::in_flight(self)
    }

    fn has_output(&self) -> bool {
        Self::has_output(self)
    }

    fn stop(core: &mut Core) {
        core.node.stop();
    }

    fn refresh_counters(&mut self) {
        Self::refresh_counters(self);
    }

    fn drop_waiting(&mut self) {
        Self::drop_waiting(self);
    }

    fn mail(core: &mut Core, now: Now, message: Message) {
        match message {
            Message::Origin(Done { token, outcome, sent }) => {
                if let Some(sent) = sent {
                    core.node.origin_sent(token, sent);
                }
                core.node.origin_done(now, token, outcome);
            }
            Message::Map(map) => {
                core.drop_outlived_links(now, &map);
                core.node.apply_map(now, map);
            }
            Message::Lease(lease) => core.node.lease(now, lease),
            Message::Word(word) => core.node.word(word),
            Message::Lifetimes(lifetimes) => core.node.set_lifetimes(&lifetimes),
            Message::AskProbe { nonce, server } => core.node.ask_probe(nonce, server),
            Message::Verdict { server, state } => core.node.verdict(now, server, state),
            Message::Datagram(_) => debug_assert!(false, "the control thread takes datagrams"),
            Message::Adopt { .. }
            | Message::Stray { .. }
            | Message::Left(_)
            | Message::StrayReply { .. }
            | Message::Slice { .. }
            | Message::Walked { .. }
            | Message::Access(_)
            | Message::Limits(_)
            | Message::Stop { .. } => unreachable!("the core takes it"),
        }
    }

    /// First what the core has noted, then what the node requests.
    fn next_effect(core: &mut Core, now: Now) -> Option<Effect> {
        loop {
            if let Some(effect) = core.effect() {
                return Some(effect);
            }
            match core.next_output(now)? {
                Output::Reply { to, answer } => core.deliver(now, to, answer),
                Output::Walked { walk, walked } => core.walked(now, walk, walked),
                Output::Slow(slow) => return Some(Effect::Slow(slow)),
                Output::Origin(call) => return Some(Effect::Submit(call)),
                Output::Forward { peer, shard, token, map_tag, command } => {
                    core.forward(now.mono, peer, shard, token, map_tag, &command);
                }
                Output::Report { server } if core.links.are_outlived(server) => {}
                Output::Report { server } => return Some(Effect::Tell(Input::Report(server))),
                Output::Probed { nonce, server, outcome } => {
                    return Some(Effect::Tell(Input::Probed { nonce, server, outcome }));
                }
                Output::Drained(epoch) => {
                    let shard = core.context.shard;
                    return Some(Effect::Tell(Input::Drained { shard, epoch }));
                }
            }
        }
    }

    fn end_outputs(core: &mut Core) {
        core.links.forget_outlived();
    }

    fn tick(core: &mut Core, now: Now) {
        core.node.tick(now);
        core.tick_links(now);
    }

    fn next_deadline(core: &Core) -> Micros {
        let node = core.node.next_deadline().unwrap_or(Micros::NEVER);
        node.min(core.links_deadline().unwrap_or(Micros::NEVER))
    }

    fn connected(core: &mut Core, _: Now, key: ConnKey) {
        core.link_connected(key);
    }

    fn received(core: &mut Core, now: Now, key: ConnKey, bytes: &[u8]) {
        core.link_received(now, key, bytes);
    }

    fn ended(core: &mut Core, now: Now, key: ConnKey) {
        core.close_link(now, key);
    }

    fn closed(core: &mut Core, now: Now, key: ConnKey, end: LinkEnd) {
        let failure = match end {
            LinkEnd::Refused => ForwardFailure::Refused,
            LinkEnd::Lost => ForwardFailure::Unreachable,
        };
        core.link_closed(now, key, failure);
    }

    fn abort(core: &mut Core, now: Now, key: ConnKey) {
        core.abort_link(now, key);
    }

    fn redirect(&mut self, now: Now, keyspace: u8, key: &[u8], place: Aimed) -> Option<Redirect> {
        Self::redirect(self, now, keyspace, key, place)
    }

    fn elsewhere(&self, place: Aimed) -> Option<u16> {
        Self::elsewhere(self, place).map(|(server, _)| server)
    }

    fn routes(core: &mut Core, now: Now, to: ReplyTo) {
        core.node.routes(now, to);
    }

    fn carry_out(
        core: &mut Core,
        threads: &ServerThreads,
        hub: &StatsHub,
        now: Now,
        effect: Effect,
    ) {
        let ServerThreads { origin, control, slow_log } = threads;
        match effect {
            Effect::Submit(call) => {
                if let Err(call) = origin.submit(call) {
                    core.call_refused(now, call.token);
                }
            }
            Effect::Tell(input) => control.post(input),
            Effect::Slow(slow) => slow_log.write(now.mono, &slow),
            Effect::Refresh => {
                if core.shard() == 0 {
                    slow_log.tell_left_out(now.mono);
                }
                core.refreshed(origin.health(), control.runs(now.mono));
                core.publish(now, hub);
                hub.publish_origin(core.shard(), &core.node.origin_times);
            }
            Effect::Stats { to } => {
                let epoch = core.node.map().map_or(0, |map| map.epoch.to_u64());
                let reply = hub.reply(epoch, now.mono, &origin.state());
                core.told(now, to, reply.to_bytes());
            }
            Effect::Hot { to } => core.told(now, to, hub.hot().to_bytes()),
            Effect::Post { .. } => unreachable!("the loop posts it"),
        }
    }
}

impl Core {
    /// Notes that the origin has refused the call with this token, because it has too many.
    pub fn call_refused(&mut self, now: Now, token: u64) {
        self.node.origin_done(now, token, Outcome::Failed(Failure::Overloaded));
    }

    /// The origin's health and whether the control thread runs, as [`Effect::Refresh`] asks.
    pub fn refreshed(&mut self, origin: Health, control_runs: bool) {
        self.node.set_origin_up(origin == Health::Up);
        let runs = self.links.control_watch.look(control_runs);
        self.node.set_control_runs(runs);
    }

    /// What the node asks for next. When there is nothing more, fetches that waited for room may
    /// begin.
    fn next_output(&mut self, now: Now) -> Option<Output> {
        if let Some(output) = self.node.poll() {
            return Some(output);
        }
        self.node.told_unsent(now, self.outbound.unsent());
        self.node.poll()
    }
}
