//! The io_uring loop: one ring, multishot accept and receive into the ring's buffers, one
//! send per connection and wake-up, everything of a wake-up before the next wait.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use io_uring::squeue::Flags;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use slotmap::SecondaryMap;
use standin_protocol::time::Micros;
use tracing::warn;

use super::buffers::{BufferRing, GROUP};
use super::core::{Buffers as _, ConnKey, Core, Io, ReceiveMode, empty};
use super::mailbox::Message;
use super::{LoopError, LoopLag, now, sockets};
use crate::node::Now;

const SUBMISSIONS: u32 = 1_024;
const COMPLETIONS: u32 = 8_192;

/// What a completion belongs to: the upper half of its user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Op {
    Accept = 0,
    Wake = 1,
    Receive = 2,
    Send = 3,
    Connect = 4,
    Cancel = 5,
}

impl Op {
    fn with(self, index: u32) -> u64 {
        u64::from(self as u32) << 32 | u64::from(index)
    }

    fn from_user_data(data: u64) -> (Option<Self>, u32) {
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
struct Socket {
    fd: OwnedFd,
    key: ConnKey,
    operations: u32,
    receiving: bool,
    paused: bool,
    sending: Vec<u8>,
    sent: usize,
    is_sending: bool,
    /// Close when the output is sent, at the latest at this time.
    close_by: Option<Micros>,
    is_shut: bool,
    /// Where it is being connected to.
    address: Option<Box<socket2::SockAddr>>,
    /// The shard it moves to as soon as no operation is under way.
    moves_to: Option<u16>,
}

/// An io_uring instance set up as the loop needs it, with its buffers.
pub(super) struct Ring {
    // Dropped before the buffers that are registered with it.
    uring: IoUring,
    buffers: BufferRing,
}

impl Ring {
    /// Sets up a ring; refuses if the kernel lacks what the loop relies on.
    pub(super) fn new() -> Result<Self, LoopError> {
        let uring = IoUring::builder()
            .setup_cqsize(COMPLETIONS)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .build(SUBMISSIONS)
            .map_err(LoopError::NoUring)?;
        let buffers = BufferRing::new(&uring.submitter()).map_err(LoopError::NoUring)?;
        Ok(Self { uring, buffers })
    }

    /// Runs the shard until it is told to stop and has finished what was in flight.
    pub(super) fn run(self, core: Core, listener: Option<TcpListener>) -> Result<(), LoopError> {
        let state = Loop {
            ring: self.uring,
            buffers: self.buffers,
            core,
            listener,
            sockets: Vec::new(),
            free: Vec::new(),
            by_key: SecondaryMap::new(),
            used_buffers: Vec::new(),
            backlog: VecDeque::new(),
            wake_count: Box::new(0),
            accepting: false,
            lag: LoopLag::default(),
            stop_by: None,
        };
        state.run()
    }
}

struct Loop {
    // Dropped before the buffers that are registered with it.
    ring: IoUring,
    buffers: BufferRing,
    core: Core,
    listener: Option<TcpListener>,
    sockets: Vec<Option<Socket>>,
    free: Vec<u32>,
    by_key: SecondaryMap<ConnKey, u32>,
    used_buffers: Vec<u16>,
    /// Entries that found the submission queue full.
    backlog: VecDeque<squeue::Entry>,
    /// Where the kernel puts the eventfd's counter.
    wake_count: Box<u64>,
    accepting: bool,
    lag: LoopLag,
    stop_by: Option<Micros>,
}

impl Loop {
    fn run(mut self) -> Result<(), LoopError> {
        self.arm_wake();
        self.arm_accept();
        let mut completions: Vec<cqueue::Entry> = Vec::with_capacity(COMPLETIONS as usize);
        loop {
            self.wait()?;
            let turn = now();
            self.core.context.mailboxes.0[usize::from(self.core.context.shard)].awake();
            completions.extend(self.ring.completion());
            for entry in completions.drain(..) {
                self.complete(turn, &entry)?;
            }
            self.read_mail(turn);
            self.core.serve_staged(turn, &self.buffers);
            for buffer in self.used_buffers.drain(..) {
                self.buffers.put(buffer);
            }
            self.buffers.publish();
            if turn.mono >= self.core.next_deadline() {
                self.core.tick(turn);
                self.close_overdue(turn);
                self.arm_accept();
            }
            self.core.run(turn);
            self.perform_io(turn);
            if self.is_finished(turn) {
                return Ok(());
            }
            let end = Micros::boottime();
            self.core.node.counters.loop_lag_us = self.lag.turn(turn.mono, end);
        }
    }

    /// Submits what is queued and sleeps until there is a completion, mail or a deadline.
    fn wait(&mut self) -> Result<(), LoopError> {
        while let Some(entry) = self.backlog.pop_front() {
            // SAFETY: see `push`.
            if unsafe { self.ring.submission().push(&entry) }.is_err() {
                self.backlog.push_front(entry);
                break;
            }
        }
        let mailbox = &self.core.context.mailboxes.0[usize::from(self.core.context.shard)];
        let is_idle = self.backlog.is_empty() && !self.core.has_work();
        let want = usize::from(is_idle && mailbox.may_sleep());
        let wait = self.core.next_deadline().since(Micros::boottime());
        let timespec = Timespec::from(wait.min(std::time::Duration::from_millis(500)));
        let args = SubmitArgs::new().timespec(&timespec);
        match self.ring.submitter().submit_with_args(want, &args) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Nothing came within the time; a signal; or too many completions wait to
                // be taken out, which happens next.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(LoopError::system("waiting for io_uring completions failed")(error)),
            },
        }
    }

