//! Tests of rules that the claims do not cover: statuses, maps, limits, slow servers.

use std::collections::BTreeMap;
use std::time::Duration;

use standin_protocol::frame::{FrameLimits, Opcode, Status, TTL_S_MAX};

use super::world::{EPOCH, Mode, World, cas, ms, put};
use crate::engine::Input;
use crate::event::ClientEvent as E;
use crate::operation::{Action, ClientError, Outcome, Question, Target};
use crate::testing::topology;
use crate::{Bootstrap, ClientConfig};

#[test]
fn each_status_has_its_result() {
    let table: [(Status, ClientError); 8] = [
        (Status::OriginUnavailable, ClientError::OriginUnavailable("value".to_owned())),
        (Status::OriginRejected, ClientError::OriginRejected("value".to_owned())),
        (Status::OutcomeUnknown, ClientError::OutcomeUnknown),
        (Status::DeadlineExceeded, ClientError::DeadlineExceeded),
        (Status::UnknownKeyspace, ClientError::UnknownKeyspace("items".to_owned())),
        (Status::TooLarge, ClientError::TooLarge("value".to_owned())),
        (Status::NotStored, ClientError::NotStored { keyspace: "items".to_owned() }),
        (
            Status::NotSupported,
            ClientError::NotSupported { keyspace: "items".to_owned(), opcode: Opcode::Put },
        ),
    ];
    for (status, error) in table {
        let keyspaces = BTreeMap::from([(1, "items".to_owned())]);
        let config = ClientConfig { keyspaces, ..ClientConfig::default() };
        let mut world = World::with(&[0, 0], config, Bootstrap::Config(topology(&[0, 0])));
        let (_, home, _) = world.key();
        world.servers[home].mode = Mode::Says(status);
        assert_eq!(world.run(put()), Err(error), "{status}");
        assert!(world.events.is_empty(), "{status}: the server has answered");
    }
}

#[test]
fn each_operation_has_its_outcome() {
    let mut world = World::new(&[0, 0]);
    let table = [
        (put(), Outcome::Written { version: 9 }),
        (cas(), Outcome::Written { version: 9 }),
        (Action::Delete, Outcome::Deleted),
        (Action::Touch { ttl_s: 5 }, Outcome::Touched { ttl_s: 0 }),
        (Action::Invalidate, Outcome::Invalidated),
        (Action::Flush, Outcome::Flushed),
    ];
    for (action, outcome) in table {
        assert_eq!(world.run(action).unwrap().outcome, outcome);
    }
    let (_, home, _) = world.key();
    world.servers[home].mode = Mode::Says(Status::VersionMismatch);
    assert_eq!(world.run(cas()).unwrap().outcome, Outcome::Mismatch { version: 9 });
    world.servers[home].mode = Mode::Says(Status::NotFound);
    assert_eq!(world.get().unwrap().outcome, Outcome::NotFound);
}

#[test]
fn a_server_without_room_for_a_connection_does_not_count_as_dead() {
    let mut world = World::new(&[0, 0]);
    let (_, home, stand_in) = world.key();
    world.servers[home].mode = Mode::Full;
    let op_id = world.submit(Action::Get);
    world.run_for(ms(15));
    assert!(world.completed.is_empty(), "it is tried again after the time that the server names");
    world.servers[home].mode = Mode::Up;
    let answer = world.result(op_id).expect("there is room again");
    assert_eq!(usize::from(answer.served_by), home);

    let mut world = World::new(&[0, 0]);
    world.servers[home].mode = Mode::Full;
    for action in [Action::Get, put()] {
        let retry_after = ms(20);
        assert_eq!(world.run(action), Err(ClientError::Overloaded { retry_after }));
    }
    world.run_for(Duration::from_secs(1));
    assert!(world.events.is_empty() && world.notices.is_empty(), "no failover, and no report");
    assert_eq!(world.servers[stand_in].requests.len(), 0, "its load is not moved to a stand-in");
    let target = Target::Server(u16::try_from(home).unwrap());
    world.handle(Input::Ask { op_id: 99, target, question: Question::Stats });
    assert_eq!(world.result(99), Err(ClientError::Overloaded { retry_after: ms(20) }));
}

