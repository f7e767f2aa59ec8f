//! A connection of a caller that speaks a text protocol, on TCP or on a Unix socket. It knows no protocol:
//! it sends bytes, and says which bytes have to come back.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use standin_testkit::read_some;

use super::{Cluster, WITHIN};

/// The bytes that a message quotes, from a little before the first that is wrong.
const QUOTED: usize = 600;
const QUOTED_BEFORE: usize = 100;

/// See the head of this file. Reads and writes fail after [`WITHIN`].
// A file, because both kinds of sockets are read and written as files are.
pub struct Caller(File);

impl Caller {
    /// Connects to an address or, if it begins with a slash, to the path of a Unix socket.
    pub fn try_connect(place: &str) -> io::Result<Self> {
        if place.starts_with('/') {
            let stream = UnixStream::connect(place)?;
            stream.set_read_timeout(Some(WITHIN))?;
            stream.set_write_timeout(Some(WITHIN))?;
            return Ok(Self(OwnedFd::from(stream).into()));
        }
        let stream = TcpStream::connect(place)?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.set_write_timeout(Some(WITHIN))?;
        stream.set_nodelay(true)?;
        Ok(Self(OwnedFd::from(stream).into()))
    }

    /// Connects to a place where connections must be accepted.
    #[track_caller]
    pub fn connect(place: &str) -> Self {
        Self::try_connect(place).unwrap_or_else(|error| panic!("no connection to {place}: {error}"))
    }

    /// Connects to the port of a server's first service.
    #[track_caller]
    pub fn to(cluster: &Cluster, server: &str) -> Self {
        Self::connect(&cluster.service(server).to_string())
    }

    /// Sends bytes, which the other side must read.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the other side reads");
    }

    /// Sends bytes to a side that may close the connection meanwhile.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.write_all(bytes.as_ref())
    }

    /// Sends these pieces in a thread, so that the caller can read meanwhile. The other side must read all.
    pub fn send_meanwhile(&self, pieces: Vec<String>) -> JoinHandle<()> {
        let mut writer = Self(self.0.try_clone().expect("a second descriptor"));
        std::thread::spawn(move || pieces.iter().for_each(|piece| writer.send(piece)))
    }

    /// Sends bytes as long as the other side takes them without a wait. Returns how many times it took all.
    #[track_caller]
    pub fn send_while_taken(&mut self, bytes: &[u8], most: usize) -> usize {
        rustix::io::ioctl_fionbio(&self.0, true).expect("a mode");
        let mut times = 0;
        while self.0.write(bytes).is_ok() {
            times += 1;
            assert!(times < most, "the other side reads without end");
        }
        rustix::io::ioctl_fionbio(&self.0, false).expect("a mode");
        times
    }

    /// Reads as many bytes as these, which must be these.
    #[track_caller]
    pub fn expect(&mut self, wanted: impl AsRef<[u8]>) {
        let wanted = wanted.as_ref();
        let mut got = vec![0; wanted.len()];
        let (mut length, mut why) = (0, String::new());
        while length < wanted.len() {
            match read_some(&mut self.0, &mut got[length..]) {
                Ok(0) => {
                    "closed".clone_into(&mut why);
                    break;
                }
                Ok(read) => {
                    let piece = length..length + read;
                    length += read;
                    if got[piece.clone()] != wanted[piece] {
                        break;
                    }
                }
                Err(error) => {
                    why = error.to_string();
                    break;
                }
            }
        }
        assert_same(&got[..length], wanted, &why);
    }

    /// Sends a request, and expects this reply.
    #[track_caller]
    pub fn ask(&mut self, request: &str, wanted: &str) {
        self.send(request);
        self.expect(wanted);
    }

    /// Whether this reply comes to a request. The other side may close the connection instead.
    pub fn is_answered(&mut self, request: &str, wanted: &str) -> bool {
        let mut reply = vec![0; wanted.len()];
        let asked = self.try_send(request);
        asked.is_ok() && self.0.read_exact(&mut reply).is_ok() && reply == wanted.as_bytes()
    }

    /// Reads until there is this text, and returns all that was read.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> String {
        let mut said = Vec::new();
        let mut bytes = [0; 65_536];
        loop {
            let shown = String::from_utf8_lossy(&said);
            if shown.contains(text) {
                return shown.into_owned();
            }
            let read = read_some(&mut self.0, &mut bytes);
            let length = read.unwrap_or_else(|error| panic!("{error} after {shown:?}"));
            assert!(length > 0, "closed after {shown:?}");
            said.extend_from_slice(&bytes[..length]);
        }
    }

    /// Reads until the other side closes the connection, perhaps with an error, because it has not read
    /// everything.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let ended = self.0.read_to_end(&mut rest);
        let is_reset = |error: &io::Error| error.kind() == ErrorKind::ConnectionReset;
        assert!(ended.as_ref().err().is_none_or(is_reset), "{ended:?} after {}", quoted(&rest, 0));
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Expects that the other side closes the connection without another byte.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_same(self.rest().as_bytes(), b"", "closed");
    }
}

impl Read for Caller {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

#[track_caller]
fn assert_same(got: &[u8], wanted: &[u8], why: &str) {
    if got == wanted {
        return;
    }
    let differs = got.iter().zip(wanted).position(|(got, wanted)| got != wanted);
    let at = differs.unwrap_or_else(|| got.len().min(wanted.len()));
    let from = at.saturating_sub(QUOTED_BEFORE);
    panic!(
        "byte {at} of {} is wrong or missing; {why}\n   got {}\nwanted {}",
        wanted.len(),
        quoted(got, from),
        quoted(wanted, from)
    );
}

/// Bytes for a message; long ones are cut.
fn quoted(bytes: &[u8], from: usize) -> String {
    let to = bytes.len().min(from + QUOTED);
    let (before, after) =
        (if from > 0 { "…" } else { "" }, if to < bytes.len() { "…" } else { "" });
    format!("\"{before}{}{after}\"", bytes[from..to].escape_ascii())
}
