//! The client's engine as the backend of a shard: commands become operations of the client, and their
//! results answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use rustc_hash::FxHashMap;
use slotmap::{Key as _, KeyData, SecondaryMap, SlotMap};
use standin_client::engine::{ConnId, Engine, Input, Output};
use standin_client::{
    Action, ClientError, ClientEvent, Encoded, Operation, Outcome, Question, Target,
};
use standin_protocol::frame::Opcode;
use standin_protocol::map::{MapEpoch, ServerState, Topology};
use standin_protocol::time::Micros;
use standin_protocol::walk::WalkHead;
use standin_server::node::counters::Counters;
use standin_server::node::{
    Answer, AnswerHead, Command, Left, Now, ReplyTo, Status, Walked, answer::flags,
};
use standin_server::origin::Health;
use standin_server::shard::ShardContext;
use standin_server::shard::codec::flushes::Flushes;
use standin_server::shard::codec::slice::Slice;
use standin_server::shard::codec::standin::Parts;
use standin_server::shard::core::backend::{Backend, LinkEnd};
use standin_server::shard::core::{ConnKey, Core, Effect};
use standin_server::shard::mailbox::Message;
use standin_server::stats::StatsHub;
use tracing::{info, warn};

use crate::answers::{answer_of, refusal};
use crate::notices::Notices;
use crate::view::Views;

slotmap::new_key_type! {
    /// The name of an operation that has not ended.
    struct OpKey;
}

/// A client of the cluster.
pub struct Upstream {
    engine: Engine,
    /// The number of its thread, and what all threads know of the cluster.
    views: (u16, Arc<Views>),
    notices: Notices,
    waiting: SlotMap<OpKey, Waiting>,
    /// The walks that wait for a newer map, in the order of the times at which they are given up.
    walks: VecDeque<Asked>,
    /// The connections to servers, by the engine's names and by the shard's.
    links: FxHashMap<ConnId, ConnKey>,
    names: SecondaryMap<ConnKey, ConnId>,
    /// The ids of the keyspaces.
    keyspaces: Vec<u8>,
    /// The number of partitions for which the shard knows how to flush everything.
    partitions: u32,
    /// Told when the cluster is known; then gone.
    learned: Option<Sender<()>>,
    /// The time at which the engine is to ask for the cluster; `NEVER` while it asks, and when it knows.
    learn_at: Micros,
    /// The engine may have an output.
    has_output: bool,
    counters: Counters,
}

/// The name of the question for the cluster. No operation has it: versions of a slot begin with 1.
const LEARN: u64 = 0;
/// The pause before a question that was not answered is asked again.
const LEARN_AGAIN: Duration = Duration::from_millis(100);

/// What waits for the end of an operation.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    /// A request.
    Request { to: ReplyTo, is_read: bool },
    /// A walk of the shard that has asked for a slice.
    Walk(Asked),
}

/// A slice that a walk has asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    walk: u64,
    /// The server and the shard.
    at: (u16, u16),
    head: WalkHead,
    /// The time at which it is given up; `None` until it has to wait for a newer map.
    by: Option<Micros>,
}

/// The longest time for which a walk waits for a newer map.
const MAP_WITHIN: Duration = Duration::from_secs(1);

impl Upstream {
    /// Creates it on an engine that has done nothing yet. `learned` is told when the engine knows the
    /// cluster.
    #[must_use]
    pub(crate) fn new(
        engine: Engine,
        views: (u16, Arc<Views>),
        notices: Notices,
        keyspaces: Vec<u8>,
        learned: Sender<()>,
    ) -> Self {
        Self {
            engine,
            views,
            notices,
            waiting: SlotMap::with_key(),
            walks: VecDeque::new(),
            links: FxHashMap::default(),
            names: SecondaryMap::new(),
            keyspaces,
            partitions: 0,
            learned: Some(learned),
            learn_at: Micros(0),
            has_output: false,
            counters: Counters::default(),
        }
    }

    fn handle(&mut self, now: Now, input: Input<'_>) {
        self.has_output = true;
        self.engine.handle(now.mono, input);
    }

    /// What waits for the end of an operation, which has ended.
    fn take_waiting(&mut self, op_id: u64) -> Waiting {
        let key = OpKey::from(KeyData::from_ffi(op_id));
        self.waiting.remove(key).expect("an operation ends once")
    }

