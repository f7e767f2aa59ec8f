//! Connections that others make to this server, from the accept to the place they get, and
//! on to the shard that their hello asks for.

use std::sync::Arc;

use standin_protocol::hello::Role;
use standin_protocol::time::Micros;
use tracing::warn;

use super::backend::Backend;
use super::conn::{Conn, ConnKind};
use super::intake::number;
use super::{ConnKey, Core};
use crate::node::Now;
use crate::shard::access::{Access, Grant};
use crate::shard::codec::Told;
use crate::shard::handshake::{Greeting, HandedOver};
use crate::shard::listeners::Service;

impl<B: Backend> Core<B> {
    /// Returns the time at which the loop may accept another connection; [`Micros::NEVER`] if one has
    /// to end first.
    #[must_use]
    pub fn accepts_at(&self) -> Micros {
        self.handshakes.room_at(&self.context.admission.places()).unwrap_or(Micros::NEVER)
    }

    /// A connection to a port of this service has been accepted, whose other side has possibly ended
    /// meanwhile; `None` if this server is about to end. If too many have not said hello yet, the
    /// oldest of them goes.
    pub fn accept(&mut self, now: Now, had_ended: bool, service: Service) -> Option<ConnKey> {
        if self.stopping {
            self.node.counters().connections_refused += 1;
            return None;
        }
        self.node.counters().connections_accepted += 1;
        let greeting = match service {
            Service::Standin if self.context.lets_clients_in() => Greeting::default().certified(),
            Service::Standin => Greeting::default(),
            Service::Other(_) => Greeting::new(service, self.take_turn()),
            Service::Node => Greeting::new(service, self.context.shard),
        };
        let key = self.insert(ConnKind::Accepted(greeting), now.mono);
        let may_go_to_kernel = self.gives_to_kernel(now);
        let conn = &mut self.conns[key];
        conn.had_ended = had_ended;
        conn.sealed = self.context.seal(service, may_go_to_kernel);
        let is_sealed = conn.sealed.is_some();
        let places = self.context.admission.places();
        if let Some(oldest) = self.handshakes.begin(key, now.mono, &places) {
            if let Some(conn) = self.conns.get_mut(oldest)
                && let ConnKind::Accepted(greeting) = &conn.kind
            {
                greeting.make_room(&mut conn.output);
            }
            self.refuse_place(oldest, None);
        }
        if service != Service::Standin && !is_sealed {
            // Nobody says hello: if it needs no password either, it is greeted now.
            self.greet(now, key);
        }
        Some(key)
    }

    /// Returns the shard whose turn it is to get a connection.
    fn take_turn(&mut self) -> u16 {
        let shard = self.next_shard;
        self.next_shard = (shard + 1) % self.context.shards;
        shard
    }

    /// There is no place for this connection, whose caller has this role, or has not said hello.
    /// A caller that had given up before it was accepted does not count: after a pause of this
    /// process, there may be many.
    pub(super) fn refuse_place(&mut self, key: ConnKey, role: Option<Role>) {
        if self.conns.get(key).is_some_and(|conn| !conn.had_ended) {
            let counters = self.node.counters();
            counters.connections_refused += 1;
            *match role {
                None => &mut counters.handshakes_refused,
                Some(Role::Client) => &mut counters.clients_refused,
                Some(Role::Peer) => &mut counters.peers_refused,
                Some(Role::Master) => &mut counters.masters_refused,
                Some(Role::Observer) => &mut counters.observers_refused,
            } += 1;
            self.refusals.add(role);
        }
        self.close(key);
    }

    /// A connection comes from another shard.
    pub fn adopt(&mut self, now: Now, connection: HandedOver) -> ConnKey {
        self.begin(now);
        let key = self.insert(ConnKind::Accepted(connection.greeting), now.mono);
        if self.is_of_before(now, connection.at) {
            self.node.counters().connections_dropped += 1;
            self.close(key);
            return key;
        }
        self.begun += 1;
        let number = number(self.begun, self.context.shard, self.context.shards);
        if let Some(conn) = self.conns.get_mut(key) {
            let (nodes, admission) = (self.nodes.as_ref(), &self.context.admission);
            conn.begin(now.mono, &Told { number, nodes, admission });
            conn.input = connection.input;
            conn.output = connection.output;
            conn.sealed = connection.sealed;
            conn.in_kernel = connection.in_kernel;
        }
        // It may have been admitted before this shard learnt of other users.
        self.renew_grant(key);
        self.flush(key);
        self.read_input(now, key);
        if connection.has_ended {
            self.end_of_input(now, key);
        }
        key
    }

    /// Takes over other secrets, users and passwords. Connections whose callers would not be admitted any
    /// more are closed; the others have the rights of now.
    pub(super) fn take_access(&mut self, access: Arc<Access>) {
        // Links are opened with this one from now on, and those with another are given up.
        self.context.link.key = access.key();
        self.context.access = access;
        let keys: Vec<ConnKey> = self.conns.keys().collect();
        keys.into_iter().for_each(|key| self.renew_grant(key));
    }

    fn renew_grant(&mut self, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        let ConnKind::Accepted(greeting) = &conn.kind else { return };
        if !greeting.is_done() {
            return;
        }
        let service = greeting.service().protocol();
        match self.context.access.renew(&conn.grant, service) {
            Some(grant) => conn.grant = grant,
            None => {
                conn.grant = Grant::default();
                self.node.counters().connections_dropped += 1;
                self.close(key);
            }
        }
    }

    /// Takes a connection out for another shard.
    pub fn hand_over(&mut self, now: Now, key: ConnKey) -> Option<HandedOver> {
        let conn = self.conns.remove(key)?;
        self.outbound.forget(&conn);
        let ConnKind::Accepted(greeting) = conn.kind else { return None };
        self.accepted -= 1;
        let Conn { input, output, sealed, in_kernel, ended: has_ended, .. } = conn;
        Some(HandedOver { greeting, input, output, sealed, in_kernel, has_ended, at: now.mono })
    }

    pub(super) fn insert(&mut self, kind: ConnKind, now: Micros) -> ConnKey {
        self.accepted += u32::from(matches!(kind, ConnKind::Accepted(_)));
        self.conns.insert(Conn::new(kind, now))
    }

    /// A connection that was accepted is gone, and with it its place.
    pub(super) fn leave_place(&mut self, key: ConnKey, greeting: &Greeting) {
        self.accepted -= 1;
        match greeting.role() {
            Some(role) => self.context.admission.leave(role),
            None => self.handshakes.end(key),
        }
    }

    /// Says in the log that connections were refused, now and then.
    pub(super) fn tell_refusals(&mut self, now: Micros) {
        let places = self.context.admission.places();
        for (role, refused) in self.refusals.due(now) {
            match role {
                Some(Role::Client) => warn!(
                    refused,
                    clients_max = places.clients,
                    "connections refused because all for clients are in use; raise \
                     limits.connections (and `ulimit -n`), or look for clients that leave \
                     connections open"
                ),
                None => warn!(
                    refused,
                    handshakes_max = places.handshakes,
                    "connections refused because too many had not said hello; raise \
                     limits.handshakes (and `ulimit -n`), or look for callers that connect and say \
                     nothing"
                ),
                Some(role) => warn!(
                    refused,
                    ?role,
                    places = places.most(role),
                    "connections refused because all for callers of this role are in use"
                ),
            }
        }
    }
}
