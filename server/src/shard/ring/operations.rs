//! The operations that the loop submits to the kernel, and their sockets.
//!
//! A socket's slot, and with it its descriptor and the buffers that the kernel knows of,
//! is freed with its last operation and not before.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use io_uring::squeue::Flags;
use io_uring::types::{CancelBuilder, Fd};
use io_uring::{IoUring, Probe, opcode, squeue};
use standin_protocol::time::Micros;
use tracing::warn;

use super::super::buffers::GROUP;
use super::super::core::backend::Backend;
use super::super::core::{ConnKey, ReceiveMode};
use super::super::sockets;
use super::Loop;
use crate::node::Now;

/// The kernel's operations that the loop submits, by their names in `linux/io_uring.h`.
const USED: &[(&str, u8)] = &[
    ("SEND", opcode::Send::CODE),
    ("RECV", opcode::Recv::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("READ", opcode::Read::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
];

/// Returns the kernel's operations that the loop uses, each with whether this kernel has it; `None` if
/// it does not say.
pub(in crate::shard) fn supported() -> Vec<(&'static str, Option<bool>)> {
    let mut probe = Probe::new();
    let probed = IoUring::new(1).and_then(|ring| ring.submitter().register_probe(&mut probe));
    let is_there = |code| probed.is_ok().then(|| probe.is_supported(code));
    USED.iter().map(|(name, code)| (*name, is_there(*code))).collect()
}

/// The operation that a completion ends: the upper half of its user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Op {
    Accept = 0,
    Wake = 1,
    Receive = 2,
    Send = 3,
    Connect = 4,
    Cancel = 5,
}

impl Op {
    pub(super) fn with(self, index: u32) -> u64 {
        u64::from(self as u32) << 32 | u64::from(index)
    }

    pub(super) fn from_user_data(data: u64) -> (Option<Self>, u32) {
        let op = match data >> 32 {
            0 => Some(Self::Accept),
            1 => Some(Self::Wake),
            2 => Some(Self::Receive),
            3 => Some(Self::Send),
            4 => Some(Self::Connect),
            5 => Some(Self::Cancel),
            _ => None,
        };
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is the index")]
        let index = data as u32;
        (op, index)
    }
}

/// A socket and the kernel's operations on it. Its slot is used again only when none is
/// left, so an index in a completion always means this socket.
pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    pub(super) key: ConnKey,
    pub(super) operations: u32,
    pub(super) receiving: bool,
    pub(super) paused: bool,
    pub(super) sending: Vec<u8>,
    pub(super) sent: usize,
    pub(super) is_sending: bool,
    /// Close when the output is sent, at the latest at this time.
    pub(super) close_by: Option<Micros>,
    pub(super) is_shut: bool,
    /// The kernel encrypts what is sent.
    pub(super) is_in_kernel: bool,
    /// The address that it is being connected to.
    pub(super) address: Option<Box<socket2::SockAddr>>,
    /// The shard it moves to as soon as no operation is under way.
    pub(super) moves_to: Option<u16>,
}

/// Returns the socket at a place that a completion or [`Loop::index`] has named.
pub(super) fn socket_at(sockets: &mut [Option<Socket>], index: u32) -> &mut Socket {
    let socket = sockets[index as usize].as_mut();
    socket.expect("a socket stays until its last operation has ended")
}

fn receive_once(fd: Fd, bytes: u32) -> squeue::Entry {
    let receive = opcode::Recv::new(fd, std::ptr::null_mut(), bytes).buf_group(GROUP);
    receive.build().flags(Flags::BUFFER_SELECT)
}

impl<B: Backend> Loop<B> {
    pub(super) fn push_send(&mut self, index: u32) {
        let socket = socket_at(&mut self.sockets, index);
        let rest = &socket.sending[socket.sent..];
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(Fd(socket.fd.as_raw_fd()), rest.as_ptr(), length)
            .flags(libc::MSG_NOSIGNAL)
            .build()
            .user_data(Op::Send.with(index));
        socket.is_sending = true;
        socket.operations += 1;
        self.push(entry);
    }

    /// Ends the kernel's operations on a socket; its slot is freed with the last of them.
    pub(super) fn shut(&mut self, index: u32) {
        let socket = socket_at(&mut self.sockets, index);
        if socket.is_shut {
            return;
        }
        socket.is_shut = true;
        // A socket that is not connected (any more) has nothing to shut down.
        let _ = rustix::net::shutdown(&socket.fd, rustix::net::Shutdown::Both);
        if socket.operations > 0 {
            let entry =
                opcode::AsyncCancel2::new(CancelBuilder::fd(Fd(socket.fd.as_raw_fd())).all())
                    .build()
                    .user_data(Op::Cancel.with(index));
            socket.operations += 1;
            self.push(entry);
        }
    }

    /// An operation on a socket has ended and its completion has been dealt with.
    pub(super) fn operation_ended(&mut self, now: Now, index: u32) {
        let socket = socket_at(&mut self.sockets, index);
        if let (0, false, Some(shard)) = (socket.operations, socket.is_shut, socket.moves_to) {
            let key = socket.key;
            return self.hand_over(now, key, shard);
        }
        self.release(now, index);
    }

