//! The senders of datagrams: the incarnations of servers and clients, and their datagrams that were
//! seen before (scenario 12).
//!
//! A server's datagram counts only if it comes from the incarnation that the master knows. Any
//! other incarnation is a *candidate*. It is accepted when it answers a probe. It is retired when
//! the known incarnation answers a probe that began after the candidate was heard, because the
//! candidate's datagram was then an old one that was replayed. Memory is bounded: one candidate and
//! a few retired incarnations per server, and a few thousand clients.

use standin_protocol::control::ReplayWindow;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::queue::Queue;

use crate::generations::Generations;

const RETIRED_MAX: usize = 8;
/// The number of clients remembered in each of two generations.
const CLIENTS_MAX: usize = 2_048;

/// The assessment of a server's datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A new datagram of the known incarnation.
    Known,
    /// A new datagram of an incarnation that is not known.
    Candidate,
    /// A datagram that was seen before, or that comes from an incarnation that has ended.
    Stale,
}

/// All senders of a cluster.
#[derive(Debug)]
pub struct Senders {
    servers: Vec<Incarnations>,
    clients: Generations<u64, ReplayWindow>,
}

#[derive(Debug, Clone, Default)]
struct Incarnations {
    window: ReplayWindow,
    candidate: Option<Candidate>,
    retired: [u64; RETIRED_MAX],
    retired_count: usize,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    boot_id: u64,
    window: ReplayWindow,
    /// The last probe sent before the candidate was heard. It says nothing about the candidate.
    heard_after_probe: u64,
}

impl Senders {
    /// Creates the state in which no sender has been heard.
    #[must_use]
    pub fn new(servers: usize) -> Self {
        Self {
            servers: vec![Incarnations::default(); servers],
            clients: Generations::new(CLIENTS_MAX),
        }
    }

    /// Returns the lengths of the generations of remembered clients.
    pub(crate) fn queues(&self) -> [Queue; 2] {
        self.clients.queues("clients", "older clients")
    }

    /// Judges a datagram of a server whose known incarnation is `known`; 0 if none is known.
    pub fn judge(
        &mut self,
        server: u16,
        boot_id: u64,
        sequence: u64,
        known: u64,
        last_probe_id: u64,
    ) -> Standing {
        let entry = &mut self.servers[usize::from(server)];
        if boot_id == 0 || entry.retired.contains(&boot_id) {
            return Standing::Stale;
        }
        let (window, standing) = if boot_id == known {
            (&mut entry.window, Standing::Known)
        } else {
            let candidate = match &mut entry.candidate {
                Some(candidate) if candidate.boot_id == boot_id => candidate,
                other => other.insert(Candidate {
                    boot_id,
                    window: ReplayWindow::default(),
                    heard_after_probe: last_probe_id,
                }),
            };
            (&mut candidate.window, Standing::Candidate)
        };
        let is_new = window.accept(sequence) || mutant::is(Mutant::NoReplayWindow);
        if is_new { standing } else { Standing::Stale }
    }

    /// Whether a datagram of a client is new.
    pub fn accept_client(&mut self, client_id: u64, sequence: u64) -> bool {
        let window = self.clients.entry(client_id, ReplayWindow::default);
        window.accept(sequence) || mutant::is(Mutant::NoReplayWindow)
    }

    /// Notes that a probe was answered by `boot_id`, which is not `known`. The known incarnation
    /// has ended.
    pub fn confirm(&mut self, server: u16, boot_id: u64, known: u64) {
        self.replace(server, boot_id);
        self.servers[usize::from(server)].retire(known);
    }

    /// Makes `boot_id` the known incarnation. The previous one may still be alive.
    pub fn replace(&mut self, server: u16, boot_id: u64) {
        let entry = &mut self.servers[usize::from(server)];
        let candidate = entry.candidate.take_if(|c| c.boot_id == boot_id);
        entry.window = candidate.map(|c| c.window).unwrap_or_default();
        // The incarnation is alive, even if it was considered retired.
        for retired in &mut entry.retired {
            if *retired == boot_id {
                *retired = 0;
            }
        }
    }

