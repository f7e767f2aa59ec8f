//! A topology in doubt. The cluster file or map that the client uses may no longer be that of the
//! cluster. Then every address that the client knows is a seed: a member of this cluster that
//! answers there sends the map.
//!
//! ```text
//! no server of a round answers, or another than expected does,      doubt ─► seeds, one after the other
//! or a shard does not exist                                                  │
//! a map of another topology, from a seed or newer  ◄─────────────────────────┘
//!        └─► router, connections and open requests start again; one warning says how the file differs
//! ```
//! A map is accepted only with the cluster's name. If the cluster has a secret, the map must also
//! come from a connection that has proved to know it.

use std::net::SocketAddr;
use std::sync::Arc;

use standin_protocol::hello::cluster_id;
use standin_protocol::map::{ClusterMap, Topology};
use standin_protocol::time::Micros;

use super::connection::Place;
use super::operations::Work;
use super::{ConnId, Engine, Output};
use crate::event::ClientEvent;
use crate::topology::differences;

/// The state of the client's knowledge of the topology.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// The topology of the cluster file.
    file: Option<Arc<Topology>>,
    /// Whether the seeds are being asked.
    is_open: bool,
    /// The earliest time to ask again.
    not_before: Micros,
    has_warned: bool,
}

impl Doubt {
    pub(super) fn new(file: Option<Arc<Topology>>) -> Self {
        Self { file, ..Self::default() }
    }

    /// Whether the seeds are being asked.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }
}

/// Returns the addresses at which a cluster may be found: its servers, then its master.
fn addresses(topology: &Topology) -> impl Iterator<Item = SocketAddr> + '_ {
    topology.servers.iter().map(|server| server.address).chain([topology.master])
}

impl Engine {
    /// Asks all seeds for the map, because something does not match the topology.
    pub(super) fn doubt(&mut self, now: Micros) {
        // Before the first map there is no topology to doubt.
        let Some(router) = &self.router else { return };
        if self.doubt.is_open || now < self.doubt.not_before {
            return;
        }
        self.doubt.is_open = true;
        self.doubt.not_before = now + self.config.attempt_timeout;
        let topology = Arc::clone(&router.map().topology);
        let known = self.doubt.file.iter().flat_map(|file| addresses(file));
        let known: Vec<SocketAddr> = addresses(&topology).chain(known).collect();
        self.seeds.begin_again(&known);
        self.ask_a_seed(now);
    }

    /// Retries the requests that waited, now that the seeds have been asked.
    pub(super) fn end_doubt(&mut self, now: Micros) {
        self.doubt.is_open = false;
        for id in std::mem::take(&mut self.unrouted) {
            self.dispatch(now, id);
        }
    }

    /// Handles a map of another topology.
    pub(super) fn apply_other(&mut self, now: Micros, map: ClusterMap) {
        let router =
            self.router.as_ref().expect("the first map must be adopted before maps are applied");
        if cluster_id(&map.topology.name) != self.cluster_id {
            let reason = format!("it belongs to another cluster, {:?}", map.topology.name);
            return self.event(ClientEvent::MapRefused { reason });
        }
        if map.epoch <= router.map().epoch && !self.doubt.is_open {
            let reason = "it has another topology and is not newer".to_owned();
            return self.event(ClientEvent::MapRefused { reason });
        }
        let file = self.doubt.file.as_ref().unwrap_or(&router.map().topology);
        if file.id != map.topology.id && !self.doubt.has_warned {
            self.doubt.has_warned = true;
            let how = differences(file, &map.topology);
            self.event(ClientEvent::TopologyDiffers { how });
        }
        let epoch = map.epoch;
        self.adopt(map);
        self.event(ClientEvent::MapApplied { epoch });
        self.start_again(now);
        self.end_doubt(now);
    }

    /// Starts again, because ids and partitions have another meaning from now on. Connections are
    /// given up, and open requests are routed again. Requests that had been sent may have been
    /// executed.
    fn start_again(&mut self, now: Micros) {
        self.notices.clear();
        let is_old = |place: Place| !matches!(place, Place::Seed(_));
        let old = self.connections.iter().filter(|(_, connection)| is_old(connection.place));
        let old: Vec<ConnId> = old.map(|(conn, _)| *conn).collect();
        for conn in old {
            let connection =
                self.connections.remove(&conn).expect("closing one connection closes no other");
            self.by_place.retain(|_, other| *other != conn);
            self.outputs.push_back(Output::Close { conn });
            let (sent, _) = connection.into_requests();
            for id in sent {
                if let Some(open) = self.open.get_mut(&id) {
                    open.sent_on.retain(|other| *other != conn);
                    open.is_outcome_open |= open.is_write();
                }
            }
        }
        let mut again = Vec::new();
        for (id, open) in self.open.iter_mut() {
            open.tried.clear();
            open.tried_ever.clear();
            if let Work::Operation { partition, .. } = &mut open.work {
                *partition = None;
            }
            if open.current.is_some_and(|current| is_old(current.place)) {
                open.current = None;
                again.push(*id);
            }
        }
        again.sort_unstable();
        for id in again {
            match self.request(id).work {
                Work::Operation { .. } | Work::Question { .. } => self.dispatch(now, id),
                Work::Ping | Work::MapFetch => self.retire(now, id),
            }
        }
    }
}
