//! One server as this client sees it: the machine of claims 10 and 12 to 14.
//!
//! ```text
//!            Nth failure: notify                     age ≥ T: one request tries it
//!   Home ───────────────────────────► Failover(since) ───────────────────────► Trial
//!    ▲                                      ▲                                    │
//!    │                                      └──────────── failure ───────────────┤
//!    └───────────────────────────── success: notify ─────────────────────────────┘
//! ```
//! [`crate::router`] knows which server a key belongs to and which servers stand in for it.
//! [`crate::engine`] decides what counts as an unsuccessful send.

use std::time::Duration;

use standin_protocol::time::Micros;

use crate::random::Random;

/// Whether the client is in failover mode for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Requests go to the server.
    Home,
    /// Requests go to its failover server.
    Failover {
        /// The time at which failover mode was entered, or the last trial failed.
        since: Micros,
        /// The T of this stay: the configured one, varied at random by ±25 %, so that many clients
        /// do not return at the same instant (scenario 17).
        hold: Duration,
    },
    /// One request is trying the server. All others go to its failover server.
    Trial,
}

/// The destination of a request for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The server itself.
    Server,
    /// The server itself. The result decides about failover mode, so it has to be reported as
    /// `trial`.
    Trial,
    /// The failover server.
    StandIn,
}

/// The reaction to a failed send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Send again to the same server, with the same request id.
    Resend,
    /// Notify the master and use the failover server. Failover mode has begun.
    NotifyAndStandIn,
    /// Use the failover server.
    StandIn,
}

/// The failover machine of one server.
#[derive(Debug, Clone)]
pub struct Failover {
    state: State,
    attempts: u32,
    hold: Duration,
    random: Random,
}

