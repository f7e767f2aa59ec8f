//! Tests of the table in the head of `verify/mod.rs`, row by row.

mod probes;

use std::time::Duration;

use standin_config::Mode;

use super::*;
use crate::phase::Mark;

const MS: u64 = 1_000;

fn at(ms: u64) -> Micros {
    Micros(1_000_000 * MS + ms * MS)
}

/// A server with a clock. `see(ms, …)` passes it an observation and returns its step.
struct Case {
    server: Verify,
    may_mark: bool,
    is_released: bool,
    mode: Mode,
}

impl Case {
    /// Creates a server that holds no lease.
    fn new(phase: Phase) -> Self {
        Self::with_lease(phase, 0)
    }

    fn with_lease(phase: Phase, over_at_ms: u64) -> Self {
        let server = Verify::new(at(0), phase, at(over_at_ms));
        Self { server, may_mark: true, is_released: false, mode: Mode::Available }
    }

    /// Creates a server that is waiting from 3 ms on, for a lease that is over at 2,000 ms.
    fn waiting() -> Self {
        let mut case = Self::with_lease(Phase::Verifying { attempt: 2 }, 2_000);
        let step = case.see(3, UNANSWERED);
        assert_eq!((step.mark, step.verdict), (Some(Mark::Waiting), true));
        case
    }

    fn online() -> Self {
        Self::new(Phase::Online { verify_at: None })
    }

    fn offline() -> Self {
        Self::new(Phase::Offline { next_probe: at(0) })
    }

    fn see(&mut self, ms: u64, seen: Seen) -> Step {
        let facts = Facts { may_mark: self.may_mark, is_released: self.is_released };
        self.server.handle(at(ms), seen, facts, &Rules { mode: self.mode, ..Rules::example() })
    }

    fn phase(&self) -> Phase {
        self.server.phase()
    }

    /// Takes the server through verification to offline.
    fn fail(&mut self, ms: u64) {
        assert!(self.see(ms, Seen::Reported).probe.is_some());
        assert!(self.see(ms, UNANSWERED).probe.is_some());
        assert_eq!(self.see(ms, UNANSWERED).mark, Some(Mark::Offline));
    }

    /// Takes an offline server that has not flapped through its return to online.
    fn come_back(&mut self, ms: u64) {
        assert!(self.see(ms, Seen::Tick).probe.is_some());
        assert_eq!(self.see(ms, ANSWERED).mark, Some(Mark::Returning));
        assert_eq!(self.see(ms, Seen::Drained).mark, Some(Mark::Online));
    }
}

const UNANSWERED: Seen = Seen::Unanswered { is_dead: false };
const REFUSED: Seen = Seen::Unanswered { is_dead: true };
const ANSWERED: Seen = Seen::Answered { same: true };
const ANSWERED_BY_ANOTHER: Seen = Seen::Answered { same: false };

fn attempt_of(step: Step) -> Option<u32> {
    step.probe.map(|probe| probe.attempt)
}

#[test]
fn c19_online_and_reported_is_contacted() {
    let mut case = Case::online();
    let step = case.see(1, Seen::Reported);
    assert_eq!(attempt_of(step), Some(1));
    assert_eq!(step.mark, None, "a report alone marks nobody offline");
    assert_eq!(case.phase(), Phase::Verifying { attempt: 1 });
}

#[test]
fn online_and_another_incarnation_is_contacted() {
    let mut case = Case::online();
    assert_eq!(attempt_of(case.see(1, Seen::OtherIncarnation)), Some(1));
}

#[test]
fn online_and_silent_for_a_lease_is_contacted_unasked() {
    let mut case = Case::online();
    assert_eq!(case.see(500, Seen::Renewed), Step::default());
    assert_eq!(case.server.next_deadline(&Rules::example()), at(2_500));
    assert_eq!(case.see(2_499, Seen::Tick), Step::default());
    let step = case.see(2_500, Seen::Tick);
    assert_eq!((attempt_of(step), step.silent), (Some(1), true));
}

#[test]
fn c19_verifying_and_answered_stays_online_with_a_verdict() {
    let mut case = Case::online();
    case.see(1, Seen::Reported);
    let step = case.see(2, ANSWERED);
    assert_eq!((step.mark, step.verdict), (None, true));
    assert_eq!(case.phase(), Phase::Online { verify_at: None });
}

