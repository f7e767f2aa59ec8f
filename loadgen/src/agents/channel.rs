//! A connection between coordinator and agent: messages of JSON, bounded, each with a code that proves the secret.
//!
//! ```text
//! length u32 LE │ code, 32 bytes │ JSON
//! code = BLAKE3-keyed(session, direction ‖ number of the message ‖ JSON)
//! session = BLAKE3-keyed(secret, nonce of the agent ‖ nonce of the coordinator)
//! ```
//! Without a secret, and in the first messages, codes are by a key that everybody knows: they only find damage.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use standin_protocol::time::Micros;

use super::Secret;
use super::message::{ToAgent, ToCoordinator, VERSION};

/// The longest message before the secret is proven.
const HELLO_BYTES_MAX: usize = 4_096;
/// The longest message to an agent: a command line and a scenario.
const ORDER_BYTES_MAX: usize = 1 << 20;
/// The longest message of an agent: a result with its timeline.
const RESULT_BYTES_MAX: usize = 256 << 20;
/// The time for a whole handshake, whatever comes in between.
pub(super) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// The time for each write.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// A machine that is gone is missed after this time: between two messages by probes, and while something is on its way.
const UNANSWERED_MS: u32 = 10_000;
const PROBE_AFTER: Duration = Duration::from_secs(4);
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBES: u32 = 3;
const CODE_BYTES: usize = 32;
const OPEN_KEY: [u8; 32] = [0; 32];

/// The other side can't be talked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChannelError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the connection has ended")]
    Ended,
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    #[error("a message is damaged, or of somebody who does not know the secret")]
    Code,
    #[error("a message is not understood ({0}); do both sides run the same version?")]
    Form(String),
    #[error("it runs Standin {theirs}, and this is {ours}: use the same version everywhere")]
    Version { theirs: String, ours: String },
    #[error("it does not know the secret, or has none; give both sides the same --agent-secret")]
    Secret,
    #[error("it has a secret; give the same file with --agent-secret")]
    SecretNeeded,
    #[error("it refuses: {0}")]
    Refused(String),
    #[error("it has said {0:?} out of turn")]
    Turn(&'static str),
}

#[derive(Debug)]
struct Codes {
    key: [u8; 32],
    direction: u8,
    number: u64,
}

impl Codes {
    fn next(&mut self, body: &[u8]) -> [u8; CODE_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[self.direction]).update(&self.number.to_le_bytes()).update(body);
        self.number += 1;
        *hasher.finalize().as_bytes()
    }
}

/// Sends messages.
#[derive(Debug)]
pub(super) struct Sender {
    stream: TcpStream,
    codes: Codes,
}

/// Receives messages.
#[derive(Debug)]
pub(super) struct Receiver {
    input: Input,
    codes: Codes,
    bytes_max: usize,
}

/// What comes, until a time.
#[derive(Debug)]
struct Input {
    stream: TcpStream,
    until: Option<Micros>,
}

impl Read for Input {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if let Some(until) = self.until {
            // Of zero, the system would make for ever.
            let left = until.since(Micros::boottime()).max(Duration::from_micros(1));
            self.stream.set_read_timeout(Some(left))?;
        }
        self.stream.read(bytes)
    }
}

impl Sender {
    pub(super) fn send(&mut self, message: &impl Serialize) -> Result<(), ChannelError> {
        let body =
            serde_json::to_vec(message).map_err(|error| ChannelError::Form(error.to_string()))?;
        let code = self.codes.next(&body);
        let length = u32::try_from(body.len()).map_err(|_| ChannelError::TooLong(body.len()))?;
        let mut frame = Vec::with_capacity(4 + CODE_BYTES + body.len());
        frame.extend(length.to_le_bytes());
        frame.extend(code);
        frame.extend(body);
        self.stream.write_all(&frame)?;
        Ok(())
    }

