//! A connection of the loop on epoll: its socket, what is being sent on it, and what epoll is asked to report of it.
//! No system calls.

use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use standin_protocol::time::Micros;

pub(super) struct Connection {
    pub(super) fd: OwnedFd,
    pub(super) is_connecting: bool,
    pub(super) paused: bool,
    /// Nothing more comes in; epoll would report that for ever.
    pub(super) ended: bool,
    pub(super) sending: Vec<u8>,
    pub(super) sent: usize,
    /// What epoll has been asked for.
    pub(super) interest: EventFlags,
    pub(super) close_by: Option<Micros>,
    /// The kernel encrypts what is sent.
    pub(super) is_in_kernel: bool,
}

impl Connection {
    pub(super) fn new(fd: OwnedFd, is_connecting: bool) -> Self {
        Self {
            fd,
            is_connecting,
            paused: false,
            ended: false,
            sending: Vec::new(),
            sent: 0,
            interest: if is_connecting { EventFlags::OUT } else { EventFlags::IN },
            close_by: None,
            is_in_kernel: false,
        }
    }

    /// Returns what epoll has to be asked for from now on, if that is not what it has been asked for.
    pub(super) fn new_interest(&mut self) -> Option<EventFlags> {
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, !self.paused && !self.ended);
        interest.set(EventFlags::OUT, !self.sending.is_empty());
        (interest != std::mem::replace(&mut self.interest, interest)).then_some(interest)
    }
}
