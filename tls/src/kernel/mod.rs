//! TLS in the kernel: after the handshake, it gets the keys of a connection, and sends and receives records by
//! itself, so that bytes in and out of the socket are plain.
//!
//! ```text
//! KernelTls::probe    at the start: which ciphers the kernel takes       (socket.rs)
//! KernelTls::take     what rustls has agreed on ─► the kernel's form     (keys.rs)
//!                     first the keys for sending, then those for receiving
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
pub use crate::failure::{NotTaken, PAUSE};
use crate::record::{ALERT, HANDSHAKE};

/// The alert with which a side says that it sends nothing more, and that as a warning.
const CLOSE_NOTIFY_CODE: u8 = 0;
const CLOSE_NOTIFY: [u8; 2] = [1, CLOSE_NOTIFY_CODE];
/// The alert with which a side says that it closes, for no reason of TLS.
const USER_CANCELED: u8 = 90;
const FATAL: u8 = 2;
/// The message of a handshake with which a side says that its next record has another key.
const KEY_UPDATE: u8 = 24;
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
    /// There is such a module, but it takes none of the ciphers; the last it has refused with this error.
    #[error("the kernel's module `tls` takes none of the ciphers of TLS 1.3: {0}")]
    NoCipher(io::Error),
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
        let tried = socket::tried().map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOPROTOOPT) => NoKernelTls::NoModule,
            _ => NoKernelTls::Untried(error),
        })?;
        Self::of_tried(tried)
    }

    fn of_tried(tried: Vec<(Cipher, io::Result<()>)>) -> Result<Self, NoKernelTls> {
        let mut ciphers = Vec::new();
        let mut refused = None;
        for (cipher, given) in tried {
            match given {
                Ok(()) => ciphers.push(cipher),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if ciphers.is_empty() => Err(NoKernelTls::NoCipher(error)),
            _ => Ok(Self { ciphers, has_failed: AtomicBool::new(false) }),
        }
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
    /// [`NotTaken`].
    pub fn prepare(&self, socket: &impl AsFd) -> Result<(), NotTaken> {
        socket::prepare(socket).map_err(|error| self.noted(error.into()))
    }

    /// Takes a connection whose socket is prepared, with what [`crate::Tls::into_keys`] has returned: from now on,
    /// bytes in and out of the socket are plain.
    ///
    /// # Errors
    /// [`NotTaken`]: the connection can't go on, and nothing may be sent on it.
    pub fn take(&self, socket: &impl AsFd, keys: Result<Keys, NotTaken>) -> Result<(), NotTaken> {
        let given = keys.and_then(|keys| {
            socket::give(socket, Direction::Send, &keys.sending)?;
            socket::give(socket, Direction::Receive, &keys.receiving)?;
            Ok(())
        });
        given.map_err(|not_taken| self.noted(not_taken))
    }

    /// Is given no more connections after what would be the same with each.
    fn noted(&self, not_taken: NotTaken) -> NotTaken {
        if matches!(not_taken, NotTaken::ForGood(_)) {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        not_taken
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
    ended_by(kind, &contents)
        .unwrap_or_else(|(alert, why)| refuse(socket, alert, Failure::Broken(why.to_owned())))
}

/// The end that a record means; otherwise the alert that is due, and why it is.
fn ended_by(kind: u8, contents: &[u8]) -> Result<End, (AlertDescription, &'static str)> {
    Ok(match (kind, contents) {
        // Java's TLS says `user_canceled` before it closes, without reason.
        (ALERT, [_, CLOSE_NOTIFY_CODE | USER_CANCELED]) => End::Closed,
        (ALERT, [_, alert]) => End::Failed(Failure::Refused((*alert).into())),
        // It has done nothing wrong, and may connect again: the end that it hears is an ordinary one.
        (HANDSHAKE, [KEY_UPDATE, ..]) => End::Failed(Failure::NewKeys),
        (HANDSHAKE, _) => {
            let why = "it sends a message of the handshake after its end";
            return Err((AlertDescription::UnexpectedMessage, why));
        }
        (ALERT, _) => {
            return Err((AlertDescription::DecodeError, "it sends an alert that is none"));
        }
        _ => {
            return Err((AlertDescription::UnexpectedMessage, "it sends records of no known type"));
        }
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
        let said = |code| kernel.noted(io::Error::from_raw_os_error(code).into()).to_string();
        assert!(!said(libc::ENOTCONN).contains("new connections"), "others are taken");
        for passing in [libc::ENOMEM, libc::ENOBUFS] {
            let said = said(passing);
            assert!(said.ends_with("for 10 s, new connections are encrypted without the kernel"));
        }
        assert!(kernel.takes(version, suite));
        assert!(said(libc::ENOENT).ends_with("without the kernel from now on"));
        assert!(!kernel.takes(version, suite));
    }

    #[test]
    fn the_last_reason_is_told_if_no_cipher_is_taken() {
        let refused = |code| Err(io::Error::from_raw_os_error(code));
        let tried = vec![
            (Cipher::Aes128Gcm, refused(libc::ENOENT)),
            (Cipher::Aes256Gcm, refused(libc::ENOMEM)),
        ];
        let error = KernelTls::of_tried(tried).expect_err("none is taken").to_string();
        assert!(error.contains("none of the ciphers") && error.contains("memory"), "{error}");
        let tried = vec![(Cipher::Aes128Gcm, refused(libc::ENOENT)), (Cipher::Aes256Gcm, Ok(()))];
        let kernel = KernelTls::of_tried(tried).expect("one is taken");
        assert_eq!(kernel.ciphers(), "AES-256-GCM");
    }

    #[test]
    fn an_ordinary_close_is_none_that_failed() {
        assert_eq!(ended_by(ALERT, &CLOSE_NOTIFY), Ok(End::Closed));
        assert_eq!(ended_by(ALERT, &[1, 90]), Ok(End::Closed), "as Java's TLS closes");
        let refused = Failure::Refused(AlertDescription::UnknownCA);
        assert_eq!(ended_by(ALERT, &[FATAL, 48]), Ok(End::Failed(refused)));
        assert_eq!(ended_by(HANDSHAKE, &[24, 0, 0, 1, 0]), Ok(End::Failed(Failure::NewKeys)));
    }

    #[test]
    fn records_that_are_neither_are_refused_with_the_alert_that_is_due() {
        let alert = |kind, contents: &[u8]| ended_by(kind, contents).expect_err("it is refused").0;
        assert_eq!(alert(ALERT, &[1]), AlertDescription::DecodeError);
        assert_eq!(alert(ALERT, &[1, 90, 1, 0]), AlertDescription::DecodeError, "two at once");
        // A hello, and no message at all.
        assert_eq!(alert(HANDSHAKE, &[1, 0, 0, 0]), AlertDescription::UnexpectedMessage);
        assert_eq!(alert(HANDSHAKE, &[]), AlertDescription::UnexpectedMessage);
        assert_eq!(alert(99, &[]), AlertDescription::UnexpectedMessage);
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
