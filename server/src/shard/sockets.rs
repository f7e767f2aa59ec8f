//! Sockets as both loops want them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Options of a connected socket. Failing is harmless: it is an optimisation.
pub(super) fn prepare(fd: &impl AsFd) {
    let _ = SockRef::from(fd).set_tcp_nodelay(true);
}

/// A TCP socket to connect with; blocking, because io_uring does not return `EAGAIN` then.
pub(super) fn tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // What was sent on and given up must not arrive later (see the client's `start_connect`).
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket.into())
}
