//! A shard's links to the shards of other servers: opened when first needed, closed when
//! they fail, which the node learns for every forward on them. Links that were opened with a secret which is
//! no longer the one in use take no more forwards, and are closed when nothing waits on them: the others will
//! believe that secret no more.

use std::collections::BTreeMap;

use slotmap::SecondaryMap;
use standin_protocol::handshake::CallerError;
use standin_protocol::map::{ClusterMap, ServerState, ServerStatus};
use standin_protocol::queue::Queue;
use standin_protocol::time::Micros;
use tracing::debug;

use super::control_watch::ControlWatch;
use super::{ConnKey, Core};
use crate::node::{ForwardFailure, Now, OwnedCommand};
use crate::shard::link::{Link, LinkFailure};
use crate::timers::Timers;

/// Links by server and shard.
#[derive(Debug, Default)]
pub struct Links {
    /// Sorted, so that the order is the same in every run.
    open: BTreeMap<(u16, u16), ConnKey>,
    /// Links of an older secret on which something waits, in whose place others are open.
    retiring: Vec<ConnKey>,
    /// Peers whose links were closed because of a newer map, in this wake-up.
    outlived: Vec<u16>,
    /// The deadlines of the links, and which of them is whose.
    timers: Timers,
    deadlines: SecondaryMap<ConnKey, Micros>,
    /// All whose sockets are not closed yet.
    all: SecondaryMap<ConnKey, Box<Link>>,
    pub(super) control_watch: ControlWatch,
}

impl Links {
    /// Whether a failed link to this peer says nothing about it, because the link dates from before
    /// the peer came back.
    pub(super) fn are_outlived(&self, peer: u16) -> bool {
        self.outlived.contains(&peer)
    }

    /// A link's deadline may have changed. `None`: it has none, or the link is gone.
    fn keep(&mut self, key: ConnKey, deadline: Option<Micros>) {
        let before = match deadline {
            Some(at) => self.deadlines.insert(key, at),
            None => self.deadlines.remove(key),
        };
        self.timers.change(before, deadline);
    }

    /// All links that are not closing.
    fn alive(&self) -> impl Iterator<Item = ConnKey> {
        self.open.values().chain(&self.retiring).copied()
    }

    pub(super) fn forget_outlived(&mut self) {
        self.outlived.clear();
    }
}

/// Whether a peer has restarted or been away since the links to it were opened. Such links could
/// stay silent for long (a connection that was cut off retransmits ever more rarely), and would
/// make the peer look dead.
fn has_come_back(old: &ServerStatus, new: &ServerStatus) -> bool {
    use ServerState::{Leaving, Online, Returning};
    // Zero: no incarnation that the master has heard.
    let is_another = old.boot_id != 0 && new.boot_id != 0 && old.boot_id != new.boot_id;
    let was_away = match (old.state, new.state) {
        (_, Leaving) | (Returning, Online) => false,
        (_, state) => state.answers() && old.since < new.since,
    };
    is_another || was_away
}

impl Core {
    pub(super) fn forward(
        &mut self,
        now: Micros,
        peer: u16,
        shard: u16,
        token: u64,
        map_tag: u32,
        command: &OwnedCommand,
    ) {
        let held = self.links.open.get(&(peer, shard)).copied();
        let key = match held {
            Some(key) if !self.is_of_older_secret(key) => key,
            _ => {
                self.links.retiring.extend(held);
                let link = Link::new(peer, shard, self.context.link.clone(), now);
                let address = self.context.topology.servers[usize::from(peer)].address;
                let key = self.open_link(now, address);
                self.links.all.insert(key, Box::new(link));
                self.links.open.insert((peer, shard), key);
                key
            }
        };
        if let Some((link, _, output)) = self.link_parts(key) {
            link.send(token, command, map_tag, now, output);
            self.has_sent_on = true;
            self.flush(key);
        }
        self.keep_deadline(key);
    }

    fn is_of_older_secret(&self, key: ConnKey) -> bool {
        self.link(key).is_some_and(|link| !link.has_key(self.context.link.key.as_ref()))
    }

    /// Keeps the deadline of a link on which something has happened.
    fn keep_deadline(&mut self, key: ConnKey) {
        // One that has ended is looked at no more.
        let alive = self.link(key).filter(|link| {
            self.links.open.get(&(link.peer, link.shard)).is_some_and(|open| *open == key)
                || self.links.retiring.contains(&key)
        });
        let deadline = alive.and_then(Link::next_deadline);
        self.links.keep(key, deadline);
    }

    /// The loop has made the connection of a link.
    pub(super) fn link_connected(&mut self, key: ConnKey) {
        if let Some((link, _, output)) = self.link_parts(key) {
            link.connected(output);
            self.flush(key);
        }
        self.keep_deadline(key);
    }

