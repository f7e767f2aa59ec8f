//! The limit: a ring loop that answers every 48 bytes received with the same 132, without
//! looking at them. No server of this kind can cost less on this machine.

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::time::Duration;

use socket2::SockRef;
use standin_protocol::frame::{Opcode, RequestHeader, Response, ResponseHeader, Status};

use crate::exchange::{ECHO_REPLY_BYTES, ECHO_REQUEST_BYTES, VALUE_BYTES};
use crate::ring::{Event, Ring};

/// The largest number of replies in one send.
const REPLIES_MAX: usize = 1_024;

struct Conn {
    fd: OwnedFd,
    /// Bytes of requests not answered yet.
    owed_bytes: usize,
    /// Bytes of replies under way.
    sending: usize,
}

/// Serves on the calling thread until the process ends.
///
/// # Errors
/// io_uring is unavailable, or fails.
pub fn serve(listener: &TcpListener) -> io::Result<()> {
    let mut replies = Vec::new();
    let header = ResponseHeader::reply_to(&RequestHeader::new(Opcode::Get, 0, 0), Status::Ok);
    for _ in 0..REPLIES_MAX {
        Response::write(header, &[b'v'; VALUE_BYTES], &mut replies);
    }
    let mut ring = Ring::new()?;
    let mut conns: Vec<Option<Conn>> = Vec::new();
    ring.accept(listener);
    loop {
        ring.turn(Duration::from_secs(1))?;
        let mut number = 0;
        while let Some(event) = ring.event(number) {
            number += 1;
            match event {
                Event::Accepted(fd) if fd >= 0 => {
                    // SAFETY: the kernel has just given this process the descriptor.
                    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                    SockRef::from(&fd).set_tcp_nodelay(true)?;
                    ring.receive(&fd, conns.len());
                    conns.push(Some(Conn { fd, owed_bytes: 0, sending: 0 }));
                }
                Event::Accepted(error) => return Err(io::Error::from_raw_os_error(-error)),
                Event::Received { index, result, more, .. } => {
                    let Some(conn) = conns[index].as_mut() else { continue };
                    if result <= 0 && -result != libc::ENOBUFS {
                        conns[index] = None;
                        continue;
                    }
                    conn.owed_bytes += usize::try_from(result).unwrap_or(0);
                    if !more {
                        ring.receive(&conn.fd, index);
                    }
                    if conn.sending == 0 {
                        conn.answer(&mut ring, index, &replies);
                    }
                }
                Event::Sent { index, result } => {
                    let Some(conn) = conns[index].as_mut() else { continue };
                    conn.sending -= usize::try_from(result).unwrap_or(0).min(conn.sending);
                    if conn.sending > 0 && result > 0 {
                        // Every reply is the same: the rest is the tail of as many.
                        let rest = &replies[replies.len() - conn.sending..];
                        // SAFETY: `replies` never changes and outlives the ring.
                        unsafe { ring.send(&conn.fd, rest, index) };
                    } else {
                        conn.answer(&mut ring, index, &replies);
                    }
                }
            }
        }
    }
}

impl Conn {
    fn answer(&mut self, ring: &mut Ring, index: usize, replies: &[u8]) {
        let count = (self.owed_bytes / ECHO_REQUEST_BYTES).min(REPLIES_MAX);
        if count > 0 {
            self.owed_bytes -= count * ECHO_REQUEST_BYTES;
            self.sending = count * ECHO_REPLY_BYTES;
            // SAFETY: `replies` never changes and outlives the ring.
            unsafe { ring.send(&self.fd, &replies[..self.sending], index) };
        }
    }
}
