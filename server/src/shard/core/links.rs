//! The connections that a shard opens, as its backend handles them.

use std::net::SocketAddr;

use standin_protocol::time::Micros;

use super::backend::Backend;
use super::conn::ConnKind;
use super::{ConnKey, Core, Io};
use crate::node::Now;

impl<B: Backend> Core<B> {
    /// The loop has made the connection that [`Io::Connect`] asked for.
    pub fn connected(&mut self, now: Now, key: ConnKey) {
        B::connected(self, now, key);
    }

    /// Opens a connection to a server; [`Backend::connected`] or [`Backend::closed`] says how that went.
    pub fn open_link(&mut self, now: Micros, address: SocketAddr) -> ConnKey {
        let key = self.insert(ConnKind::Link, now);
        self.conns[key].sealed = self.context.seal_call(address);
        self.io.push_back(Io::Connect(key, address));
        key
    }

    /// Sends these bytes on such a connection at the end of the turn, after those before them.
    pub fn send_on_link(&mut self, key: ConnKey, bytes: Vec<u8>) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.closing) else { return };
        if conn.output.is_empty() {
            conn.output = bytes;
        } else {
            conn.output.extend_from_slice(&bytes);
        }
        self.has_sent_on = true;
        self.flush(key);
    }

    /// Closes such a connection without sending the rest of its output.
    pub fn drop_link(&mut self, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.closing) else { return };
        conn.output = Vec::new();
        conn.closing = true;
        self.io.push_back(Io::Abort(key));
    }
}
