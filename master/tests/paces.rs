//! Tests of the pace at which a server is contacted again in each of its phases. Earlier contacts
//! would be too many, and later ones would delay its return.

mod world;

use std::time::Duration;

use standin_master::{Facts, Mark, Phase, Seen, Verify};
use standin_protocol::time::Micros;
use world::rules;

const ANSWERED: Seen = Seen::Answered { same: true };
const UNANSWERED: Seen = Seen::Unanswered { is_dead: false };

fn at(ms: u64) -> Micros {
    Micros(1_000_000_000 + ms * 1_000)
}

fn server(phase: Phase) -> Verify {
    Verify::new(at(0), phase, at(0))
}

fn see(server: &mut Verify, ms: u64, seen: Seen) {
    let facts = Facts { may_mark: true, is_released: false };
    server.handle(at(ms), seen, facts, &rules());
}

#[test]
fn an_offline_server_is_contacted_once_in_the_recheck_interval() {
    for seen in [UNANSWERED, Seen::Busy, Seen::Left] {
        let mut server = server(Phase::Offline { next_probe: at(0) });
        see(&mut server, 10, seen);
        assert_eq!(server.phase(), Phase::Offline { next_probe: at(260) }, "{seen:?}");
        assert_eq!(server.next_deadline(&rules()), at(260));
    }
}

#[test]
fn a_server_on_probation_is_contacted_until_its_time_is_over() {
    let (until, next_probe) = (at(1_000), at(0));
    let phase = Phase::Probation { until, next_probe };
    let next = |ms: u64, seen: Seen| {
        let mut server = server(phase);
        see(&mut server, ms, seen);
        server.phase()
    };
    assert_eq!(next(10, ANSWERED), Phase::Probation { until, next_probe: at(260) });
    assert_eq!(next(900, ANSWERED), Phase::Probation { until, next_probe: until });
    assert_eq!(next(1_000, Seen::Busy), Phase::Probation { until, next_probe: at(1_250) });
    assert_eq!(next(10, UNANSWERED), Phase::Offline { next_probe: at(260) });
    let mut back = server(phase);
    let facts = Facts { may_mark: true, is_released: false };
    let step = back.handle(at(1_000), ANSWERED, facts, &rules());
    assert_eq!(step.mark, Some(Mark::Returning));
}

#[test]
fn a_waiting_server_is_contacted_once_in_the_recheck_interval() {
    let waiting = Phase::Waiting { until: at(2_000), next_probe: at(0) };
    for seen in [UNANSWERED, Seen::Busy] {
        let mut server = server(waiting);
        see(&mut server, 10, seen);
        let next_probe = at(260);
        assert_eq!(server.phase(), Phase::Waiting { until: at(2_000), next_probe }, "{seen:?}");
    }
}

#[test]
fn a_frozen_server_is_contacted_without_delay_when_the_master_may_mark_again() {
    let mut server = server(Phase::Frozen { next_probe: at(5_000) });
    server.thaw(at(10));
    assert_eq!(server.phase(), Phase::Frozen { next_probe: at(10) });
}

#[test]
fn a_probe_without_a_result_is_given_up_after_its_time_and_not_before() {
    let mut server = server(Phase::Online { verify_at: None });
    assert_eq!(server.last_probe_id(), 0);
    see(&mut server, 1, Seen::Reported);
    let probe = server.probe_under_way().expect("a report causes a probe");
    assert_eq!(server.last_probe_id(), probe.probe_id);
    assert!(!server.is_probe_lost(at(1)) && !server.is_probe_lost(at(100)));
    assert!(server.is_probe_lost(at(60_000)));
    see(&mut server, 50, ANSWERED);
    assert!(!server.is_probe_lost(at(60_000)), "it has a result");
    let time = Duration::from_millis(100);
    assert!(server.was_probed_within(at(149), time) && !server.was_probed_within(at(150), time));
}

#[test]
fn a_stand_in_has_time_to_drain_before_it_is_contacted() {
    assert!(rules().drain_overdue() > rules().drain_timeout);
    assert!(rules().drain_overdue() < 4 * rules().drain_timeout);
}
