//! A shard's connection to a shard of another server, for forwarded requests: framing,
//! hello, and whether the other side is alive. Pure; the core moves its bytes.
//!
//! A slow origin delays single answers; a dead or stopped server delays all of them. So a link that
//! has been silent for half its timeout is pinged, and only silence after that counts as
//! unreachable. A single late answer ends only that request.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use hashbrown::HashMap;
use standin_config::ClusterConfig;
use standin_protocol::auth::ClusterKey;
use standin_protocol::frame::{FrameError, Opcode, Request, RequestHeader, Response};
use standin_protocol::handshake::{Caller, CallerError, Credential, Next};
use standin_protocol::hello::{HelloBody, Role, cluster_id};
use standin_protocol::queue::Queue;
use standin_protocol::time::Micros;

use super::codec::standin::{self, Send};
use crate::node::{AnswerHead, OwnedCommand};

/// The configuration of a link.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Bound on the TCP connect, hello included.
    pub connect_timeout: Duration,
    /// The silence, including the ping, after which the peer counts as unreachable.
    pub silence_max: Duration,
    /// Bound on a single answer while the peer answers others, for commands without a deadline of
    /// their own. Those that have one are given up shortly before.
    pub answer_max: Duration,
    /// Identity of the caller.
    pub hello: HelloBody,
    /// The cluster's key, if it has one.
    pub key: Option<ClusterKey>,
}