#[test]
fn verifying_and_busy_stays_online() {
    let mut case = Case::online();
    case.see(1, Seen::Reported);
    assert!(case.see(2, Seen::Busy).verdict);
    assert_eq!(case.phase(), Phase::Online { verify_at: None });
}

#[test]
fn verifying_and_unanswered_is_tried_again_at_once() {
    let mut case = Case::online();
    case.see(1, Seen::Reported);
    assert_eq!(attempt_of(case.see(2, UNANSWERED)), Some(2));
    assert_eq!(case.phase(), Phase::Verifying { attempt: 2 });
}

#[test]
fn c19_verifying_and_unanswered_for_all_attempts_is_marked_offline() {
    let mut case = Case::online();
    case.see(1, Seen::Reported);
    case.see(2, UNANSWERED);
    let step = case.see(3, UNANSWERED);
    assert_eq!((step.mark, step.verdict), (Some(Mark::Offline), true));
    assert_eq!(case.phase(), Phase::Offline { next_probe: at(253) });
}

#[test]
fn verifying_is_not_ended_by_a_renewal() {
    let mut case = Case::online();
    case.see(1, Seen::Reported);
    assert_eq!(case.see(2, Seen::Renewed), Step::default());
    assert_eq!(case.phase(), Phase::Verifying { attempt: 1 });
}

#[test]
fn verifying_and_unanswered_is_frozen_when_marking_is_not_allowed() {
    let mut case = Case::online();
    case.may_mark = false;
    case.see(1, Seen::Reported);
    case.see(2, UNANSWERED);
    let step = case.see(3, UNANSWERED);
    assert_eq!((step.mark, step.verdict, step.frozen), (None, true, true));
    assert_eq!(case.phase(), Phase::Frozen { next_probe: at(253) });
}

#[test]
fn frozen_is_probed_until_it_answers_or_may_be_marked() {
    let mut case = Case::new(Phase::Frozen { next_probe: at(10) });
    case.may_mark = false;
    assert_eq!(attempt_of(case.see(9, Seen::Tick)), None);
    assert_eq!(attempt_of(case.see(10, Seen::Tick)), Some(0));
    assert_eq!(case.see(11, UNANSWERED).mark, None);
    assert_eq!(attempt_of(case.see(261, Seen::Tick)), Some(0));
    let mut other = Case::offline();
    other.server = case.server.clone();
    assert_eq!(other.see(262, UNANSWERED).mark, Some(Mark::Offline));
    assert_eq!(case.see(262, ANSWERED), Step::default());
    assert_eq!(case.phase(), Phase::Online { verify_at: None });
}

#[test]
fn verifying_and_unanswered_waits_for_the_lease_unless_it_is_known_dead() {
    let case = Case::waiting();
    assert_eq!(case.phase(), Phase::Waiting { until: at(2_000), next_probe: at(253) });
    for phase in [Phase::Verifying { attempt: 2 }, Phase::Frozen { next_probe: at(0) }] {
        let mut case = Case::with_lease(phase, 2_000);
        assert_eq!(case.see(3, REFUSED).mark, Some(Mark::Offline), "{phase:?}");
        let mut case = Case::with_lease(phase, 2_000);
        assert_eq!(case.see(3, UNANSWERED).mark, Some(Mark::Waiting), "{phase:?}");
        let mut case = Case::with_lease(phase, 2_000);
        case.may_mark = false;
        assert!(case.see(3, REFUSED).mark.is_none(), "the cap takes precedence");
    }
}

#[test]
fn waiting_is_offline_when_the_lease_is_over() {
    let mut case = Case::waiting();
    assert_eq!(case.see(1_999, Seen::Tick).mark, None);
    assert_eq!(case.see(1_999, UNANSWERED).mark, None);
    assert_eq!(case.server.next_deadline(&Rules::example()), at(2_000));
    let step = case.see(2_000, Seen::Tick);
    assert_eq!((step.mark, step.lease_over), (Some(Mark::Offline), true));
    assert!(case.server.is_offline());
}

#[test]
fn waiting_is_offline_when_it_is_known_dead_or_has_acknowledged_that_it_owns_nothing() {
    let mut case = Case::waiting();
    assert_eq!(case.see(253, Seen::Tick).probe.map(|p| p.attempt), Some(0));
    assert_eq!(case.see(254, REFUSED).mark, Some(Mark::Offline));
    let mut case = Case::waiting();
    case.is_released = true;
    assert_eq!(case.see(253, Seen::Tick).mark, None, "a probe decides");
    assert_eq!(case.see(254, UNANSWERED).mark, Some(Mark::Offline));
}

