//! TLS in the kernel: after the handshake, it gets the keys of a connection, and sends and receives records by
//! itself, so that bytes in and out of the socket are plain.
//!
//! ```text
//! KernelTls::probe    at the start: which ciphers the kernel takes       (socket.rs)
//! Tls::into_keys      what rustls has agreed on ─► the kernel's form     (keys.rs)
//! KernelTls::give     first the keys for sending, then those for receiving
//! end_of, tell_end    records that are no data
//! ```
//! Nothing is given before both directions can be: what the kernel does not know, or a kernel without the module,
//! leaves connections with rustls.

mod keys;
mod socket;

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::{AlertDescription, CipherSuite, ExtractedSecrets, ProtocolVersion};

use self::keys::{Cipher, CryptoInfo};
use self::socket::Direction;
use crate::Failure;
use crate::record::{ALERT, HANDSHAKE};

/// The alert with which a side says that it sends nothing more, and that as a warning.
const CLOSE_NOTIFY_CODE: u8 = 0;
const CLOSE_NOTIFY: [u8; 2] = [1, CLOSE_NOTIFY_CODE];
/// The alert with which a side says that it closes, for no reason of TLS.
const USER_CANCELED: u8 = 90;
const FATAL: u8 = 2;
/// The bytes that may be encrypted with one key of AES-GCM: 2^34 blocks of 16 bytes, below the bound of RFC 8446,
/// section 5.5. rustls would change its key; the kernel can't before Linux 6.14.
pub const SENT_BYTES_MAX: u64 = 1 << 38;
/// What a record counts beside its contents: the rest of a block, and its tag.
pub const RECORD_BYTES: u64 = 64;

/// The reason why the kernel encrypts no connections of this process.
#[derive(Debug, thiserror::Error)]
pub enum NoKernelTls {
    /// The module is not loaded, and this process may not load it, or there is none.
    #[error(
        "the kernel's module `tls` is not there; load it with `modprobe tls` before the start, if the kernel \
         has it"
    )]
    NoModule,
    /// There is such a module, but it knows none of the ciphers.
    #[error("the kernel's module `tls` takes none of the ciphers of TLS 1.3")]
    NoCipher,
    /// Something else is in the way.
    #[error("it could not be tried on a connection over loopback: {0}")]
    Untried(io::Error),
}

/// The part of a kernel that can take connections.
#[derive(Debug)]
pub struct KernelTls {
    ciphers: Vec<Cipher>,
    /// It has refused keys that it had taken when it was tried. It gets no more.
    has_failed: AtomicBool,
}

impl KernelTls {
    /// Tries what this kernel can.
    ///
    /// # Errors
    /// [`NoKernelTls`].
    pub fn probe() -> Result<Self, NoKernelTls> {
        let ciphers = socket::tried().map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOPROTOOPT) => NoKernelTls::NoModule,
            _ => NoKernelTls::Untried(error),
        })?;
        if ciphers.is_empty() {
            return Err(NoKernelTls::NoCipher);
        }
        Ok(Self { ciphers, has_failed: AtomicBool::new(false) })
    }

    /// One that takes all, to ask [`crate::Tls`] what it would give it.
    #[cfg(test)]
    pub(crate) fn of_all_ciphers() -> Self {
        Self { ciphers: Cipher::ALL.to_vec(), has_failed: AtomicBool::new(false) }
    }

    /// The names of the ciphers that it takes.
    #[must_use]
    pub fn ciphers(&self) -> String {
        let names: Vec<&str> = self.ciphers.iter().map(|cipher| cipher.name()).collect();
        names.join(", ")
    }

    /// Whether it takes connections with this cipher.
    pub(crate) fn takes(&self, version: ProtocolVersion, suite: CipherSuite) -> bool {
        let cipher = Cipher::of(version, suite);
        cipher.is_some_and(|cipher| self.ciphers.contains(&cipher))
            && !self.has_failed.load(Ordering::Relaxed)
    }

    /// Prepares a socket for keys. If that fails, the socket is as before, and the connection can go on with
    /// rustls.
    ///
    /// # Errors
    /// The system's error.
    pub fn prepare(&self, socket: &impl AsFd) -> io::Result<()> {
        socket::prepare(socket).inspect_err(|error| self.note(error))
    }

    /// Gives it a connection whose socket is prepared: from now on, bytes in and out of the socket are plain.
    ///
    /// # Errors
    /// [`Failure::Kernel`]: the connection can't go on, and nothing may be sent on it.
    pub fn give(&self, socket: &impl AsFd, keys: &Keys) -> Result<(), Failure> {
        let given = socket::give(socket, Direction::Send, &keys.sending)
            .and_then(|()| socket::give(socket, Direction::Receive, &keys.receiving));
        given.map_err(|error| {
            self.note(&error);
            Failure::Kernel(error.to_string())
        })
    }

    /// Gives it no more connections after an error that does not come from this one, or from a moment.
    fn note(&self, error: &io::Error) {
        let is_of_one =
            matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::ENOMEM | libc::ENOBUFS));
        if !is_of_one {
            self.has_failed.store(true, Ordering::Relaxed);
        }
    }
}

/// The keys of a connection, in both directions.
pub struct Keys {
    sending: CryptoInfo,
    receiving: CryptoInfo,
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// Whether these are the keys of the two ends of a connection.
    #[cfg(test)]
    pub(crate) fn matches(&self, other: &Self) -> bool {
        self.sending.bytes() == other.receiving.bytes()
            && self.receiving.bytes() == other.sending.bytes()
            && self.sending.bytes() != self.receiving.bytes()
    }

