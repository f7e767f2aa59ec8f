//! The portable loop, for kernels and containers without io_uring: the same core over
//! epoll and plain reads and writes.

mod connection;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use slotmap::{Key as _, KeyData, SecondaryMap};
use standin_protocol::time::Micros;
use standin_tls::kernel::tell_end;
use tracing::warn;

use self::connection::Connection;
use super::core::backend::Backend;
use super::core::{Buffers as _, ConnKey, Core, Effect, Io, empty};
use super::give::{ended_in_kernel, give_to_kernel, not_sent};
use super::listeners::Listener;
use super::mailbox::Message;
use super::outside::Outside;
use super::pool::{BUFFER_BYTES, EVENTS, Pool};
use super::sockets::ACCEPT_PAUSE;
use super::turn::{self, Shell};
use super::{LoopError, now, sockets};
use crate::counted::COUNTED;
use crate::node::Now;

/// Event data of what is no connection; a connection's key is never that high.
const WAKE: u64 = u64::MAX;
/// That of the first listener; the others follow.
const LISTENERS: u64 = u64::MAX - 256;

struct Loop<B: Backend> {
    epoll: OwnedFd,
    core: Core<B>,
    outside: Outside<B>,
    pool: Pool,
    listeners: Vec<Listener>,
    listeners_watched: bool,
    /// Accepting has failed: not again before then.
    accept_after: Micros,
    connections: SecondaryMap<ConnKey, Connection>,
    /// Connections that close when their output is sent.
    closing: HashSet<ConnKey>,
    stop_by: Option<Micros>,
}

/// Runs the shard until it is told to stop and has finished what was in flight.
pub(super) fn run<B: Backend>(
    core: Core<B>,
    outside: Outside<B>,
    listeners: Vec<Listener>,
) -> Result<(), LoopError> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)
        .map_err(|error| LoopError::system("epoll_create failed")(error.into()))?;
    let pool = Pool::new();
    let (connections, closing) = (SecondaryMap::new(), HashSet::new());
    let listeners_watched = !listeners.is_empty();
    Loop {
        epoll,
        core,
        outside,
        pool,
        listeners,
        listeners_watched,
        accept_after: Micros(0),
        connections,
        closing,
        stop_by: None,
    }
    .run()
}

