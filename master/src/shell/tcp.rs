//! The master's TCP port: HELLO, MAP, PING and STATS, for parties that need a newer map (claim 7)
//! and for `standin status`.
//!
//! Everything is bounded: the connections, the bytes of a frame, and the times for the HELLO, for a
//! frame that has begun, for taking an answer, and of silence.

use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use monoio::time::{sleep, timeout};
use socket2::{SockRef, TcpKeepalive};
use standin_protocol::body::{Counter, PingReply, StatsReply};
use standin_protocol::frame::{
    FrameError, FrameLimits, Opcode, Request, RequestHeader, Response, ResponseHeader, Status,
};
use standin_protocol::handshake::{Heard, Listener};
use standin_protocol::hello::{Believed, HelloReply, Known, NONCE_BYTES, TLS_ONLY, is_of_clients};
use standin_protocol::map::NO_SERVER;
use standin_protocol::time::Micros;
use standin_protocol::users::Right;
use standin_tls::{Failure, is_hello};

use crate::shell::Shell;
use crate::shell::access::Access;
use crate::shell::connections::Connections;
use crate::shell::ready::{Ready, yield_now};
use crate::shell::stream::Stream;

/// The shortest interval between two connections for which others are closed.
const PACE: Duration = Duration::from_millis(1);
/// The interval of checks while no connection may be accepted. A check is needed because the master
/// may be stopping.
const ROOM_WAIT: Duration = Duration::from_millis(200);

/// The limits of requests to a master.
const LIMITS: FrameLimits = FrameLimits { key_bytes: 256, value_bytes: 1_024 };
/// The time without a request after which a connection is closed.
const IDLE: Duration = Duration::from_secs(300);