#[test]
fn an_overloaded_server_is_tried_once_more_after_the_time_that_it_names() {
    let mut world = World::new(&[0, 0]);
    let (_, home, _) = world.key();
    world.servers[home].mode = Mode::Says(Status::Overloaded);
    let began = world.now;
    let error = world.get().unwrap_err();
    assert_eq!(error, ClientError::Overloaded { retry_after: ms(20) });
    assert!(world.now.since(began) >= ms(20));
    assert_eq!(world.servers[home].requests.len(), 2);
    let op = world.submit(Action::Get);
    world.run_for(ms(10));
    world.servers[home].mode = Mode::Up;
    assert!(world.result(op).is_ok());
}

#[test]
fn a_server_that_stops_or_can_not_serve_is_skipped() {
    for status in [Status::ShuttingDown, Status::Unavailable, Status::NotOwner] {
        let mut world = World::new(&[0, 0]);
        let (_, home, stand_in) = world.key();
        world.servers[home].mode = Mode::Says(status);
        assert_eq!(usize::from(world.get().unwrap().served_by), stand_in, "{status}");
        assert!(world.notices.is_empty());
        let entered = world.events.iter().any(|e| matches!(e, E::EnteredFailover { .. }));
        assert_eq!(entered, status == Status::ShuttingDown, "{status}");
    }
}

#[test]
fn a_server_that_refuses_a_hello_because_it_is_stopping_is_avoided_and_not_reported() {
    let mut world = World::new(&[0, 0]);
    let (_, home, stand_in) = world.key();
    world.servers[home].mode = Mode::Stopping;
    assert_eq!(usize::from(world.get().unwrap().served_by), stand_in);
    assert!(world.notices.is_empty(), "it tells the master itself");
    let server = u16::try_from(home).unwrap();
    assert!(
        world.events.contains(&E::EnteredFailover { server, attempts: 0 }),
        "{:?}",
        world.events
    );
    let connects = world.connects;
    assert_eq!(usize::from(world.get().unwrap().served_by), stand_in);
    assert_eq!(world.connects, connects, "nobody connects there for now");
}

#[test]
fn a_question_is_sent_again_when_its_connection_was_lost() {
    for target in [Target::Server(0), Target::Any] {
        let mut world = World::new(&[0, 0]);
        for server in &mut world.servers {
            server.mode = Mode::Stuck;
        }
        world.handle(Input::Ask { op_id: 9, target, question: Question::Stats });
        world.run_for(ms(1));
        let asked = world.servers.iter().position(|server| !server.requests.is_empty()).unwrap();
        world.close_connections(asked);
        world.servers[asked].mode = Mode::Says(Status::NotSupported);
        let _ = world.result(9);
        assert_eq!(world.servers[asked].requests.len(), 2, "{target:?}");
    }
}

#[test]
fn a_newer_tag_causes_one_fetch_and_the_map_is_applied() {
    let mut world = World::new(&[0, 0, 0]);
    let (_, home, stand_in) = world.key();
    world.servers[home].map = world.map_without(&[home]);
    let ops: Vec<u64> = (0..5).map(|_| world.submit(Action::Get)).collect();
    for op in ops {
        world.result(op).unwrap();
    }
    world.run_for(ms(50));
    let maps = world.servers[home].requests.iter().filter(|r| r.opcode == Opcode::Map as u8);
    assert_eq!(maps.count(), 1);
    assert_eq!(world.take_events(), [E::MapApplied { epoch: EPOCH }]);
    assert_eq!(usize::from(world.get().unwrap().served_by), stand_in);
}

#[test]
fn a_map_moves_requests_under_way() {
    let mut world = World::new(&[0, 0]);
    let (_, home, stand_in) = world.key();
    world.servers[home].mode = Mode::Stuck;
    let op = world.submit(Action::Get);
    world.run_for(ms(30));
    let map = world.map_without(&[home]);
    let now = world.now;
    world.engine.apply(now, map);
    world.handle(Input::Tick);
    assert_eq!(usize::from(world.result(op).unwrap().served_by), stand_in);
    assert!(world.now.since(now) < ms(5));
}

