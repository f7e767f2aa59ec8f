//! Tests of when a server is probed, and when the result counts.

use super::*;

#[test]
fn a_probe_has_a_number_and_a_time_limit() {
    let mut case = Case::online();
    for (ms, number) in [(1, 1), (1_000, 2)] {
        let probe = case.see(ms, Seen::Reported).probe.expect("a probe");
        assert_eq!((probe.probe_id, case.server.last_probe_id()), (number, number));
        assert!(
            !case.server.is_probe_lost(at(ms + 399)) && case.server.is_probe_lost(at(ms + 400))
        );
        case.see(ms + 2, ANSWERED);
        assert!(!case.server.is_probe_lost(at(ms + 400)));
    }
    let time = Duration::from_millis(100);
    assert!(case.server.was_probed_within(at(1_101), time));
    assert!(!case.server.was_probed_within(at(1_102), time));
}

#[test]
fn a_frozen_server_is_probed_at_once_when_the_obstacle_is_gone() {
    let mut case = Case::new(Phase::Frozen { next_probe: at(250) });
    case.server.thaw(at(3));
    assert_eq!(case.server.next_deadline(&Rules::example()), at(3));
    assert!(case.see(3, Seen::Tick).probe.is_some());
    let mut online = Case::online();
    online.server.thaw(at(3));
    assert_eq!(online.phase(), Phase::Online { verify_at: None });
}

#[test]
fn silence_alone_and_a_report_alone_cause_a_verification() {
    for phase in [
        Phase::Online { verify_at: None },
        Phase::Online { verify_at: Some(at(5)) },
        Phase::Returning { attempt: 0, verify_at: None },
        Phase::Returning { attempt: 0, verify_at: Some(at(5)) },
    ] {
        let is_asked = !matches!(
            phase,
            Phase::Online { verify_at: None } | Phase::Returning { verify_at: None, .. }
        );
        let mut case = Case::new(phase);
        let due = if is_asked { 5 } else { 2_000 };
        assert_eq!(case.see(due - 1, Seen::Tick), Step::default());
        let step = case.see(due, Seen::Tick);
        assert_eq!((attempt_of(step), step.silent), (Some(1), !is_asked), "{phase:?}");
    }
}
