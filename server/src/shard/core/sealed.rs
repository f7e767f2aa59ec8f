//! Connections with TLS: between the bytes that a loop moves and the input and output of a connection,
//! which are plain. The codecs and the node know nothing of it, and neither do connections without TLS.
//!
//! ```text
//! received ─► Tls::receive ─► input            output ─► Tls::seal ─► the loop's buffer
//!                  └─ handshake, alerts ─────────────────────┘
//! ```
//! A handshake is part of the greeting: `limits.handshake_timeout` and `limits.handshakes` bound it. It is
//! done by the shard that accepts; a connection moves to its own shard when it is greeted.

use std::net::IpAddr;

use standin_protocol::bursts::Bursts;
use standin_protocol::time::Micros;
use standin_tls::Failure;
use standin_tls::kernel::NotTaken;
use tracing::warn;

use super::backend::Backend;
use super::conn::ConnKind;
use super::{ConnKey, Core, Io, Mishap, empty};
use crate::node::Now;

/// The connections on which TLS has failed, and those that the kernel has not taken, for the log.
#[derive(Debug, Default)]
pub(super) struct Failures {
    closed: Bursts<Failed>,
    stayed: Bursts<NotTaken>,
}

/// One of them.
#[derive(Debug)]
struct Failed {
    /// Whether the other side has called.
    is_accepted: bool,
    why: Failure,
    /// The address of the caller, if it is known.
    from: Option<IpAddr>,
}

impl Failures {
    pub(super) fn add(&mut self, is_accepted: bool, failure: Failure) {
        self.closed.add(1, Failed { is_accepted, why: failure, from: None });
    }

    /// Notes that the kernel has not taken a connection, which goes on without it.
    pub(super) fn stayed(&mut self, why: NotTaken) {
        self.stayed.add(1, why);
    }

    /// Takes the address of the last caller.
    pub(super) fn came_from(&mut self, from: Option<IpAddr>) {
        if let Some(last) = self.closed.last() {
            last.from = from;
        }
    }

    /// Says in the log what has happened to connections, now and then.
    pub(super) fn tell(&mut self, now: Micros) {
        if let Some((connections, why)) = self.stayed.due(now) {
            warn!(connections, "the kernel has not taken connections with TLS; the last: {why}");
        }
        let Some((failed, Failed { is_accepted, why, from })) = self.closed.due(now) else {
            return;
        };
        let who = match from {
            Some(from) if is_accepted => format!("caller, from {from}"),
            _ if is_accepted => "caller".to_owned(),
            _ => "server that was called".to_owned(),
        };
        warn!(failed, "closed connections because of TLS; the last {who}: {why}");
    }
}

impl<B: Backend> Core<B> {
    /// Takes bytes that were received on a connection with TLS.
    pub(super) fn received_sealed(&mut self, now: Now, key: ConnKey, bytes: &[u8]) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some(sealed) = &mut conn.sealed else { unreachable!("it has TLS") };
        let mut plain = std::mem::take(&mut self.plain);
        let was_open = sealed.is_open();
        let received = sealed.receive(now.mono, bytes, &mut plain);
        let (is_open, has_ended) = (sealed.is_open(), sealed.has_ended());
        let is_leaving = sealed.leaving().is_some();
        let can_send = sealed.has_output(!conn.output.is_empty(), false);
        if is_open && !was_open {
            self.node.counters().tls_handshakes += 1;
        }
        if can_send {
            self.flush(key);
        }
        if is_leaving {
            self.keep(key, &plain);
        } else if is_open {
            self.received_plain(now, key, &plain);
        }
        empty(&mut plain);
        self.plain = plain;
        match received {
            Ok(()) if has_ended => self.end_of_input(now, key),
            Ok(()) => {}
            Err(failure) => self.fail_sealed(now, key, failure),
        }
    }

    /// Takes bytes that were decrypted, or notes that from now on there may be some.
    fn received_plain(&mut self, now: Now, key: ConnKey, bytes: &[u8]) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        let skipped = usize::try_from(conn.skip).unwrap_or(usize::MAX).min(bytes.len());
        conn.skip -= skipped as u64;
        match &conn.kind {
            ConnKind::Link if bytes.is_empty() => {}
            ConnKind::Link => B::received(self, now, key, bytes),
            ConnKind::Accepted(_) => {
                conn.input.extend_from_slice(&bytes[skipped..]);
                self.read_input(now, key);
            }
        }
    }

    /// Refuses a connection that begins with TLS on a port without.
    pub(super) fn refuse_tls(&mut self, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if let ConnKind::Accepted(greeting) = &conn.kind {
            greeting.only_plain(&mut conn.output);
        }
        self.failures.add(true, Failure::Unexpected);
        self.io.push_back(Io::FindCaller(key, Mishap::Tls));
        self.node.counters().connections_dropped += 1;
        self.close(key);
    }

    /// TLS has failed on a connection, or has not been spoken.
    fn fail_sealed(&mut self, now: Now, key: ConnKey, failure: Failure) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if let (Failure::Plain, ConnKind::Accepted(greeting)) = (&failure, &conn.kind) {
            // This caller understands what is not encrypted, and nothing else has been said to it.
            conn.sealed = None;
            conn.output.clear();
            greeting.no_tls(&mut conn.output);
        }
        let is_accepted = matches!(conn.kind, ConnKind::Accepted(_));
        let counters = self.node.counters();
        counters.tls_failures += 1;
        self.failures.add(is_accepted, failure);
        if is_accepted {
            counters.connections_dropped += 1;
            self.io.push_back(Io::FindCaller(key, Mishap::Tls));
            self.close(key);
        } else {
            B::ended(self, now, key);
        }
    }
}
