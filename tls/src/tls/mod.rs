//! The state of one TLS connection, of either side. It is given the bytes that were received and returns
//! those that were encrypted in them; it is given plain bytes and returns those to send.
//!
//! It keeps no more than an unfinished record or handshake message of the other side (at most 64 KiB), and
//! what it has to send by itself. rustls allocates memory for each record, of at most 16 KiB, and frees it
//! before a call here returns.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, Error, ServerConfig};

use crate::Failure;
use crate::kernel::{KernelTls, Keys, NotTaken};
use crate::record::{ALERT, HANDSHAKE};

/// The most that a record adds to its contents, for either version, and its alignment.
const RECORD_EXTRA: usize = 64;
/// What each record begins with: its type, version and length.
const RECORD_HEAD_BYTES: usize = 5;
/// The contents of the largest record.
const RECORD_BYTES: usize = 16 << 10;
/// Capacity that an empty buffer may keep.
const KEPT_BYTES: usize = 16 << 10;

/// Whether a connection that begins with these bytes begins with TLS, as those of no other protocol here do.
#[must_use]
pub fn is_hello(bytes: &[u8]) -> bool {
    bytes.first() == Some(&HANDSHAKE)
}

enum Side {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// One connection.
pub struct Tls {
    side: Side,
    /// Bytes of the other side that are no whole record yet.
    incoming: Vec<u8>,
    /// Bytes of this side's own, such as those of the handshake, that are to be sent.
    outgoing: Vec<u8>,
    /// Whether the other side has sent anything.
    has_begun: bool,
    is_open: bool,
    has_ended: bool,
    is_closed: bool,
    failure: Option<Failure>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tls").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

/// What comes after a step.
enum Next {
    Step,
    Wait,
    Ended,
}

impl Tls {
    /// The side that is called.
    ///
    /// # Panics
    /// If the configuration limits records to a size that TLS does not allow.
    #[must_use]
    pub fn server(config: Arc<ServerConfig>) -> Self {
        let server =
            UnbufferedServerConnection::new(config).expect("the size of records is allowed");
        Self::of(Side::Server(Box::new(server)))
    }

    /// The side that calls, which expects a certificate for this name. Its first bytes are to be sent at
    /// once.
    ///
    /// # Panics
    /// If the configuration allows no version of TLS.
    #[must_use]
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        let client = UnbufferedClientConnection::new(config, name).expect("a version is allowed");
        let mut tls = Self::of(Side::Client(Box::new(client)));
        tls.go_on(&mut Vec::new());
        tls
    }

    fn of(side: Side) -> Self {
        Self {
            side,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            has_begun: false,
            is_open: false,
            has_ended: false,
            is_closed: false,
            failure: None,
        }
    }

