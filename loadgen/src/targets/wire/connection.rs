//! One connection: its requests in order, the bytes to send, and the replies that have arrived.
//!
//! ```text
//! push ─► held ── release, while the pipeline has room ──► output ─► socket
//!          └──────────── flights, in order ────────────┘
//!                          └◄── receive: the first reply ends the first flight
//! ```
//! It does not know why it is connected, nor what its owner does with an end.

use std::collections::VecDeque;

use standin_protocol::time::Micros;
use standin_tls::Tls;

use super::codec::{Malformed, Protocol, Reply, quoted, resp};
use super::held::Held;
use super::settings::Settings;
use crate::targets::operation::{Action, Kind, Question};

/// The state of a connection's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There is none, and none before this time.
    Down(Micros),
    /// It is being opened, or its TLS begins, since this time.
    Connecting(Micros),
    /// It is open.
    Open,
}

/// A request that has no answer yet.
#[derive(Debug)]
struct Flight<T> {
    asker: Asker<T>,
    kind: Kind,
    since: Micros,
    bytes: u32,
    /// So often it was sent, with this time.
    sends: u32,
    /// A copy of the request, if it may have to be sent elsewhere.
    frame: Option<Box<[u8]>>,
    /// The keys of a request for several.
    keys: Vec<Vec<u8>>,
}

/// The party that waits for an answer.
#[derive(Debug)]
enum Asker<T> {
    Caller(T),
    /// The engine, for the slots of a cluster.
    Engine,
    /// Nobody, or nobody any more.
    Nobody,
}

/// A request that was answered, or is to be sent again.
#[derive(Debug)]
pub(super) struct Sent<T> {
    pub(super) token: T,
    pub(super) kind: Kind,
    pub(super) sends: u32,
    pub(super) frame: Option<Box<[u8]>>,
    pub(super) keys: Vec<Vec<u8>>,
}

impl<T> Flight<T> {
    /// A request of the engine itself, or for it.
    fn internal(asker: Asker<T>, since: Micros) -> Self {
        Self { asker, kind: Kind::Put, since, bytes: 0, sends: 1, frame: None, keys: Vec::new() }
    }

