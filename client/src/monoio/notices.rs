//! The UDP socket to the master. It is opened with the first notice, and read by a task of its own.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::{Rc, Weak};
use std::time::Duration;

use monoio::net::udp::UdpSocket;
use standin_protocol::control::DATAGRAM_BYTES_MAX;

use super::Inner;
use crate::engine::Input;
use crate::socket;

/// The pause after a failed receive, which happens if no process listens at the master's port.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(20);

pub(super) struct NoticeSocket {
    socket: Rc<UdpSocket>,
}

impl NoticeSocket {
    /// Wakes the task that reads, so that it ends.
    pub(super) fn end(&self) {
        // SAFETY: `socket` holds the descriptor open.
        socket::shutdown(unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) });
    }
}

pub(super) fn send(inner: &Rc<Inner>, to: SocketAddr, bytes: Vec<u8>) {
    let mut slot = inner.notice_socket.borrow_mut();
    if slot.is_none() {
        match open(to) {
            Ok(socket) => {
                let socket = Rc::new(socket);
                monoio::spawn(read(Rc::downgrade(inner), Rc::clone(&socket)));
                *slot = Some(NoticeSocket { socket });
            }
            // The notice will be sent again, and a descriptor may be available then.
            Err(error) => return tracing::warn!(%error, %to, "no socket for notices"),
        }
    }
    if let Some(NoticeSocket { socket }) = &*slot {
        let socket = Rc::clone(socket);
        // It does not matter if the datagram is lost, because only the verdict counts.
        monoio::spawn(async move { socket.send(bytes).await.0.ok() });
    }
}

fn open(master: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = socket::notice_socket(master)?;
    socket.set_nonblocking(monoio::utils::is_legacy())?;
    UdpSocket::from_std(socket)
}

async fn read(inner: Weak<Inner>, socket: Rc<UdpSocket>) {
    let mut buffer = Vec::with_capacity(DATAGRAM_BYTES_MAX);
    loop {
        let (result, filled) = socket.recv(buffer).await;
        buffer = filled;
        // The client was dropped.
        let Some(inner) = inner.upgrade() else { break };
        match result {
            Ok(count) if count > 0 => Inner::feed(&inner, Input::Datagram(&buffer[..count])),
            Ok(_) | Err(_) => {
                drop(inner);
                monoio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}
