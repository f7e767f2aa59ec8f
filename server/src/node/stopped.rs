//! Requests that wait here and must not begin any more (scenario 14): all of them, when this
//! process was stopped for so long that another server can have written meanwhile; and writes whose
//! callers have left.

use hashbrown::HashMap;
use standin_protocol::mutant::{self, Mutant};

use super::answer::{AnswerHead, Status};
use super::state::Presence;
use super::{Left, Node, Output, PendingKey};

impl Node {
    /// This process was stopped: its callers may have given up, asked another server, and had the
    /// write done there. Writes that have not begun are refused. Writes that are at the origin end
    /// in their time; whether one that still waits for the origin begins is decided there. The shell
    /// closes the links, with what they hold.
    pub fn drop_waiting(&mut self) {
        if mutant::is(Mutant::KeepWaiting) {
            return;
        }
        let parked = self.writes.take_parked().into_iter().map(|parked| parked.key);
        let waiting: Vec<_> = parked.chain(self.writes.take_queued()).collect();
        // A CAS that has to read first must not go on to the owner, if that is another by then.
        let fetching: Vec<_> = self.fetches.waiters().collect();
        for key in fetching {
            let pending = &mut self.requests[key];
            if pending.is_write() {
                pending.caller = Presence::Gone;
            }
        }
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
            // It was answered when this server woke before; its link has not failed since.
            let Some(pending) = self.requests.find(request) else { continue };
            // Whether the link has taken it is not known here.
            let status = match pending.is_write() && !is_unsent {
                true => Status::OutcomeUnknown,
                false => Status::Unavailable,
            };
            self.counters.writes_dropped += u64::from(pending.is_write());
            self.reply(request, AnswerHead::status(status));
        }
    }

    /// Takes back the requests that the shell has not been given yet; their tokens.
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

    /// These connections bring no more requests. Their writes that wait for an owner are
    /// refused: a caller that closes a connection without an answer expects that its write happens
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
