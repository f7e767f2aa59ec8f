//! The io_uring loop: one ring, multishot receive into the ring's buffers, one
//! send per connection and wake-up, everything of a wake-up before the next wait.

mod operations;

use std::collections::VecDeque;

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, squeue};
use slotmap::SecondaryMap;
use standin_protocol::time::Micros;
use standin_tls::kernel::tell_end;
use tracing::warn;

pub(super) use self::operations::supported;
use self::operations::{Op, Socket, socket_at};
use super::buffers::BufferRing;
use super::core::backend::Backend;
use super::core::{Buffers as _, ConnKey, Core, Effect, Io, empty};
use super::give::{ended_in_kernel, give_to_kernel, not_sent};
use super::listeners::Listener;
use super::mailbox::{Mailbox, Message};
use super::outside::Outside;
use super::sockets::ACCEPT_PAUSE;
use super::turn::{self, Shell};
use super::{LoopError, now, sockets};
use crate::counted::COUNTED;
use crate::node::Now;

const SUBMISSIONS: u32 = 1_024;
const COMPLETIONS: u32 = 8_192;

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
    pub(super) fn run<B: Backend>(
        self,
        core: Core<B>,
        outside: Outside<B>,
        listeners: Vec<Listener>,
    ) -> Result<(), LoopError> {
        let state = Loop {
            ring: self.uring,
            buffers: self.buffers,
            core,
            outside,
            accepting: vec![false; listeners.len()],
            listeners,
            sockets: Vec::new(),
            free: Vec::new(),
            by_key: SecondaryMap::new(),
            used_buffers: Vec::new(),
            backlog: VecDeque::new(),
            wake_count: Box::new(0),
            accept_after: Micros(0),
            stop_by: None,
        };
        state.run()
    }
}

struct Loop<B: Backend> {
    // Dropped before the buffers that are registered with it.
    ring: IoUring,
    buffers: BufferRing,
    core: Core<B>,
    outside: Outside<B>,
    listeners: Vec<Listener>,
    sockets: Vec<Option<Socket>>,
    free: Vec<u32>,
    by_key: SecondaryMap<ConnKey, u32>,
    used_buffers: Vec<u16>,
    /// Entries that found the submission queue full.
    backlog: VecDeque<squeue::Entry>,
    /// The memory into which the kernel reads the eventfd's counter.
    wake_count: Box<u64>,
    /// For each listener, whether the kernel says when somebody waits at it.
    accepting: Vec<bool>,
    /// Accepting has failed: not again before then.
    accept_after: Micros,
    stop_by: Option<Micros>,
}

impl<B: Backend> Loop<B> {
    fn run(mut self) -> Result<(), LoopError> {
        for Listener { socket, .. } in &self.listeners {
            sockets::do_not_wait(socket).map_err(LoopError::system("the listener"))?;
        }
        self.arm_wake();
        self.arm_accept(now());
        let mut completions: Vec<cqueue::Entry> = Vec::with_capacity(COMPLETIONS as usize);
        let mut mail = Vec::new();
        let mut ended = Micros::boottime();
        loop {
            self.wait(ended)?;
            standin_protocol::fault::point();
            self.mailbox().awake();
            completions.extend(self.ring.completion());
            mail.extend(std::iter::from_fn(|| self.mailbox().take()));
            // The bytes of all requests of this turn are here by now: see `serve_staged`.
            let turn = now();
            for entry in completions.drain(..) {
                self.complete(turn, &entry);
            }
            turn::decide(&mut self, turn, &mut mail);
            turn::act(&mut self, turn);
            self.arm_accept(turn);
            if self.is_finished(turn) {
                return Ok(());
            }
            ended = Micros::boottime();
            if COUNTED {
                self.core.turn_ended(turn.mono, ended);
            }
        }
    }

    fn mailbox(&self) -> &Mailbox {
        self.outside.mailbox(self.core.shard())
    }