    /// Frees a socket that is shut and has no operation left.
    pub(super) fn release(&mut self, now: Now, index: u32) {
        let socket = socket_at(&mut self.sockets, index);
        if socket.is_shut && socket.operations == 0 {
            let key = socket.key;
            self.core.closed(now, key);
            self.by_key.remove(key);
            self.sockets[index as usize] = None;
            self.free.push(index);
        }
    }

    pub(super) fn pause(&mut self, index: u32) {
        let socket = socket_at(&mut self.sockets, index);
        socket.paused = true;
        if socket.receiving {
            socket.operations += 1;
            let entry = opcode::AsyncCancel::new(Op::Receive.with(index))
                .build()
                .user_data(Op::Cancel.with(index));
            self.push(entry);
        }
    }

    pub(super) fn connect(&mut self, now: Now, key: ConnKey, address: SocketAddr) {
        let fd = match sockets::tcp(address) {
            Ok(fd) => fd,
            Err(error) => {
                warn!(%error, "no socket for a link");
                self.core.closed(now, key);
                return;
            }
        };
        let index = self.insert(fd, key);
        let socket = socket_at(&mut self.sockets, index);
        let address = socket.address.insert(Box::new(address.into()));
        let entry =
            opcode::Connect::new(Fd(socket.fd.as_raw_fd()), address.as_ptr().cast(), address.len())
                .build()
                .user_data(Op::Connect.with(index));
        socket.operations += 1;
        self.push(entry);
    }

    pub(super) fn insert(&mut self, fd: OwnedFd, key: ConnKey) -> u32 {
        let socket = Socket {
            fd,
            key,
            operations: 0,
            receiving: false,
            paused: false,
            sending: Vec::new(),
            sent: 0,
            is_sending: false,
            close_by: None,
            is_shut: false,
            is_in_kernel: false,
            address: None,
            moves_to: None,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.sockets.push(None);
            u32::try_from(self.sockets.len() - 1).unwrap_or(u32::MAX)
        });
        self.sockets[index as usize] = Some(socket);
        self.by_key.insert(key, index);
        index
    }

    /// Returns the place of a connection's socket. `None`: the socket is gone, and there is nothing
    /// left to do on it.
    pub(super) fn index(&self, key: ConnKey) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// Multishot for settled connections; single before, so that the socket can move.
    pub(super) fn arm_receive(&mut self, index: u32) {
        let socket = socket_at(&mut self.sockets, index);
        if socket.receiving || socket.paused || socket.is_shut {
            return;
        }
        let fd = Fd(socket.fd.as_raw_fd());
        let entry = match self.core.receive_mode(socket.key) {
            ReceiveMode::None => return,
            ReceiveMode::Multi => opcode::RecvMulti::new(fd, GROUP).build(),
            // 0: as much as the buffer takes.
            ReceiveMode::Single => receive_once(fd, 0),
            ReceiveMode::Part(bytes) => receive_once(fd, bytes),
        };
        socket.receiving = true;
        socket.operations += 1;
        self.push(entry.user_data(Op::Receive.with(index)));
    }

    /// Asks to be told when somebody waits at a listener, if there is room for another.
    pub(super) fn arm_accept(&mut self, now: Now) {
        let is_due = self.accepting.contains(&false) && self.stop_by.is_none();
        if !is_due || self.accepts_at() > now.mono {
            return;
        }
        let readable = u32::from(libc::POLLIN.unsigned_abs());
        for (index, number) in (0..self.listeners.len()).zip(0..) {
            if std::mem::replace(&mut self.accepting[index], true) {
                continue;
            }
            let socket = Fd(self.listeners[index].socket.as_raw_fd());
            let entry = opcode::PollAdd::new(socket, readable).build();
            self.push(entry.user_data(Op::Accept.with(number)));
        }
    }

    pub(super) fn arm_wake(&mut self) {
        let fd: RawFd = self.mailbox().wake_fd().as_raw_fd();
        let entry = opcode::Read::new(Fd(fd), std::ptr::from_mut(&mut *self.wake_count).cast(), 8)
            .build()
            .user_data(Op::Wake.with(0));
        self.push(entry);
    }

    pub(super) fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: what an entry points to (a socket's `sending`, `address` or descriptor, the
        // wake counter, the registered buffers) stays in place until its completion: sockets
        // are freed with their last operation, and `drop` ends all operations first.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        if pushed.is_err() {
            self.backlog.push_back(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::USED;

    /// `POLL_ADD` → `PollAdd`, the name of the operation in the library.
    fn camel(name: &str) -> String {
        let word = |word: &str| word[..1].to_owned() + &word[1..].to_lowercase();
        name.split('_').map(word).collect()
    }

    #[test]
    fn the_operations_that_are_looked_for_are_those_that_are_submitted() {
        let submitted =
            include_str!("operations.rs").split("opcode::").skip(1).filter_map(|rest| {
                let (name, rest) = rest.split_once("::")?;
                // Variants of the same operation.
                let name = name.strip_suffix("Multi").or(name.strip_suffix('2')).unwrap_or(name);
                rest.starts_with("new(").then(|| name.to_owned())
            });
        let used: BTreeSet<String> = USED.iter().map(|(name, _)| camel(name)).collect();
        assert_eq!(submitted.collect::<BTreeSet<_>>(), used);
    }
}
