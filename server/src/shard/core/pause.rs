//! Detection of pauses: whether this process, or its host, was stopped, and what is dropped then.
//!
//! After a pause longer than [`standin_config::Timings::pause_max`] the age of the requests in a
//! server is unknown. Their senders may have given up and had them processed by another server, so
//! that processing them now could undo newer writes (scenario 14). So all of them are dropped,
//! wherever they are:
//!
//! ```text
//! in sockets, inputs, staged    connections are closed with their input     here
//! on its way between shards     messages carry the time of their arrival    here
//! waiting for an owner or turn  refused                                     node/stopped.rs
//! on links                      links are closed, outputs thrown away       here
//! waiting for the database      does not begin                              origin/pause.rs
//! ```
//!
//! A process may be stopped anywhere, also in the middle of a turn, after the clock was read. So
//! the clock is read again before anything is sent to a peer, and the origin compares the time of
//! each call with its own clock.

use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::backend::Backend;
use super::conn::ConnKind;
use super::{ConnKey, Core};
use crate::node::Now;

impl<B: Backend> Core<B> {
    /// Notes the time of the next event.
    #[inline]
    pub(in crate::shard) fn begin(&mut self, now: Now) {
        self.drop_if_stopped(now);
        self.tell_who_left();
        self.node.begin(now);
    }

    /// Drops all requests if the process was stopped for too long.
    #[inline]
    pub fn drop_if_stopped(&mut self, now: Now) {
        if now.mono > self.refreshed + self.pause_max {
            self.drop_everything(now);
        }
    }

    /// Whether something for a peer was put into an output since this was last asked: the clock is
    /// read once more before that goes out.
    pub fn take_sent_on(&mut self) -> bool {
        std::mem::take(&mut self.has_sent_on)
    }

    /// Whether a request that arrived at this time is too old to be processed now.
    pub(super) fn is_of_before(&self, now: Now, at: Micros) -> bool {
        now.mono > at + self.pause_max && !mutant::is(Mutant::KeepWaiting)
    }

    #[cold]
    fn drop_everything(&mut self, now: Now) {
        self.refreshed = now.mono;
        self.node.counters().pauses += 1;
        self.node.drop_waiting();
        let is_accepted = |key: &ConnKey| matches!(self.conns[*key].kind, ConnKind::Accepted(_));
        let (accepted, links): (Vec<_>, Vec<_>) = self.conns.keys().partition(is_accepted);
        if !mutant::is(Mutant::KeepConnections) {
            for key in accepted {
                self.node.counters().connections_dropped += 1;
                self.close(key);
            }
        }
        if !mutant::is(Mutant::KeepWaiting) {
            links.into_iter().for_each(|key| B::abort(self, now, key));
        }
    }
}