/// If a write were executed twice, the late copy would overwrite a write in between (scenario 14).
#[test]
fn a_map_does_not_move_a_write_that_was_sent_to_a_live_server() {
    let mut world = World::new(&[0, 0]);
    let (_, home, stand_in) = world.key();
    world.servers[home].data_delay = ms(30);
    let op = world.submit(put());
    world.run_for(ms(10));
    let map = world.map_without(&[home]);
    let now = world.now;
    world.engine.apply(now, map);
    world.handle(Input::Tick);
    let answer = world.result(op).unwrap();
    assert_eq!((usize::from(answer.served_by), answer.sends), (home, 1));
    assert!(world.servers[stand_in].requests.iter().all(|r| r.opcode != Opcode::Put as u8));
    assert_eq!(usize::from(world.run(put()).unwrap().served_by), stand_in, "the next one moves");
}

#[test]
fn seeds_are_asked_until_one_knows_the_map() {
    let groups = [0, 0, 0];
    let addresses = topology(&groups).servers.iter().map(|s| s.address).collect();
    let mut world = World::with(&groups, ClientConfig::default(), Bootstrap::Seeds(addresses));
    world.servers[0].mode = Mode::Refuse;
    world.servers[1].mode = Mode::Silent;
    assert!(world.get().is_ok());
    assert!(matches!(world.events[0], E::MapApplied { .. }));
    assert!(world.engine.map().is_some());
}

#[test]
fn without_any_seed_operations_end_in_time() {
    let addresses = topology(&[0, 0]).servers.iter().map(|s| s.address).collect();
    let mut world = World::with(&[0, 0], ClientConfig::default(), Bootstrap::Seeds(addresses));
    world.kill(0);
    world.kill(1);
    let began = world.now;
    assert_eq!(world.get(), Err(ClientError::NoMap));
    assert_eq!(world.now.since(began), ClientConfig::default().operation_timeout);
    // Both seeds are asked every 50 ms, which is half the timeout of an attempt.
    assert!((200..450).contains(&world.connects), "{} connects", world.connects);
    world.servers[1].mode = Mode::Up;
    assert!(world.get().is_ok());
}

#[test]
fn a_slow_answer_is_waited_for_without_failover() {
    let mut world = World::new(&[0, 0]);
    let (_, home, _) = world.key();
    world.servers[home].data_delay = ms(700);
    let answer = world.get().unwrap();
    assert_eq!((usize::from(answer.served_by), answer.sends), (home, 1));
    assert!(world.servers[home].pings >= 10, "it was pinged");
    assert!(world.events.is_empty() && world.connects == 1);
}

#[test]
fn a_late_answer_still_counts() {
    let mut world = World::new(&[0, 0]);
    let (_, home, _) = world.key();
    // Half of the operation timeout is 3 s.
    world.servers[home].data_delay = ms(3_900);
    let answer = world.run(put()).unwrap();
    assert_eq!((usize::from(answer.served_by), answer.sends), (home, 2), "repeated at 3 s");
    assert_eq!(world.connects, 1, "on the same connection");
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let mut world = World::new(&[0, 0]);
    let (_, home, stand_in) = world.key();
    world.servers[home].mode = Mode::Stuck;
    assert_eq!(world.get(), Err(ClientError::DeadlineExceeded));
    assert_eq!(world.run(put()).map(|a| usize::from(a.served_by)), Ok(stand_in));
}

#[test]
fn a_dead_server_does_not_delay_requests_to_others() {
    let mut world = World::new(&[0, 0, 1, 1]);
    let (_, home, _) = world.key();
    world.servers[home].mode = Mode::Silent;
    let stuck = world.submit(Action::Get);
    let other = (0..100u8)
        .map(|n| vec![n])
        .find(|key| usize::from(world.topology.home(world.topology.partition(1, key))) != home)
        .unwrap();
    let began = world.now;
    let operation = crate::Operation { keyspace: 1, key: other, action: Action::Get };
    world.handle(Input::Submit { op_id: 1_000, operation });
    assert!(world.result(1_000).is_ok());
    assert!(world.now.since(began) < ms(2));
    assert!(world.result(stuck).is_ok());
}

