//! What must not begin any more although it waits here (scenario 14): everything, when this
//! process was stopped for so long that another can have written meanwhile; and writes whose
//! callers have left.

use hashbrown::HashMap;
use standin_protocol::mutant::{self, Mutant};

use super::answer::{AnswerHead, Status};
use super::state::{ForwardKey, Presence};
use super::{Forwarded, Left, Node, Output, Pending, PendingKey, read};

impl Node {
    /// This process was stopped: whoever asked may have given up, asked another and had it done
    /// there. What has not begun never does. Writes that are at the origin end in their time;
    /// whether one that still waits for the origin begins is the origin's affair. The shell
    /// closes the links, with what they hold.
    pub fn drop_waiting(&mut self) {
        if mutant::is(Mutant::KeepWaiting) {
            return;
        }
        let mut waiting = self.parked.take_keys();
        for queue in self.writes.values_mut() {
            waiting.extend(queue.drain(..));
        }
        // A CAS that has to read first must not go on to the owner, if that is another by then.
        let fetching: Vec<_> = self.fetches.values().flat_map(read::Fetch::waiters).collect();
        for key in fetching {
            if let Some(pending) = self.pending.get_mut(key).filter(|pending| pending.is_write()) {
                pending.caller = Presence::Gone;
            }
        }
        for key in waiting {
            self.counters.writes_dropped += 1;
            self.reply(key, AnswerHead::status(Status::Unavailable));
        }
        let unsent = self.take_unsent();
        let is_unsent = |key: &ForwardKey| unsent.contains(key);
        let on_links = self.forwards.iter().filter_map(|(forward, sent)| match sent {
            Forwarded::Request(request) => Some((forward, *request)),
            _ => None,
        });
        let on_links: Vec<(ForwardKey, PendingKey)> = on_links.collect();
        for (forward, request) in on_links {
            // Whether the link has taken it is not known here.
            let status = match is_unsent(&forward) {
                true => Status::Unavailable,
                false => Status::OutcomeUnknown,
            };
            if self.pending.get(request).is_some_and(Pending::is_write) {
                self.counters.writes_dropped += 1;
                self.reply(request, AnswerHead::status(status));
            } else {
                self.reply(request, AnswerHead::status(Status::Unavailable));
            }
            if is_unsent(&forward) {
                self.forwards.remove(forward);
            }
        }
    }

    /// Takes back the requests that the shell has not been given yet.
    fn take_unsent(&mut self) -> Vec<ForwardKey> {
        let mut unsent = Vec::new();
        let forwards = &self.forwards;
        self.outputs.retain(|output| {
            let Output::Forward { token, .. } = output else { return true };
            let key = ForwardKey::from(slotmap::KeyData::from_ffi(*token));
            let is_request = matches!(forwards.get(key), Some(Forwarded::Request(_)));
            if is_request {
                unsent.push(key);
            }
            !is_request
        });
        unsent
    }

    /// These connections bring no more requests. Their writes that wait for an owner are
    /// refused: whoever closes a connection without an answer reckons with a write that happens
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
        for pending in self.pending.values_mut() {
            if let Some(presence) = left.get(&pending.to.conn) {
                pending.caller = pending.caller.max(*presence);
            }
        }
        self.drop_abandoned();
    }

    /// Whether nobody waits for a request: neither who sent it nor who has repeated it since.
    pub(super) fn is_abandoned(&self, key: PendingKey, presence: Presence) -> bool {
        let has_left = |key: PendingKey| {
            self.pending.get(key).is_some_and(|pending| pending.caller >= presence)
        };
        let Some(pending) = self.pending.get(key) else { return false };
        let joined = pending.head.identity.map(|identity| self.recent.joined(identity, key));
        has_left(key) && joined.unwrap_or(&[]).iter().all(|joined| has_left(*joined))
    }
}