impl LinkConfig {
    /// By the cluster file, for this incarnation of a server.
    #[must_use]
    pub fn new(cluster: &ClusterConfig, boot_id: u64) -> Self {
        let timings = &cluster.timings;
        Self {
            connect_timeout: timings.connect_timeout,
            silence_max: timings.forward_timeout,
            answer_max: cluster.origin_timeout() + timings.forward_timeout,
            hello: HelloBody {
                client_id: boot_id,
                cluster_id: cluster_id(&cluster.name),
                ..HelloBody::default()
            },
            key: cluster.cluster_key(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Greeting,
    Ready,
}

/// The reason why a link has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkFailure {
    /// No connection within the bound.
    #[error("connecting timed out")]
    ConnectTimeout,
    /// The peer has fallen silent.
    #[error("the peer is silent")]
    Silent,
    /// The peer does not accept this server as a caller.
    #[error("the peer refused this server: {0}")]
    Handshake(#[from] CallerError),
    /// The received bytes are not a response.
    #[error("the peer sent an invalid response: {0}")]
    Frame(#[from] FrameError),
}

/// The number of answered forwards, beyond as many as are waiting, that may remain in the heap
/// before it is cleaned up.
const ANSWERED_MAX: usize = 64;

/// One link.
#[derive(Debug)]
pub struct Link {
    /// Server id of the other side.
    pub peer: u16,
    /// Shard of the other side.
    pub shard: u16,
    config: LinkConfig,
    handshake: Caller,
    state: State,
    /// The hello must be accepted by then.
    ready_by: Micros,
    /// Commands that wait for the hello to be accepted, as bytes.
    unsent: Vec<u8>,
    /// Token of each forward under way, by its id on this link.
    waiting: HashMap<u32, u64, ahash::RandomState>,
    /// When each is given up, answered ones included until they reach the front or become many.
    due: BinaryHeap<Reverse<(Micros, u32)>>,
    last_id: u32,
    heard: Micros,
    pinged: Option<Micros>,
}

/// An answer to a forward, or to nothing that is still waited for.
pub type Answered<'a> = (Option<u64>, AnswerHead, &'a [u8]);

impl Link {
    /// A link whose connection is being made.
    #[must_use]
    pub fn new(peer: u16, shard: u16, config: LinkConfig, now: Micros) -> Self {
        let hello = HelloBody { shard, role: Role::Peer as u8, ..config.hello };
        let handshake = Caller::new(hello, config.key.clone().map(Credential::Key));
        let ready_by = now + config.connect_timeout;
        Self {
            peer,
            shard,
            config,
            handshake,
            state: State::Connecting,
            ready_by,
            unsent: Vec::new(),
            waiting: HashMap::default(),
            due: BinaryHeap::new(),
            last_id: 0,
            heard: now,
            pinged: None,
        }
    }

    /// Whether it proves who it is by this key.
    #[must_use]
    pub fn has_key(&self, key: Option<&ClusterKey>) -> bool {
        self.config.key.as_ref() == key
    }

    /// Whether no forward waits on it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The connection is made: the hello goes out.
    pub fn connected(&mut self, out: &mut Vec<u8>) {
        self.state = State::Greeting;
        let header = RequestHeader::new(Opcode::Hello, 0, 0);
        Request::write(header, &[], &self.handshake.hello(), out);
    }

    /// Sends a command under an id of this link; until the hello is accepted it is held.
    pub fn send(
        &mut self,
        token: u64,
        command: &OwnedCommand,
        map_tag: u32,
        now: Micros,
        out: &mut Vec<u8>,
    ) {
        let id = self.next_id();
        let is_retry = command.head.is_retry;
        let answer_max = match standin::deadline_ms(&command.head) {
            0 => self.config.answer_max,
            // So that there is time to do something else, and the caller hears of it.
            ms => Duration::from_millis(ms.into()) / 10 * 9,
        };
        let send = Send { id, map_tag };
        if self.waiting.is_empty() {
            // Silence counts from when there was something to answer.
            self.heard = now;
        }
        self.waiting.insert(id, token);
        self.due.push(Reverse((now + answer_max, id)));
        match self.state {
            State::Ready => {
                standin::command(command.as_command(), send, out);
                if is_retry && self.pinged.is_none() {
                    // A request has already waited for this server in vain.
                    self.ping(now, out);
                }
            }
            State::Connecting | State::Greeting => {
                standin::command(command.as_command(), send, &mut self.unsent);
                if is_retry {
                    // A process that is stopped accepts connections, but does not answer.
                    self.ready_by = self.ready_by.min(now + self.config.silence_max / 2);
                }
            }
        }
    }

    fn ping(&mut self, now: Micros, out: &mut Vec<u8>) {
        self.pinged = Some(now);
        // Id 0 belongs to no forward.
        Request::write(RequestHeader::new(Opcode::Ping, 0, 0), &[], &[], out);
    }

    fn next_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if self.last_id != 0 && !self.waiting.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Takes the response at the head of `bytes`, if it is all there: how many bytes it
    /// had, and what it answers. Handshake replies are dealt with here.
    ///
    /// # Errors
    /// [`LinkFailure`]: close the link.
    pub fn received<'a>(
        &mut self,
        bytes: &'a [u8],
        now: Micros,
        out: &mut Vec<u8>,
    ) -> Result<Option<(usize, Option<Answered<'a>>)>, LinkFailure> {
        let Some(response) = Response::parse(bytes)? else { return Ok(None) };
        self.heard = now;
        self.pinged = None;
        let length = response.header.frame_bytes();
        if self.state == State::Greeting {
            let retry_after_ms = response.header.retry_after_ms;
            match self.handshake.answered(response.status, retry_after_ms, response.value)? {
                Next::Ready(_) => {
                    self.state = State::Ready;
                    out.append(&mut self.unsent);
                }
                Next::Prove(proof) => {
                    Request::write(RequestHeader::new(Opcode::Hello, 0, 0), &[], &proof, out);
                }
            }
            return Ok(Some((length, None)));
        }
        let token = self.waiting.remove(&response.header.request_id);
        self.forget_answered();
        let (head, value) = standin::read_answer(&response);
        Ok(Some((length, Some((token, head, value)))))
    }

    fn forget_answered(&mut self) {
        let Self { due, waiting, .. } = self;
        if due.len() > 2 * waiting.len() + ANSWERED_MAX {
            due.retain(|Reverse((_, id))| waiting.contains_key(id));
        }
        while due.peek().is_some_and(|Reverse((_, id))| !waiting.contains_key(id)) {
            due.pop();
        }
    }

    /// Lets time pass: pings a silent peer. The forwards that took too long are added to
    /// `late`, also if the link has to be closed.
    ///
    /// # Errors
    /// [`LinkFailure`]: close the link.
    pub fn tick(
        &mut self,
        now: Micros,
        late: &mut Vec<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), LinkFailure> {
        if self.state != State::Ready {
            return match now >= self.ready_by {
                true => Err(LinkFailure::ConnectTimeout),
                false => Ok(()),
            };
        }
        while let Some(&Reverse((due, id))) = self.due.peek() {
            if now < due && self.waiting.contains_key(&id) {
                break;
            }
            late.extend(self.waiting.remove(&id));
            self.due.pop();
        }
        self.forget_answered();
        if self.waiting.is_empty() {
            self.pinged = None;
            return Ok(());
        }
        match self.pinged {
            None if now >= self.heard + self.config.silence_max / 2 => {
                self.ping(now, out);
            }
            Some(pinged) if now >= pinged + self.config.silence_max / 2 => {
                return Err(LinkFailure::Silent);
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the time at which [`Self::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        if self.state != State::Ready {
            return Some(self.ready_by);
        }
        let Reverse((first, _)) = *self.due.peek()?;
        let silence = self.pinged.unwrap_or(self.heard) + self.config.silence_max / 2;
        Some(silence.min(first))
    }

    /// Forwards that are not answered, and all that are remembered with them.
    #[must_use]
    pub fn queue(&self) -> (usize, Queue) {
        let bound = 2 * self.waiting.len() + ANSWERED_MAX;
        (self.waiting.len(), Queue::new("sent on a link", self.due.len(), bound))
    }

    /// The forwards that will not be answered now that the link is closed.
    #[must_use]
    pub fn take_waiting(&mut self) -> Vec<u64> {
        self.due.clear();
        let mut all: Vec<(u32, u64)> = self.waiting.drain().collect();
        // In the order they were sent, not in that of a hash map.
        all.sort_unstable_by_key(|(id, _)| id.wrapping_sub(self.last_id).wrapping_sub(1));
        all.into_iter().map(|(_, token)| token).collect()
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::frame::{HEADER_BYTES, ResponseHeader, Status};
    use standin_protocol::hello::{HELLO_REPLY_BYTES, HelloReply};

    use super::*;
    use crate::node::{Action, Command, CommandHead};

    const MS: u64 = 1_000;

    fn link() -> Link {
        let config = LinkConfig {
            connect_timeout: Duration::from_millis(100),
            silence_max: Duration::from_millis(100),
            answer_max: Duration::from_millis(1_000),
            hello: HelloBody::default(),
            key: None,
        };
        Link::new(1, 0, config, Micros(0))
    }

    fn response(request: &[u8], status: Status) -> Vec<u8> {
        let header = RequestHeader::read(request).unwrap();
        let accepted = HelloReply::default().to_bytes();
        let value: &[u8] = if header.opcode == Opcode::Hello as u8 { &accepted } else { &[] };
        let mut bytes = Vec::new();
        Response::write(ResponseHeader::reply_to(&header, status), value, &mut bytes);
        bytes
    }

    fn ready() -> Link {
        let mut link = link();
        let mut out = Vec::new();
        link.connected(&mut out);
        let accepted = response(&out, Status::Ok);
        let (length, answered) =
            link.received(&accepted, Micros(0), &mut Vec::new()).unwrap().unwrap();
        assert_eq!((length, answered), (HEADER_BYTES + HELLO_REPLY_BYTES, None));
        link
    }

    /// The forwards that took too long, or why the link ends.
    fn tick(link: &mut Link, now: Micros, out: &mut Vec<u8>) -> Result<Vec<u64>, LinkFailure> {
        let mut late = Vec::new();
        link.tick(now, &mut late, out).map(|()| late)
    }

    fn get() -> OwnedCommand {
        let head = CommandHead::new(Action::Get, 1);
        Command::new(head, b"k", &[]).into_owned()
    }

    #[test]
    fn frames_wait_for_the_hello() {
        let mut link = link();
        let mut out = Vec::new();
        link.send(9, &get(), 0, Micros(0), &mut out);
        link.connected(&mut out);
        assert_eq!(RequestHeader::read(&out).unwrap().opcode, Opcode::Hello as u8);
        let mut held = Vec::new();
        link.received(&response(&out, Status::Ok), Micros(1), &mut held).unwrap();
        assert_eq!(RequestHeader::read(&held).unwrap().opcode, Opcode::Get as u8);
        let reply = response(&held, Status::NotFound);
        let (_, answered) = link.received(&reply, Micros(2), &mut out).unwrap().unwrap();
        assert_eq!(answered.unwrap().0, Some(9), "the answer finds its forward");
    }

    #[test]
    fn silence_is_pinged_before_it_counts() {
        let mut link = ready();
        let mut out = Vec::new();
        link.send(9, &get(), 0, Micros(0), &mut out);
        out.clear();
        assert_eq!(link.next_deadline(), Some(Micros(50 * MS)));
        assert_eq!(tick(&mut link, Micros(50 * MS), &mut out), Ok(vec![]));
        assert_eq!(RequestHeader::read(&out).unwrap().opcode, Opcode::Ping as u8);
        assert_eq!(tick(&mut link, Micros(100 * MS), &mut out), Err(LinkFailure::Silent));
        assert_eq!(link.take_waiting(), vec![9]);
    }

    #[test]
    fn a_peer_that_answers_pings_is_slow_not_gone() {
        let mut link = ready();
        let mut out = Vec::new();
        link.send(9, &get(), 0, Micros(0), &mut out);
        for at_ms in (50..1_000).step_by(50) {
            let mut ping = Vec::new();
            assert_eq!(tick(&mut link, Micros(at_ms * MS), &mut ping), Ok(vec![]));
            if !ping.is_empty() {
                let pong = response(&ping, Status::Ok);
                link.received(&pong, Micros(at_ms * MS + 1), &mut out).unwrap();
            }
        }
        assert_eq!(
            tick(&mut link, Micros(1_000 * MS), &mut out),
            Ok(vec![9]),
            "only that request ends"
        );
    }

    #[test]
    fn answered_forwards_behind_a_late_one_ask_for_nothing() {
        let mut link = ready();
        let mut out = Vec::new();
        link.send(9, &get(), 0, Micros(0), &mut out);
        out.clear();
        link.send(10, &get(), 0, Micros(990 * MS), &mut out);
        let reply = response(&out, Status::Ok);
        let answered = link.received(&reply, Micros(995 * MS), &mut Vec::new()).unwrap();
        assert_eq!(answered.unwrap().1.unwrap().0, Some(10));
        assert_eq!(tick(&mut link, Micros(1_000 * MS), &mut out), Ok(vec![9]));
        assert_eq!(link.next_deadline(), None, "a deadline in the past is a loop that spins");
    }

    #[test]
    fn what_took_too_long_is_not_lost_when_the_link_ends() {
        let mut link = ready();
        let mut out = Vec::new();
        link.send(9, &get(), 0, Micros(0), &mut out);
        tick(&mut link, Micros(50 * MS), &mut out).unwrap();
        // The process is stopped here, and wakes with one more request.
        link.send(10, &get(), 0, Micros(1_100 * MS), &mut out);
        let mut late = Vec::new();
        let result = link.tick(Micros(1_100 * MS), &mut late, &mut out);
        assert_eq!((result, late), (Err(LinkFailure::Silent), vec![9]));
        assert_eq!(link.take_waiting(), vec![10]);
    }

    #[test]
    fn no_connection_within_the_bound() {
        let mut link = link();
        assert_eq!(tick(&mut link, Micros(99 * MS), &mut Vec::new()), Ok(vec![]));
        let failure = tick(&mut link, Micros(100 * MS), &mut Vec::new());
        assert_eq!(failure, Err(LinkFailure::ConnectTimeout));
    }

    #[test]
    fn a_retry_does_not_wait_for_a_hello_as_long() {
        let mut link = link();
        link.connected(&mut Vec::new());
        let mut again = get();
        again.head.is_retry = true;
        link.send(9, &again, 0, Micros(10 * MS), &mut Vec::new());
        assert_eq!(link.next_deadline(), Some(Micros(60 * MS)));
        assert_eq!(tick(&mut link, Micros(59 * MS), &mut Vec::new()), Ok(vec![]));
        let failure = tick(&mut link, Micros(60 * MS), &mut Vec::new());
        assert_eq!(failure, Err(LinkFailure::ConnectTimeout));
    }
}