#[test]
fn waiting_is_probed_at_a_sign_of_life_and_returns_when_it_answers() {
    for seen in [Seen::Renewed, Seen::ReportedOk, Seen::OtherIncarnation] {
        let mut case = Case::waiting();
        assert_eq!(attempt_of(case.see(50, seen)), None, "{seen:?}: not before the cool-down");
        assert_eq!(attempt_of(case.see(103, Seen::Tick)), Some(0), "{seen:?}");
        assert!(matches!(case.phase(), Phase::Waiting { .. }), "a sign of life alone ends nothing");
        let mut other = Case::offline();
        other.server = case.server.clone();
        assert_eq!(case.see(104, ANSWERED).mark, Some(Mark::Returning));
        assert_eq!(other.see(104, ANSWERED_BY_ANOTHER).mark, Some(Mark::Returning));
    }
    let mut case = Case::waiting();
    assert!(case.see(4, Seen::Reported).verdict, "the reporter is told the current state");
    case.see(253, Seen::Tick);
    assert_eq!(case.see(254, Seen::Busy), Step::default(), "a busy server has not returned");
}

#[test]
fn waiting_and_answered_after_flapping_is_held_down_once_released() {
    let mut case = Case::waiting();
    case.see(253, Seen::Tick);
    case.see(254, ANSWERED);
    case.see(255, Seen::Drained);
    case.see(400, Seen::Reported);
    case.see(401, UNANSWERED);
    assert_eq!(case.see(402, UNANSWERED).mark, Some(Mark::Waiting));
    case.see(652, Seen::Tick);
    assert_eq!(case.see(653, ANSWERED).mark, None, "it has flapped");
    case.is_released = true;
    case.see(903, Seen::Tick);
    let step = case.see(904, ANSWERED);
    assert_eq!(step.mark, Some(Mark::Offline));
    assert_eq!(step.hold_down, Some(Duration::from_millis(250)));
}

#[test]
fn a_server_that_answers_but_hears_nothing_is_marked_waiting() {
    let mut case = Case::with_lease(Phase::Online { verify_at: None }, 2_000);
    case.may_mark = false;
    assert_eq!(case.see(1, Seen::Deaf), Step::default(), "within the cap");
    case.may_mark = true;
    assert_eq!(case.see(1, Seen::Deaf).mark, Some(Mark::Waiting));
    let returning = Phase::Returning { attempt: 0, verify_at: None };
    assert_eq!(Case::new(returning).see(1, Seen::Deaf).mark, Some(Mark::Offline));
}

#[test]
fn c20_offline_is_checked_periodically() {
    let mut case = Case::offline();
    assert_eq!(attempt_of(case.see(0, Seen::Tick)), Some(0));
    assert_eq!(attempt_of(case.see(1, Seen::Tick)), None, "one probe at a time");
    assert_eq!(case.see(100, UNANSWERED), Step::default());
    assert_eq!(case.server.next_deadline(&Rules::example()), at(350));
    assert_eq!(attempt_of(case.see(349, Seen::Tick)), None);
    assert_eq!(attempt_of(case.see(350, Seen::Tick)), Some(0));
}

#[test]
fn offline_is_probed_at_once_when_it_is_reported_back() {
    for seen in [Seen::ReportedOk, Seen::OtherIncarnation] {
        let mut case = Case::offline();
        case.see(0, Seen::Tick);
        case.see(1, UNANSWERED);
        assert_eq!(attempt_of(case.see(150, seen)), Some(0), "{seen:?}");
    }
}

#[test]
fn c21_offline_and_answered_returns_and_is_online_when_drained() {
    let mut case = Case::offline();
    case.see(0, Seen::Tick);
    assert_eq!(case.see(1, ANSWERED_BY_ANOTHER).mark, Some(Mark::Returning));
    assert_eq!(case.see(2, Seen::Drained).mark, Some(Mark::Online));
    assert_eq!(case.phase(), Phase::Online { verify_at: None });
}

#[test]
fn offline_and_busy_does_not_return() {
    let mut case = Case::offline();
    case.see(0, Seen::Tick);
    assert_eq!(case.see(1, Seen::Busy).mark, None);
    assert!(case.server.is_offline());
}

