//! How the engine follows a Redis Cluster: it asks for the slots, takes in new nodes, and sends requests where
//! nodes have said.

use standin_protocol::time::Micros;

use super::cluster::{Redirect, node_name};
use super::codec::resp;
use super::connection::{Sent, State};
use super::settings::Server;
use super::{Engine, Member};

/// The largest number of nodes: that for which Redis Cluster is specified.
const MEMBERS_MAX: usize = 1_000;

impl<T> Engine<T> {
    /// Asks a node for the slots of the cluster, if it is time to.
    pub(super) fn ask_slots(&mut self, now: Micros) {
        // This is no cluster, or everything is known.
        let Some(cluster) = &mut self.cluster else { return };
        if cluster.due().is_none_or(|due| due > now) {
            return;
        }
        cluster.asked(now);
        let open = (0u16..).zip(&self.members).filter_map(|(server, member)| {
            let mut connections = member.connections.iter();
            let place = connections.position(|connection| connection.state == State::Open)?;
            Some((member.failures, server, place))
        });
        // A node with failed connections may be down: others are asked first.
        let found = open.min_by_key(|(failures, ..)| *failures);
        // There is none. It is tried again at the next deadline.
        let Some((_, server, place)) = found else { return };
        let connection = &mut self.members[usize::from(server)].connections[place];
        connection.ask_slots(now);
        connection.release(self.pipeline);
        self.mark_dirty(server, u16::try_from(place).unwrap_or(0));
    }

    /// A node has answered with the slots.
    pub(super) fn learn(&mut self, now: Micros, asked: u16, array: &[u8]) {
        let asked = self.settings.servers[usize::from(asked)].name.clone();
        let mut ranges = Vec::new();
        // What can't be read is asked for again.
        for (first, last, host, port) in resp::slots(array).unwrap_or_default() {
            let server = node_name(&host, port, &asked).and_then(|name| self.member(now, name));
            ranges.extend(server.map(|server| (first, last, server)));
        }
        // This is no cluster.
        let Some(cluster) = &mut self.cluster else { return };
        if ranges.is_empty() {
            cluster.not_learned(format!(
                "{asked} answers CLUSTER SLOTS without a node that announces an IP address"
            ));
        } else {
            cluster.learn(&ranges);
        }
    }

    /// The number of this server, which may be new; `None`: it is not an address, or one too many.
    fn member(&mut self, now: Micros, name: String) -> Option<u16> {
        let known = self.settings.servers.iter().position(|server| server.name == name);
        if let Some(known) = known {
            return u16::try_from(known).ok();
        }
        if self.members.len() >= MEMBERS_MAX {
            return None;
        }
        let number = u16::try_from(self.members.len()).ok()?;
        self.settings.servers.push(Server::named(name)?);
        self.members.push(Member::new(self.settings.connections));
        for place in 0..self.settings.connections.max(1) {
            self.connect(now, number, place);
        }
        Some(number)
    }

    /// Sends a request to where a node has said.
    pub(super) fn redirect(
        &mut self,
        now: Micros,
        sent: Sent<T>,
        redirect: Redirect,
    ) -> Result<(), Sent<T>> {
        let (name, slot) = match redirect {
            Redirect::Moved(slot, name) => (name, Some(slot)),
            Redirect::Ask(name) => (name, None),
        };
        // There is nothing at such a place, or there are too many.
        let Some(server) = self.member(now, name) else { return Err(sent) };
        if let (Some(slot), Some(cluster)) = (slot, &mut self.cluster) {
            cluster.moved(slot, server);
        }
        let (place, connection) = self.members[usize::from(server)].next();
        connection.push_again(now, sent, slot.is_none());
        connection.release(self.pipeline);
        self.pushed(now, server, place);
        Ok(())
    }
}