    /// Returns the answer to a request whose operation has ended.
    fn answer(&mut self, is_read: bool, result: Result<Outcome, ClientError>) -> Answer {
        let map_tag = self.map_tag();
        let answer = match result {
            Ok(Outcome::Encoded(reply)) => answer_of(reply),
            Ok(other) => unreachable!("an encoded request has an encoded reply, not {other:?}"),
            Err(error) => refusal(&error),
        };
        if is_read && matches!(answer.head.status, Status::Ok | Status::NotFound) {
            let is_hit = answer.head.flags & flags::HIT != 0;
            *if is_hit { &mut self.counters.hits } else { &mut self.counters.misses } += 1;
        }
        match answer.head.status {
            Status::OutcomeUnknown => self.counters.outcomes_unknown += 1,
            Status::Overloaded => self.counters.overloaded += 1,
            _ => {}
        }
        let head = AnswerHead { map_tag, ..answer.head };
        Answer { head, value: answer.value }
    }

    /// Asks for a slice of a walk. A server that is not online by the map owns nothing.
    fn ask(&mut self, now: Now, asked: Asked) -> Option<Walked> {
        let Asked { at: (server, shard), head: walk, .. } = asked;
        let Some(map) = self.engine.map() else {
            return Some(Walked::Refused(Status::Unavailable));
        };
        // The cluster may have another topology since the walk began.
        let Some(status) = map.statuses().get(usize::from(server)) else {
            return Some(Walked::NotOnline);
        };
        if status.state != ServerState::Online {
            return Some(Walked::NotOnline);
        }
        let op_id = self.waiting.insert(Waiting::Walk(asked)).data().as_ffi();
        let (target, question) = (Target::Server(server), Question::Walk { shard, walk });
        self.handle(now, Input::Ask { op_id, target, question });
        None
    }

    /// What comes of a slice that was asked for; `None` if it waits for a newer map: a server that does not
    /// answer may not be online by that, and one that was passed over may be.
    fn walked(
        &mut self,
        now: Now,
        mut asked: Asked,
        result: Result<Outcome, ClientError>,
    ) -> Option<Walked> {
        match result {
            Ok(Outcome::Walked { map_tag, .. })
                if MapEpoch::tag_is_newer(map_tag, self.map_tag()) => {}
            Ok(Outcome::Walked { value, .. }) => return Some(Walked::Answer(value.into())),
            Err(ClientError::NoAnswer(_) | ClientError::NotReady(_)) => self.learn_at = now.mono,
            Err(ClientError::Overloaded { .. }) => {
                return Some(Walked::Refused(Status::Overloaded));
            }
            _ => return Some(Walked::Refused(Status::Unavailable)),
        }
        let by = *asked.by.get_or_insert(now.mono + MAP_WITHIN);
        if by <= now.mono {
            return Some(Walked::Refused(Status::Unavailable));
        }
        let at = self.walks.partition_point(|other| other.by <= asked.by);
        self.walks.insert(at, asked);
        None
    }

    fn note(&mut self, now: Now, event: &ClientEvent) {
        let name = |server: &u16| {
            let map = self.engine.map()?;
            Some(map.topology.servers.get(usize::from(*server))?.name.clone())
        };
        let (thread, views) = &self.views;
        match event {
            ClientEvent::EnteredFailover { server, .. } => {
                views.entered_failover(*thread, &self.engine);
                warn!(server = name(server), "a server does not answer; its stand-ins are used");
            }
            ClientEvent::LeftFailover { server, .. } => {
                views.failover_changed(*thread, &self.engine);
                info!(server = name(server), "a server is used again");
            }
            ClientEvent::Reported { .. } => self.counters.reports += 1,
            ClientEvent::MapApplied { .. } => {
                views.map_applied(*thread, now.mono, &self.engine);
                self.counters.maps_applied += 1;
            }
            ClientEvent::MapRefused { reason } => warn!(reason, "a map can't be used"),
            _ => {}
        }
    }
}

impl Backend for Upstream {
    type Place = ();
    type Aimed = ();
    type Links = ();
    type Threads = ();

    const CLOSES_PORTS: bool = true;

