//! Datagrams forged by a party outside the cluster that knows everything except the secret: the
//! topology, the addresses, the incarnations.

use std::net::{Ipv4Addr, SocketAddr};

use standin_protocol::control::{Datagram, DatagramKind, SENDER_MASTER};
use standin_protocol::map::{MapEpoch, ServerState, ServerStatus};

use super::World;
use super::cluster::address;
use super::events::Event;
use crate::plan::{Forged, Host};
use crate::random::mix;

impl World {
    /// Sends a datagram in the name of another party.
    pub(super) fn forge(&mut self, server: usize, forged: Forged) {
        self.has_forged = true;
        let id = |server: usize| u16::try_from(server).unwrap_or(0);
        let boot_id = |server: usize| {
            self.servers[server].process.as_ref().map_or(1, |process| process.boot_id)
        };
        let other = (server + 1) % self.servers.len();
        let (kind, sender, boot_id) = match forged {
            Forged::Announcement | Forged::LastEpoch => {
                (DatagramKind::Announce, SENDER_MASTER, u64::MAX)
            }
            Forged::Grant => (DatagramKind::Grant, SENDER_MASTER, u64::MAX),
            Forged::Gossip => (DatagramKind::Gossip, id(other), boot_id(other)),
            Forged::Leaving => (DatagramKind::Leaving, id(server), boot_id(server)),
        };
        let mut datagram = Datagram::new(kind, sender, self.cluster.topology.id, boot_id);
        datagram.sequence = u64::MAX;
        datagram.nonce = mix(self.seed, self.time);
        let to = match forged {
            Forged::Leaving => Host::Master(0),
            _ => {
                datagram.recipient = id(server);
                Host::Server(server)
            }
        };
        if matches!(forged, Forged::Announcement | Forged::LastEpoch) {
            datagram.epoch = MapEpoch::from_u64(u64::MAX);
            let offline = ServerStatus { state: ServerState::Offline, ..ServerStatus::default() };
            datagram.statuses = vec![offline; self.servers.len()];
        }
        if forged == Forged::Grant {
            datagram.arg = 60_000;
        }
        let from = match forged {
            Forged::LastEpoch => address(Host::Master(0)),
            _ => SocketAddr::new(Ipv4Addr::new(10, 0, 9, 9).into(), 9),
        };
        let bytes = datagram.to_bytes(None);
        self.queue.push(self.time + 50, Event::Datagram { to, from, bytes });
    }
}
