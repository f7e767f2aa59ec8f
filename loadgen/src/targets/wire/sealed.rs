//! TLS between the bytes of a socket and a connection, and servers that refuse a client for good: its login, or what one
//! side shows the other in TLS. A connection counts as open when its handshake is done.

use standin_protocol::time::Micros;
use standin_tls::Failure as TlsFailure;

use super::connection::State;
use super::{ConnId, Engine, Output};
use crate::recorder::FailureKind;
use crate::targets::operation::Ending;

/// Capacity that the room for decrypted bytes may keep.
const PLAIN_KEPT_BYTES: usize = 256 << 10;

/// The first refusal of a server that another attempt would not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The login.
    #[error(
        "{server} refuses the login: {text}; compare --user, the password and the number of a database \
         with those that it knows"
    )]
    Login {
        /// The server.
        server: String,
        /// Its words.
        text: String,
    },
    /// TLS.
    #[error("TLS with {server} failed: {failure}; {}", advice(failure))]
    Tls {
        /// The server.
        server: String,
        /// The reason.
        failure: TlsFailure,
    },
}

fn advice(failure: &TlsFailure) -> &'static str {
    match failure {
        TlsFailure::Certificate(_) => {
            "--ca-file has to have the authority that has signed it, it has to be for the host of the URL or for \
             --server-name, and it must not have expired"
        }
        TlsFailure::Refused(_) | TlsFailure::NoCertificate => {
            "--cert-file and --key-file are the certificate of this side"
        }
        TlsFailure::Plain
        | TlsFailure::Unexpected
        | TlsFailure::Wanted
        | TlsFailure::NewKeys
        | TlsFailure::Kernel(_)
        | TlsFailure::Broken(_) => "--ca-file is for targets with TLS",
    }
}

impl<T> Engine<T> {
    /// The first refusal of a server, if one has refused this client for good.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// A socket is open.
    pub(super) fn tcp_connected(&mut self, now: Micros, id: ConnId) {
        let Some(sealing) = &self.settings.sealing else { return self.opened(now, id) };
        let tls = sealing.connect(&self.settings.servers[usize::from(id.server)]);
        let member = &mut self.members[usize::from(id.server)];
        member.connections[usize::from(id.place)].tls = Some(Box::new(tls));
        self.mark_dirty(id.server, id.place);
    }

    /// Bytes have arrived.
    pub(super) fn tcp_received(
        &mut self,
        now: Micros,
        id: ConnId,
        bytes: &[u8],
        end: &mut impl FnMut(T, Ending<'_>),
    ) {
        let member = &mut self.members[usize::from(id.server)];
        let connection = &mut member.connections[usize::from(id.place)];
        let Some(tls) = &mut connection.tls else { return self.received(now, id, bytes, end) };
        let mut plain = std::mem::take(&mut self.plain);
        let received = tls.receive(bytes, &mut plain);
        let (is_open, has_ended) = (tls.is_open(), tls.has_ended());
        self.mark_dirty(id.server, id.place);
        if is_open && self.is_opening(id) {
            self.opened(now, id);
        }
        if !plain.is_empty() {
            self.received(now, id, &plain, end);
        }
        plain.clear();
        plain.shrink_to(PLAIN_KEPT_BYTES);
        self.plain = plain;
        // What was received may have ended it.
        if !self.is_current(id) {
            return;
        }
        match received {
            Err(failure) => self.tls_failed(now, id, failure, end),
            Ok(()) if has_ended => {
                self.outputs.push_back(Output::Close(id));
                self.lost(now, id, (FailureKind::ConnectionLost, "the connection has ended"), end);
            }
            Ok(()) => {}
        }
    }

    /// Whether the socket or its TLS is being opened.
    pub(super) fn is_opening(&self, id: ConnId) -> bool {
        let member = &self.members[usize::from(id.server)];
        matches!(member.connections[usize::from(id.place)].state, State::Connecting(_))
    }

    fn tls_failed(
        &mut self,
        now: Micros,
        id: ConnId,
        failure: TlsFailure,
        end: &mut impl FnMut(T, Ending<'_>),
    ) {
        let is_opening = self.is_opening(id);
        let member = &mut self.members[usize::from(id.server)];
        // The alert that says so to the other side goes before the end.
        let alert = member.connections[usize::from(id.place)].take_output();
        self.outputs.push_back(Output::Send(id, alert));
        self.outputs.push_back(Output::Close(id));
        let why = format!("TLS failed: {failure}");
        if is_opening {
            self.connect_failed(now, id, &why, end);
        } else {
            self.lost(now, id, (FailureKind::ConnectionLost, &why), end);
            self.drop_held(id, (FailureKind::ConnectFailed, &why), end);
        }
        if !matches!(failure, TlsFailure::Broken(_)) {
            let server = self.settings.servers[usize::from(id.server)].name.clone();
            self.refusal.get_or_insert(Refusal::Tls { server, failure });
        }
    }
}