#[test]
fn the_hold_down_doubles_with_each_flap_and_is_forgiven() {
    let mut case = Case::online();
    case.fail(1);
    case.come_back(300);
    case.fail(1_000);
    assert!(case.see(1_250, Seen::Tick).probe.is_some());
    assert_eq!(case.see(1_250, ANSWERED).hold_down, Some(Duration::from_millis(250)));
    assert!(case.see(1_499, Seen::Tick).probe.is_none());
    assert!(case.see(1_500, Seen::Tick).probe.is_some());
    assert_eq!(case.see(1_500, ANSWERED).mark, Some(Mark::Returning));
    case.see(1_501, Seen::Drained);
    case.fail(2_000);
    assert!(case.see(2_250, Seen::Tick).probe.is_some());
    assert_eq!(case.see(2_250, ANSWERED).hold_down, Some(Duration::from_millis(500)));
    for ms in [2_500, 2_750] {
        assert!(case.see(ms, Seen::Tick).probe.is_some());
        case.see(ms, ANSWERED);
    }
    assert_eq!(case.phase(), Phase::Returning { attempt: 0, verify_at: None });
    case.see(2_751, Seen::Drained);
    // Two leases of ten, twenty seconds each, forgive both.
    case.fail(50_000);
    case.come_back(50_300);
}

#[test]
fn probation_and_unanswered_is_offline_with_a_doubled_hold_down() {
    let mut case = Case::online();
    case.fail(1);
    case.come_back(300);
    case.fail(1_000);
    case.see(1_250, Seen::Tick);
    case.see(1_250, ANSWERED);
    case.see(1_500, Seen::Tick);
    assert_eq!(case.see(1_500, UNANSWERED), Step::default());
    case.see(1_750, Seen::Tick);
    assert_eq!(case.see(1_750, ANSWERED).hold_down, Some(Duration::from_millis(500)));
}

#[test]
fn returning_is_verified_like_online_and_fails_without_asking_the_cap() {
    let mut case = Case::new(Phase::Returning { attempt: 0, verify_at: None });
    case.may_mark = false;
    assert_eq!(attempt_of(case.see(1, Seen::Reported)), Some(1));
    assert_eq!(attempt_of(case.see(2, UNANSWERED)), Some(2));
    assert_eq!(case.see(3, UNANSWERED).mark, Some(Mark::Offline));

    for (seen, is_released, mark) in [
        (UNANSWERED, false, Mark::Waiting),
        (UNANSWERED, true, Mark::Offline),
        (REFUSED, false, Mark::Offline),
    ] {
        let phase = Phase::Returning { attempt: 2, verify_at: None };
        let mut case = Case::with_lease(phase, 2_000);
        (case.may_mark, case.is_released) = (false, is_released);
        assert_eq!(case.see(3, seen).mark, Some(mark), "{seen:?} {is_released}");
    }

    let mut case = Case::new(Phase::Returning { attempt: 0, verify_at: None });
    assert_eq!(attempt_of(case.see(2_000, Seen::Tick)), Some(1));
    assert!(case.see(2_001, ANSWERED).verdict);
    assert_eq!(case.see(2_002, Seen::Drained).mark, Some(Mark::Online));
}

#[test]
fn an_unnoticed_restart_is_a_return() {
    for phase in [
        Phase::Verifying { attempt: 1 },
        Phase::Frozen { next_probe: at(0) },
        Phase::Returning { attempt: 1, verify_at: None },
    ] {
        let mut case = Case::new(phase);
        let step = case.see(1, ANSWERED_BY_ANOTHER);
        assert_eq!((step.mark, step.verdict), (Some(Mark::Returning), true), "{phase:?}");
    }
}

#[test]
fn a_server_that_keeps_restarting_is_marked_offline() {
    let mut case = Case::online();
    case.see(1, Seen::OtherIncarnation);
    assert_eq!(case.see(2, ANSWERED_BY_ANOTHER).mark, Some(Mark::Returning));
    case.see(3, Seen::Drained);
    case.see(500, Seen::OtherIncarnation);
    let step = case.see(501, ANSWERED_BY_ANOTHER);
    assert_eq!(step.mark, Some(Mark::Offline));
    assert_eq!(step.hold_down, Some(Duration::from_millis(250)));
}

