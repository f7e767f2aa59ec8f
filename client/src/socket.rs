//! Socket options that both shells set before an event loop takes over a socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// The keepalive of connections. It finds out that a server's host is gone although no request is
/// sent. The connection then ends, and the next request uses another one at once.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// Begins to connect, without waiting. When the socket becomes writable, call [`connect_result`].
///
/// Bytes that the network does not accept within `unsent_max` are not sent at all, even after the
/// connection is closed. Otherwise a write that the kernel still holds could be delivered when a
/// cut heals, and overwrite newer ones.
pub(crate) fn start_connect(addr: SocketAddr, unsent_max: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_user_timeout(Some(unsent_max))?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error),
        Ok(()) | Err(_) => Ok(socket),
    }
}

const EINPROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

/// Returns the result of a connect.
pub(crate) fn connect_result(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).take_error()?.map_or(Ok(()), Err)
}

/// Ends a connection in both directions, and wakes the task that waits for it.
pub(crate) fn shutdown(fd: BorrowedFd<'_>) {
    // The connection may already have ended, which is fine.
    let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Both);
}

/// Creates a socket that receives only from the master.
pub(crate) fn notice_socket(master: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match master {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(master)?;
    Ok(socket)
}

/// Returns numbers that no other client has: the client's id and its seed.
pub(crate) fn identity() -> io::Result<(u64, u64)> {
    let random = || getrandom::u64().map_err(|error| io::Error::other(error.to_string()));
    Ok((random()?, random()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_notices_that_its_server_is_gone() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let socket = start_connect(addr, Duration::from_secs(2)).unwrap();
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
    }

    /// Waits until the connect has ended.
    fn connect(addr: SocketAddr) -> (Socket, io::Result<()>) {
        use rustix::event::{PollFd, PollFlags, poll};
        use std::os::fd::AsFd as _;
        let socket = start_connect(addr, Duration::from_secs(2)).unwrap();
        let timeout = rustix::time::Timespec { tv_sec: 20, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&timeout));
        assert_eq!(ready, Ok(1));
        let result = connect_result(socket.as_fd());
        (socket, result)
    }

    #[test]
    fn the_result_of_a_connect_is_that_of_the_other_side() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        assert!(connect(addr).1.is_ok());
        // The port is bound but does not listen, so nobody else gets it.
        let closed = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        closed.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let addr = closed.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(connect(addr).1.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_connect_without_a_route_fails_at_once() {
        let nowhere = SocketAddr::from((Ipv4Addr::BROADCAST, 1));
        assert!(start_connect(nowhere, Duration::from_secs(2)).is_err());
    }

    #[test]
    fn a_connection_that_is_shut_down_ends_on_both_sides() {
        use std::io::Read as _;
        use std::os::fd::AsFd as _;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (socket, _) = connect(listener.local_addr().unwrap());
        let (mut other, _) = listener.accept().unwrap();
        other.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        shutdown(socket.as_fd());
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
        assert_eq!((&socket).read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn each_client_has_an_identity_and_a_seed_of_its_own() {
        let (first, second) = (identity().unwrap(), identity().unwrap());
        let numbers = std::collections::BTreeSet::from([first.0, first.1, second.0, second.1]);
        assert_eq!(numbers.len(), 4);
    }
}
