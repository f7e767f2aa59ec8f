//! Requests at the ports of nodes of Redis Cluster: what another node serves is answered by a redirection,
//! and the routes to all partitions are given.

use slotmap::Key as _;

use super::backend::Backend;
use super::conn::Conn;
use super::{ConnKey, Core};
use crate::node::{Action, CommandHead, ConnId, Now, ReplyTo, Status};

impl<B: Backend> Core<B> {
    /// The routes to all partitions, which are answered when the node knows them.
    pub(super) fn serve_routes(&mut self, now: Now, key: ConnKey, tag: u64) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.in_flight >= self.context.cluster.limits.in_flight_per_connection {
            return self.refuse_overloaded(now, key, tag);
        }
        conn.in_flight += 1;
        self.tell_end_again(key);
        let conn = ConnId { shard: self.context.shard, conn: key.data().as_ffi() };
        B::routes(self, now, ReplyTo { conn, tag });
    }
}

/// What the client of a node of Redis Cluster is told if another node serves a key. A flush of what others
/// serve is theirs, so there is nothing to do.
pub(super) fn elsewhere<B: Backend>(
    conn: &Conn,
    backend: &mut B,
    now: Now,
    head: &CommandHead,
    key: &[u8],
    place: B::Aimed,
) -> Option<(Status, Vec<u8>)> {
    if !conn.is_redirected {
        return None;
    }
    if head.action == Action::Flush {
        return backend.is_elsewhere(place).then(|| (Status::Ok, Vec::new()));
    }
    let redirect = backend.redirect(now, head.keyspace, key, place)?;
    Some((Status::NotOwner, redirect.to_bytes().to_vec()))
}