impl Failover {
    /// Creates the machine of a server in state Home. `attempts` is the N of claim 12, and `hold`
    /// is the T of claim 13.
    #[must_use]
    pub fn new(attempts: u32, hold: Duration, seed: u64) -> Self {
        Self { state: State::Home, attempts: attempts.max(1), hold, random: Random::new(seed) }
    }

    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns the destination of a request for this server that is about to be sent (claims 10,
    /// 13, 14).
    pub fn request(&mut self, now: Micros) -> Choice {
        match self.state {
            State::Home => Choice::Server,
            State::Failover { since, hold } if now.since(since) < hold => Choice::StandIn,
            State::Failover { .. } => {
                self.state = State::Trial;
                Choice::Trial
            }
            State::Trial => Choice::StandIn,
        }
    }

    /// Tries this server before its time, because no other server can serve the request.
    pub fn request_anyway(&mut self) -> Choice {
        match self.state {
            State::Home | State::Trial => Choice::Server,
            State::Failover { .. } => {
                self.state = State::Trial;
                Choice::Trial
            }
        }
    }

    /// Notes that a send of a request failed. It was the request's `failures`-th send to this
    /// server (claims 10, 12). `trial` says that the request was sent as [`Choice::Trial`] (claim
    /// 14).
    pub fn failure(&mut self, now: Micros, failures: u32, trial: bool) -> Remedy {
        match self.state {
            State::Home if failures < self.attempts => Remedy::Resend,
            State::Home => {
                self.enter(now);
                Remedy::NotifyAndStandIn
            }
            State::Trial if trial => {
                self.enter(now);
                Remedy::StandIn
            }
            State::Failover { .. } | State::Trial => Remedy::StandIn,
        }
    }

    /// Notes that the server answered. Returns true if failover mode was left and the master has to
    /// be notified (claim 14).
    pub fn success(&mut self, trial: bool) -> bool {
        let left = trial && self.state == State::Trial;
        if left {
            self.state = State::Home;
        }
        left
    }

    /// Handles a server that said that it is stopping. The server itself has told the master.
    pub fn leaving(&mut self, now: Micros) {
        self.enter(now);
    }

    /// Handles a newer map that says that the server has come online since the older one. The map
    /// takes effect at once, in any state. Returns true if failover mode was left.
    pub fn announced_online(&mut self) -> bool {
        let left = self.state != State::Home;
        self.state = State::Home;
        left
    }

    fn enter(&mut self, now: Micros) {
        // T · (0.75 … 1.25)
        let hold = self.hold * 3 / 4 + self.random.below(self.hold / 2);
        self.state = State::Failover { since: now, hold };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: u32 = 3;
    const T: Duration = Duration::from_secs(2);
    const LONGEST_T: Duration = Duration::from_millis(2_500);
    const NOW: Micros = Micros(1_000_000);

    fn home() -> Failover {
        Failover::new(N, T, 7)
    }

    fn failover() -> Failover {
        let mut machine = home();
        assert_eq!(machine.failure(NOW, N, false), Remedy::NotifyAndStandIn);
        machine
    }

    fn trial() -> Failover {
        let mut machine = failover();
        assert_eq!(machine.request(NOW + LONGEST_T), Choice::Trial);
        machine
    }

    fn since(machine: &Failover) -> Option<Micros> {
        match machine.state() {
            State::Failover { since, .. } => Some(since),
            State::Home | State::Trial => None,
        }
    }

    #[test]
    fn c10_home_sends_to_the_server() {
        let mut machine = home();
        assert_eq!(machine.request(NOW), Choice::Server);
        assert!(!machine.success(false), "there is nothing to tell the master");
        assert_eq!(machine.state(), State::Home);
    }

    #[test]
    fn c12_home_failure_below_n_resends() {
        let mut machine = home();
        for failures in 1..N {
            assert_eq!(machine.failure(NOW, failures, false), Remedy::Resend);
            assert_eq!(machine.state(), State::Home);
        }
    }

    #[test]
    fn c10_c12_home_nth_failure_enters_failover_and_notifies() {
        let mut machine = home();
        assert_eq!(machine.failure(NOW, N, false), Remedy::NotifyAndStandIn);
        assert_eq!(since(&machine), Some(NOW));
        let mut single = Failover::new(1, T, 7);
        assert_eq!(single.failure(NOW, 1, false), Remedy::NotifyAndStandIn);
    }

    #[test]
    fn c10_failures_of_other_requests_in_flight_notify_only_once() {
        let mut machine = failover();
        let later = NOW + Duration::from_millis(5);
        assert_eq!(machine.failure(later, N, false), Remedy::StandIn);
        assert_eq!(machine.failure(later, 1, false), Remedy::StandIn);
        assert_eq!(since(&machine), Some(NOW), "the stay is not prolonged");
    }

    #[test]
    fn c13_failover_younger_than_t_uses_the_stand_in() {
        let mut machine = failover();
        for ms in [0, 1, 1_499] {
            assert_eq!(machine.request(NOW + Duration::from_millis(ms)), Choice::StandIn);
        }
        assert_eq!(since(&machine), Some(NOW));
    }

    #[test]
    fn c14_failover_older_than_t_sends_one_request_to_the_server() {
        let mut machine = failover();
        let State::Failover { hold, .. } = machine.state() else { panic!("not in failover") };
        assert_eq!(machine.request(NOW + hold - Duration::from_micros(1)), Choice::StandIn);
        assert_eq!(machine.request(NOW + hold), Choice::Trial);
        assert_eq!(machine.state(), State::Trial);
    }

    #[test]
    fn c14_trial_sends_other_requests_to_the_stand_in() {
        let mut machine = trial();
        assert_eq!(machine.request(NOW + LONGEST_T * 2), Choice::StandIn);
        assert_eq!(machine.failure(NOW, 1, false), Remedy::StandIn);
        assert!(!machine.success(false), "a late answer to an older request decides nothing");
        assert_eq!(machine.state(), State::Trial);
    }

    #[test]
    fn c14_trial_success_returns_home_and_notifies() {
        let mut machine = trial();
        assert!(machine.success(true));
        assert_eq!(machine.state(), State::Home);
        assert!(!machine.success(true), "it succeeds only once");
    }

    #[test]
    fn c14_trial_failure_stays_in_failover_for_another_t() {
        let mut machine = trial();
        let later = NOW + Duration::from_secs(9);
        assert_eq!(machine.failure(later, 1, true), Remedy::StandIn);
        assert_eq!(since(&machine), Some(later));
        assert_eq!(machine.request(later + Duration::from_millis(1_499)), Choice::StandIn);
    }

    #[test]
    fn c13_t_is_jittered_by_a_quarter() {
        let mut holds = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut machine = Failover::new(1, T, seed);
            machine.failure(NOW, 1, false);
            let State::Failover { hold, .. } = machine.state() else { panic!("not in failover") };
            assert!(hold >= T * 3 / 4 && hold <= T * 5 / 4, "{hold:?}");
            holds.insert(hold);
        }
        assert!(holds.len() > 150, "clients differ");
        assert!(holds.first() < Some(&(T * 4 / 5)) && holds.last() > Some(&(T * 6 / 5)));
    }

    #[test]
    fn an_announcement_takes_effect_in_any_state() {
        for (mut machine, left) in [(home(), false), (failover(), true), (trial(), true)] {
            assert_eq!(machine.announced_online(), left);
            assert_eq!(machine.request(NOW), Choice::Server);
        }
    }

    #[test]
    fn a_stopping_server_is_avoided_without_a_notice() {
        for mut machine in [home(), failover(), trial()] {
            let later = NOW + Duration::from_secs(3);
            machine.leaving(later);
            assert_eq!(since(&machine), Some(later));
        }
    }

    #[test]
    fn without_another_server_the_server_is_tried_early() {
        assert_eq!(home().request_anyway(), Choice::Server);
        assert_eq!(failover().request_anyway(), Choice::Trial);
        assert_eq!(trial().request_anyway(), Choice::Server);
    }
}
