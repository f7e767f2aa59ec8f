//! TLS between the bytes of a connection and its session. The shells move what is encrypted, and the rest of
//! the engine sees what is not. A connection counts as open when its handshake is done.

use standin_protocol::time::Micros;
use standin_tls::Failure;

use super::{ConnId, Engine, Output};
use crate::operation::ClientError;

impl Engine {
    /// Whether this client shows a certificate.
    pub(super) fn has_own_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|connector| connector.has_own())
    }

    /// TCP has connected.
    pub(super) fn tcp_connected(&mut self, now: Micros, conn: ConnId) {
        // The engine gave the connection up before it was open.
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let Some(connector) = &self.tls else { return self.connected(now, conn) };
        if connection.is_connecting() && connection.tls.is_none() {
            connection.tls = Some(Box::new(connector.connect(connection.addr)));
            self.send_sealed(conn);
        }
    }

    /// Bytes have come.
    pub(super) fn tcp_received(&mut self, now: Micros, conn: ConnId, bytes: &[u8]) {
        // The shell may have read from a connection that the engine has closed since.
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let Some(tls) = &mut connection.tls else { return self.received(now, conn, bytes) };
        let mut plain = std::mem::take(&mut self.plain);
        let received = tls.receive(bytes, &mut plain);
        let (is_open, has_ended) = (tls.is_open(), tls.has_ended());
        self.send_sealed(conn);
        let is_connecting = self.connections.get(&conn).is_some_and(|one| one.is_connecting());
        if is_open && is_connecting {
            self.connected(now, conn);
        }
        if !plain.is_empty() {
            self.received(now, conn, &plain);
        }
        plain.clear();
        plain.shrink_to(super::PLAIN_KEPT_BYTES);
        self.plain = plain;
        match received {
            Ok(()) if has_ended => self.lose(now, conn, None, true),
            Ok(()) => {}
            Err(failure) => self.tls_failed(now, conn, failure),
        }
    }

    /// Sends what TLS has to send by itself.
    fn send_sealed(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let Some(tls) = &mut connection.tls else { return };
        let mut bytes = Vec::new();
        tls.seal(&mut Vec::new(), &mut bytes);
        if !bytes.is_empty() {
            self.outputs.push_back(Output::Send { conn, bytes });
        }
    }

    fn tls_failed(&mut self, now: Micros, conn: ConnId, failure: Failure) {
        // It has been closed.
        let Some(connection) = self.connections.get(&conn) else { return };
        let (place, addr) = (connection.place, connection.addr);
        tracing::debug!(?place, %addr, %failure, "TLS failed");
        let terminal = match failure {
            // Another try would end in the same way, and so would one at another server.
            Failure::Plain
            | Failure::Unexpected
            | Failure::Wanted
            | Failure::NoCertificate
            | Failure::Refused(_)
            | Failure::Certificate(_) => Some(ClientError::Tls { addr, failure }),
            // As if the connection were cut.
            Failure::NewKeys | Failure::Kernel(_) | Failure::Broken(_) => None,
        };
        self.lose(now, conn, terminal, true);
    }
}