    /// The caller's token and the bytes, if the caller still waits.
    fn given_up(self) -> Option<(T, usize)> {
        match self.asker {
            Asker::Caller(token) => Some((token, self.bytes as usize)),
            Asker::Engine | Asker::Nobody => None,
        }
    }
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Connection<T> {
    pub(super) state: State,
    /// Rises with each socket, so that late events of an old one are recognized.
    pub(super) incarnation: u32,
    /// The state of its TLS, once the socket is open.
    pub(super) tls: Option<Box<Tls>>,
    /// Replies to the greeting that are still to come.
    greetings: usize,
    /// Bytes of requests that must still wait.
    held: Held,
    output: Vec<u8>,
    input: Vec<u8>,
    flights: VecDeque<Flight<T>>,
    /// The number of flights, from the front, whose bytes are no longer held.
    released: usize,
    /// The number of flights, from the front, that have timed out.
    expired: usize,
    heard: Micros,
}

/// What a reply was to.
pub(super) enum Ended<'a, T> {
    /// A request.
    Request(Sent<T>, Reply<'a>),
    /// The question for the slots.
    Slots(Reply<'a>),
    /// The greeting was refused.
    Refused(&'a [u8]),
}

impl<T> Connection<T> {
    pub(super) fn new() -> Self {
        Self {
            state: State::Down(Micros(0)),
            incarnation: 0,
            tls: None,
            greetings: 0,
            held: Held::default(),
            output: Vec::new(),
            input: Vec::new(),
            flights: VecDeque::new(),
            released: 0,
            expired: 0,
            heard: Micros(0),
        }
    }

    /// Whether no answer is waited for, not even to the greeting.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.greetings == 0
    }

    /// The time since which the replies to the greeting are waited for.
    pub(super) fn greeted(&self) -> Option<Micros> {
        (self.greetings > 0).then_some(self.heard)
    }

    /// Takes a request; returns the bytes of it. A copy is kept if it may have to be sent elsewhere.
    pub(super) fn push(
        &mut self,
        now: Micros,
        settings: &Settings,
        question: &Question<'_>,
        token: T,
        pipeline: usize,
    ) -> usize {
        let is_released = self.state == State::Open
            && self.released == self.flights.len()
            && self.has_room(pipeline);
        let out = if is_released { &mut self.output } else { self.held.buffer() };
        let before = out.len();
        settings.protocol.encode(question, out);
        let bytes = out.len() - before;
        let frame = settings.is_cluster.then(|| out[before..].into());
        let keys = match question.action {
            Action::GetMany { others } => [&[question.key.to_vec()], others].concat(),
            _ => Vec::new(),
        };
        self.released += usize::from(is_released);
        self.flights.push_back(Flight {
            asker: Asker::Caller(token),
            kind: question.action.kind(),
            since: now,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            sends: 1,
            frame,
            keys,
        });
        bytes
    }

    /// Takes a request that another server has not answered, and holds it until the next release.
    pub(super) fn push_again(&mut self, now: Micros, sent: Sent<T>, is_asking: bool) {
        if is_asking {
            self.hold(Flight::internal(Asker::Nobody, now), resp::asking);
        }
        let Sent { token, kind, sends, frame, keys } = sent;
        let bytes = frame.clone().unwrap_or_default();
        let asker = Asker::Caller(token);
        let sends = sends + 1;
        let flight = Flight { asker, kind, since: now, bytes: 0, sends, frame, keys };
        self.hold(flight, |out| out.extend_from_slice(&bytes));
    }

    /// Holds the question for the slots until the next release.
    pub(super) fn ask_slots(&mut self, now: Micros) {
        self.hold(Flight::internal(Asker::Engine, now), resp::ask_slots);
    }

    fn hold(&mut self, flight: Flight<T>, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.held.len();
        write(self.held.buffer());
        let bytes = u32::try_from(self.held.len() - before).unwrap_or(u32::MAX);
        self.flights.push_back(Flight { bytes, ..flight });
    }

    fn has_room(&self, pipeline: usize) -> bool {
        self.greetings == 0 && self.released < pipeline
    }

    /// Lets held requests go, as far as the pipeline has room.
    pub(super) fn release(&mut self, pipeline: usize) {
        if self.state != State::Open || self.released == self.flights.len() {
            return;
        }
        let mut bytes = 0;
        while self.released < self.flights.len() && self.has_room(pipeline) {
            bytes += self.flights[self.released].bytes as usize;
            self.released += 1;
        }
        self.held.take_into(bytes, &mut self.output);
    }

    /// The bytes to send. With TLS, before it is open there are only its own.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        if let Some(tls) = &mut self.tls {
            let mut sealed = Vec::new();
            tls.seal(&mut self.output, &mut sealed);
            return sealed;
        }
        // The next bytes will be about as many, and growing to that step by step takes longer.
        let next = Vec::with_capacity(self.output.len());
        std::mem::replace(&mut self.output, next)
    }

    /// The socket is being opened.
    pub(super) fn connecting(&mut self, now: Micros) {
        self.state = State::Connecting(now);
        self.incarnation = self.incarnation.wrapping_add(1);
    }

    /// The socket is open.
    pub(super) fn connected(&mut self, now: Micros, settings: &Settings) {
        (self.state, self.heard) = (State::Open, now);
        let is_sealed = settings.sealing.is_some();
        self.greetings = settings.protocol.greet(&settings.login, is_sealed, &mut self.output);
    }

    /// The socket is closed. Returns the requests that had been sent; the others are still held.
    pub(super) fn closed(&mut self, again: Micros) -> impl Iterator<Item = (T, usize)> {
        self.state = State::Down(again);
        self.incarnation = self.incarnation.wrapping_add(1);
        self.output.clear();
        self.input.clear();
        self.tls = None;
        let released = std::mem::take(&mut self.released);
        (self.expired, self.greetings) = (0, 0);
        self.flights.drain(..released).filter_map(Flight::given_up)
    }