impl<B: Backend> Loop<B> {
    fn run(mut self) -> Result<(), LoopError> {
        let failed = |what| move |error: rustix::io::Errno| LoopError::system(what)(error.into());
        let mailboxes = self.outside.mailboxes.clone();
        let mailbox = &mailboxes.0[usize::from(self.core.shard())];
        epoll::add(&self.epoll, mailbox.wake_fd(), EventData::new_u64(WAKE), EventFlags::IN)
            .map_err(failed("epoll_ctl failed"))?;
        for (data, Listener { socket, .. }) in (LISTENERS..WAKE).zip(&self.listeners) {
            sockets::do_not_wait(socket).map_err(LoopError::system("the listener"))?;
            epoll::add(&self.epoll, socket, EventData::new_u64(data), EventFlags::IN)
                .map_err(failed("epoll_ctl failed"))?;
        }
        let mut events = Vec::with_capacity(EVENTS);
        let mut mail = Vec::new();
        let mut ended = Micros::boottime();
        loop {
            let wait = match !self.core.has_work() && mailbox.fall_asleep() {
                true => self.next_deadline().since(ended),
                false => std::time::Duration::ZERO,
            };
            let wait = wait.min(std::time::Duration::from_millis(500));
            let timeout = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&timeout),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed("epoll_wait failed")(error)),
            }
            let woken = now();
            standin_protocol::fault::point();
            mailbox.awake();
            for (index, event) in events.iter().enumerate() {
                self.handle(woken, index, event);
            }
            mail.extend(std::iter::from_fn(|| mailbox.take()));
            // Read again now that the bytes of all requests are here: see `serve_staged`.
            let turn = now();
            turn::decide(&mut self, turn, &mut mail);
            turn::act(&mut self, turn);
            self.watch_listeners(self.accepts_at() <= turn.mono);
            if self.is_finished(turn) {
                return Ok(());
            }
            ended = Micros::boottime();
            if COUNTED {
                self.core.turn_ended(woken.mono, ended);
            }
        }
    }

    fn handle(&mut self, now: Now, buffer: usize, event: &Event) {
        match event.data.u64() {
            WAKE => {
                let mailbox = self.outside.mailbox(self.core.shard());
                // Only resets the counter; the mail is read at every turn.
                let _ = rustix::io::read(mailbox.wake_fd(), &mut [0; 8]);
            }
            data @ LISTENERS.. => self.accept(now, (data - LISTENERS) as usize),
            data => {
                let key = ConnKey::from(KeyData::from_ffi(data));
                // It has been closed.
                let Some(connection) = self.connections.get_mut(key) else { return };
                if connection.is_connecting {
                    return self.finish_connect(now, key);
                }
                let flags = event.flags;
                let is_dead = flags.intersects(EventFlags::HUP | EventFlags::ERR);
                if is_dead && connection.ended {
                    // Nobody is left to answer; epoll would report that for ever.
                    return self.drop_connection(now, key);
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.receive(now, key, buffer);
                }
                if flags.contains(EventFlags::OUT) {
                    self.flush(now, key);
                }
            }
        }
    }

    fn accept(&mut self, now: Now, listener: usize) {
        // Bounded per wake-up: established connections have their turn too.
        for _ in 0..64 {
            if self.accepts_at() > now.mono {
                return;
            }
            // They have been closed.
            let Some(Listener { socket, service }) = self.listeners.get(listener) else { return };
            match sockets::accept(socket, rustix::net::SocketFlags::NONBLOCK) {
                Ok(fd) => {
                    if let Some(key) = self.core.accept(now, sockets::has_ended(&fd), *service) {
                        self.insert(now, key, fd, false);
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
    fn accepts_at(&self) -> Micros {
        self.core.accepts_at().max(self.accept_after)
    }

    fn next_deadline(&self) -> Micros {
        let accepts_at = match self.listeners_watched || self.listeners.is_empty() {
            false => self.accepts_at(),
            true => Micros::NEVER,
        };
        self.core.next_deadline().min(accepts_at)
    }

    /// Refuses connections from now on.
    fn close_listeners(&mut self) {
        for Listener { socket, .. } in self.listeners.drain(..) {
            // It would be reported as ended without end, because others may have descriptors of it.
            if let Err(error) = epoll::delete(&self.epoll, &socket) {
                warn!(%error, "a listener is still watched");
            }
            sockets::refuse(&socket);
        }
    }

    fn watch_listeners(&mut self, watched: bool) {
        if self.listeners_watched == watched || self.listeners.is_empty() {
            return;
        }
        let interest = if watched { EventFlags::IN } else { EventFlags::empty() };
        for (data, Listener { socket, .. }) in (LISTENERS..WAKE).zip(&self.listeners) {
            match epoll::modify(&self.epoll, socket, EventData::new_u64(data), interest) {
                Ok(()) => self.listeners_watched = watched,
                Err(error) => warn!(%error, "a listener can't be watched"),
            }
        }
    }

    fn receive(&mut self, now: Now, key: ConnKey, buffer: usize) {
        // It has been closed.
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.ended {
            return;
        }
        let most = match self.core.leaving(key) {
            None => BUFFER_BYTES,
            // The kernel reads what comes next: see `Io::GiveToKernel`.
            Some(0) => return self.set_paused(key, true),
            Some(bytes) => bytes.min(BUFFER_BYTES),
        };
        let memory = &mut self.pool.buffer(buffer)[..most];
        match rustix::io::read(&connection.fd, memory) {
            Ok(0) => {
                connection.ended = true;
                self.core.end_of_input(now, key);
                self.update_interest(key);
            }
            Ok(bytes) => {
                let id = self.pool.filled(buffer, bytes);
                self.core.received(now, key, id, self.pool.bytes(id));
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) if connection.is_in_kernel => {
                if ended_in_kernel(&mut self.core, now, key, (&connection.fd, error.into())) {
                    return self.drop_connection(now, key);
                }
                connection.ended = true;
                self.update_interest(key);
            }
            Err(_) => self.drop_connection(now, key),
        }
    }

    fn flush(&mut self, now: Now, key: ConnKey) {
        loop {
            // It has been closed.
            let Some(connection) = self.connections.get_mut(key) else { return };
            if connection.is_connecting {
                return;
            }
            if connection.sending.is_empty() {
                self.core.take_output(now, key, &mut connection.sending);
                if connection.sending.is_empty() {
                    if connection.close_by.is_some() {
                        return self.finish(now, key);
                    }
                    return self.update_interest(key);
                }
            }
            let rest = &connection.sending[connection.sent..];
            match rustix::net::send(&connection.fd, rest, rustix::net::SendFlags::NOSIGNAL) {
                Ok(bytes) => {
                    connection.sent += bytes;
                    if connection.sent == connection.sending.len() {
                        empty(&mut connection.sending);
                        connection.sent = 0;
                        self.core.sent(now, key);
                    } else {
                        self.core.sent_some(now, key);
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return self.update_interest(key),
                Err(error) => {
                    not_sent(&mut self.core, now, key, (&connection.fd, error.into()));
                    return self.drop_connection(now, key);
                }
            }
        }
    }

    fn connect(&mut self, now: Now, key: ConnKey, address: SocketAddr) {
        let connected = sockets::tcp(address).and_then(|fd| {
            rustix::io::ioctl_fionbio(&fd, true)?;
            match rustix::net::connect(&fd, &address) {
                Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(fd),
                Err(error) => Err(io::Error::from(error)),
            }
        });
        match connected {
            Ok(fd) => self.insert(now, key, fd, true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.core.refused(now, key);
            }
            Err(_) => self.core.closed(now, key),
        }
    }

    fn finish_connect(&mut self, now: Now, key: ConnKey) {
        // It has been closed.
        let Some(connection) = self.connections.get_mut(key) else { return };
        match rustix::net::sockopt::socket_error(&connection.fd) {
            Ok(Ok(())) => {
                connection.is_connecting = false;
                sockets::prepare(&connection.fd);
                self.core.connected(now, key);
                // A flush that was asked for while connecting could not be done then.
                self.flush(now, key);
            }
            Ok(Err(rustix::io::Errno::CONNREFUSED)) => {
                self.core.refused(now, key);
                self.drop_connection(now, key);
            }
            _ => self.drop_connection(now, key),
        }
    }

    fn insert(&mut self, now: Now, key: ConnKey, fd: OwnedFd, is_connecting: bool) {
        let connection = Connection::new(fd, is_connecting);
        let data = EventData::new_u64(key.data().as_ffi());
        if let Err(error) = epoll::add(&self.epoll, &connection.fd, data, connection.interest) {
            warn!(%error, "a connection can't be watched");
            return self.core.closed(now, key);
        }
        self.connections.insert(key, connection);
    }

    fn set_paused(&mut self, key: ConnKey, paused: bool) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.paused = paused;
            self.update_interest(key);
        }
    }

    fn update_interest(&mut self, key: ConnKey) {
        // It has been closed.
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(interest) = connection.new_interest() {
            let data = EventData::new_u64(key.data().as_ffi());
            // The descriptor is open and was added: nothing to fail but memory.
            if let Err(error) = epoll::modify(&self.epoll, &connection.fd, data, interest) {
                warn!(%error, "a connection can't be watched");
            }
        }
    }

    fn is_finished(&self, now: Now) -> bool {
        let Some(stop_by) = self.stop_by else { return false };
        let sending = self.connections.values().any(|c| !c.sending.is_empty());
        now.mono >= stop_by || (self.core.is_drained() && !sending)
    }

    /// Closes a connection on which all is sent.
    fn finish(&mut self, now: Now, key: ConnKey) {
        if let Some(connection) = self.connections.get(key).filter(|it| it.is_in_kernel) {
            tell_end(&connection.fd);
        }
        self.drop_connection(now, key);
    }

    fn drop_connection(&mut self, now: Now, key: ConnKey) {
        self.core.closed(now, key);
        self.connections.remove(key);
        self.closing.remove(&key);
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
                // It may come from a loop on io_uring, which uses blocking sockets.
                let _ = rustix::io::ioctl_fionbio(&socket, true);
                self.insert(now, key, socket, false);
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.is_in_kernel = is_in_kernel;
                }
            }
            Message::Stop { by } => {
                self.stop_by = Some(by);
                if B::CLOSES_PORTS {
                    self.close_listeners();
                }
                self.core.mail(now, Message::Stop { by });
            }
            message => self.core.mail(now, message),
        }
    }

    fn serve(&mut self, now: Now) {
        self.core.serve_staged(now, &self.pool);
    }

    fn close_overdue(&mut self, now: Now) {
        let is_late = |connections: &SecondaryMap<ConnKey, Connection>, key: &ConnKey| {
            connections.get(*key).is_none_or(|c| c.close_by.is_some_and(|by| now.mono >= by))
        };
        let late: Vec<ConnKey> =
            self.closing.iter().filter(|key| is_late(&self.connections, key)).copied().collect();
        for key in late {
            self.drop_connection(now, key);
        }
    }

    fn carry_out(&mut self, now: Now, effect: Effect) {
        self.outside.carry_out(&mut self.core, now, effect);
    }

    fn perform(&mut self, now: Now, io: Io) {
        match io {
            Io::Flush(key) => self.flush(now, key),
            Io::Close(key) => {
                self.flush(now, key);
                let bound = self.core.context.cluster.limits.handshake_timeout;
                // It has been closed.
                let Some(connection) = self.connections.get_mut(key) else { return };
                if connection.sending.is_empty() {
                    self.finish(now, key);
                } else {
                    connection.close_by = Some(now.mono + bound);
                    connection.ended = true;
                    self.closing.insert(key);
                    self.update_interest(key);
                }
            }
            Io::Abort(key) => self.drop_connection(now, key),
            Io::Connect(key, address) => self.connect(now, key, address),
            Io::Pause(key) => self.set_paused(key, true),
            Io::Resume(key) => self.set_paused(key, false),
            Io::FindCaller(key, mishap) => {
                let connection = self.connections.get(key);
                let from = connection.and_then(|connection| sockets::caller(&connection.fd));
                self.core.called_from(mishap, from);
            }
            Io::GiveToKernel(key) => {
                // It has been closed.
                let Some(connection) = self.connections.get_mut(key) else { return };
                connection.is_in_kernel |= give_to_kernel(&mut self.core, now, key, &connection.fd);
                self.set_paused(key, false);
            }
            Io::HandOver(key, shard) => {
                // It has been closed.
                let Some(connection) = self.core.hand_over(now, key) else { return };
                // It has been closed.
                let Some(Connection { fd, .. }) = self.connections.remove(key) else { return };
                let _ = epoll::delete(&self.epoll, &fd);
                let _ = rustix::io::ioctl_fionbio(&fd, false);
                let message = Message::Adopt { socket: fd, connection };
                self.outside.mailboxes.post(shard, message);
            }
        }
    }

    fn clock(&mut self) -> Now {
        now()
    }
}
