//! Requests for partitions that another server owns. They are forwarded once. If that fails, a read
//! is processed here, and a write waits until the owner of its partition is known (claim 15).

use bytes::Bytes;
use standin_protocol::mutant::{self, Mutant};

use super::answer::{Answer, AnswerHead, PeerAnswer, Status, flags};
use super::command::{Hop, OwnedCommand};
use super::partitions::serving::Serving;
use super::{ForwardFailure, Forwarded, Node, Now, Output, PendingKey};

impl Node {
    /// Routes a waiting request according to the state of its partition.
    pub(super) fn dispatch(&mut self, now: Now, key: PendingKey) {
        let pending = &self.requests[key];
        match self.partitions.serving(pending.partition) {
            Serving::Forward(peer) if !pending.is_here() => self.forward(now, key, peer),
            Serving::Relay(owner) if !pending.is_here() => self.relay(now, key, owner),
            _ => self.process(now, key),
        }
    }

    /// Forwards a waiting request to the partition's owner.
    pub(super) fn forward(&mut self, now: Now, key: PendingKey, peer: u16) {
        let pending = &self.requests[key];
        if pending.head.hop == Hop::Forwarded && !mutant::is(Mutant::ForwardTwice) {
            // It was forwarded to this server, so it may not be forwarded again.
            return self.refuse_forwarded(key);
        }
        let command = pending.command(now, Hop::Forwarded);
        let shard = self.topology.shard(peer, pending.partition);
        self.counters.forwarded += 1;
        self.send_request(now, peer, shard, key, command);
    }

    /// Sends the command of a waiting request.
    pub(super) fn send_request(
        &mut self,
        now: Now,
        peer: u16,
        shard: u16,
        key: PendingKey,
        command: OwnedCommand,
    ) {
        let token = self.forwards.begin(Forwarded::Request(key));
        self.requests.sent_on(now.mono, key, peer);
        let map_tag = self.partitions.map_tag();
        self.outputs.push_back(Output::Forward { peer, shard, token, map_tag, command });
    }

    /// Sends a command on this server's own behalf.
    pub(super) fn send(&mut self, peer: u16, shard: u16, state: Forwarded, command: OwnedCommand) {
        let token = self.forwards.begin(state);
        self.outputs.push_back(Output::Forward { peer, shard, token, map_tag: 0, command });
    }

    /// Handles the answer of a peer to a forward, or the failure of the forward.
    pub fn forward_done(&mut self, now: Now, peer: u16, token: u64, answer: PeerAnswer<'_>) {
        self.begin(now);
        let is_ok = matches!(&answer, Ok((head, _)) if head.status == Status::Ok);
        match self.forwards.end(token) {
            Forwarded::Request(key) => self.request_done(now, peer, key, answer),
            Forwarded::Ping { server } => self.ping_done(now, server, is_ok),
            Forwarded::Check { server } => self.check_done(now, server, unreachable(&answer)),
            Forwarded::Probe { server } => self.probe_done(server, answer),
            Forwarded::Measure { server } => self.measure_done(now, server, answer),
            Forwarded::Settle { server, via, keys, handover } => {
                if let (None, Some(refuses)) = (via, unreachable(&answer)) {
                    self.mark_unreachable(now, peer, refuses);
                }
                self.settle_done(now, server, &keys, handover, is_ok);
            }
            Forwarded::Handback { server, epoch } => {
                self.handback_done(now, server, epoch, is_ok);
            }
            Forwarded::Walk(asked) => self.walk_done(now, asked, answer),
        }
    }

    fn request_done(&mut self, now: Now, peer: u16, key: PendingKey, answer: PeerAnswer<'_>) {
        if self.requests.find(key).is_none() {
            // The request was answered when this server resumed. The answer still says whether the
            // peer can be reached.
            self.counters.forwards_failed += u64::from(answer.is_err());
            if let Some(refuses) = unreachable(&answer) {
                self.mark_unreachable(now, peer, refuses);
            }
            return;
        }
        self.requests.is_back(now.mono, key);
        let (head, value) = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                self.counters.forwards_failed += 1;
                return self.forward_failed(now, peer, key, failure);
            }
        };
        match head.status {
            // The two servers have different maps, or the owner is about to give the partition up.
            Status::NotOwner | Status::ShuttingDown | Status::Unavailable => {
                self.not_accepted(now, key);
            }
            _ => {
                let head = AnswerHead { flags: head.flags | flags::FORWARDED, ..head };
                self.reply_with(key, Answer { head, value: Bytes::copy_from_slice(value) });
            }
        }
    }

    /// Handles a request that the other server did not accept. A request is forwarded only once
    /// (scenario 18). So a read is processed here, and its value is not kept while this server
    /// considers another one the owner. A write waits until the two servers agree.
    fn not_accepted(&mut self, now: Now, key: PendingKey) {
        let pending = &self.requests[key];
        let serving = self.partitions.serving(pending.partition);
        match serving {
            _ if pending.is_forwarded() => self.refuse_forwarded(key),
            Serving::Relay(owner) if pending.places_passed() > 0 => self.relay(now, key, owner),
            _ if pending.is_write() => self.park_for_retry(now, key),
            _ => self.process_here(now, key),
        }
    }

    /// Processes a request here after sending it has failed (claim 15): a read at once, a write as
    /// soon as the master has said who owns its partition.
    fn forward_failed(&mut self, now: Now, peer: u16, key: PendingKey, failure: ForwardFailure) {
        let pending = &self.requests[key];
        let (is_write, is_forwarded) = (pending.is_write(), pending.is_forwarded());
        match failure {
            // The peer is alive and may still carry the request out, so it must not be executed
            // again.
            ForwardFailure::TimedOut if is_write => {
                self.reply(key, AnswerHead::status(Status::OutcomeUnknown));
            }
            // The peer may have executed it, and it must not be executed twice.
            ForwardFailure::Unreachable
                if pending.head.action.reads_what_it_writes()
                    && !mutant::is(Mutant::ModifySentAgain) =>
            {
                self.mark_unreachable(now, peer, false);
                self.reply(key, AnswerHead::status(Status::OutcomeUnknown));
            }
            // The caller was answered when this server resumed.
            ForwardFailure::Stopped => self.reply(key, AnswerHead::status(Status::OutcomeUnknown)),
            // The peer is alive and has not received the request, so it can be sent again.
            ForwardFailure::NoRoom if is_write => {
                self.counters.overloaded += 1;
                self.reply(key, AnswerHead::overloaded());
            }
            ForwardFailure::TimedOut | ForwardFailure::NoRoom if is_forwarded => {
                self.refuse_forwarded(key)
            }
            ForwardFailure::TimedOut | ForwardFailure::NoRoom => self.process_here(now, key),
            ForwardFailure::Unreachable | ForwardFailure::Refused => {
                self.requests.wait(now.mono, key);
                self.mark_unreachable(now, peer, failure == ForwardFailure::Refused);
                let pending = &self.requests[key];
                let serving = self.partitions.serving(pending.partition);
                match serving {
                    _ if is_forwarded => self.refuse_forwarded(key),
                    Serving::Relay(owner) => self.relay(now, key, owner),
                    _ if is_write => self.dispatch(now, key),
                    _ => self.process_here(now, key),
                }
            }
        }
    }
}

/// Returns whether the port of the peer refused the connection, or `None` if the peer was reached.
fn unreachable(answer: &PeerAnswer<'_>) -> Option<bool> {
    match answer {
        Err(ForwardFailure::Refused) => Some(true),
        Err(ForwardFailure::Unreachable) => Some(false),
        _ => None,
    }
}