#[test]
fn in_strict_the_lease_of_an_incarnation_that_has_ended_is_waited_for() {
    let mut case = Case::with_lease(Phase::Online { verify_at: None }, 2_000);
    case.mode = Mode::Strict;
    case.see(1, Seen::OtherIncarnation);
    assert_eq!(case.see(2, ANSWERED_BY_ANOTHER).mark, Some(Mark::Returning));
    case.see(3, Seen::Drained);
    case.see(500, Seen::OtherIncarnation);
    assert_eq!(
        case.see(501, ANSWERED_BY_ANOTHER).mark,
        Some(Mark::Returning),
        "it is not marked offline"
    );
}

#[test]
fn leaving_from_any_phase_is_offline_when_drained_and_is_no_flap() {
    for phase in [
        Phase::Online { verify_at: None },
        Phase::Verifying { attempt: 2 },
        Phase::Frozen { next_probe: at(0) },
        Phase::Returning { attempt: 0, verify_at: None },
    ] {
        let mut case = Case::new(phase);
        case.may_mark = false;
        let step = case.see(1, Seen::Left);
        assert_eq!((step.mark, step.verdict), (Some(Mark::Leaving), false), "{phase:?}");
        assert_eq!(case.see(1, Seen::Left), Step::default(), "answered when it has left");
        assert_eq!(case.see(1, Seen::Reported), Step::default(), "it is stopping in any case");
        let step = case.see(1, Seen::Drained);
        assert_eq!((step.mark, step.verdict), (Some(Mark::Offline), true), "{phase:?}");
        assert_eq!(case.phase(), Phase::Offline { next_probe: at(251) });
        case.come_back(251);
        case.see(300, Seen::Left);
        case.see(301, Seen::Drained);
        case.come_back(600);
    }
    let mut case = Case::offline();
    let step = case.see(1, Seen::Left);
    assert_eq!((step.mark, step.verdict), (None, true), "a repeated report is answered again");
}

#[test]
fn leaving_ends_after_a_time() {
    let mut case = Case::online();
    case.see(1, Seen::Left);
    let Phase::Leaving { until } = case.phase() else { panic!("leaving") };
    let wait_ms = until.since(at(0)).as_millis();
    let wait_ms = u64::try_from(wait_ms).unwrap();
    assert_eq!(case.see(wait_ms - 1, Seen::Tick), Step::default());
    assert_eq!(case.see(wait_ms, Seen::Tick).mark, Some(Mark::Offline));

    let mut case = Case::with_lease(Phase::Leaving { until: at(0) }, 500);
    assert_eq!(case.see(1, Seen::Tick).mark, None, "its lease is not over");
    assert_eq!(case.server.next_deadline(&Rules::example()), at(500));
    let mut other = Case::with_lease(Phase::Leaving { until: at(0) }, 500);
    other.is_released = true;
    assert_eq!(other.see(1, Seen::Tick).mark, Some(Mark::Offline));
    assert_eq!(case.see(500, Seen::Tick).mark, Some(Mark::Offline));
}

#[test]
fn a_discounted_report_is_answered_at_once_and_verified_later() {
    let mut case = Case::online();
    case.see(1, Seen::Reported);
    case.see(2, ANSWERED);
    for _ in 0..2 {
        let step = case.see(50, Seen::Discounted);
        assert_eq!((step.probe, step.verdict), (None, true));
    }
    assert_eq!(case.server.next_deadline(&Rules::example()), at(1_002));
    let mut other = Case::online();
    other.server = case.server.clone();
    assert_eq!(attempt_of(case.see(1_002, Seen::Tick)), Some(1));
    assert_eq!(attempt_of(other.see(60, Seen::Reported)), None);
    assert_eq!(
        attempt_of(other.see(102, Seen::Tick)),
        Some(1),
        "a report of another reporter counts as usual"
    );
}

#[test]
fn reports_do_not_amplify() {
    let mut case = Case::online();
    let mut probes = 0;
    for ms in 0..1_000 {
        for _ in 0..50 {
            probes += u32::from(case.see(ms, Seen::Reported).probe.is_some());
        }
        probes += u32::from(case.see(ms, Seen::Tick).probe.is_some());
        if case.server.probe_under_way().is_some() {
            case.see(ms, ANSWERED);
        }
    }
    assert_eq!(probes, 10, "one in each cool-down of 100 ms");
}