    /// Takes bytes that were received, and adds to `plain` those that were encrypted in them.
    ///
    /// # Errors
    /// [`Failure`], for this call and all later ones. An alert for the other side may be left to send.
    pub fn receive(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), Failure> {
        if !self.has_begun
            && let Some(first) = bytes.first()
        {
            self.has_begun = true;
            let may_refuse = matches!(self.side, Side::Client(_)) && *first == ALERT;
            if *first != HANDSHAKE && !may_refuse {
                self.failure = Some(Failure::Plain);
            }
        }
        if self.failure.is_none() && !self.has_ended {
            self.incoming.extend_from_slice(bytes);
            self.go_on(plain);
        }
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Encrypts all of `plain`, behind what this side has to send by itself, and empties it. Before the
    /// handshake is done it stays as it is.
    pub fn seal(&mut self, plain: &mut Vec<u8>, sending: &mut Vec<u8>) {
        if self.side.wants_write() && self.failure.is_none() {
            // It goes before everything else.
            self.go_on(&mut Vec::new());
        }
        sending.append(&mut self.outgoing);
        if !self.is_open || self.failure.is_some() || self.is_closed || plain.is_empty() {
            return;
        }
        let records = plain.len() / RECORD_BYTES + 1;
        let mut room = plain.len() + records * RECORD_EXTRA;
        loop {
            let at = sending.len();
            sending.resize(at + room, 0);
            let written = self
                .side
                .write(&mut self.incoming, |write| write.encrypt(plain, &mut sending[at..]));
            match written {
                Ok(bytes) => {
                    sending.truncate(at + bytes);
                    break;
                }
                Err(EncryptError::InsufficientSize(needed)) => {
                    sending.truncate(at);
                    room = needed.required_size;
                }
                Err(error @ EncryptError::EncryptExhausted) => {
                    sending.truncate(at);
                    self.failure = Some(Failure::Broken(error.to_string()));
                    break;
                }
            }
        }
        plain.clear();
    }

    /// Tells the other side that nothing more comes, behind all that was sealed.
    pub fn close(&mut self, sending: &mut Vec<u8>) {
        if std::mem::replace(&mut self.is_closed, true) || !self.is_open || self.failure.is_some() {
            return;
        }
        let at = sending.len();
        sending.resize(at + RECORD_EXTRA, 0);
        let written = self
            .side
            .write(&mut self.incoming, |write| write.queue_close_notify(&mut sending[at..]));
        sending.truncate(at + written.unwrap_or(0));
    }

    /// The number of bytes that the record of the other side that has begun still lacks, 0 if none has begun;
    /// `None` if what has been received is not to be understood without more.
    #[must_use]
    pub fn missing_bytes(&self) -> Option<usize> {
        let begun = self.incoming.len();
        let [_, _, _, high, low, ..] = self.incoming[..] else {
            return Some(if begun == 0 { 0 } else { RECORD_HEAD_BYTES - begun });
        };
        let bytes = RECORD_HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]));
        // A whole record that is still here is a part of a message.
        (begun < bytes).then(|| bytes - begun)
    }

    /// Whether the kernel can go on with this connection, once the record that has begun is complete and what
    /// this side has to send is sent. To be asked again after each receive.
    #[must_use]
    pub fn can_go_to(&mut self, kernel: &KernelTls) -> bool {
        let can_go = self.fits(kernel);
        if can_go {
            self.say_that_its_key_is_new();
        }
        can_go
    }

    /// Has this side send now what it would send before its next record: that it has changed its key, because
    /// the other side has asked for that. The kernel goes on with the new key, and would not say so.
    fn say_that_its_key_is_new(&mut self) {
        // There is no room for a record, so that none is made. What goes before it is no longer held back then.
        let none = self.side.write(&mut self.incoming, |write| write.encrypt(&[0], &mut []));
        debug_assert!(matches!(none, Err(EncryptError::InsufficientSize(_))), "{none:?}");
        if self.side.wants_write() {
            self.go_on(&mut Vec::new());
        }
    }

    fn fits(&self, kernel: &KernelTls) -> bool {
        let Side::Server(server) = &self.side else { return false };
        let (version, suite) = (server.protocol_version(), server.negotiated_cipher_suite());
        self.is_open
            && !self.is_closed
            && !self.has_ended
            && self.failure.is_none()
            && self.missing_bytes().is_some()
            && version
                .zip(suite)
                .is_some_and(|(version, suite)| kernel.takes(version, suite.suite()))
    }

    /// Returns the keys with which the kernel goes on from here.
    ///
    /// # Errors
    /// The keys of such connections are not kept, or the kernel does not know the cipher.
    ///
    /// # Panics
    /// If there is something that was received and not decrypted, or that is to be sent.
    pub fn into_keys(self) -> Result<Keys, NotTaken> {
        let is_between = self.incoming.is_empty() && self.outgoing.is_empty();
        assert!(is_between, "the kernel begins with a whole record, in both directions");
        let secrets = match self.side {
            Side::Server(server) => server.dangerous_into_kernel_connection().map(|kept| kept.0),
            Side::Client(client) => client.dangerous_into_kernel_connection().map(|kept| kept.0),
        };
        let secrets = secrets.map_err(|error| NotTaken::ForGood(error.to_string()))?;
        let unknown = || NotTaken::ForGood("it does not know the cipher".to_owned());
        Keys::new(&secrets).ok_or_else(unknown)
    }

    /// Whether the handshake is done: the other side is who it has to be, and bytes can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether the other side has said that nothing more comes.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether a record of the other side has begun and is not complete.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// The number of bytes that this side has to send by itself.
    #[must_use]
    pub fn outgoing_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// Whether [`Self::seal`] has something to send, if there are plain bytes or there are none.
    #[must_use]
    pub fn can_send(&self, has_plain: bool) -> bool {
        !self.outgoing.is_empty()
            || has_plain && self.is_open && self.failure.is_none() && !self.is_closed
    }

    /// Whether [`Self::close`] has something to send.
    #[must_use]
    pub fn can_close(&self) -> bool {
        self.is_open && !self.is_closed && self.failure.is_none()
    }

    /// Takes all steps that are possible with what has been received.
    fn go_on(&mut self, plain: &mut Vec<u8>) {
        let mut at = 0;
        loop {
            let (used, next) = self.side.step(&mut self.incoming[at..], plain, &mut self.outgoing);
            at += used;
            match next {
                Ok(Next::Step) => {}
                Ok(Next::Wait) => break,
                Ok(Next::Ended) => self.has_ended = true,
                Err(error) => {
                    self.failure = Some(Failure::of(error));
                    break;
                }
            }
        }
        while self.failure.is_some() && self.side.wants_write() {
            // The alert that says so to the other side. Nothing that has been received is looked at.
            let _ = self.side.step(&mut [], plain, &mut self.outgoing);
        }
        self.is_open |= !self.side.is_handshaking() && self.failure.is_none();
        match self.has_ended || self.failure.is_some() {
            true => self.incoming = Vec::new(),
            false => drop(self.incoming.drain(..at)),
        }
        if self.incoming.is_empty() {
            self.incoming.shrink_to(KEPT_BYTES);
        }
    }
}