    fn flushes(_context: &ShardContext) -> Flushes {
        Flushes::unknown()
    }

    #[inline]
    fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    fn map_tag(&self) -> u32 {
        self.engine.map().map_or(0, |map| map.epoch.tag())
    }

    #[inline]
    fn place(&self, _keyspace: u8, _key: &[u8]) {}

    #[inline]
    fn aim(&self, (): ()) {}

    /// Each shard has a client of its own.
    #[inline]
    fn shard_of((): (), own: u16, _shards: u16) -> u16 {
        own
    }

    fn serve_missed(
        &mut self,
        now: Now,
        to: ReplyTo,
        command: &Command<'_>,
        (): (),
        may_wait: bool,
        give: impl FnOnce(AnswerHead, &[u8]),
    ) -> bool {
        self.counters.requests += 1;
        self.counters.data_requests += 1;
        if !may_wait {
            self.counters.overloaded += 1;
            give(AnswerHead::overloaded(), &[]);
            return true;
        }
        let parts = Parts::of(command);
        let before = parts.before();
        let encoded = Encoded {
            opcode: parts.opcode,
            is_item: parts.is_item,
            ttl_s: parts.ttl_s,
            version: parts.version,
            head_bytes: before.len(),
            value: [before, command.value].concat(),
        };
        let operation = Operation {
            keyspace: command.head.keyspace,
            key: command.key.to_vec(),
            action: Action::Encoded(encoded),
        };
        let waiting = Waiting::Request { to, is_read: parts.opcode == Opcode::Get };
        let op_id = self.waiting.insert(waiting).data().as_ffi();
        self.handle(now, Input::Submit { op_id, operation });
        false
    }

    fn topology(&self) -> Option<Arc<Topology>> {
        self.engine.map().map(|map| Arc::clone(&map.topology))
    }

    /// Without the pattern: servers may know the keys by other names than this proxy.
    fn ask_walk(core: &mut Core<Self>, now: Now, walk: u64, at: (u16, u16), slice: &Slice) {
        let asked = Asked { walk, at, head: slice.head(), by: None };
        if let Some(walked) = core.node.ask(now, asked) {
            core.walked(now, walk, walked);
        }
    }

    fn begin(&mut self, _now: Now) {}

    /// Their requests end like all others. Nobody takes the answers.
    fn callers_left(&mut self, _left: &[Left]) {}

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    fn has_output(&self) -> bool {
        self.has_output
    }

    fn stop(core: &mut Core<Self>) {
        core.end_inputs();
    }

    fn refresh_counters(&mut self) {
        let (thread, views) = &self.views;
        views.refresh(*thread, &self.engine);
    }

    /// The engine gives requests up by their deadlines.
    fn drop_waiting(&mut self) {}

    fn mail(core: &mut Core<Self>, now: Now, message: Message) {
        match message {
            Message::Datagram(bytes) => core.node.handle(now, Input::Datagram(&bytes)),
            other => unreachable!("nobody sends {other:?} to a proxy"),
        }
    }

    fn next_effect(core: &mut Core<Self>, now: Now) -> Option<Effect> {
        loop {
            if let Some(effect) = core.effect() {
                return Some(effect);
            }
            let Some(output) = core.node.engine.poll() else {
                core.node.has_output = false;
                return None;
            };
            match output {
                Output::Completed { op_id: LEARN, result } => {
                    if result.is_err() {
                        core.node.learn_at = now.mono + LEARN_AGAIN;
                    }
                }
                Output::Completed { op_id, result } => {
                    let result = result.map(|answer| answer.outcome);
                    match core.node.take_waiting(op_id) {
                        Waiting::Request { to, is_read } => {
                            let answer = core.node.answer(is_read, result);
                            core.deliver(now, to, answer);
                        }
                        Waiting::Walk(asked) => {
                            if let Some(walked) = core.node.walked(now, asked, result) {
                                core.walked(now, asked.walk, walked);
                            }
                        }
                    }
                }
                Output::Send { conn, bytes } => {
                    // It has been closed.
                    let Some(key) = core.node.links.get(&conn) else { continue };
                    core.send_on_link(*key, bytes);
                }
                Output::Connect { conn, addr, .. } => {
                    let key = core.open_link(now.mono, addr);
                    core.node.links.insert(conn, key);
                    core.node.names.insert(key, conn);
                }
                Output::Close { conn } => {
                    // It has been closed.
                    let Some(key) = core.node.links.remove(&conn) else { continue };
                    core.node.names.remove(key);
                    core.drop_link(key);
                }
                Output::Datagram { to, bytes } => core.node.notices.send(to, &bytes),
                Output::Event(event) => {
                    core.node.note(now, &event);
                    learn_partitions(core);
                    if matches!(event, ClientEvent::MapApplied { .. }) {
                        walk_again(core, now);
                    }
                }
            }
        }
    }