    /// Submits what is queued and sleeps until there is a completion, mail or a deadline.
    fn wait(&mut self, now: Micros) -> Result<(), LoopError> {
        while let Some(entry) = self.backlog.pop_front() {
            // SAFETY: see `push`.
            if unsafe { self.ring.submission().push(&entry) }.is_err() {
                self.backlog.push_front(entry);
                break;
            }
        }
        let is_idle = self.backlog.is_empty() && !self.core.has_work();
        let want = usize::from(is_idle && self.mailbox().fall_asleep());
        let wait = self.next_deadline().since(now);
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

    fn complete(&mut self, now: Now, entry: &cqueue::Entry) {
        let more = cqueue::more(entry.flags());
        let (op, index) = Op::from_user_data(entry.user_data());
        let is_on_socket = !matches!(op, Some(Op::Accept | Op::Wake) | None);
        if is_on_socket && !more {
            socket_at(&mut self.sockets, index).operations -= 1;
        }
        match op {
            Some(Op::Accept) => {
                self.accepting[index as usize] = false;
                self.accept(now, index as usize);
            }
            Some(Op::Wake) => self.arm_wake(),
            Some(Op::Receive) => self.received(now, index, entry, more),
            Some(Op::Send) => self.sent(now, index, entry.result()),
            Some(Op::Connect) => self.connected(now, index, entry.result()),
            Some(Op::Cancel) => {}
            None => debug_assert!(false, "user data is ours"),
        }
        if is_on_socket && !more {
            self.operation_ended(now, index);
        }
    }

    /// Takes in who waits at a listener, one by one: the kernel by itself would take as many as
    /// come, and with them the descriptors that others need.
    fn accept(&mut self, now: Now, listener: usize) {
        // Bounded per wake-up: established connections have their turn too.
        for _ in 0..64 {
            if self.accepts_at() > now.mono || self.stop_by.is_some() {
                return;
            }
            let Listener { socket, service } = &self.listeners[listener];
            match sockets::accept(socket, rustix::net::SocketFlags::empty()) {
                Ok(fd) => {
                    if let Some(key) = self.core.accept(now, sockets::has_ended(&fd), *service) {
                        let index = self.insert(fd, key);
                        self.arm_receive(index);
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return,
                Err(error) if sockets::is_of_one(error) => {}
                Err(error) => {
                    // It would be reported without end.
                    warn!(%error, "accepting a connection failed; retrying in {ACCEPT_PAUSE:?}");
                    self.accept_after = now.mono + ACCEPT_PAUSE;
                    return;
                }
            }
        }
    }

    /// Returns the time at which another connection may be accepted.
    pub(super) fn accepts_at(&self) -> Micros {
        self.core.accepts_at().max(self.accept_after)
    }

    fn next_deadline(&self) -> Micros {
        let accepts_at = match self.accepting.contains(&false) {
            true => self.accepts_at(),
            false => Micros::NEVER,
        };
        self.core.next_deadline().min(accepts_at)
    }

    fn received(&mut self, now: Now, index: u32, entry: &cqueue::Entry, more: bool) {
        let result = entry.result();
        let buffer = cqueue::buffer_select(entry.flags());
        if let Some(buffer) = buffer {
            self.buffers.filled(buffer, u32::try_from(result).unwrap_or(0));
            self.used_buffers.push(buffer);
        }
        let socket = socket_at(&mut self.sockets, index);
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
                error if self.core.is_in_kernel(key) => {
                    let error = std::io::Error::from_raw_os_error(error);
                    let socket = &socket_at(&mut self.sockets, index).fd;
                    if ended_in_kernel(&mut self.core, now, key, (socket, error)) {
                        self.shut(index);
                    }
                }
                _ => {
                    self.core.closed(now, key);
                    self.shut(index);
                }
            },
        }
        if !more && result != 0 {
            self.arm_receive(index);
        }
    }

    fn sent(&mut self, now: Now, index: u32, result: i32) {
        let socket = socket_at(&mut self.sockets, index);
        socket.is_sending = false;
        if socket.is_shut {
            return;
        }
        let key = socket.key;
        match usize::try_from(result) {
            Ok(bytes) => {
                socket.sent += bytes;
                if socket.sent < socket.sending.len() {
                    self.core.sent_some(now, key);
                    self.push_send(index);
                } else {
                    empty(&mut socket.sending);
                    socket.sent = 0;
                    let is_closing = socket.close_by.is_some();
                    if self.core.sent(now, key) {
                        self.flush(now, key);
                    } else if is_closing {
                        self.finish(index);
                    }
                }
            }
            Err(_) => {
                let error = std::io::Error::from_raw_os_error(-result);
                not_sent(&mut self.core, now, key, (&socket.fd, error));
                self.shut(index);
            }
        }
    }

    fn connected(&mut self, now: Now, index: u32, result: i32) {
        let socket = socket_at(&mut self.sockets, index);
        let key = socket.key;
        if result == 0 {
            socket.address = None;
            sockets::prepare(&socket.fd);
            self.core.connected(now, key);
            self.arm_receive(index);
            // A flush that was asked for while connecting could not be done then.
            self.flush(now, key);
        } else {
            match -result {
                libc::ECONNREFUSED => self.core.refused(now, key),
                _ => self.core.closed(now, key),
            }
            self.shut(index);
        }
    }

    fn flush(&mut self, now: Now, key: ConnKey) {
        let Some(index) = self.index(key) else { return };
        let socket = socket_at(&mut self.sockets, index);
        if socket.is_sending || socket.address.is_some() {
            return;
        }
        self.core.take_output(now, key, &mut socket.sending);
        if !socket.sending.is_empty() {
            self.push_send(index);
        }
    }

    /// Sends what is left, then shuts the socket down; the other side gets a bound for
    /// taking it.
    fn close(&mut self, now: Now, key: ConnKey) {
        let Some(index) = self.index(key) else { return };
        self.flush(now, key);
        let bound = self.core.context.cluster.limits.handshake_timeout;
        let socket = socket_at(&mut self.sockets, index);
        socket.close_by = Some(now.mono + bound);
        if !socket.is_sending {
            self.core.closed(now, key);
            self.finish(index);
            self.release(now, index);
        }
    }

    /// Shuts a socket down on which all is sent.
    fn finish(&mut self, index: u32) {
        let socket = socket_at(&mut self.sockets, index);
        if socket.is_in_kernel && !socket.is_shut {
            tell_end(&socket.fd);
        }
        self.shut(index);
    }

    /// Shuts a socket down with what is being sent on it.
    fn abort(&mut self, now: Now, key: ConnKey) {
        let Some(index) = self.index(key) else { return };
        self.core.closed(now, key);
        self.shut(index);
        self.release(now, index);
    }

    /// Hands a connection over once the kernel has nothing to do with its socket here:
    /// before the hello is done receives are single, and only a challenge may be on its way
    /// out.
    fn hand_over(&mut self, now: Now, key: ConnKey, shard: u16) {
        let Some(index) = self.index(key) else { return };
        let socket = socket_at(&mut self.sockets, index);
        if socket.operations > 0 {
            socket.moves_to = Some(shard);
            return;
        }
        // It was closed while it waited for its operations.
        let Some(connection) = self.core.hand_over(now, key) else { return };
        self.by_key.remove(key);
        self.free.push(index);
        let socket = self.sockets[index as usize].take().expect("it was looked at above");
        let message = Message::Adopt { socket: socket.fd, connection };
        self.outside.mailboxes.post(shard, message);
    }

    fn is_finished(&self, now: Now) -> bool {
        let Some(stop_by) = self.stop_by else { return false };
        let sending = self.sockets.iter().flatten().any(|socket| socket.is_sending);
        now.mono >= stop_by || (self.core.is_drained() && !sending)
    }
}

impl<B: Backend> Shell<B> for Loop<B> {
    fn core(&mut self) -> &mut Core<B> {
        &mut self.core
    }

