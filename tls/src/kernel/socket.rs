//! The kernel's side of TLS: options of a socket, and records that are no data, by system calls that rustix
//! does not have.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use super::keys::{Cipher, CryptoInfo};
use crate::record::ALERT;

/// The names of `linux/tls.h`, which not every C library has.
const TLS_TX: libc::c_int = 1;
const TLS_RX: libc::c_int = 2;
const TLS_SET_RECORD_TYPE: libc::c_int = 1;
const TLS_GET_RECORD_TYPE: libc::c_int = 2;
const SOL_TLS: libc::c_int = 282;
/// More than the contents of an alert or a change of keys.
const CONTROL_BYTES: usize = 32;

/// The direction of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Send,
    Receive,
}

/// Prepares a connected socket for keys. Until it has some, it goes on as it was.
pub(super) fn prepare(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_ULP, b"tls")
}

/// Gives the kernel the keys of one direction. What was received and not read yet counts as records, too.
pub(super) fn give(socket: &impl AsFd, direction: Direction, keys: &CryptoInfo) -> io::Result<()> {
    let option = match direction {
        Direction::Send => TLS_TX,
        Direction::Receive => TLS_RX,
    };
    set(socket, SOL_TLS, option, keys.bytes())
}

fn set(
    socket: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &[u8],
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).expect("options are short");
    // SAFETY: `value` is readable for `length` bytes during the call, and the kernel keeps no pointer to it.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, value.as_ptr().cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A message that has room for the type of a record. Aligned as its header demands.
#[repr(C, align(8))]
struct Ancillary([u8; 32]);

/// Returns the type and contents of the record that comes next, if it is no data.
pub(super) fn next_control(socket: &impl AsFd) -> io::Result<(u8, Vec<u8>)> {
    let mut contents = [0_u8; CONTROL_BYTES];
    let mut ancillary = Ancillary([0; 32]);
    let mut part = libc::iovec { iov_base: contents.as_mut_ptr().cast(), iov_len: contents.len() };
    // SAFETY: a header of zeros is valid: all of its pointers are null.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = ancillary.0.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Ancillary>() as _;
    // SAFETY: the message points to buffers of the given lengths that outlive the call.
    let received =
        unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(received) = usize::try_from(received) else { return Err(io::Error::last_os_error()) };
    // SAFETY: the kernel has filled in the message, whose ancillary data is still there.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    let kind = header
        .filter(|head| head.cmsg_level == SOL_TLS && head.cmsg_type == TLS_GET_RECORD_TYPE)
        // SAFETY: ancillary data of this type has one byte behind its header.
        .map(|head| unsafe { *libc::CMSG_DATA(head) });
    let kind = kind.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((kind, contents[..received].to_vec()))
}

/// Sends an alert, if there is room for it.
pub(super) fn send_alert(socket: &impl AsFd, alert: [u8; 2]) -> io::Result<()> {
    let mut contents = alert;
    let mut ancillary = Ancillary([0; 32]);
    let mut part = libc::iovec { iov_base: contents.as_mut_ptr().cast(), iov_len: contents.len() };
    // SAFETY: a header of zeros is valid: all of its pointers are null.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = ancillary.0.as_mut_ptr().cast();
    // SAFETY: these compute lengths from lengths.
    let (space, length) = unsafe { (libc::CMSG_SPACE(1), libc::CMSG_LEN(1)) };
    assert!(space as usize <= size_of::<Ancillary>(), "there is room for one byte");
    message.msg_controllen = space as _;
    // SAFETY: the control buffer is aligned for a header, and large enough for it and one byte.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = SOL_TLS;
        (*header).cmsg_type = TLS_SET_RECORD_TYPE;
        (*header).cmsg_len = length as _;
        *libc::CMSG_DATA(header) = ALERT;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the message points to buffers of the given lengths that outlive the call.
    let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes the error of a socket, with which it would refuse to send anything.
pub(super) fn take_error(socket: &impl AsFd) {
    let mut error: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `error` is writable for `length` bytes during the call. Failing leaves it as it is.
    unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &raw mut length,
        );
    }
}

/// Returns whether the kernel takes each cipher in both directions, tried on a connection of this process to
/// itself.
pub(super) fn tried() -> io::Result<Vec<(Cipher, io::Result<()>)>> {
    let loopback = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), (Ipv6Addr::LOCALHOST, 0).into()];
    let listener = TcpListener::bind(&loopback[..])?;
    let address = listener.local_addr()?;
    let mut tried = Vec::new();
    for cipher in Cipher::ALL {
        let socket = TcpStream::connect(address)?;
        prepare(&socket)?;
        let keys = CryptoInfo::trial(cipher);
        let given = give(&socket, Direction::Send, &keys)
            .and_then(|()| give(&socket, Direction::Receive, &keys));
        tried.push((cipher, given));
    }
    Ok(tried)
}
