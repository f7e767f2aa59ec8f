//! Requests at the ports of nodes of Redis Cluster: what another node serves is answered by a redirection.

use super::backend::Backend;
use super::conn::Conn;
use crate::node::{Action, CommandHead, Now, Status};

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