    /// Removes all requests that are held.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = (T, usize)> {
        self.held.clear();
        self.flights.drain(self.released..).filter_map(Flight::given_up)
    }

    /// Takes received bytes, and gives the ends of requests to `end`.
    pub(super) fn receive(
        &mut self,
        now: Micros,
        protocol: Protocol,
        bytes: &[u8],
        mut end: impl FnMut(Ended<'_, T>, usize),
    ) -> Result<(), Malformed> {
        self.heard = now;
        if self.input.is_empty() {
            let taken = self.take_replies(protocol, bytes, &mut end)?;
            self.input.extend_from_slice(&bytes[taken..]);
        } else {
            let mut whole = std::mem::take(&mut self.input);
            whole.extend_from_slice(bytes);
            let taken = self.take_replies(protocol, &whole, &mut end)?;
            whole.drain(..taken);
            self.input = whole;
        }
        Ok(())
    }

    fn take_replies(
        &mut self,
        protocol: Protocol,
        bytes: &[u8],
        end: &mut impl FnMut(Ended<'_, T>, usize),
    ) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            let kind = match self.flights.front() {
                // The greeting's replies have none.
                _ if self.greetings > 0 => None,
                Some(flight) if self.released > 0 => Some(flight.kind),
                Some(_) | None => {
                    let text = format!("a reply without a request: {}", quoted(&bytes[at..]));
                    return Err(Malformed(text.into()));
                }
            };
            let decoded = match kind {
                Some(kind) => protocol.decode(kind, &bytes[at..])?,
                None => protocol.decode_greeting(&bytes[at..])?,
            };
            // The rest of the reply is still to come.
            let Some((length, reply)) = decoded else { break };
            at += length;
            if reply == Reply::Push {
                continue;
            }
            if self.greetings > 0 {
                self.greetings -= 1;
                if let Reply::Error(text) = reply {
                    end(Ended::Refused(text), 0);
                }
                continue;
            }
            let Some(flight) = self.flights.pop_front() else { break };
            self.released -= 1;
            self.expired = self.expired.saturating_sub(1);
            let Flight { asker, kind, sends, frame, bytes, keys, .. } = flight;
            match asker {
                Asker::Caller(token) => {
                    let sent = Sent { token, kind, sends, frame, keys };
                    end(Ended::Request(sent, reply), bytes as usize);
                }
                Asker::Engine => end(Ended::Slots(reply), 0),
                Asker::Nobody => {}
            }
        }
        Ok(at)
    }

    /// The time of the first request that has not timed out.
    pub(super) fn oldest(&self) -> Option<Micros> {
        self.flights.get(self.expired).map(|flight| flight.since)
    }

    /// Gives up requests that are older than `before`. The replies to those that were sent are ignored when
    /// they come; the others are not sent.
    pub(super) fn expire(&mut self, before: Micros, mut end: impl FnMut(T, usize)) {
        while let Some(flight) = self.flights.get_mut(self.expired)
            && flight.since <= before
        {
            let bytes = flight.bytes as usize;
            if let Asker::Caller(token) = std::mem::replace(&mut flight.asker, Asker::Nobody) {
                end(token, bytes);
            }
            if self.expired < self.released {
                self.expired += 1;
            } else {
                self.flights.remove(self.expired);
                self.held.discard(bytes);
            }
        }
    }

    /// The reason to close an open connection, if there is one: an answer, to requests that have timed out or
    /// to the greeting, is waited for and nothing was heard since `before`; or the first request is older than
    /// `long_before`, and what the network has of it and of those behind it must not grow for ever.
    pub(super) fn overdue(&self, before: Micros, long_before: Micros) -> Option<&'static str> {
        let is_awaited = self.expired > 0 || self.greetings > 0;
        let front = self.flights.front().filter(|_| self.expired > 0);
        if is_awaited && self.heard <= before {
            Some("the connection was closed because nothing arrived")
        } else if front.is_some_and(|flight| flight.since <= long_before) {
            Some("the connection was closed because an answer took twice the timeout")
        } else {
            None
        }
    }
}