    fn end_outputs(_core: &mut Core<Self>) {}

    fn tick(core: &mut Core<Self>, now: Now) {
        if now.mono >= core.node.learn_at {
            core.node.learn_at = Micros::NEVER;
            let (target, question) = (Target::Any, Question::Map);
            core.node.handle(now, Input::Ask { op_id: LEARN, target, question });
        }
        core.node.handle(now, Input::Tick);
        while let Some(asked) = core.node.walks.pop_front_if(|asked| asked.by <= Some(now.mono)) {
            core.walked(now, asked.walk, Walked::Refused(Status::Unavailable));
        }
    }

    fn next_deadline(core: &Core<Self>) -> Micros {
        let walks = core.node.walks.front().and_then(|asked| asked.by).unwrap_or(Micros::NEVER);
        let engine = core.node.engine.next_deadline().unwrap_or(Micros::NEVER);
        engine.min(core.node.learn_at).min(walks)
    }

    fn connected(core: &mut Core<Self>, now: Now, key: ConnKey) {
        // The engine has given it up.
        let Some(conn) = core.node.names.get(key).copied() else { return };
        core.node.handle(now, Input::Connected(conn));
    }

    fn received(core: &mut Core<Self>, now: Now, key: ConnKey, bytes: &[u8]) {
        // The engine has given it up.
        let Some(conn) = core.node.names.get(key).copied() else { return };
        core.node.handle(now, Input::Received(conn, bytes));
    }

    fn ended(core: &mut Core<Self>, now: Now, key: ConnKey) {
        Self::closed(core, now, key, LinkEnd::Lost);
        core.drop_link(key);
    }

    fn closed(core: &mut Core<Self>, now: Now, key: ConnKey, _end: LinkEnd) {
        // The engine has given it up.
        let Some(conn) = core.node.names.remove(key) else { return };
        core.node.links.remove(&conn);
        core.node.handle(now, Input::Closed(conn));
    }

    fn abort(core: &mut Core<Self>, now: Now, key: ConnKey) {
        Self::ended(core, now, key);
    }

    fn carry_out(core: &mut Core<Self>, (): &(), hub: &StatsHub, now: Now, effect: Effect) {
        match effect {
            Effect::Refresh => {
                core.publish(now, hub);
                if core.shard() == 0 {
                    hub.sample(now.mono);
                }
            }
            Effect::Stats { to } => {
                let epoch = core.node.engine.map().map_or(0, |map| map.epoch.to_u64());
                let reply = hub.reply(epoch, now.mono, &Health::Up.into());
                core.told(now, to, reply.to_bytes());
            }
            other => unreachable!("a proxy has no other threads for {other:?}"),
        }
    }
}

/// Goes on with the walks that wait for a newer map.
fn walk_again(core: &mut Core<Upstream>, now: Now) {
    for asked in std::mem::take(&mut core.node.walks) {
        if let Some(walked) = core.node.ask(now, asked) {
            core.walked(now, asked.walk, walked);
        }
    }
}

/// Lets the shard know of which requests a flush of everything consists, once the cluster is known.
fn learn_partitions(core: &mut Core<Upstream>) {
    let Upstream { engine, keyspaces, partitions, .. } = &mut core.node;
    let Some(map) = engine.map() else { return };
    if *partitions == map.topology.partitions {
        return;
    }
    *partitions = map.topology.partitions;
    let flushes = Flushes::new(keyspaces.iter().copied(), &map.topology);
    core.set_flushes(flushes);
    if let Some(learned) = core.node.learned.take() {
        // The start of the proxy waits for a while only.
        let _ = learned.send(());
    }
}