/// Accepts connections until the master stops.
pub(crate) async fn accept(shell: Rc<Shell>, listener: Rc<TcpListener>, ready: Ready) {
    let connections = Connections::new(shell.connections_max);
    while !shell.is_stopping.get() {
        let now = Micros::boottime();
        let room_at = connections.room_at().unwrap_or(Micros::NEVER);
        if room_at > now {
            let wait = room_at.since(now).min(ROOM_WAIT) + Duration::from_millis(1);
            let _ = timeout(wait, connections.ended()).await;
            continue;
        }
        match listener.accept() {
            Ok((stream, from)) => {
                let serving = shell.clone();
                let connections = connections.clone();
                shell.spawn(async move {
                    // The error concerns the other side, which has left or is too slow, or has no TLS
                    // as it should.
                    let from = from.ip().to_canonical();
                    if let Err(error) = serve(&serving, &connections, stream, from).await
                        && error.kind() == io::ErrorKind::InvalidData
                    {
                        serving.mishaps.tls_failed(from, &error);
                    }
                });
                match room_at {
                    Micros(0) => yield_now().await,
                    // Another connection was closed for this one. The loop closes its descriptor a
                    // little later.
                    _ => sleep(PACE).await,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if ready.readable().await.is_err() {
                    sleep(Duration::from_millis(100)).await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) if shell.is_stopping.get() => return,
            Err(error) => {
                // Most likely there are no descriptors left. Waiting callers are accepted later.
                shell.mishaps.not_accepted(&error);
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(
    shell: &Shell,
    connections: &Rc<Connections>,
    stream: TcpStream,
    from: IpAddr,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
    let mut connection = Stream::new(stream, &shell.streams)?;
    let place = connections.accept(Micros::boottime(), connection.closer());
    let mut session =
        Session { from, greeted: None, listener: Listener::default(), is_over: false };
    let mut input = Vec::new();
    let mut output = Vec::new();
    let mut deadline = Micros::boottime() + shell.handshake_timeout;
    if let Some(tls) = &shell.tls {
        let secured = connection.secure(tls.accept(), &mut input);
        let secured = timeout(shell.handshake_timeout, secured).await;
        if let Err(error) = secured.map_err(|_| io::ErrorKind::TimedOut)? {
            if is_plain(&error) {
                turn_away(shell, &connection, TLS_ONLY).await?;
            }
            return Err(error);
        }
        shell.mishaps.tls_set_up();
    }
    loop {
        let was_greeted = session.greeted.is_some();
        if !was_greeted && shell.tls.is_none() && is_hello(&input) {
            turn_away(shell, &connection, b"this port has no TLS").await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, Failure::Unexpected));
        }
        let used = session.take(shell, &input, &mut output);
        input.drain(..used);
        let is_full = output.len() >= OUTPUT_BYTES_MAX;
        let write = connection.write_all(&output);
        timeout(shell.handshake_timeout, write).await.map_err(|_| io::ErrorKind::TimedOut)??;
        output.clear();
        if session.is_over {
            return Ok(());
        }
        // A frame that has begun, and the HELLO, must be complete in time.
        let now = Micros::boottime();
        if used > 0 {
            place.asked(now);
        }
        let is_idle = session.greeted.is_some() && input.is_empty();
        if is_idle {
            deadline = now + IDLE;
        } else if used > 0 && was_greeted {
            deadline = now + shell.handshake_timeout;
        }
        if is_full && !input.is_empty() {
            // The remaining requests may be complete, so no further byte of them would arrive.
            yield_now().await;
            continue;
        }
        let read = connection.read_into(&mut input);
        timeout(deadline.since(now), read).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if is_idle {
            deadline = Micros::boottime() + shell.handshake_timeout;
        }
    }
}

/// Whether the other side has no TLS.
fn is_plain(error: &io::Error) -> bool {
    let failure = error.get_ref().and_then(|error| error.downcast_ref::<Failure>());
    matches!(failure, Some(Failure::Plain))
}

/// Answers, without TLS, a caller that has TLS where there is none, or the reverse.
async fn turn_away(shell: &Shell, connection: &Stream, text: &[u8]) -> io::Result<()> {
    let header = RequestHeader::new(Opcode::Hello, 0, 0);
    let mut output = Vec::new();
    Response::write(ResponseHeader::reply_to(&header, Status::Malformed), text, &mut output);
    let write = connection.write_plain(&output);
    timeout(shell.handshake_timeout, write).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// The state of a connection.
struct Session {
    /// The caller's address.
    from: IpAddr,
    greeted: Option<Greeted>,
    listener: Listener,
    is_over: bool,
}

/// The caller, once its HELLO has been accepted.
struct Greeted {
    /// The secrets and users by which it is believed.
    access: Rc<Access>,
    believed: Believed,
}

impl Greeted {
    /// Looks the caller up again if there are other secrets or users. Returns whether it is still believed.
    fn renew(&mut self, access: Rc<Access>) -> bool {
        if Rc::ptr_eq(&access, &self.access) {
            return true;
        }
        let Some(believed) = access.renew(&self.access, &self.believed) else { return false };
        *self = Self { access, believed };
        true
    }

    /// Whether it is a user who may not administer the cluster.
    fn is_restricted(&self) -> bool {
        match &self.believed {
            Believed::AsUser(_, rights) => !rights.has_everywhere(Right::Administer),
            Believed::Anyway | Believed::ByKey(_) => false,
        }
    }
}

/// The keepalive. It frees the place of a caller whose host has disappeared sooner than that of an
/// idle one.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// The number of bytes of answers after which the remaining input waits. The limit is needed
/// because a map may be large.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

impl Session {
    /// Answers the requests at the head of `input`. Returns the number of bytes processed.
    fn take(&mut self, shell: &Shell, input: &[u8], output: &mut Vec<u8>) -> usize {
        let mut used = 0;
        while !self.is_over && output.len() < OUTPUT_BYTES_MAX {
            let rest = &input[used..];
            match Request::parse(rest, LIMITS) {
                Ok(None) => break,
                Ok(Some(request)) => {
                    self.answer(shell, &request, output);
                    used += request.header.frame_bytes();
                }
                Err(error) => {
                    let header = RequestHeader::read(rest).unwrap_or_default();
                    let status = match error {
                        FrameError::BadVersion(_) => Status::UnsupportedVersion,
                        FrameError::KeyTooLarge { .. } | FrameError::ValueTooLarge { .. } => {
                            Status::TooLarge
                        }
                        _ => Status::Malformed,
                    };
                    self.reply(shell, &header, status, error.to_string().as_bytes(), output);
                    self.is_over = true;
                }
            }
        }
        used
    }

    fn answer(&mut self, shell: &Shell, request: &Request<'_>, output: &mut Vec<u8>) {
        let header = &request.header;
        let Some(opcode) = Opcode::from_wire(header.opcode) else {
            return self.reply(shell, header, Status::UnknownOpcode, &[], output);
        };
        if opcode == Opcode::Hello {
            return self.greet(shell, request, output);
        }
        let Some(greeted) = &mut self.greeted else {
            let why = b"the first request must be a HELLO";
            self.is_over = true;
            return self.reply(shell, header, Status::Malformed, why, output);
        };
        if !greeted.renew(shell.access()) {
            // It may connect again, and prove who it is now.
            self.is_over = true;
            return;
        }
        let is_restricted = greeted.is_restricted();
        let machine = shell.machine.borrow();
        let epoch = machine.registry().published_epoch().to_u64();
        match opcode {
            // A master that is still learning has no map. The servers have theirs.
            Opcode::Map => match machine.map() {
                Some(map) => self.reply(shell, header, Status::Ok, &map.to_bytes(), output),
                None => self.reply(shell, header, Status::Unavailable, &[], output),
            },
            Opcode::Ping => {
                let boot_id = u64::from(machine.term());
                let reply = PingReply {
                    boot_id,
                    map_epoch: epoch,
                    server: NO_SERVER,
                    origin_up: 1,
                    ..PingReply::default()
                };
                self.reply(shell, header, Status::Ok, &reply.to_bytes(), output);
            }
            Opcode::Stats if is_restricted => {
                let why = b"this user has no permissions to run this command";
                self.reply(shell, header, Status::NotPermitted, why, output);
            }
            Opcode::Stats => {
                let uptime = Micros::boottime().since(shell.started_at);
                let mut counters = machine.counters().list();
                counters.extend(shell.mishaps.counters().list());
                let lost = shell.log_lines_lost.load(Ordering::Relaxed);
                counters.push(Counter { name: "log_lines_lost".to_owned(), value: lost });
                let stats = StatsReply {
                    server: "master".to_owned(),
                    boot_id: u64::from(machine.term()),
                    uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
                    map_epoch: epoch,
                    counters,
                };
                self.reply(shell, header, Status::Ok, &stats.to_bytes(), output);
            }
            _ => {
                let why = b"this is the master: send requests for data to the servers";
                self.reply(shell, header, Status::NotSupported, why, output);
            }
        }
    }

    fn greet(&mut self, shell: &Shell, request: &Request<'_>, output: &mut Vec<u8>) {
        let header = &request.header;
        let is_certified = shell.lets_clients_in && is_of_clients(request.value);
        let access = shell.access();
        let known = if is_certified { Known::default() } else { access.known() };
        match self.listener.heard(request.value, known, shell.cluster_id, fresh_nonce) {
            Heard::Accepted(accepted) => {
                self.greeted = Some(Greeted { access, believed: accepted.believed });
                let reply = HelloReply {
                    cluster_id: shell.cluster_id,
                    server: NO_SERVER,
                    shards: 1,
                    ..HelloReply::default()
                };
                self.reply(shell, header, Status::Ok, &reply.to_bytes(), output);
            }
            Heard::Challenge(nonce) => {
                self.reply(shell, header, Status::AuthRequired, &nonce, output);
            }
            Heard::Refused(status, error) => {
                self.is_over = true;
                if status == Status::AuthFailed {
                    shell.mishaps.login_failed(self.from);
                }
                self.reply(shell, header, status, error.to_string().as_bytes(), output);
            }
        }
    }

    fn reply(
        &self,
        shell: &Shell,
        request: &RequestHeader,
        status: Status,
        value: &[u8],
        output: &mut Vec<u8>,
    ) {
        let mut header = ResponseHeader::reply_to(request, status);
        let machine = shell.machine.borrow();
        header.map_epoch = machine.map().map_or(0, |map| map.epoch.tag());
        Response::write(header, value, output);
    }
}

/// Returns an unpredictable nonce, or `None` if the system has no random numbers.
fn fresh_nonce() -> Option<[u8; NONCE_BYTES]> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).is_ok().then_some(nonce)
}
