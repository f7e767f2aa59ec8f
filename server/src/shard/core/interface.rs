//! What the core and the loop under it say to each other.

use std::net::SocketAddr;

use standin_config::ServiceProtocol;

use super::ConnKey;
use crate::control::agent::Input;
use crate::node::ReplyTo;
use crate::node::slow::Slow;
use crate::origin::Call;
use crate::shard::mailbox::Message;

/// The place of a staged request's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In the loop's receive buffer of this number, which stays as it is until
    /// [`super::Core::serve_staged`] returns.
    Buffer(u16),
    /// In the connection's own input: the request came in pieces.
    Input,
}

/// The loop's receive buffers.
pub trait Buffers {
    /// The bytes received into a buffer.
    fn bytes(&self, buffer: u16) -> &[u8];
}

/// A task of another thread. The loop carries it out, or has it carried out.
#[derive(Debug)]
pub enum Effect {
    /// Submit to the origin; if that takes no more, [`super::Core::call_refused`].
    Submit(Call),
    /// Post to another shard of this server; if there is no room, [`super::Core::post_refused`].
    Post {
        /// The shard.
        shard: u16,
        /// The message.
        message: Message,
    },
    /// Tell the control thread.
    Tell(Input),
    /// Write a line about a request that took long.
    Slow(Box<Slow>),
    /// Publish the counters, and say how the other threads are: [`super::Core::refreshed`].
    Refresh,
    /// Say what the whole server counts: [`super::Core::told`].
    Stats {
        /// The request that asks.
        to: ReplyTo,
    },
    /// Say which keys the server is asked for most: [`super::Core::told`].
    Hot {
        /// The request that asks.
        to: ReplyTo,
    },
}

/// A task on a socket.
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
    /// No send is under way, and no receive: give the connection to the kernel (`to_kernel.rs`).
    GiveToKernel(ConnKey),
    /// The connection is another shard's: hand it over with its socket.
    HandOver(ConnKey, u16),
    /// Look up the address of the other side, and say it ([`super::Core::called_from`]).
    FindCaller(ConnKey, Mishap),
}

/// What has failed on a connection, so that the log names its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// Logins.
    Login {
        /// The protocol of the port; `None`: Standin's own.
        protocol: Option<ServiceProtocol>,
        /// Their number.
        count: u32,
    },
    /// TLS, or its absence.
    Tls,
}

/// The way in which a loop may receive from a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveMode {
    /// Not at all: it is closing, or on its way to another shard.
    None,
    /// Once, and no more than this many bytes: it is leaving for the kernel.
    Part(u32),
    /// Once: after the hello it may belong to another shard.
    Single,
    /// For as long as it lives.
    Multi,
}
