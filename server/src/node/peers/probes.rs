//! Probes of other servers over this shard's own links, for the master. A probe consists of a ping
//! of every shard of a server, and combines their answers.

use crate::node::PeerProbe;

/// The largest number of requests for probes of one server that wait for an answer. Further ones
/// are answered as silent.
const REQUESTS_MAX: usize = 64;

/// The probes that are under way. There is at most one of each server. A shard that was stopped
/// finds many requests in its mailbox, and must not send a ping for each.
#[derive(Debug, Default)]
pub(super) struct Probes {
    running: Vec<Probe>,
}

/// A probe whose answers are arriving.
#[derive(Debug)]
struct Probe {
    server: u16,
    /// The nonces of the requests that it answers.
    asked: Vec<u64>,
    /// The requests that arrived after the probe had begun. The next probe answers them all.
    waiting: Vec<u64>,
    unanswered: u16,
    outcome: Option<PeerProbe>,
}

/// The result of a request for a probe.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) enum Asked {
    /// A probe has begun, and the caller has to ping every shard of the server.
    Begun,
    /// A probe that is under way answers the request, or the probe after that.
    Waits,
    /// Too many requests wait.
    Refused,
}

/// A probe that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) struct Ended {
    pub(in crate::node) outcome: PeerProbe,
    /// The nonces of the requests that it answers.
    pub(in crate::node) asked: Vec<u64>,
    /// Whether the next probe has begun, in which case the caller has to ping every shard of the
    /// server again.
    pub(in crate::node) is_next_begun: bool,
}

impl Probes {
    /// Takes a request for a probe of the server, which has this many shards.
    pub(in crate::node) fn ask(&mut self, nonce: u64, server: u16, shards: u16) -> Asked {
        let Some(probe) = self.running.iter_mut().find(|probe| probe.server == server) else {
            self.begin(server, shards, vec![nonce]);
            return Asked::Begun;
        };
        if probe.asked.contains(&nonce) || probe.waiting.contains(&nonce) {
            return Asked::Waits;
        }
        if probe.asked.len() + probe.waiting.len() >= REQUESTS_MAX {
            return Asked::Refused;
        }
        probe.waiting.push(nonce);
        Asked::Waits
    }

    fn begin(&mut self, server: u16, shards: u16, asked: Vec<u64>) {
        let waiting = Vec::new();
        self.running.push(Probe { server, asked, waiting, unanswered: shards, outcome: None });
    }

    /// Notes that one of the server's shards has answered its ping, or has failed to.
    pub(in crate::node) fn answered(
        &mut self,
        server: u16,
        shards: u16,
        answer: PeerProbe,
    ) -> Option<Ended> {
        let at = self.running.iter().position(|probe| probe.server == server);
        let at = at.expect("a probe is under way until its last ping has ended");
        let probe = &mut self.running[at];
        let outcome = probe.outcome.map_or(answer, |others| worse(others, answer));
        probe.outcome = Some(outcome);
        probe.unanswered -= 1;
        if probe.unanswered > 0 {
            return None;
        }
        let Probe { asked, waiting, .. } = self.running.swap_remove(at);
        let is_next_begun = !waiting.is_empty();
        if is_next_begun {
            self.begin(server, shards, waiting);
        }
        Some(Ended { outcome, asked, is_next_begun })
    }

    /// Returns the number of probes under way.
    pub(in crate::node) fn len(&self) -> usize {
        self.running.len()
    }
}

/// Combines the results of two shards. One refusal proves that the server is dead. One silent shard
/// is enough to doubt that the server is online. All shards must be of one incarnation.
fn worse(a: PeerProbe, b: PeerProbe) -> PeerProbe {
    use PeerProbe::{Answered, Busy, Refused, Silent};
    match (a, b) {
        (Refused, _) | (_, Refused) => Refused,
        (Silent, _) | (_, Silent) => Silent,
        (Busy, _) | (_, Busy) => Busy,
        (
            Answered { boot_id, map_epoch },
            Answered { boot_id: other_boot_id, map_epoch: other_epoch },
        ) if boot_id == other_boot_id => {
            Answered { boot_id, map_epoch: map_epoch.min(other_epoch) }
        }
        _ => Silent,
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::map::MapEpoch;

    use super::*;

    fn answered(boot_id: u64, counter: u32) -> PeerProbe {
        PeerProbe::Answered { boot_id, map_epoch: MapEpoch { term: 1, counter } }
    }

    #[test]
    fn the_worst_answer_of_a_shard_counts_for_the_server() {
        assert_eq!(worse(answered(7, 3), answered(7, 2)), answered(7, 2));
        assert_eq!(worse(answered(7, 3), answered(8, 3)), PeerProbe::Silent);
        assert_eq!(worse(answered(7, 3), PeerProbe::Silent), PeerProbe::Silent);
        assert_eq!(worse(PeerProbe::Refused, PeerProbe::Silent), PeerProbe::Refused);
        assert_eq!(worse(answered(7, 3), PeerProbe::Busy), PeerProbe::Busy);
        assert_eq!(worse(PeerProbe::Busy, PeerProbe::Silent), PeerProbe::Silent);
    }

    #[test]
    fn requests_that_arrive_while_a_probe_runs_are_answered_by_the_next() {
        let mut probes = Probes::default();
        assert_eq!(probes.ask(1, 5, 2), Asked::Begun);
        assert_eq!(probes.ask(1, 5, 2), Asked::Waits, "the same nonce");
        assert_eq!(probes.ask(2, 5, 2), Asked::Waits);
        assert_eq!(probes.answered(5, 2, answered(7, 3)), None);
        let ended = probes.answered(5, 2, PeerProbe::Silent).unwrap();
        assert_eq!((ended.outcome, &*ended.asked), (PeerProbe::Silent, &[1][..]));
        assert!(ended.is_next_begun);
        probes.answered(5, 2, answered(7, 4));
        let ended = probes.answered(5, 2, answered(7, 3)).unwrap();
        assert_eq!((ended.outcome, &*ended.asked), (answered(7, 3), &[2][..]));
        assert!(!ended.is_next_begun && probes.len() == 0);
    }

    #[test]
    fn the_number_of_waiting_requests_is_bounded() {
        let mut probes = Probes::default();
        let asked: Vec<Asked> = (0..=64).map(|nonce| probes.ask(nonce, 5, 1)).collect();
        assert_eq!(
            (&asked[0], &asked[63], &asked[64]),
            (&Asked::Begun, &Asked::Waits, &Asked::Refused)
        );
    }
}