#[test]
fn a_write_without_an_answer_is_not_reported_as_failed_or_mismatched() {
    let mut world = World::new(&[0, 0]);
    let (_, home, stand_in) = world.key();
    world.get().unwrap();
    world.servers[home].mode = Mode::Silent;
    world.servers[stand_in].mode = Mode::Says(Status::VersionMismatch);
    assert_eq!(world.run(cas()), Err(ClientError::OutcomeUnknown));
    world.servers[stand_in].mode = Mode::Up;
    assert!(world.run(cas()).is_ok(), "now in failover mode, sent only once");

    let mut world = World::new(&[0, 0]);
    world.get().unwrap();
    world.servers[home].mode = Mode::Silent;
    world.servers[stand_in].mode = Mode::Silent;
    assert_eq!(world.run(put()), Err(ClientError::OutcomeUnknown));
}

#[test]
fn without_any_server_an_operation_is_tried_until_its_deadline() {
    let mut world = World::new(&[0, 0]);
    world.kill(0);
    world.kill(1);
    let error = world.run(put()).unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{said}");
    for id in [0, 1] {
        let info = &world.topology.servers[id];
        assert!(said.contains(&format!("{} ({})", info.name, info.address)), "{said}");
    }
    let op = world.submit(Action::Get);
    world.run_for(ms(500));
    world.servers[1].mode = Mode::Up;
    assert!(world.result(op).is_ok(), "a server came back in time");
}

#[test]
fn a_server_that_answers_that_it_can_not_serve_is_not_called_silent() {
    let mut world = World::new(&[0, 0]);
    world.servers.iter_mut().for_each(|server| server.mode = Mode::Unready);
    let error = world.run(put()).unwrap_err();
    let ClientError::Unavailable { silent, unready } = &error else { panic!("{error:?}") };
    assert_eq!((silent.len(), unready.len()), (0, 2), "{error}");
    let said = error.to_string();
    assert!(said.contains("answer, but may not serve the key now"), "{said}");
    assert!(!said.contains("are they running"), "{said}");

    world.kill(0);
    let error = world.run(Action::Get).unwrap_err();
    let ClientError::Unavailable { silent, unready } = &error else { panic!("{error:?}") };
    let name = |id: usize| format!("{} (", world.topology.servers[id].name);
    assert!(silent.len() == 1 && silent[0].starts_with(&name(0)), "{error}");
    assert!(unready.len() == 1 && unready[0].starts_with(&name(1)), "{error}");
}

#[test]
fn a_server_without_a_map_is_not_called_silent_or_of_another_version() {
    let mut world = World::new(&[0, 0]);
    world.servers[0].mode = Mode::Unready;
    let ask = |world: &mut World, op_id, target| {
        world.handle(Input::Ask { op_id, target, question: Question::Map });
        world.result(op_id)
    };
    let error = ask(&mut world, 91, Target::Server(0)).unwrap_err();
    assert!(matches!(&error, ClientError::NotReady(text) if text.contains("has no map yet")));
    // The other one has a map.
    assert_eq!(ask(&mut world, 92, Target::Any).unwrap().served_by, 1);
    world.servers[1].mode = Mode::Unready;
    let error = ask(&mut world, 93, Target::Any).unwrap_err();
    assert!(matches!(error, ClientError::NotReady(_)), "{error}");
    world.kill(1);
    let error = ask(&mut world, 94, Target::Any).unwrap_err();
    assert!(matches!(error, ClientError::NotReady(_)), "one of them answers: {error}");
    world.servers[0].mode = Mode::Full;
    world.close_connections(0);
    world.run_for(ms(10));
    let error = ask(&mut world, 95, Target::Any).unwrap_err();
    assert_eq!(error, ClientError::Overloaded { retry_after: ms(20) });
}

