//! Sockets as both loops want them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// The pause after accepting a connection has failed for lack of memory or descriptors.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The keepalive, by which the disappearance of a host is noticed after two minutes although nothing
/// is sent, because its connection occupies a place.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// Has a listener return instead of waiting for a connection.
pub(super) fn do_not_wait(listener: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(listener, true)?)
}

/// Has a listener refuse connections, whoever else has descriptors of it.
pub(super) fn refuse(listener: &OwnedFd) {
    // It fails only for what does not listen.
    let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
}

/// Options of a connected socket. Failing is harmless: it works without them, as those of Unix do.
pub(super) fn prepare(fd: &impl AsFd) {
    let socket = SockRef::from(fd);
    let _ = (socket.set_tcp_nodelay(true), socket.set_tcp_keepalive(&KEEPALIVE));
}

/// The next connection that waits at the listener, which does not block.
pub(super) fn accept(listener: &OwnedFd, flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    let fd = rustix::net::accept_with(listener, SocketFlags::CLOEXEC | flags)?;
    prepare(&fd);
    Ok(fd)
}

/// The address of the other side; `None`: it has none, as at a Unix socket, or has already left.
pub(super) fn caller(fd: &impl AsFd) -> Option<IpAddr> {
    let address = SockRef::from(fd).peer_addr().ok()?;
    // An IPv4 address at a port for both.
    Some(address.as_socket()?.ip().to_canonical())
}

/// Whether the other side of a connection has already sent the end of its input.
pub(super) fn has_ended(fd: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(fd, PollFlags::RDHUP)];
    // What can't be found out now is found out by reading.
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok()
        && polled[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
}

/// Whether accepting failed because of that one connection (see accept(2)).
pub(super) fn is_of_one(error: Errno) -> bool {
    use Errno as E;
    const OF_THE_NETWORK: [Errno; 9] = [
        E::CONNABORTED,
        E::PROTO,
        E::NETDOWN,
        E::NOPROTOOPT,
        E::HOSTDOWN,
        E::NONET,
        E::HOSTUNREACH,
        E::OPNOTSUPP,
        E::NETUNREACH,
    ];
    error == E::INTR || OF_THE_NETWORK.contains(&error)
}

/// A TCP socket to connect with; blocking, because io_uring does not return `EAGAIN` then.
pub(super) fn tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // What was sent on and given up must not arrive later (see the client's `start_connect`).
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket.into())
}