    fn take_in(&mut self, now: Now, message: Message) {
        match message {
            Message::Adopt { socket, connection } => {
                let is_in_kernel = connection.in_kernel.is_some();
                let key = self.core.adopt(now, connection);
                let index = self.insert(socket, key);
                socket_at(&mut self.sockets, index).is_in_kernel = is_in_kernel;
                self.arm_receive(index);
            }
            Message::Stop { by } => {
                self.stop_by = Some(by);
                if B::CLOSES_PORTS {
                    self.listeners.iter().for_each(|listener| sockets::refuse(&listener.socket));
                }
                self.core.mail(now, Message::Stop { by });
            }
            message => self.core.mail(now, message),
        }
    }

    fn serve(&mut self, now: Now) {
        self.core.serve_staged(now, &self.buffers);
        for buffer in self.used_buffers.drain(..) {
            self.buffers.put(buffer);
        }
        self.buffers.publish();
    }

    fn close_overdue(&mut self, now: Now) {
        for index in 0..self.sockets.len() {
            // A free place.
            let Some(socket) = &self.sockets[index] else { continue };
            if !socket.is_shut && socket.close_by.is_some_and(|by| now.mono >= by) {
                let key = socket.key;
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                self.core.closed(now, key);
                self.shut(index);
            }
        }
    }

    fn carry_out(&mut self, now: Now, effect: Effect) {
        self.outside.carry_out(&mut self.core, now, effect);
    }

    fn perform(&mut self, now: Now, io: Io) {
        match io {
            Io::Flush(key) => self.flush(now, key),
            Io::Close(key) => self.close(now, key),
            Io::Abort(key) => self.abort(now, key),
            Io::Connect(key, address) => self.connect(now, key, address),
            Io::Pause(key) => {
                if let Some(index) = self.index(key) {
                    self.pause(index);
                }
            }
            Io::Resume(key) => {
                if let Some(index) = self.index(key) {
                    socket_at(&mut self.sockets, index).paused = false;
                    self.arm_receive(index);
                }
            }
            Io::GiveToKernel(key) => {
                if let Some(index) = self.index(key) {
                    let socket = socket_at(&mut self.sockets, index);
                    // What is under way has it asked again when it ends.
                    if !socket.receiving && !socket.is_sending {
                        socket.is_in_kernel |= give_to_kernel(&mut self.core, now, key, &socket.fd);
                        self.arm_receive(index);
                    }
                }
            }
            Io::HandOver(key, shard) => self.hand_over(now, key, shard),
            Io::FindCaller(key, mishap) => {
                let index = self.index(key);
                let from =
                    index.and_then(|at| sockets::caller(&socket_at(&mut self.sockets, at).fd));
                self.core.called_from(mishap, from);
            }
        }
    }

    fn clock(&mut self) -> Now {
        now()
    }
}

impl<B: Backend> Drop for Loop<B> {
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