#[test]
fn limits_are_enforced_in_the_client() {
    let config = ClientConfig {
        operations_max: 10,
        limits: FrameLimits { key_bytes: 10, value_bytes: 20 },
        in_flight_per_connection: 3,
        ..ClientConfig::default()
    };
    let bootstrap = Bootstrap::Config(topology(&[0, 0]));
    let mut world = World::with(&[0, 0], config, bootstrap);
    let (_, home, _) = world.key();
    let long = Action::Put { value: vec![0; 21], ttl_s: 0 };
    assert!(matches!(world.run(long), Err(ClientError::TooLarge(_))));
    world.servers[home].data_delay = ms(10);
    let ops: Vec<u64> = (0..11).map(|_| world.submit(Action::Get)).collect();
    world.run_for(ms(5));
    assert_eq!(world.servers[home].requests.len(), 3, "the others wait in the client");
    for op in &ops[..10] {
        assert!(world.result(*op).is_ok());
    }
    assert!(matches!(world.result(ops[10]), Err(ClientError::Overloaded { .. })));
    assert_eq!(world.engine.open_operations(), 0);
    assert_eq!((world.engine.open.len(), world.engine.open_bytes), (0, 0));
    assert!(world.engine.deadlines.is_empty() && world.engine.patience.is_empty());
}

#[test]
fn a_lifetime_that_cannot_be_sent_is_refused_and_not_shortened() {
    let mut world = World::new(&[0, 0]);
    for action in [
        Action::Put { value: vec![0; 8], ttl_s: TTL_S_MAX + 1 },
        Action::Cas { version: 1, value: vec![0; 8], ttl_s: TTL_S_MAX + 1 },
        Action::Touch { ttl_s: u32::MAX },
    ] {
        let Err(ClientError::TooLarge(text)) = world.run(action) else { panic!("refused") };
        assert!(text.contains("3932100 s"), "it says what the limit is: {text}");
    }
    assert!(world.run(Action::Put { value: vec![0; 8], ttl_s: TTL_S_MAX }).is_ok());
}

#[test]
fn questions_go_to_one_party_and_do_not_touch_failover() {
    let mut world = World::new(&[0, 0]);
    world.kill(1);
    let ask = |world: &mut World, target, question| {
        let op_id = 500 + world.completed.len() as u64;
        world.handle(Input::Ask { op_id, target, question });
        world.result(op_id).map(|answer| answer.outcome)
    };
    let ping = Question::Ping { shard: 1 };
    assert!(matches!(ask(&mut world, Target::Server(0), ping), Ok(Outcome::Ping(_))));
    assert!(matches!(ask(&mut world, Target::Server(0), Question::Map), Ok(Outcome::Map(_))));
    assert!(matches!(ask(&mut world, Target::Server(1), ping), Err(ClientError::NoAnswer(_))));
    let far = Question::Ping { shard: 2 };
    assert!(matches!(ask(&mut world, Target::Server(0), far), Err(ClientError::NoSuchTarget(_))));
    assert!(matches!(ask(&mut world, Target::Server(9), ping), Err(ClientError::NoSuchTarget(_))));
    world.servers[0].mode = Mode::Refuse;
    world.close_connections(0);
    world.servers[1].mode = Mode::Up;
    assert!(matches!(ask(&mut world, Target::Any, Question::Map), Ok(Outcome::Map(_))));
    assert!(world.events.is_empty());
}

#[test]
fn a_client_that_was_stopped_reads_before_it_gives_a_connection_up() {
    let mut world = World::new(&[0, 0]);
    let (_, home, _) = world.key();
    let op = world.submit(Action::Get);
    world.run_for(Duration::from_micros(350));
    assert!(world.result(op).is_ok());
    let op = world.submit(Action::Get);
    world.run_for(Duration::from_micros(50));
    assert_eq!(world.completed.len(), 1);
    // The answer is in the socket, but this process does not run for a second.
    world.engine.handle(world.now + ms(1_000), Input::Tick);
    let answer = world.result(op).unwrap();
    assert_eq!((usize::from(answer.served_by), answer.sends), (home, 1));
    assert!(world.events.is_empty() && world.connects == 1);
}
