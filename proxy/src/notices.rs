//! The UDP socket to the master, opened with the first notice. A thread reads the verdicts and leaves
//! them in the shard's mailbox; it spends its life waiting.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, UdpSocket};
use std::sync::{Arc, Weak};

use standin_protocol::control::DATAGRAM_BYTES_MAX;
use standin_server::shard::mailbox::{Mailboxes, Message};
use tracing::warn;

/// The socket of one shard, if there was a notice yet.
pub(crate) struct Notices {
    mailboxes: Mailboxes,
    shard: u16,
    open: Option<(SocketAddr, Arc<UdpSocket>)>,
}

impl Notices {
    /// Those of this shard.
    pub(crate) fn new(mailboxes: Mailboxes, shard: u16) -> Self {
        Self { mailboxes, shard, open: None }
    }

    /// Sends a datagram. It may be lost: only the verdict counts.
    pub(crate) fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        if self.open.as_ref().is_none_or(|(master, _)| *master != to) {
            self.close();
            match self.open(to) {
                Ok(socket) => self.open = Some((to, socket)),
                // The notice will be sent again, and a descriptor may be available then.
                Err(error) => return warn!(%error, %to, "no socket for notices"),
            }
        }
        if let Some((_, socket)) = &self.open {
            let _ = socket.send(bytes);
        }
    }

    fn open(&self, master: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        let any: SocketAddr = match master {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = Arc::new(UdpSocket::bind(any)?);
        socket.connect(master)?;
        let (of_thread, is_in_use) = (socket.try_clone()?, Arc::downgrade(&socket));
        let (mailboxes, shard) = (self.mailboxes.clone(), self.shard);
        std::thread::Builder::new()
            .name(format!("notices-{shard}"))
            .spawn(move || read(&of_thread, &is_in_use, &mailboxes, shard))?;
        Ok(socket)
    }

    /// Has the thread end that reads.
    fn close(&mut self) {
        if let Some((_, socket)) = self.open.take() {
            let _ = socket2::SockRef::from(&*socket).shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.close();
    }
}

fn read(socket: &UdpSocket, is_in_use: &Weak<UdpSocket>, mailboxes: &Mailboxes, shard: u16) {
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    loop {
        let received = socket.recv(&mut buffer);
        if is_in_use.strong_count() == 0 {
            return;
        }
        match received {
            // It was shut down.
            Ok(0) => return,
            Ok(bytes) => mailboxes.post(shard, Message::Datagram(buffer[..bytes].into())),
            // Nobody listens at the master's port: reported once for each notice that was sent.
            Err(_) => {}
        }
    }
}
