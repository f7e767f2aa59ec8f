//! Receiving and sending control datagrams.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use standin_protocol::auth::ClusterKey;
use standin_protocol::control::{DATAGRAM_BYTES_MAX, Datagram, SENDER_CLIENT};
use tracing::debug;

use crate::machine::Input;
use crate::shell::Shell;
use crate::shell::mishaps::Dropped;
use crate::shell::ready::{Ready, yield_now};

/// The number of datagrams received before other tasks run.
const BURST: usize = 64;

/// Receives datagrams until the master stops.
pub(crate) async fn receive(shell: Rc<Shell>, ready: Ready) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX + 1];
    while !shell.is_stopping.get() {
        for _ in 0..BURST {
            match shell.udp.recv_from(&mut buffer) {
                Ok((len, from)) => {
                    let access = shell.access();
                    let topology = Some(shell.topology.id);
                    match Datagram::parse_by_any(&buffer[..len], &access.keys, topology) {
                        Ok(datagram) => shell.feed(Input::Datagram { from, datagram }),
                        Err(error) => {
                            shell.mishaps.datagram_dropped(Dropped::From(from, error));
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = ready.readable().await {
                        // A master needs its datagrams, so it keeps trying, with pauses.
                        shell.mishaps.datagram_dropped(error.into());
                        monoio::time::sleep(Duration::from_millis(100)).await;
                    }
                    break;
                }
                Err(error) => {
                    shell.mishaps.datagram_dropped(error.into());
                    break;
                }
            }
        }
        yield_now().await;
    }
}

/// Sends a datagram. If it does not fit into the socket's buffer it is dropped, because everything
/// important is sent again.
pub(crate) fn send(shell: &Shell, to: std::net::SocketAddr, datagram: &Datagram) {
    let access = shell.access();
    let send = |key: Option<&ClusterKey>| {
        if let Err(error) = shell.udp.send_to(&datagram.to_bytes(key), to) {
            debug!(%to, kind = %datagram.kind, %error, "datagram not sent");
        }
    };
    match &*access.keys {
        // A client has the key of one of the secrets, and drops what was made with that of the other.
        keys @ [_, _, ..] if datagram.recipient == SENDER_CLIENT => {
            keys.iter().for_each(|key| send(Some(key)));
        }
        keys => send(keys.first()),
    }
}
