//! What a shard keeps of each connection.

use standin_protocol::hello::Role;
use standin_protocol::time::Micros;
use standin_tls::is_hello;

use super::empty;
use super::redirecting::Redirections;
use super::under_way::UnderWay;
use crate::shard::access::Grant;
use crate::shard::codec::{Caller, Codec, Decoder, Told};
use crate::shard::handshake::Greeting;
use crate::shard::in_kernel::InKernel;
use crate::shard::sealed::Sealed;

#[derive(Debug)]
pub(super) enum ConnKind {
    /// Somebody connected to this server.
    Accepted(Greeting),
    /// This shard connected to a server. Its backend knows more.
    Link,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) kind: ConnKind,
    /// The codec of an accepted connection.
    pub(super) codec: Codec,
    /// The reading half of it.
    pub(super) decoder: Decoder,
    /// What its caller may do.
    pub(super) grant: Grant,
    /// Those of its client to other nodes for their keys.
    pub(super) redirections: Redirections,
    pub(super) input: Vec<u8>,
    /// The number of bytes of `input` that are staged; drained after serving.
    pub(super) staged_to: usize,
    /// Requests that were staged but not served because the connection was paused: they go before
    /// `input`, and are decoded again.
    pub(super) unserved: Option<Vec<u8>>,
    /// Nothing that it has received was looked at for requests.
    pub(super) is_new: bool,
    /// Not all that it has received was staged, because too much was.
    pub(super) has_more: bool,
    /// Bytes of a refused frame that are still to come.
    pub(super) skip: u64,
    pub(super) output: Vec<u8>,
    /// Encrypts what is sent, and decrypts what is received; `None` on a port without TLS. Input and
    /// output are plain.
    pub(super) sealed: Option<Box<Sealed>>,
    /// The kernel encrypts and decrypts; then `sealed` is `None`.
    pub(super) in_kernel: Option<InKernel>,
    /// Bytes that the loop is sending.
    pub(super) sending_bytes: usize,
    /// The bytes of both, and of answers whose turn has not come, as last counted by
    /// [`super::outgoing::Outbound`].
    pub(super) unsent_bytes: usize,
    /// The part of these that are answers whose turn has not come: the caller can't read them yet.
    pub(super) waiting_bytes: usize,
    /// The time at which it last read some of it, or began to have some.
    pub(super) taken_at: Micros,
    /// It is closed with what it has not taken.
    pub(super) is_aborted: bool,
    /// In the loop's list of connections to flush.
    pub(super) dirty: bool,
    pub(super) in_flight: u32,
    /// The keys of these, if its protocol promises an order.
    pub(super) under_way: UnderWay,
    /// Some of its requests went to other shards.
    pub(super) has_strayed: bool,
    /// The node knows that it has ended.
    pub(super) is_end_told: bool,
    /// Since when an unfinished frame (or hello) is waited for; an observer's next request, too.
    pub(super) unfinished_since: Option<Micros>,
    /// Nothing more is served, or read, for now: its output is full until the loop takes it, or too
    /// many of its requests are unanswered in a protocol whose replies come in order, or one that has
    /// to be answered before more is decoded.
    pub(super) paused: bool,
    /// It is paused until the next turn ([`super::again::Agains`]).
    pub(super) is_deferred: bool,
    /// Nothing more is read: the other side has ended, or has sent what can't be
    /// understood. Closed when everything before that is answered.
    pub(super) ended: bool,
    /// The other side had ended before the connection was accepted.
    pub(super) had_ended: bool,
    pub(super) closing: bool,
}

