//! Tests of claims 10 to 14.

use std::time::Duration;

use standin_protocol::control::{Datagram, DatagramKind, SENDER_MASTER};
use standin_protocol::frame::request_flags;
use standin_protocol::map::{MapEpoch, ServerState};

use super::world::{Mode, World};
use crate::engine::Input;
use crate::event::ClientEvent as E;
use crate::failover::State;
use crate::operation::Action;

const T_LONGEST: Duration = Duration::from_millis(2_500);

fn kinds(world: &World) -> Vec<DatagramKind> {
    world.notices.iter().map(|notice| notice.kind).collect()
}

#[test]
fn c10_c11_a_request_goes_to_the_server_of_its_partition() {
    let mut world = World::new(&[0, 0, 1, 1]);
    let (_, home, _) = world.key();
    let answer = world.get().unwrap();
    assert_eq!(usize::from(answer.served_by), home);
    assert_eq!(answer.sends, 1);
    assert!(world.events.is_empty() && world.notices.is_empty());
    assert!(world.servers.iter().enumerate().all(|(id, s)| s.requests.is_empty() == (id != home)));
}

#[test]
fn c10_a_killed_server_is_reported_and_the_stand_in_answers() {
    let mut world = World::new(&[0, 0]);
    let (_, home, stand_in) = world.key();
    world.get().unwrap();
    world.kill(home);
    let began = world.now;
    let answer = world.get().unwrap();
    assert_eq!(usize::from(answer.served_by), stand_in);
    assert!(world.now.since(began) < Duration::from_millis(5), "a refusal is noticed at once");
    let server = u16::try_from(home).unwrap();
    let events = world.take_events();
    assert!(
        matches!(events[..], [E::EnteredFailover { server: s, attempts: 2 }, E::Reported { .. }] if s == server)
    );
    assert!(matches!(world.engine.failover_state(server), Some(State::Failover { .. })));
    assert_eq!(kinds(&world), [DatagramKind::ReportFailed]);
    assert_eq!((world.notices[0].subject, world.notices[0].arg), (server, 2));
}

#[test]
fn c12_the_send_is_repeated_with_the_same_id_before_failover() {
    let mut world = World::new(&[0, 0]);
    let (_, home, stand_in) = world.key();
    world.get().unwrap();
    world.servers[home].mode = Mode::Silent;
    let began = world.now;
    let answer = world.get().unwrap();
    assert_eq!(usize::from(answer.served_by), stand_in);
    let waited = world.now.since(began).as_millis();
    assert!((200..205).contains(&waited), "two attempts of 100 ms, not {waited}");
    // The HELLO of the second attempt was not answered, so its request was never sent.
    let id = world.servers[home].requests[1].request_id;
    let at_stand_in = world.servers[stand_in].requests[0];
    assert_eq!(at_stand_in.request_id, id);
    assert_ne!(at_stand_in.flags & request_flags::RETRY, 0);
    assert_eq!(world.connects, 3, "home, home again, stand-in");
}

#[test]
fn c12_one_lost_connection_does_not_cause_failover() {
    let mut world = World::new(&[0, 0]);
    let (_, home, _) = world.key();
    world.get().unwrap();
    world.servers[home].data_delay = Duration::from_millis(30);
    let op = world.submit(Action::Get);
    world.run_for(Duration::from_millis(10));
    world.close_connections(home);
    let answer = world.result(op).unwrap();
    assert_eq!((usize::from(answer.served_by), answer.sends), (home, 2));
    let ids: Vec<u32> = world.servers[home].requests.iter().map(|r| r.request_id).collect();
    assert_eq!(ids[1], ids[2]);
    assert!(world.events.is_empty());
}

#[test]
fn c13_until_t_has_passed_nothing_is_sent_to_the_server() {
    let mut world = World::new(&[0, 0]);
    let (_, home, stand_in) = world.key();
    world.kill(home);
    world.get().unwrap();
    let connects = world.connects;
    world.servers[home].mode = Mode::Up;
    for _ in 0..14 {
        world.run_for(Duration::from_millis(100));
        assert_eq!(usize::from(world.get().unwrap().served_by), stand_in);
    }
    assert_eq!(world.connects, connects);
    assert!(world.servers[home].requests.is_empty());
}