impl Side {
    fn is_handshaking(&self) -> bool {
        match self {
            Self::Server(server) => server.is_handshaking(),
            Self::Client(client) => client.is_handshaking(),
        }
    }

    /// Whether it has something to send by itself.
    fn wants_write(&self) -> bool {
        match self {
            Self::Server(server) => server.wants_write(),
            Self::Client(client) => client.wants_write(),
        }
    }

    fn step(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        outgoing: &mut Vec<u8>,
    ) -> (usize, Result<Next, Error>) {
        match self {
            Self::Server(server) => step(server.process_tls_records(incoming), plain, outgoing),
            Self::Client(client) => step(client.process_tls_records(incoming), plain, outgoing),
        }
    }

    /// Writes with an open connection.
    fn write(
        &mut self,
        incoming: &mut [u8],
        with: impl FnOnce(&mut dyn Write) -> Written,
    ) -> Written {
        match self {
            Self::Server(server) => write(server.process_tls_records(incoming), with),
            Self::Client(client) => write(client.process_tls_records(incoming), with),
        }
    }
}

type Written = Result<usize, EncryptError>;

/// The two sides' ways to write.
trait Write {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Written;
    fn queue_close_notify(&mut self, out: &mut [u8]) -> Written;
}

impl<D> Write for rustls::unbuffered::WriteTraffic<'_, D> {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Written {
        self.encrypt(plain, out)
    }

    fn queue_close_notify(&mut self, out: &mut [u8]) -> Written {
        self.queue_close_notify(out)
    }
}

fn write<D>(
    status: UnbufferedStatus<'_, '_, D>,
    with: impl FnOnce(&mut dyn Write) -> Written,
) -> Written {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => with(&mut traffic),
        // All that was received has been processed, so that it is the state of every open connection.
        _ => Err(EncryptError::EncryptExhausted),
    }
}

fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &mut Vec<u8>,
    outgoing: &mut Vec<u8>,
) -> (usize, Result<Next, Error>) {
    let mut used = status.discard;
    let next = match status.state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Ok(Next::Step),
                Some(Ok(record)) => {
                    plain.extend_from_slice(record.payload);
                    used += record.discard;
                }
                Some(Err(error)) => break Err(error),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let at = outgoing.len();
            if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
                outgoing.resize(at + needed.required_size, 0);
                let written = data.encode(&mut outgoing[at..]).unwrap_or(0);
                outgoing.truncate(at + written);
            }
            Ok(Next::Step)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Next::Step)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Next::Ended),
        // Early data is switched off, because others could send it again.
        Ok(_) => Ok(Next::Wait),
    };
    (used, next)
}
