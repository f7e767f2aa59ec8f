//! Probes of other servers over this shard's own links, for the master: a ping of every shard of
//! a server, and what the answers say together.

use crate::node::PeerProbe;

/// The most questions about one server that wait for an answer; more are answered as silent.
const QUESTIONS_MAX: usize = 64;

/// The probes that are under way. There is at most one of each server: a shard that was stuck
/// finds many questions in its mailbox, and must not send a ping for each.
#[derive(Debug, Default)]
pub(super) struct Probes {
    running: Vec<Probe>,
}

/// A probe whose answers are coming in.
#[derive(Debug)]
struct Probe {
    server: u16,
    /// The questions that it answers.
    asked: Vec<u64>,
    /// Those that came after it had begun: the next probe answers them all.
    waiting: Vec<u64>,
    unanswered: u16,
    outcome: Option<PeerProbe>,
}

/// The result of a request for a probe.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) enum Asked {
    /// Every shard of the server is to be pinged for it.
    Begun,
    /// A probe that is under way answers it, or the one after that.
    Waits,
    /// There are too many.
    Refused,
}

/// A probe has ended.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) struct Ended {
    pub(in crate::node) outcome: PeerProbe,
    /// The questions that it answers.
    pub(in crate::node) asked: Vec<u64>,
    /// The next one has begun: every shard of the server is to be pinged again.
    pub(in crate::node) is_begun_anew: bool,
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
        if probe.asked.len() + probe.waiting.len() >= QUESTIONS_MAX {
            return Asked::Refused;
        }
        probe.waiting.push(nonce);
        Asked::Waits
    }

    fn begin(&mut self, server: u16, shards: u16, asked: Vec<u64>) {
        let waiting = Vec::new();
        self.running.push(Probe { server, asked, waiting, unanswered: shards, outcome: None });
    }

    /// One of the server's shards has answered its ping, or has not.
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
        let is_begun_anew = !waiting.is_empty();
        if is_begun_anew {
            self.begin(server, shards, waiting);
        }
        Some(Ended { outcome, asked, is_begun_anew })
    }

    /// Returns the number of probes under way.
    pub(in crate::node) fn len(&self) -> usize {
        self.running.len()
    }
}

/// Combines the results of two shards: one that refuses proves that the server is gone, one that is
/// silent is enough to doubt it, and all must be of one incarnation.
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
    fn a_server_is_what_its_worst_shard_says() {
        assert_eq!(worse(answered(7, 3), answered(7, 2)), answered(7, 2));
        assert_eq!(worse(answered(7, 3), answered(8, 3)), PeerProbe::Silent);
        assert_eq!(worse(answered(7, 3), PeerProbe::Silent), PeerProbe::Silent);
        assert_eq!(worse(PeerProbe::Refused, PeerProbe::Silent), PeerProbe::Refused);
        assert_eq!(worse(answered(7, 3), PeerProbe::Busy), PeerProbe::Busy);
        assert_eq!(worse(PeerProbe::Busy, PeerProbe::Silent), PeerProbe::Silent);
    }

    #[test]
    fn questions_that_come_while_a_probe_runs_are_answered_by_the_next() {
        let mut probes = Probes::default();
        assert_eq!(probes.ask(1, 5, 2), Asked::Begun);
        assert_eq!(probes.ask(1, 5, 2), Asked::Waits, "the same question");
        assert_eq!(probes.ask(2, 5, 2), Asked::Waits);
        assert_eq!(probes.answered(5, 2, answered(7, 3)), None);
        let ended = probes.answered(5, 2, PeerProbe::Silent).unwrap();
        assert_eq!((ended.outcome, &*ended.asked), (PeerProbe::Silent, &[1][..]));
        assert!(ended.is_begun_anew);
        probes.answered(5, 2, answered(7, 4));
        let ended = probes.answered(5, 2, answered(7, 3)).unwrap();
        assert_eq!((ended.outcome, &*ended.asked), (answered(7, 3), &[2][..]));
        assert!(!ended.is_begun_anew && probes.len() == 0);
    }

    #[test]
    fn the_questions_that_wait_are_bounded() {
        let mut probes = Probes::default();
        let asked: Vec<Asked> = (0..=64).map(|nonce| probes.ask(nonce, 5, 1)).collect();
        assert_eq!(
            (&asked[0], &asked[63], &asked[64]),
            (&Asked::Begun, &Asked::Waits, &Asked::Refused)
        );
    }
}
