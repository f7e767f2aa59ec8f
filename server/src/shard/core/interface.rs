//! What the core and the loop under it say to each other.

use std::net::SocketAddr;

use standin_protocol::time::Micros;

use super::ConnKey;
use crate::shard::handshake::Greeting;

/// Where the bytes of a staged request lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In the loop's receive buffer of this number, which stays as it is until
    /// [`super::Core::serve_staged`] returns.
    Buffer(u16),
    /// In the connection's own input: the request came in pieces.
    Input,
    /// Among the requests whose keys were brought to their form.
    Formed,
}

/// The loop's receive buffers.
pub trait Buffers {
    /// The bytes received into a buffer.
    fn bytes(&self, buffer: u16) -> &[u8];
}

/// What the loop has to do.
#[derive(Debug)]
pub enum Io {
    /// Send the connection's output ([`super::Core::take_output`]) unless a send is under way.
    Flush(ConnKey),
    /// Send what is left, then close.
    Close(ConnKey),
    /// Close without sending anything more.
    Abort(ConnKey),
    /// Make a TCP connection and say how it went ([`super::Core::connected`]).
    Connect(ConnKey, SocketAddr),
    /// Receive no more for now.
    Pause(ConnKey),
    /// Receive again.
    Resume(ConnKey),
    /// The connection is another shard's: hand it over with its socket.
    HandOver(ConnKey, u16),
}

/// How a loop may receive from a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveMode {
    /// Not at all: it is closing, or on its way to another shard.
    None,
    /// Once: after the hello it may belong to another shard.
    Single,
    /// For as long as it lives.
    Multi,
}

/// A connection on its way to another shard.
#[derive(Debug)]
pub struct HandedOver {
    /// What has been agreed.
    pub greeting: Greeting,
    /// Bytes received after the hello.
    pub input: Vec<u8>,
    /// The reply to the hello, which the new shard sends.
    pub output: Vec<u8>,
    /// When it was handed over.
    pub at: Micros,
}