    fn complete(&mut self, now: Now, entry: &cqueue::Entry) -> Result<(), LoopError> {
        let more = cqueue::more(entry.flags());
        let (op, index) = Op::from_user_data(entry.user_data());
        match op {
            Some(Op::Accept) => {
                self.accepting = more;
                self.accepted(now, entry.result());
            }
            Some(Op::Wake) => self.arm_wake(),
            Some(Op::Receive) => self.received(now, index, entry, more),
            Some(Op::Send) => self.sent(now, index, entry.result()),
            Some(Op::Connect) => {
                self.operation_ended(now, index);
                self.connected(now, index, entry.result());
            }
            Some(Op::Cancel) => self.operation_ended(now, index),
            None => debug_assert!(false, "user data is ours"),
        }
        Ok(())
    }

    fn accepted(&mut self, now: Now, result: i32) {
        if result < 0 {
            let error = io::Error::from_raw_os_error(-result);
            // Out of descriptors, for example: tried again at the next tick.
            warn!(%error, "accepting a connection failed");
            return;
        }
        // SAFETY: the kernel has just given this process the descriptor, and nobody else
        // knows of it.
        let fd = unsafe { OwnedFd::from_raw_fd(result) };
        sockets::prepare(&fd);
        if let Some(key) = self.core.accept(now.mono) {
            let index = self.insert(fd, key);
            self.arm_receive(index);
        }
        if !self.accepting {
            self.arm_accept();
        }
    }

    fn received(&mut self, now: Now, index: u32, entry: &cqueue::Entry, more: bool) {
        let result = entry.result();
        let buffer = cqueue::buffer_select(entry.flags());
        if let Some(buffer) = buffer {
            self.buffers.filled(buffer, u32::try_from(result).unwrap_or(0));
            self.used_buffers.push(buffer);
        }
        let Some(socket) = self.sockets[index as usize].as_mut() else { return };
        socket.receiving = more;
        let (key, is_shut) = (socket.key, socket.is_shut);
        match (result, buffer) {
            _ if is_shut => {}
            (1.., Some(buffer)) => {
                self.core.received(now, key, buffer, self.buffers.bytes(buffer));
            }
            (0, _) => self.core.end_of_input(now, key),
            (error, _) => match -error {
                // All buffers are in use, or the receive was cancelled to pause it; it is
                // armed again below if it is wanted.
                libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                _ => {
                    self.core.closed(now, key);
                    self.shut(index);
                }
            },
        }
        if !more {
            self.operation_ended(now, index);
            if result != 0 {
                self.arm_receive(index);
            }
        }
    }

    fn sent(&mut self, now: Now, index: u32, result: i32) {
        let Some(socket) = self.sockets[index as usize].as_mut() else { return };
        socket.is_sending = false;
        let key = socket.key;
        match usize::try_from(result) {
            Ok(bytes) => {
                socket.sent += bytes;
                if socket.sent < socket.sending.len() {
                    self.push_send(index);
                } else {
                    empty(&mut socket.sending);
                    socket.sent = 0;
                    if self.core.has_output(key) {
                        self.flush(now, key);
                    } else if socket.close_by.is_some() {
                        self.shut(index);
                    }
                }
            }
            Err(_) => {
                self.core.closed(now, key);
                self.shut(index);
            }
        }
        self.operation_ended(now, index);
    }