#[test]
fn c14_a_trial_that_succeeds_ends_failover_mode_and_is_reported() {
    let mut world = World::new(&[0, 0]);
    let (_, home, stand_in) = world.key();
    world.kill(home);
    world.get().unwrap();
    world.servers[home].mode = Mode::Up;
    world.run_for(T_LONGEST);
    world.take_events();
    world.notices.clear();
    world.servers[home].data_delay = Duration::from_millis(20);
    let trial = world.submit(Action::Get);
    let meanwhile = world.submit(Action::Get);
    assert_eq!(usize::from(world.result(meanwhile).unwrap().served_by), stand_in);
    assert_eq!(usize::from(world.result(trial).unwrap().served_by), home);
    let server = u16::try_from(home).unwrap();
    let events = world.take_events();
    assert_eq!(events[0], E::Trial { server });
    assert_eq!(events[1], E::LeftFailover { server, by_map: false });
    assert_eq!(kinds(&world), [DatagramKind::ReportOk]);
    assert_eq!(usize::from(world.get().unwrap().served_by), home);
}

#[test]
fn c14_a_trial_that_fails_goes_to_the_stand_in() {
    let mut world = World::new(&[0, 0]);
    let (_, home, stand_in) = world.key();
    world.kill(home);
    world.get().unwrap();
    world.run_for(T_LONGEST);
    world.take_events();
    world.notices.clear();
    let answer = world.get().unwrap();
    assert_eq!(usize::from(answer.served_by), stand_in);
    let server = u16::try_from(home).unwrap();
    assert_eq!(world.take_events(), [E::Trial { server }, E::TrialFailed { server }]);
    assert!(world.notices.is_empty(), "the master already knows");
    world.servers[home].mode = Mode::Up;
    world.run_for(Duration::from_millis(1_400));
    assert_eq!(usize::from(world.get().unwrap().served_by), stand_in, "another T begins");
}

#[test]
fn a_notice_is_resent_until_its_verdict_arrives_and_the_verdict_is_applied() {
    let mut world = World::new(&[0, 0, 0]);
    let (_, home, stand_in) = world.key();
    world.kill(home);
    world.get().unwrap();
    world.run_for(Duration::from_millis(350));
    assert_eq!(world.notices.len(), 3, "at 0, 100 and 300 ms");
    let notice = world.notices[0].clone();
    assert!(world.notices.iter().all(|n| n.nonce == notice.nonce));

    let epoch = MapEpoch { term: 1, counter: 4 };
    let mut verdict = Datagram::new(DatagramKind::Verdict, SENDER_MASTER, world.topology.id, 1);
    (verdict.subject, verdict.epoch) = (notice.subject, epoch);
    verdict.arg = ServerState::Offline as u32;
    verdict.statuses = vec![Default::default(); 3];
    verdict.statuses[home].state = ServerState::Offline;
    verdict.statuses[home].since = epoch;
    let forged = verdict.to_bytes(None);
    world.take_events();
    world.handle(Input::Datagram(&forged));
    world.handle(Input::Datagram(b"garbage"));
    assert!(world.take_events().is_empty(), "another nonce");

    verdict.nonce = notice.nonce;
    let bytes = verdict.to_bytes(None);
    world.handle(Input::Datagram(&bytes));
    let server = u16::try_from(home).unwrap();
    let state = ServerState::Offline;
    assert_eq!(world.take_events(), [E::Verdict { server, state, epoch }, E::MapApplied { epoch }]);
    world.run_for(T_LONGEST);
    assert_eq!(world.notices.len(), 3);
    assert_eq!(usize::from(world.get().unwrap().served_by), stand_in, "no trial against the map");
    assert!(world.take_events().is_empty());
}
