//! The TLS of a connection, and which connections have it. core/sealed.rs uses it.

use std::net::SocketAddr;
use std::sync::Arc;

use standin_config::{TlsConfig, TlsPort};
use standin_protocol::time::Micros;
use standin_tls::kernel::KernelTls;
use standin_tls::{Failure, Tls};

use super::context::ShardContext;
use super::listeners::Service;

/// The TLS of a connection, and the time for which it may take.
#[derive(Debug)]
pub struct Sealed {
    tls: Tls,
    /// Since when an unfinished record is waited for.
    inside_since: Option<Micros>,
    /// The kernel, if it is to have the connection after the handshake.
    kernel: Option<Arc<KernelTls>>,
    /// The handshake is done, and the connection is on its way to the kernel.
    is_leaving: bool,
}

impl Sealed {
    fn new(tls: Tls, kernel: Option<Arc<KernelTls>>) -> Self {
        Self { tls, inside_since: None, kernel, is_leaving: false }
    }

    /// Whether the loop has something to send, if there is plain output, or the connection is closing.
    pub(in crate::shard) fn has_output(&self, has_plain: bool, is_closing: bool) -> bool {
        self.tls.can_send(has_plain) || is_closing && self.tls.can_close()
    }

    /// The number of bytes that are not plain output and have to be sent.
    pub(in crate::shard) fn outgoing_bytes(&self) -> usize {
        self.tls.outgoing_bytes()
    }

    /// Whether the handshake is done.
    pub(in crate::shard) fn is_open(&self) -> bool {
        self.tls.is_open()
    }

    /// Whether the other side sends nothing more.
    pub(in crate::shard) fn has_ended(&self) -> bool {
        self.tls.has_ended()
    }

    /// Since when an unfinished record is waited for.
    pub(in crate::shard) fn inside_since(&self) -> Option<Micros> {
        self.inside_since
    }

    /// The number of bytes that the record that has begun still lacks before the connection can go to the kernel;
    /// `None`: it is not on its way there.
    pub(in crate::shard) fn leaving(&self) -> Option<usize> {
        if self.is_leaving { self.tls.missing_bytes() } else { None }
    }

    /// The kernel that gets the connection.
    pub(in crate::shard) fn kernel(&self) -> Option<Arc<KernelTls>> {
        self.kernel.clone()
    }

    /// Goes on without the kernel.
    pub(in crate::shard) fn stay(&mut self) {
        (self.kernel, self.is_leaving) = (None, false);
    }

    /// Whether the connection is on its way to the kernel.
    pub(in crate::shard) fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Returns that with which the kernel goes on.
    pub(in crate::shard) fn into_tls(self) -> Tls {
        self.tls
    }

    /// Encrypts the output into the loop's buffer, with the end behind it if the connection is closing.
    pub(in crate::shard) fn seal(
        &mut self,
        output: &mut Vec<u8>,
        is_closing: bool,
        sending: &mut Vec<u8>,
    ) {
        self.tls.seal(output, sending);
        if is_closing {
            self.tls.close(sending);
        }
    }

    /// Takes bytes that were received, and adds those that were encrypted in them to `plain`.
    pub(in crate::shard) fn receive(
        &mut self,
        now: Micros,
        bytes: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let was_open = self.tls.is_open();
        let received = self.tls.receive(bytes, plain);
        self.is_leaving = (self.is_leaving || !was_open)
            && self.kernel.as_ref().is_some_and(|kernel| self.tls.can_go_to(kernel));
        self.inside_since = match (self.tls.is_inside(), self.inside_since) {
            (false, _) => None,
            // The record that was begun earlier is still the one waited for.
            (true, Some(since)) if plain.is_empty() => Some(since),
            (true, _) => Some(now),
        };
        received
    }
}

impl ShardContext {
    /// The state of TLS for a connection to a port, which may go to the kernel, or may not; `None` if the port has
    /// none.
    pub(in crate::shard) fn seal(&self, service: Service, may_go: bool) -> Option<Box<Sealed>> {
        let port = service.protocol().map_or(TlsPort::Standin, TlsPort::from);
        let is_on = self.cluster.tls.as_ref()?.is_for(port);
        let acceptor = self.tls.as_ref().filter(|_| is_on);
        assert!(acceptor.is_some() || !is_on, "a port that has to have TLS would be without it");
        let acceptor = acceptor?;
        // Members and clients of Standin's own change their keys, which the kernel can't: it would end links between
        // servers that are well.
        let kernel = acceptor.kernel().filter(|_| may_go && service != Service::Standin);
        Some(Box::new(Sealed::new(acceptor.accept(), kernel.cloned())))
    }

    /// Whether a certificate is enough for clients of Standin's own protocol.
    pub(in crate::shard) fn lets_clients_in(&self) -> bool {
        self.cluster.tls.as_ref().is_some_and(TlsConfig::lets_clients_in)
    }

    /// The state of TLS for a connection that this side opens; `None` if it has none.
    pub(in crate::shard) fn seal_call(&self, address: SocketAddr) -> Option<Box<Sealed>> {
        let calls = self.tls_calls.as_ref();
        let has_to = self.cluster.tls_calls.is_some();
        assert_eq!(calls.is_some(), has_to, "a connection is encrypted if it has to be");
        Some(Box::new(Sealed::new(calls?.connect(address), None)))
    }
}
