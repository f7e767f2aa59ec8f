//! Waiting requests that must not begin any more (scenario 14). These are all waiting requests if
//! this process was stopped for so long that another server can have written meanwhile, and writes
//! whose callers have left.

use hashbrown::HashMap;
use standin_protocol::mutant::{self, Mutant};

use super::answer::{AnswerHead, Status};
use super::requests::Presence;
use super::{Left, Node, Output, PendingKey};

impl Node {
    /// Drops waiting requests after this process was stopped. Its callers may have given up
    /// meanwhile, asked another server, and had the write executed there. Writes that have not
    /// begun are refused. Writes that were submitted to the origin end as usual. If such a write
    /// still waits for the origin, the origin decides whether it begins. The shell closes the links
    /// and drops the requests in their buffers.
    pub fn drop_waiting(&mut self) {
        if mutant::is(Mutant::KeepWaiting) {
            return;
        }
        let parked = self.writes.take_parked().into_iter().map(|parked| parked.key);
        let waiting: Vec<_> = parked.chain(self.writes.take_queued()).collect();
        // A CAS that has to read first, and its repetitions, must not be forwarded to the owner, if
        // another server is the owner by then.
        self.requests.all_callers_left();
        for key in waiting {
            self.counters.writes_dropped += 1;
            self.reply(key, AnswerHead::status(Status::Unavailable));
        }
        let unsent = self.take_unsent();
        let on_links: Vec<(u64, PendingKey)> = self.forwards.requests().collect();
        for (token, request) in on_links {
            let is_unsent = unsent.contains(&token);
            if is_unsent {
                self.forwards.end(token);
            }
            // The request was answered when this server resumed earlier, and its link has not
            // failed since.
            let Some(pending) = self.requests.find(request) else { continue };
            // It is not known here whether the link has sent it.
            let status = match pending.is_write() && !is_unsent {
                true => Status::OutcomeUnknown,
                false => Status::Unavailable,
            };
            self.counters.writes_dropped += u64::from(pending.is_write());
            self.reply(request, AnswerHead::status(status));
        }
    }

    /// Removes the requests that the shell has not taken yet from the outputs. Returns their
    /// tokens.
    fn take_unsent(&mut self) -> Vec<u64> {
        let mut unsent = Vec::new();
        let forwards = &self.forwards;
        self.outputs.retain(|output| match output {
            Output::Forward { token, .. } if forwards.is_request(*token) => {
                unsent.push(*token);
                false
            }
            _ => true,
        });
        unsent
    }

    /// Notes that these connections send no more requests. Their writes that wait for an owner are
    /// refused. A caller that closes a connection without an answer expects that its write happens
    /// at once or not at all.
    pub fn callers_left(&mut self, left: &[Left]) {
        if left.is_empty() || mutant::is(Mutant::KeepAbandoned) {
            return;
        }
        let presence = |left: &Left| match left.is_gone {
            true => Presence::Gone,
            false => Presence::Ended,
        };
        let left: HashMap<_, _> = left.iter().map(|left| (left.conn, presence(left))).collect();
        self.requests.callers_left(&left);
        self.drop_abandoned();
    }
}