    pub(super) fn link_received(&mut self, now: Now, key: ConnKey, bytes: &[u8]) {
        self.begin(now);
        // It has been closed.
        let Some((_, input, _)) = self.link_parts(key) else { return };
        let mut input = std::mem::take(input);
        input.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            // The node is not part of a connection: both can be held at once.
            let Some((link, _, output)) = self.link_parts(key) else { return };
            let peer = link.peer;
            match link.received(&input[at..], now.mono, output) {
                Ok(None) => break,
                Ok(Some((length, answered))) => {
                    at += length;
                    if let Some((token, head, value)) = answered {
                        self.node.peer_answered(now, peer);
                        if let Some(token) = token {
                            self.node.forward_done(now, peer, token, Ok((head, value)));
                        }
                    } else {
                        self.has_sent_on = true;
                        self.flush(key);
                    }
                }
                Err(failure) => {
                    debug!(peer, %failure, "link closed");
                    let ended = match failure {
                        LinkFailure::Handshake(CallerError::NoRoom { .. }) => {
                            ForwardFailure::NoRoom
                        }
                        _ => ForwardFailure::Unreachable,
                    };
                    return self.end_link(now, key, ended);
                }
            }
        }
        if let Some((_, left, _)) = self.link_parts(key) {
            *left = input;
            left.drain(..at);
        }
        self.keep_deadline(key);
    }

    pub(super) fn tick_links(&mut self, now: Now) {
        let keys: Vec<ConnKey> = self.links.alive().collect();
        for key in keys {
            // It has been closed.
            let Some((link, _, output)) = self.link_parts(key) else { continue };
            let (peer, mut late) = (link.peer, Vec::new());
            let result = link.tick(now.mono, &mut late, output);
            let is_idle = link.is_idle();
            if !output.is_empty() {
                self.flush(key);
            }
            for token in late {
                self.node.forward_done(now, peer, token, Err(ForwardFailure::TimedOut));
            }
            if let Err(failure) = result {
                debug!(peer, %failure, "link closed");
                self.close_link(now, key);
            } else if is_idle && self.is_of_older_secret(key) {
                self.close_link(now, key);
            }
            self.keep_deadline(key);
        }
    }

    /// All that grows in this shard, between its turns.
    pub fn queues(&self) -> impl Iterator<Item = Queue> + '_ {
        let links = || self.links.alive().filter_map(|key| self.link(key));
        let waiting: usize = links().map(|link| link.queue().0).sum();
        // All that the node has sent waits on a link: it ends with that, if not before.
        let lost = self.node.forwards().abs_diff(waiting);
        let shards = self.context.topology.servers.iter().map(|s| usize::from(s.shards)).sum();
        let links_open = Queue::new("links", self.links.open.len(), shards);
        let links_retiring =
            Queue::new("links of an older secret", self.links.retiring.len(), 2 * shards);
        let sent = links().map(|link| link.queue().1);
        let lost = Queue::new("forwards on no link", lost, 0);
        let own = [lost, links_open, links_retiring, self.unsent_queue()];
        self.node.queues().chain(own).chain(sent).chain([self.walks.sizes(), self.slices.sizes()])
    }

    pub(super) fn links_deadline(&self) -> Option<Micros> {
        let scan = || self.links.alive().filter_map(|key| self.link(key)?.next_deadline());
        debug_assert_eq!(self.links.timers.first(), scan().min());
        self.links.timers.first()
    }

    /// Has the loop close a link. Those who wait on it need not wait for that; but its name
    /// stays taken until then, because the loop knows the socket by it.
    pub(super) fn close_link(&mut self, now: Now, key: ConnKey) {
        self.end_link(now, key, ForwardFailure::Unreachable);
    }

    fn end_link(&mut self, now: Now, key: ConnKey, failure: ForwardFailure) {
        // It has been closed.
        let Some((link, _, _)) = self.link_parts(key) else { return };
        let (peer, waiting) = (link.peer, link.take_waiting());
        self.close(key);
        self.link_ended(now, key, peer, waiting, failure);
    }

    /// The socket of a link is gone.
    pub(super) fn link_closed(&mut self, now: Now, key: ConnKey, failure: ForwardFailure) {
        let mut link = self.links.all.remove(key).expect("it was put there when it was opened");
        self.link_ended(now, key, link.peer, link.take_waiting(), failure);
    }

    /// Makes the loop close a link without sending the rest of its output.
    pub(super) fn abort_link(&mut self, now: Now, key: ConnKey) {
        // It has been closed.
        let Some((link, _, _)) = self.link_parts(key) else { return };
        let (peer, waiting) = (link.peer, link.take_waiting());
        self.drop_link(key);
        self.link_ended(now, key, peer, waiting, ForwardFailure::Stopped);
    }

    fn link(&self, key: ConnKey) -> Option<&Link> {
        self.links.all.get(key).map(|link| &**link)
    }

    /// A link with its input and output.
    fn link_parts(&mut self, key: ConnKey) -> Option<(&mut Link, &mut Vec<u8>, &mut Vec<u8>)> {
        let conn = self.conns.get_mut(key).filter(|conn| !conn.closing)?;
        let link = self.links.all.get_mut(key)?;
        Some((link, &mut conn.input, &mut conn.output))
    }

    /// Closes the links to peers that have come back by this map, which is the next to be
    /// applied. What waits on them looks again under it.
    pub(super) fn drop_outlived_links(&mut self, now: Now, map: &ClusterMap) {
        let Some(held) = self.node.map().cloned() else { return };
        if held.epoch >= map.epoch {
            return;
        }
        let pairs = held.statuses().iter().zip(map.statuses());
        let back: Vec<bool> = pairs.map(|(old, new)| has_come_back(old, new)).collect();
        let is_back = |peer: u16| back.get(usize::from(peer)).copied().unwrap_or(false);
        let peers = self.links.alive().filter_map(|key| Some((self.link(key)?.peer, key)));
        let keys: Vec<(u16, ConnKey)> = peers.filter(|(peer, _)| is_back(*peer)).collect();
        for (peer, key) in keys {
            self.links.outlived.push(peer);
            self.close_link(now, key);
        }
    }

    pub(super) fn link_ended(
        &mut self,
        now: Now,
        key: ConnKey,
        peer: u16,
        waiting: Vec<u64>,
        failure: ForwardFailure,
    ) {
        self.links.open.retain(|_, open| *open != key);
        self.links.retiring.retain(|retiring| *retiring != key);
        self.links.keep(key, None);
        for token in waiting {
            self.node.forward_done(now, peer, token, Err(failure));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use standin_config::{ClusterConfig, Security};

    use super::*;
    use crate::node::{Action, Command, CommandHead};
    use crate::shard::access::Access;
    use crate::shard::core::Io;
    use crate::shard::core::testing::{NOW, core};

    /// Who may connect to a cluster with these secrets.
    fn access(secret: u8, second: Option<u8>) -> Access {
        let mut config = ClusterConfig::new("t", ([127, 0, 0, 1], 99).into(), None);
        config.security.secret = Some([secret; 32]);
        config.security.second_secret = second.map(|byte| [byte; 32]);
        Access::read(config.cluster_keys(), &Security::default(), std::iter::empty()).unwrap()
    }

    fn forward(core: &mut Core, token: u64) {
        let command = Command::new(CommandHead::new(Action::Get, 1), b"k", &[]).into_owned();
        core.forward(NOW.mono, 1, 0, token, 0, &command);
    }

    fn io(core: &mut Core) -> Vec<Io> {
        std::iter::from_fn(|| core.io()).filter(|io| !matches!(io, Io::Flush(_))).collect()
    }

    fn waiting(core: &Core, key: ConnKey) -> usize {
        core.link(key).map_or(0, |link| link.queue().0)
    }

    #[test]
    fn a_link_of_an_older_secret_takes_no_more_forwards_and_ends_when_it_is_idle() {
        let mut core = core(|config| config.security.secret = Some([1; 32]), access(1, Some(2)));
        forward(&mut core, 1);
        let [Io::Connect(old, _)] = io(&mut core)[..] else { panic!("a link") };
        forward(&mut core, 2);
        assert_eq!((io(&mut core).len(), waiting(&core, old)), (0, 2));

        core.take_access(Arc::new(access(2, Some(1))));
        core.tick_links(NOW);
        assert!(io(&mut core).is_empty(), "what waits on it is answered");
        forward(&mut core, 3);
        let [Io::Connect(new, _)] = io(&mut core)[..] else { panic!("another link") };
        forward(&mut core, 4);
        assert_eq!((waiting(&core, old), waiting(&core, new)), (2, 2));
        core.tick_links(NOW);
        assert!(io(&mut core).is_empty());
        let bound = NOW.mono + core.context.link.connect_timeout;
        assert_eq!(core.links_deadline(), Some(bound), "both are looked at");

        let (link, _, _) = core.link_parts(old).unwrap();
        assert_eq!(link.take_waiting().len(), 2);
        core.tick_links(NOW);
        assert!(matches!(io(&mut core)[..], [Io::Close(key)] if key == old));
        assert!(core.links.retiring.is_empty());
        core.link_closed(NOW, old, ForwardFailure::Unreachable);
        assert_eq!(waiting(&core, new), 2);
    }

    #[test]
    fn an_idle_link_of_an_older_secret_ends_without_another() {
        let mut core = core(|config| config.security.secret = Some([1; 32]), access(1, None));
        forward(&mut core, 1);
        let [Io::Connect(old, _)] = io(&mut core)[..] else { panic!("a link") };
        let (link, _, _) = core.link_parts(old).unwrap();
        assert_eq!(link.take_waiting().len(), 1);
        core.tick_links(NOW);
        assert!(io(&mut core).is_empty(), "its secret is the one in use");
        core.take_access(Arc::new(access(2, Some(1))));
        core.tick_links(NOW);
        assert!(matches!(io(&mut core)[..], [Io::Close(key)] if key == old));
    }
}
