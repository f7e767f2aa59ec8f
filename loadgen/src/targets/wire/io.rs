//! What the engine and its sockets say to each other.

use std::net::SocketAddr;

/// A connection, or rather one of its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId {
    pub(super) server: u16,
    pub(super) place: u16,
    pub(super) incarnation: u32,
}

impl ConnId {
    /// The number of its server.
    #[must_use]
    pub fn server(self) -> u16 {
        self.server
    }
}

/// Something that the sockets or the clock have to say.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A socket is open.
    Connected(ConnId),
    /// A socket could not be opened, and why.
    ConnectFailed(ConnId, &'a str),
    /// Bytes have arrived.
    Received(ConnId, &'a [u8]),
    /// A socket is closed.
    Closed(ConnId),
    /// The time is that of the engine's next deadline.
    Tick,
}

/// Something that is to be done with a socket.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Open it.
    Connect(ConnId, SocketAddr),
    /// Send on it.
    Send(ConnId, Vec<u8>),
    /// Close it.
    Close(ConnId),
}