    /// Notes that a probe was answered by the known incarnation. Returns whether a candidate remains
    /// about which this probe says nothing, so that another probe is needed.
    pub fn refute(&mut self, server: u16, probe_id: u64) -> bool {
        let entry = &mut self.servers[usize::from(server)];
        // No other incarnation has been heard.
        let Some(candidate) = entry.candidate else { return false };
        if candidate.heard_after_probe >= probe_id {
            return true;
        }
        entry.candidate = None;
        entry.retire(candidate.boot_id);
        false
    }
}

impl Incarnations {
    fn retire(&mut self, boot_id: u64) {
        if boot_id != 0 && !self.retired.contains(&boot_id) {
            self.retired[self.retired_count % RETIRED_MAX] = boot_id;
            self.retired_count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_other_incarnations() {
        let mut senders = Senders::new(1);
        assert_eq!(senders.judge(0, 7, 1, 7, 0), Standing::Known);
        assert_eq!(senders.judge(0, 7, 1, 7, 0), Standing::Stale, "seen before");
        assert_eq!(senders.judge(0, 7, 2, 7, 0), Standing::Known);
        assert_eq!(
            senders.judge(0, 0, 3, 7, 0),
            Standing::Stale,
            "no incarnation has the number 0"
        );
        assert_eq!(senders.judge(0, 9, 1, 7, 4), Standing::Candidate);
        assert_eq!(senders.judge(0, 9, 1, 7, 4), Standing::Stale);
        senders.confirm(0, 9, 7);
        assert_eq!(senders.judge(0, 7, 3, 9, 5), Standing::Stale, "the incarnation has ended");
        assert_eq!(senders.judge(0, 9, 1, 9, 5), Standing::Stale, "the window goes on");
        assert_eq!(senders.judge(0, 9, 2, 9, 5), Standing::Known);
    }

    #[test]
    fn a_replayed_incarnation_is_retired_only_by_a_later_probe() {
        let mut senders = Senders::new(1);
        assert_eq!(senders.judge(0, 7, 1, 7, 0), Standing::Known);
        assert_eq!(senders.judge(0, 5, 900, 7, 3), Standing::Candidate);
        assert!(senders.refute(0, 3), "probe 3 was sent before it was heard");
        assert!(!senders.refute(0, 4));
        assert_eq!(senders.judge(0, 5, 901, 7, 4), Standing::Stale);
        assert_eq!(
            senders.judge(0, 7, 2, 7, 4),
            Standing::Known,
            "the real incarnation is still known"
        );
    }

    #[test]
    fn each_of_some_earlier_incarnations_is_known_to_have_ended() {
        let mut senders = Senders::new(1);
        for boot_id in 1..=8 {
            senders.judge(0, boot_id + 1, 1, boot_id, 0);
            senders.confirm(0, boot_id + 1, boot_id);
        }
        for ended in 1..=8 {
            assert_eq!(senders.judge(0, ended, 1_000, 9, 0), Standing::Stale, "{ended}");
        }
        // One of them is still running. The others have ended nevertheless.
        senders.replace(0, 4);
        assert_eq!(senders.judge(0, 4, 1_001, 4, 0), Standing::Known);
        assert_eq!(senders.judge(0, 5, 1_001, 4, 0), Standing::Stale);
    }

    #[test]
    fn datagrams_of_a_client_are_remembered_while_others_send() {
        let mut senders = Senders::new(1);
        for client in 1..=1_000 {
            assert!(senders.accept_client(client, 1));
        }
        for client in 1..=1_000 {
            assert!(!senders.accept_client(client, 1));
        }
    }

    #[test]
    fn clients_are_remembered_within_bounds() {
        let mut senders = Senders::new(1);
        for client in 1..=3 * CLIENTS_MAX as u64 {
            assert!(senders.accept_client(client, 1));
            assert!(!senders.accept_client(client, 1));
        }
        assert!(senders.clients.values().count() <= 2 * CLIENTS_MAX);
    }
}
