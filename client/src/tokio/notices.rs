//! The UDP socket to the master. It is opened with the first notice, by a task that sends notices
//! and reads verdicts.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use standin_protocol::control::DATAGRAM_BYTES_MAX;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Shared;
use crate::socket;

/// The pause after a failed receive, which happens if no process listens at the master's port.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(20);

/// The notices to send, with the master's address.
type Notice = (SocketAddr, Vec<u8>);

/// Starts the task. It ends when the sender is dropped.
pub(super) fn open(shared: &Arc<Shared>) -> UnboundedSender<Notice> {
    let (sender, notices) = unbounded_channel();
    shared.runtime.spawn(run(Arc::downgrade(shared), notices));
    sender
}

async fn run(shared: Weak<Shared>, mut notices: UnboundedReceiver<Notice>) {
    let (mut socket, mut buffer) = (None, vec![0; DATAGRAM_BYTES_MAX]);
    loop {
        tokio::select! {
            notice = notices.recv() => {
                // The client was dropped.
                let Some((to, bytes)) = notice else { return };
                if socket.is_none() {
                    match bind(to) {
                        Ok(bound) => socket = Some(bound),
                        // The notice will be sent again, and a descriptor may be available then.
                        Err(error) => tracing::warn!(%error, %to, "no socket for notices"),
                    }
                }
                if let Some(socket) = &socket {
                    // It does not matter if the datagram is lost: only the verdict counts.
                    let _ = socket.send(&bytes).await;
                }
            }
            received = receive(socket.as_ref(), &mut buffer) => {
                let Some(shared) = shared.upgrade() else { return };
                match received {
                    Ok(count) => shared.hear(&buffer[..count]),
                    Err(_) => {
                        drop(shared);
                        tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                    }
                }
            }
        }
    }
}

async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<usize> {
    match socket {
        Some(socket) => socket.recv(buffer).await,
        None => std::future::pending().await,
    }
}

fn bind(master: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket::notice_socket(master)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