impl Conn {
    pub(super) fn new(kind: ConnKind, now: Micros) -> Self {
        Self {
            kind,
            codec: Codec::default(),
            decoder: Decoder::default(),
            grant: Grant::default(),
            redirections: Redirections::default(),
            input: Vec::new(),
            staged_to: 0,
            unserved: None,
            is_new: true,
            has_more: false,
            skip: 0,
            output: Vec::new(),
            sealed: None,
            in_kernel: None,
            sending_bytes: 0,
            unsent_bytes: 0,
            waiting_bytes: 0,
            taken_at: now,
            is_aborted: false,
            dirty: false,
            in_flight: 0,
            under_way: UnderWay::default(),
            has_strayed: false,
            is_end_told: false,
            unfinished_since: Some(now),
            paused: false,
            is_deferred: false,
            ended: false,
            had_ended: false,
            closing: false,
        }
    }

    /// Whether the loop has something to send, or to wait for, before the connection can be closed.
    pub(super) fn has_output(&self) -> bool {
        match &self.sealed {
            None => !self.output.is_empty(),
            Some(sealed) => sealed.has_output(!self.output.is_empty(), self.closing),
        }
    }

    /// Gives the output to the loop, in an empty buffer. Returns whether that is the last that may be sent with
    /// the key that the kernel has.
    pub(super) fn give_output(&mut self, sending: &mut Vec<u8>) -> bool {
        match &mut self.sealed {
            None => {
                std::mem::swap(&mut self.output, sending);
                self.in_kernel.as_mut().is_some_and(|kernel| kernel.sends(sending.len()))
            }
            Some(sealed) => {
                sealed.seal(&mut self.output, self.closing, sending);
                if self.output.is_empty() {
                    empty(&mut self.output);
                }
                false
            }
        }
    }

    /// The bytes that are not given to the loop yet.
    #[inline]
    pub(super) fn output_bytes(&self) -> usize {
        self.output.len() + self.sealed.as_ref().map_or(0, |sealed| sealed.outgoing_bytes())
    }

    /// Whether these are the first bytes of a connection and those of TLS, on a port that has none.
    pub(super) fn is_tls_unwanted(&self, bytes: &[u8]) -> bool {
        self.is_new && self.sealed.is_none() && self.in_kernel.is_none() && is_hello(bytes)
    }

    /// Returns since when the next request is waited for, if the caller may not stay idle: observers
    /// have few places.
    pub(super) fn idle_since(&self, now: Micros) -> Option<Micros> {
        let is_observer = match &self.kind {
            ConnKind::Accepted(greeting) => greeting.role() == Some(Role::Observer),
            ConnKind::Link => false,
        };
        is_observer.then_some(now)
    }

    /// Notes that bytes are about to wait for it, since now if none were waiting.
    pub(super) fn waits_since(&mut self, now: Micros) {
        if self.unsent_bytes == self.waiting_bytes {
            self.taken_at = now;
        }
    }

    /// Whether so many of its requests are unanswered that no more are served, or one that has to be
    /// answered before. In a protocol in which replies may overtake each other, further requests are
    /// refused instead.
    #[inline]
    pub(super) fn is_busy(&self, in_flight_max: u32) -> bool {
        self.in_flight >= in_flight_max && self.codec.is_ordered()
            || self.under_way.is_awaited()
            || self.codec.is_alone()
    }

    /// Whether its requests wait until it is served again.
    #[inline]
    pub(super) fn is_held(&self) -> bool {
        self.paused || self.unserved.is_some()
    }

    /// Its greeting is done: from now on it speaks the protocol of its service. Its client is told this if
    /// it asks.
    pub(super) fn begin(&mut self, now: Micros, told: &Told<'_>) {
        self.unfinished_since = self.idle_since(now);
        if let ConnKind::Accepted(greeting) = &self.kind {
            let service = greeting.service();
            self.grant = greeting.grant();
            self.codec = Codec::of(service, self.grant.name(), told);
            self.decoder = Decoder::of(service);
            self.redirections = Redirections::of(service);
        }
    }

    /// Returns the sender of its requests.
    pub(super) fn caller(&self) -> Caller {
        match &self.kind {
            ConnKind::Accepted(greeting) => greeting.caller(),
            ConnKind::Link => Caller::default(),
        }
    }
}