    /// Ends the connection in both directions, also for who waits for a message.
    pub(super) fn close(&self) {
        // It may have ended already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

impl Receiver {
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ChannelError> {
        let mut head = [0; 4 + CODE_BYTES];
        read_exact(&mut self.input, &mut head)?;
        let (length, code) = head.split_at(4);
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if length > self.bytes_max {
            return Err(ChannelError::TooLong(length));
        }
        // Memory grows with what arrives, not with what is announced.
        let mut body = Vec::new();
        let read = (&mut self.input).take(length as u64).read_to_end(&mut body);
        let read = read.map_err(told)?;
        if read < length {
            return Err(ChannelError::Ended);
        }
        // Compared in constant time.
        let expected = blake3::Hash::from(self.codes.next(&body));
        if blake3::Hash::from_slice(code).ok() != Some(expected) {
            return Err(ChannelError::Code);
        }
        serde_json::from_slice(&body).map_err(|error| ChannelError::Form(error.to_string()))
    }

    /// The longest silence that is waited for from now on; `None`: for ever.
    pub(super) fn patience(&mut self, patience: Option<Duration>) -> Result<(), ChannelError> {
        self.input.until = None;
        Ok(self.input.stream.set_read_timeout(patience)?)
    }

    /// From now on, everything has to come within this time.
    pub(super) fn all_within(&mut self, time: Duration) {
        self.input.until = Some(Micros::boottime() + time);
    }
}

fn read_exact(input: &mut Input, bytes: &mut [u8]) -> Result<(), ChannelError> {
    match input.read_exact(bytes) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ChannelError::Ended),
        Err(error) => Err(told(error)),
    }
}

/// The kernel says "would block" when a time is over.
fn told(error: io::Error) -> ChannelError {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            let text = "it has said nothing for too long";
            io::Error::new(io::ErrorKind::TimedOut, text).into()
        }
        _ => error.into(),
    }
}

/// The coordinator's side of the direction byte.
const FROM_COORDINATOR: u8 = 1;
const FROM_AGENT: u8 = 2;

fn open(stream: TcpStream, is_agent: bool) -> Result<(Sender, Receiver), ChannelError> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_WITHIN))?;
    notice_absence(&stream).map_err(io::Error::from)?;
    let (ours, theirs) =
        if is_agent { (FROM_AGENT, FROM_COORDINATOR) } else { (FROM_COORDINATOR, FROM_AGENT) };
    let codes = |direction| Codes { key: OPEN_KEY, direction, number: 0 };
    let sender = Sender { stream: stream.try_clone()?, codes: codes(ours) };
    let input = Input { stream, until: Some(Micros::boottime() + HANDSHAKE_WITHIN) };
    Ok((sender, Receiver { input, codes: codes(theirs), bytes_max: HELLO_BYTES_MAX }))
}

/// Ends the connection when the other machine is gone.
fn notice_absence(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    sockopt::set_tcp_user_timeout(stream, UNANSWERED_MS)
}

/// The key of a connection; without a secret, the one that everybody knows.
fn session(secret: &Secret, of_agent: &str, of_coordinator: &str) -> [u8; 32] {
    let Secret(Some(secret)) = secret else { return OPEN_KEY };
    let mut hasher = blake3::Hasher::new_keyed(secret);
    // Of fixed length, so nothing can be moved from one to the other.
    hasher.update(of_agent.as_bytes()).update(of_coordinator.as_bytes());
    *hasher.finalize().as_bytes()
}

fn proof(secret: &Secret, session: &[u8; 32], direction: u8) -> Option<String> {
    secret.0?;
    Some(blake3::keyed_hash(session, &[b'p', direction]).to_hex().to_string())
}

fn nonce() -> Result<String, ChannelError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(blake3::Hash::from(bytes).to_hex().to_string())
}