    fn connected(&mut self, now: Now, index: u32, result: i32) {
        let Some(socket) = self.sockets[index as usize].as_mut() else { return };
        let key = socket.key;
        if result == 0 {
            socket.address = None;
            sockets::prepare(&socket.fd);
            self.core.connected(key);
            self.arm_receive(index);
            // A flush that was asked for while connecting could not be done then.
            self.flush(now, key);
        } else {
            self.core.closed(now, key);
            self.shut(index);
            self.release(now, index);
        }
    }

    fn read_mail(&mut self, now: Now) {
        let mailboxes = self.core.context.mailboxes.clone();
        let mailbox = &mailboxes.0[usize::from(self.core.context.shard)];
        while let Some(message) = mailbox.take() {
            match message {
                Message::Adopt { socket, connection } => {
                    let key = self.core.adopt(now, connection);
                    let index = self.insert(socket, key);
                    self.arm_receive(index);
                }
                Message::Stop => {
                    self.stop_by = Some(now.mono + self.core.context.cluster.timings.drain_timeout);
                    self.core.mail(now, Message::Stop);
                }
                message => self.core.mail(now, message),
            }
        }
    }

    fn perform_io(&mut self, now: Now) {
        while let Some(io) = self.core.io() {
            match io {
                Io::Flush(key) => self.flush(now, key),
                Io::Close(key) => self.close(now, key),
                Io::Connect(key, address) => self.connect(now, key, address),
                Io::Pause(key) => {
                    if let Some(index) = self.index(key) {
                        self.pause(index);
                    }
                }
                Io::Resume(key) => {
                    if let Some(index) = self.index(key) {
                        if let Some(socket) = self.sockets[index as usize].as_mut() {
                            socket.paused = false;
                        }
                        self.arm_receive(index);
                    }
                }
                Io::HandOver(key, shard) => self.hand_over(key, shard),
            }
        }
    }

    fn flush(&mut self, now: Now, key: ConnKey) {
        let Some(index) = self.index(key) else { return };
        let Some(socket) = self.sockets[index as usize].as_mut() else { return };
        if socket.is_sending || socket.address.is_some() {
            return;
        }
        self.core.take_output(now, key, &mut socket.sending);
        if !socket.sending.is_empty() {
            self.push_send(index);
        }
    }