    pub(crate) fn new(secrets: &ExtractedSecrets) -> Option<Self> {
        let of = |(sequence, secrets): &_| CryptoInfo::new((*sequence, secrets));
        Some(Self { sending: of(&secrets.tx)?, receiving: of(&secrets.rx)? })
    }
}

/// How a connection in the kernel ends, after an error of a receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The other side has said that nothing more comes.
    Closed,
    /// The other side has sent what ends the connection.
    Failed(Failure),
    /// The connection is lost, as one without TLS can be.
    Lost,
}

/// Finds out why a receive on a connection in the kernel has failed with this error. The other side is told if
/// it has done something wrong.
pub fn end_of(socket: &impl AsFd, error: io::Error) -> End {
    match error.raw_os_error() {
        // A record that is no data.
        Some(libc::EIO) => {}
        Some(libc::EBADMSG) => {
            let broken = "a record can't be decrypted".to_owned();
            return refuse(socket, AlertDescription::BadRecordMac, Failure::Broken(broken));
        }
        Some(libc::EMSGSIZE) => {
            let broken = "a record is longer than TLS allows".to_owned();
            return refuse(socket, AlertDescription::RecordOverflow, Failure::Broken(broken));
        }
        Some(libc::EINVAL) => {
            let broken = "it sends what is no TLS".to_owned();
            return refuse(socket, AlertDescription::DecodeError, Failure::Broken(broken));
        }
        _ => return End::Lost,
    }
    let Ok((kind, contents)) = socket::next_control(socket) else { return End::Lost };
    ended_by(kind, &contents).unwrap_or_else(|| {
        let broken = format!("it sends records of type {kind}");
        refuse(socket, AlertDescription::UnexpectedMessage, Failure::Broken(broken))
    })
}

/// The end that a record means; `None`: there is no such record.
fn ended_by(kind: u8, contents: &[u8]) -> Option<End> {
    Some(match (kind, contents) {
        // Java's TLS says `user_canceled` before it closes, without reason.
        (ALERT, [_, CLOSE_NOTIFY_CODE | USER_CANCELED]) => End::Closed,
        (ALERT, [_, alert]) => End::Failed(Failure::Refused((*alert).into())),
        // It has done nothing wrong, and may connect again: the end that it hears is an ordinary one.
        (HANDSHAKE, _) => End::Failed(Failure::NewKeys),
        _ => return None,
    })
}

fn refuse(socket: &impl AsFd, alert: AlertDescription, failure: Failure) -> End {
    socket::take_error(socket);
    // The connection ends, whether the other side hears why or not.
    let _ = socket::send_alert(socket, [FATAL, alert.into()]);
    End::Failed(failure)
}

/// Tells the other side of a connection in the kernel that nothing more comes, if there is room for that.
pub fn tell_end(socket: &impl AsFd) {
    // The connection is closed, whether the other side hears that or sees it.
    let _ = socket::send_alert(socket, CLOSE_NOTIFY);
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_the_kernel_can_not_is_said_and_what_it_can_is_named() {
        let has_module = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp")
            .is_ok_and(|list| list.split_whitespace().any(|name| name == "tls"));
        match KernelTls::probe() {
            Ok(kernel) => assert!(kernel.ciphers().contains("AES-128-GCM"), "{kernel:?}"),
            Err(error) => {
                assert!(!has_module, "{error}");
                assert!(error.to_string().contains("modprobe tls"), "{error}");
            }
        }
    }

    #[test]
    fn a_kernel_that_refuses_for_good_is_not_asked_again() {
        let kernel = KernelTls::of_all_ciphers();
        let (version, suite) = (ProtocolVersion::TLSv1_3, CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert!(kernel.takes(version, suite));
        for passing in [libc::ENOTCONN, libc::ENOMEM] {
            kernel.note(&io::Error::from_raw_os_error(passing));
        }
        assert!(kernel.takes(version, suite));
        kernel.note(&io::Error::from_raw_os_error(libc::ENOENT));
        assert!(!kernel.takes(version, suite));
    }

    #[test]
    fn an_ordinary_close_is_none_that_failed() {
        assert_eq!(ended_by(ALERT, &CLOSE_NOTIFY), Some(End::Closed));
        assert_eq!(ended_by(ALERT, &[1, 90]), Some(End::Closed), "as Java's TLS closes");
        let refused = Failure::Refused(AlertDescription::UnknownCA);
        assert_eq!(ended_by(ALERT, &[FATAL, 48]), Some(End::Failed(refused)));
        assert_eq!(ended_by(HANDSHAKE, &[24, 0, 0, 1, 0]), Some(End::Failed(Failure::NewKeys)));
        assert_eq!(ended_by(ALERT, &[1]), None);
        assert_eq!(ended_by(99, &[]), None);
    }

    #[test]
    fn errors_of_connections_without_records_are_losses() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let socket = TcpStream::connect(listener.local_addr().expect("one")).expect("one");
        for lost in [libc::ECONNRESET, libc::ETIMEDOUT, libc::EIO] {
            assert_eq!(end_of(&socket, io::Error::from_raw_os_error(lost)), End::Lost);
        }
        let failed = end_of(&socket, io::Error::from_raw_os_error(libc::EBADMSG));
        assert!(matches!(failed, End::Failed(Failure::Broken(_))), "{failed:?}");
    }
}