fn is_nonce(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn check_version(version: u32, standin: &str) -> Result<(), ChannelError> {
    let ours = env!("CARGO_PKG_VERSION");
    match version == VERSION && standin == ours {
        true => Ok(()),
        false => Err(ChannelError::Version {
            theirs: format!("{standin} (messages {version})"),
            ours: format!("{ours} (messages {VERSION})"),
        }),
    }
}

/// Compared in constant time.
fn is_proof(expected: Option<&String>, given: Option<&String>) -> bool {
    let hash = |text: Option<&String>| blake3::Hash::from_hex(text?.as_bytes()).ok();
    hash(expected).is_some() && hash(expected) == hash(given)
}

fn keyed(pair: &mut (Sender, Receiver), session: [u8; 32], bytes_max: usize) {
    pair.0.codes.key = session;
    pair.1.codes.key = session;
    pair.1.bytes_max = bytes_max;
}

/// The agent's side of a new connection.
pub(super) fn accept(
    stream: TcpStream,
    secret: &Secret,
) -> Result<(Sender, Receiver), ChannelError> {
    let mut pair = open(stream, true)?;
    let ours = nonce()?;
    let standin = env!("CARGO_PKG_VERSION").to_owned();
    pair.0.send(&ToCoordinator::Hello { version: VERSION, standin, nonce: ours.clone() })?;
    let ToAgent::Begin { version, standin, nonce, proof: given } = pair.1.receive()? else {
        return Err(ChannelError::Turn("something else than a beginning"));
    };
    let session = session(secret, &ours, &nonce);
    let checked = check_version(version, &standin).and_then(|()| {
        let expected = proof(secret, &session, FROM_COORDINATOR);
        let is_right = match (&expected, &given) {
            // Without a secret of ours, the other side's would be for nothing.
            (None, None) => true,
            _ => is_proof(expected.as_ref(), given.as_ref()),
        };
        if is_right && is_nonce(&nonce) { Ok(()) } else { Err(ChannelError::Secret) }
    });
    if let Err(error) = checked {
        let why = match (&error, &given) {
            (ChannelError::Secret, None) => "it has a secret; use --agent-secret".to_owned(),
            (ChannelError::Secret, Some(_)) => "it has another secret, or none".to_owned(),
            _ => error.to_string(),
        };
        pair.0.send(&ToCoordinator::Refused { why })?;
        return Err(error);
    }
    let welcome = ToCoordinator::Welcome { proof: proof(secret, &session, FROM_AGENT) };
    pair.0.send(&welcome)?;
    keyed(&mut pair, session, ORDER_BYTES_MAX);
    Ok(pair)
}

/// The coordinator's side of a new connection.
pub(super) fn connect(
    stream: TcpStream,
    secret: &Secret,
) -> Result<(Sender, Receiver), ChannelError> {
    let mut pair = open(stream, false)?;
    let ToCoordinator::Hello { version, standin, nonce: theirs } = pair.1.receive()? else {
        return Err(ChannelError::Turn("something else than a hello"));
    };
    check_version(version, &standin)?;
    if !is_nonce(&theirs) {
        return Err(ChannelError::Form("a nonce".to_owned()));
    }
    let ours = nonce()?;
    let session = session(secret, &theirs, &ours);
    pair.0.send(&ToAgent::Begin {
        version: VERSION,
        standin: env!("CARGO_PKG_VERSION").to_owned(),
        nonce: ours,
        proof: proof(secret, &session, FROM_COORDINATOR),
    })?;
    let given = match pair.1.receive()? {
        ToCoordinator::Welcome { proof } => proof,
        ToCoordinator::Refused { why } => return Err(ChannelError::Refused(why)),
        _ => return Err(ChannelError::Turn("something else than a welcome")),
    };
    let expected = proof(secret, &session, FROM_AGENT);
    match (&expected, &given) {
        (None, None) => {}
        (None, Some(_)) => return Err(ChannelError::SecretNeeded),
        _ if is_proof(expected.as_ref(), given.as_ref()) => {}
        _ => return Err(ChannelError::Secret),
    }
    keyed(&mut pair, session, RESULT_BYTES_MAX);
    Ok(pair)
}