    fn push_send(&mut self, index: u32) {
        let Some(socket) = self.sockets[index as usize].as_mut() else { return };
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

    /// Sends what is left, then shuts the socket down; the other side gets a bound for
    /// taking it.
    fn close(&mut self, now: Now, key: ConnKey) {
        let Some(index) = self.index(key) else { return };
        self.flush(now, key);
        let bound = self.core.context.cluster.limits.handshake_timeout;
        let Some(socket) = self.sockets[index as usize].as_mut() else { return };
        socket.close_by = Some(now.mono + bound);
        if !socket.is_sending {
            self.core.closed(now, key);
            self.shut(index);
            self.release(now, index);
        }
    }

    fn close_overdue(&mut self, now: Now) {
        for index in 0..self.sockets.len() {
            let Some(socket) = &self.sockets[index] else { continue };
            if !socket.is_shut && socket.close_by.is_some_and(|by| now.mono >= by) {
                let key = socket.key;
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                self.core.closed(now, key);
                self.shut(index);
            }
        }
    }

    /// Ends the kernel's operations on a socket; its slot is freed with the last of them.
    fn shut(&mut self, index: u32) {
        let Some(socket) = self.sockets[index as usize].as_mut() else { return };
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

    fn operation_ended(&mut self, now: Now, index: u32) {
        let Some(socket) = self.sockets[index as usize].as_mut() else { return };
        socket.operations -= 1;
        if let (0, false, Some(shard)) = (socket.operations, socket.is_shut, socket.moves_to) {
            let key = socket.key;
            return self.hand_over(key, shard);
        }
        self.release(now, index);
    }

    /// Frees a socket that is shut and has no operation left.
    fn release(&mut self, now: Now, index: u32) {
        let Some(socket) = &self.sockets[index as usize] else { return };
        if socket.is_shut && socket.operations == 0 {
            let key = socket.key;
            self.core.closed(now, key);
            self.by_key.remove(key);
            self.sockets[index as usize] = None;
            self.free.push(index);
        }
    }

    fn pause(&mut self, index: u32) {
        let Some(socket) = self.sockets[index as usize].as_mut() else { return };
        socket.paused = true;
        if socket.receiving {
            socket.operations += 1;
            let entry = opcode::AsyncCancel::new(Op::Receive.with(index))
                .build()
                .user_data(Op::Cancel.with(index));
            self.push(entry);
        }
    }

    /// Hands a connection over once the kernel has nothing to do with its socket here:
    /// before the hello is done receives are single, and only a challenge may be on its way
    /// out.
    fn hand_over(&mut self, key: ConnKey, shard: u16) {
        let Some(index) = self.index(key) else { return };
        let Some(socket) = self.sockets[index as usize].as_mut() else { return };
        if socket.operations > 0 {
            socket.moves_to = Some(shard);
            return;
        }
        let Some(connection) = self.core.hand_over(key) else { return };
        self.by_key.remove(key);
        self.free.push(index);
        let Some(socket) = self.sockets[index as usize].take() else { return };
        let message = Message::Adopt { socket: socket.fd, connection };
        self.core.context.mailboxes.post(shard, message);
    }

    fn connect(&mut self, now: Now, key: ConnKey, address: SocketAddr) {
        let fd = match sockets::tcp(address) {
            Ok(fd) => fd,
            Err(error) => {
                warn!(%error, "no socket for a link");
                self.core.closed(now, key);
                return;
            }
        };
        let index = self.insert(fd, key);
        let Some(socket) = self.sockets[index as usize].as_mut() else { return };
        let address = socket.address.insert(Box::new(address.into()));
        let entry =
            opcode::Connect::new(Fd(socket.fd.as_raw_fd()), address.as_ptr().cast(), address.len())
                .build()
                .user_data(Op::Connect.with(index));
        socket.operations += 1;
        self.push(entry);
    }

    fn insert(&mut self, fd: OwnedFd, key: ConnKey) -> u32 {
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

    fn index(&self, key: ConnKey) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// Multishot for settled connections; single before, so that the socket can move.
    fn arm_receive(&mut self, index: u32) {
        let Some(socket) = self.sockets[index as usize].as_mut() else { return };
        if socket.receiving || socket.paused || socket.is_shut {
            return;
        }
        let fd = Fd(socket.fd.as_raw_fd());
        let entry = match self.core.receive_mode(socket.key) {
            ReceiveMode::None => return,
            ReceiveMode::Multi => opcode::RecvMulti::new(fd, GROUP).build(),
            ReceiveMode::Single => opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                .buf_group(GROUP)
                .build()
                .flags(Flags::BUFFER_SELECT),
        };
        socket.receiving = true;
        socket.operations += 1;
        self.push(entry.user_data(Op::Receive.with(index)));
    }

    fn arm_accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        if self.accepting || self.stop_by.is_some() {
            return;
        }
        self.accepting = true;
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(Op::Accept.with(0));
        self.push(entry);
    }

    fn arm_wake(&mut self) {
        let mailbox = &self.core.context.mailboxes.0[usize::from(self.core.context.shard)];
        let fd: RawFd = mailbox.wake_fd().as_raw_fd();
        let entry = opcode::Read::new(Fd(fd), std::ptr::from_mut(&mut *self.wake_count).cast(), 8)
            .build()
            .user_data(Op::Wake.with(0));
        self.push(entry);
    }

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: what an entry points to (a socket's `sending`, `address` or descriptor, the
        // wake counter, the registered buffers) stays in place until its completion: sockets
        // are freed with their last operation, and `drop` ends all operations first.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        if pushed.is_err() {
            self.backlog.push_back(entry);
        }
    }

    fn is_finished(&self, now: Now) -> bool {
        let Some(stop_by) = self.stop_by else { return false };
        let sending = self.sockets.iter().flatten().any(|socket| socket.is_sending);
        now.mono >= stop_by || (self.core.is_drained() && !sending)
    }
}

impl Drop for Loop {
    /// Closing the ring alone would end the kernel's operations some time later, when what
    /// they point to is gone.
    fn drop(&mut self) {
        let all = CancelBuilder::any();
        if let Err(error) = self.ring.submitter().register_sync_cancel(None, all)
            && error.raw_os_error() != Some(libc::ENOENT)
        {
            warn!(%error, "io_uring operations could not be cancelled");
        }
    }
}
