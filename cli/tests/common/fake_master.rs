//! A master that the test plays. It records every notice, and announces only what the test says,
//! when the test says it. It grants a lease for every renewal.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use standin_protocol::control::{
    DATAGRAM_BYTES_MAX, Datagram, DatagramKind, SENDER_CLIENT, SENDER_MASTER,
};
use standin_protocol::map::{MapEpoch, ServerInfo, ServerState, ServerStatus, Topology};
use standin_protocol::time::Micros;
use standin_testkit::wait_until;

use super::WITHIN;

/// The length of the lease that every renewal is granted.
const LEASE_MS: u32 = 2_000;

struct State {
    epoch: MapEpoch,
    statuses: Vec<ServerStatus>,
    /// The server whose state has changed last.
    subject: u16,
    sequence: u64,
    seen: Vec<(Micros, Datagram)>,
    boot_ids: Vec<u64>,
    has_ended: bool,
}

/// A master that the test plays.
pub struct FakeMaster {
    topology: Arc<Topology>,
    socket: Arc<UdpSocket>,
    state: Arc<Mutex<State>>,
}

impl FakeMaster {
    /// Listens at the master's address. Nothing is announced before [`Self::announce`].
    pub fn start(topology: &Arc<Topology>) -> Self {
        let socket = Arc::new(UdpSocket::bind(topology.master).expect("the master's port"));
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let servers = topology.servers.len();
        let state = State {
            epoch: MapEpoch { term: 1, counter: 0 },
            statuses: vec![ServerStatus::default(); servers],
            subject: 0,
            sequence: 0,
            seen: Vec::new(),
            boot_ids: vec![0; servers],
            has_ended: false,
        };
        let master =
            Self { topology: Arc::clone(topology), socket, state: Arc::new(Mutex::new(state)) };
        let (topology, socket, state) =
            (Arc::clone(topology), Arc::clone(&master.socket), Arc::clone(&master.state));
        std::thread::spawn(move || listen(&topology, &socket, &state));
        master
    }

    /// Waits until a server has renewed as an incarnation other than `but_not_as`. Returns the
    /// incarnation.
    #[track_caller]
    pub fn wait_heard(&self, server: u16, but_not_as: u64) -> u64 {
        let boot_id = || self.lock().boot_ids[usize::from(server)];
        wait_until(WITHIN, &format!("a renewal of server {server}"), || {
            boot_id() != 0 && boot_id() != but_not_as
        });
        boot_id()
    }

    /// Announces a state of a server, in the incarnation heard last, to all servers until each of
    /// them has acknowledged it. A renewal under an older epoch is answered with the announcement.
    /// Returns the epoch.
    pub fn announce(&self, server: u16, state: ServerState) -> MapEpoch {
        let mut held = self.lock();
        held.epoch = held.epoch.next();
        held.subject = server;
        let epoch = held.epoch;
        for id in 0..held.statuses.len() {
            held.statuses[id].boot_id = held.boot_ids[id];
            if id == usize::from(server) {
                held.statuses[id].state = state;
                held.statuses[id].since = epoch;
            }
        }
        for info in &self.topology.servers {
            send(
                &self.topology,
                &self.socket,
                &mut held,
                DatagramKind::Announce,
                info.address,
                None,
            );
        }
        epoch
    }

    /// Waits until a server has acknowledged an epoch.
    #[track_caller]
    pub fn wait_acked(&self, server: u16, epoch: MapEpoch) {
        wait_until(WITHIN, &format!("server {server} to acknowledge {epoch}"), || {
            self.seen(DatagramKind::Ack).iter().any(|(_, d)| d.sender == server && d.epoch >= epoch)
        });
    }

    /// Returns all datagrams of a kind that have arrived.
    pub fn seen(&self, kind: DatagramKind) -> Vec<(Micros, Datagram)> {
        self.lock().seen.iter().filter(|(_, d)| d.kind == kind).cloned().collect()
    }

    /// Waits for the first report of this kind about a server.
    #[track_caller]
    pub fn wait_report(&self, kind: DatagramKind, subject: u16) -> (Micros, Datagram) {
        let find = || self.seen(kind).into_iter().find(|(_, d)| d.subject == subject);
        wait_until(WITHIN, &format!("{kind} of server {subject}"), || find().is_some());
        find().expect("it was seen a moment ago")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for FakeMaster {
    fn drop(&mut self) {
        self.lock().has_ended = true;
    }
}

fn listen(topology: &Topology, socket: &UdpSocket, state: &Mutex<State>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while !lock(state).has_ended {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let Ok(datagram) = Datagram::parse(&buffer[..length], None, Some(topology.id)) else {
            continue;
        };
        let mut held = lock(state);
        let (kind, nonce, subject) = (datagram.kind, datagram.nonce, datagram.subject);
        let is_behind = held.epoch.counter > 0 && datagram.epoch < held.epoch;
        if let Some(boot_id) = held.boot_ids.get_mut(usize::from(datagram.sender)) {
            *boot_id = datagram.boot_id;
        }
        held.seen.push((Micros::boottime(), datagram));
        match kind {
            DatagramKind::Renew => {
                if is_behind {
                    send(topology, socket, &mut held, DatagramKind::Announce, from, None);
                }
                if held.epoch.counter > 0 {
                    send(
                        topology,
                        socket,
                        &mut held,
                        DatagramKind::Grant,
                        from,
                        Some((subject, nonce)),
                    );
                }
            }
            DatagramKind::ReportFailed | DatagramKind::ReportOk if held.epoch.counter > 0 => {
                send(
                    topology,
                    socket,
                    &mut held,
                    DatagramKind::Verdict,
                    from,
                    Some((subject, nonce)),
                );
            }
            _ => {}
        }
    }
}

fn send(
    topology: &Topology,
    socket: &UdpSocket,
    held: &mut State,
    kind: DatagramKind,
    to: SocketAddr,
    answers: Option<(u16, u64)>,
) {
    held.sequence += 1;
    let (subject, nonce) = answers.unwrap_or((held.subject, 0));
    let mut datagram = Datagram::new(kind, SENDER_MASTER, topology.id, u64::from(held.epoch.term));
    datagram.sequence = held.sequence;
    datagram.subject = subject;
    datagram.nonce = nonce;
    let is_recipient = |info: &ServerInfo| info.address == to;
    let recipient = topology.servers.iter().position(is_recipient);
    datagram.recipient = recipient.and_then(|id| u16::try_from(id).ok()).unwrap_or(SENDER_CLIENT);
    datagram.epoch = held.epoch;
    if kind == DatagramKind::Grant {
        datagram.arg = LEASE_MS;
    } else {
        datagram.arg = held.statuses[usize::from(subject)].state as u32;
        datagram.statuses = held.statuses.clone();
    }
    // If nobody listens at the port, the datagram counts as lost.
    let _ = socket.send_to(&datagram.to_bytes(None), to);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
