//! Tests of the limits on what a client repeats, keeps and gives up.

use std::time::Duration;

use standin_protocol::frame::{FrameLimits, Opcode, Status};
use standin_protocol::hello::{HelloBody, Role, cluster_id};

use super::world::{Mode, World, cas, ms};
use crate::engine::Input;
use crate::operation::{Action, ClientError, Operation, Outcome, Question, Target};
use crate::{Bootstrap, ClientConfig};

#[test]
fn an_idle_client_sends_nothing() {
    let mut world = World::new(&[0, 0]);
    let (_, home, _) = world.key();
    world.get().unwrap();
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.servers[home].pings, 0);
    assert_eq!((world.connects, world.engine.next_deadline()), (1, None));
}

#[test]
fn the_seeds_are_asked_once_per_attempt_timeout() {
    let mut world = World::new(&[0, 0]);
    world.kill(0);
    world.kill(1);
    let many: Vec<u64> = (0..20).map(|_| world.submit(Action::Get)).collect();
    for op_id in many {
        assert!(matches!(world.result(op_id), Err(ClientError::Unavailable { .. })));
    }
    let config = ClientConfig::default();
    let rounds = config.operation_timeout.as_millis() / config.attempt_timeout.as_millis();
    let master = world.topology.master;
    let rounds = usize::try_from(rounds).unwrap();
    let looked = world.called.iter().filter(|addr| **addr == master).count();
    assert!((rounds / 2..=rounds + 1).contains(&looked), "{looked} times, not {rounds}");
}

/// Memory is used for open operations only, not for all past ones.
#[test]
fn ended_operations_take_no_memory_while_an_older_one_is_open() {
    let config = ClientConfig { operation_timeout: Duration::from_secs(600), ..Default::default() };
    let bootstrap = Bootstrap::Config(crate::testing::topology(&[0, 0, 1, 1]));
    let mut world = World::with(&[0, 0, 1, 1], config, bootstrap);
    let (_, home, _) = world.key();
    let group = world.topology.servers[home].group;
    world.servers[home].mode = Mode::Stuck;
    world.submit(Action::Get);
    let other = (0..100u8).map(|n| vec![n]).find(|key| {
        let home = world.topology.home(world.topology.partition(1, key));
        world.topology.servers[usize::from(home)].group != group
    });
    let key = other.unwrap();
    for op_id in 1_000..6_000 {
        let operation = Operation { keyspace: 1, key: key.clone(), action: Action::Get };
        world.handle(Input::Submit { op_id, operation });
        world.result(op_id).unwrap();
        world.completed.clear();
        let longest = world.engine.deadlines.len().max(world.engine.patience.len());
        assert!(longest <= 1_100, "{longest} entries for {} operations", op_id - 1_000);
    }
}

#[test]
fn a_large_value_has_time_on_the_wire_before_its_server_counts_as_silent() {
    let mut world = World::new(&[0, 0]);
    let (_, home, stand_in) = world.key();
    world.get().unwrap();
    world.servers[home].mode = Mode::Silent;
    // 4 MB at 20 MB/s take 200 ms, in addition to the 100 ms of an attempt.
    let op_id = world.submit(Action::Put { value: vec![0; 4_000_000], ttl_s: 0 });
    world.run_for(ms(290));
    assert_eq!((world.connects, world.events.len()), (1, 0));
    world.run_for(ms(20));
    assert!(world.connects > 1, "it is sent once more");
    assert_eq!(world.result(op_id).map(|answer| usize::from(answer.served_by)), Ok(stand_in));
}

#[test]
fn a_question_is_sent_to_a_dead_server_as_often_as_a_request() {
    let mut world = World::new(&[0, 0]);
    world.kill(0);
    world.handle(Input::Ask { op_id: 1, target: Target::Any, question: Question::Map });
    assert_eq!(world.result(1).unwrap().served_by, 1);
    let attempts = usize::try_from(ClientConfig::default().attempts).unwrap();
    let dead = world.topology.servers[0].address;
    assert_eq!(world.called.iter().filter(|addr| **addr == dead).count(), attempts);
}

/// The shells give a connection up when the network has accepted nothing for this time.
#[test]
fn bytes_wait_for_the_network_for_two_failovers_at_most() {
    let attempt_timeout = ms(300);
    let config = ClientConfig { attempts: 5, attempt_timeout, ..ClientConfig::default() };
    let bootstrap = Bootstrap::Config(crate::testing::topology(&[0, 0]));
    let world = World::with(&[0, 0], config, bootstrap);
    assert_eq!(world.engine.unsent_max(), ms(3_000));
}

/// A write that has a send without an answer is sent to a third server. The answer of that server
/// is not final, even if a map and not a failure has moved the write.
#[test]
fn an_unanswered_send_is_not_forgotten_when_a_map_moves_the_write() {
    let mut world = World::new(&[0, 0, 0]);
    let (key, home, stand_in) = world.key();
    let third = usize::from(world.topology.rank(world.topology.partition(1, &key))[2]);
    world.get().unwrap();
    world.servers[home].mode = Mode::Stuck;
    world.servers[stand_in].mode = Mode::Silent;
    world.servers[third].mode = Mode::Says(Status::VersionMismatch);
    let write = world.submit(cas());
    world.run_for(ms(1));
    world.kill(home);
    world.run_for(ms(5));
    let map = world.map_without(&[home, stand_in]);
    let now = world.now;
    world.engine.apply(now, map);
    world.handle(Input::Tick);
    assert_eq!(world.result(write), Err(ClientError::OutcomeUnknown));
    assert!(world.servers[third].requests.iter().any(|r| r.opcode == Opcode::Cas as u8));
}

#[test]
fn a_write_that_was_never_sent_and_is_moved_by_a_map_has_the_answer_of_the_third_server() {
    let mut world = World::new(&[0, 0]);
    let (_, home, stand_in) = world.key();
    world.servers[home].mode = Mode::Silent;
    world.servers[stand_in].mode = Mode::Says(Status::VersionMismatch);
    let write = world.submit(cas());
    world.run_for(ms(1));
    let map = world.map_without(&[home]);
    let now = world.now;
    world.engine.apply(now, map);
    world.handle(Input::Tick);
    let answer = world.result(write).unwrap();
    assert_eq!(answer.outcome, Outcome::Mismatch { version: 9 });
    assert!(world.now.since(now) < ms(5));
}

#[test]
fn the_largest_key_and_value_are_sent_and_larger_ones_are_refused_here() {
    let limits = FrameLimits { key_bytes: 10, value_bytes: 20 };
    let config = ClientConfig { limits, operation_bytes_max: 45, ..ClientConfig::default() };
    let bootstrap = Bootstrap::Config(crate::testing::topology(&[0, 0]));
    let mut world = World::with(&[0, 0], config, bootstrap);
    let mut op_id = 100;
    let mut submit = |world: &mut World, key: usize, value: usize| {
        op_id += 1;
        let action = Action::Put { value: vec![7; value], ttl_s: 0 };
        let operation = Operation { keyspace: 1, key: vec![7; key], action };
        world.handle(Input::Submit { op_id, operation });
        op_id
    };
    for (key, value, is_sent) in [(10, 20, true), (11, 1, false), (1, 21, false), (1, 1, true)] {
        let op_id = submit(&mut world, key, value);
        let result = world.result(op_id);
        let is_refused = matches!(result, Err(ClientError::TooLarge(_)));
        assert_eq!((result.is_ok(), is_refused), (is_sent, !is_sent), "{key} and {value}");
    }
    // All open operations together have 45 bytes.
    for server in &mut world.servers {
        server.mode = Mode::Stuck;
    }
    let (first, second) = (submit(&mut world, 10, 20), submit(&mut world, 5, 10));
    let third = submit(&mut world, 1, 0);
    assert!(matches!(world.result(third), Err(ClientError::Overloaded { .. })));
    world.run_for(ms(1));
    assert!(!world.completed.iter().any(|(id, _)| *id == first || *id == second));
}

#[test]
fn one_operation_may_be_larger_than_the_limit_for_all() {
    let config = ClientConfig { operation_bytes_max: 5, ..ClientConfig::default() };
    let bootstrap = Bootstrap::Config(crate::testing::topology(&[0, 0]));
    let mut world = World::with(&[0, 0], config, bootstrap);
    assert!(world.run(Action::Put { value: vec![7; 100], ttl_s: 0 }).is_ok());
}

#[test]
fn the_hello_of_a_connection_names_the_client_and_the_destination() {
    for (observer, role) in [(false, Role::Client), (true, Role::Observer)] {
        let config = ClientConfig { observer, ..ClientConfig::default() };
        let bootstrap = Bootstrap::Config(crate::testing::topology(&[0, 0]));
        let mut world = World::with(&[0, 0], config, bootstrap);
        let (key, home, _) = world.key();
        world.get().unwrap();
        let server = u16::try_from(home).unwrap();
        let expected = HelloBody {
            client_id: 77,
            cluster_id: cluster_id(&world.topology.name),
            shard: world.topology.shard(server, world.topology.partition(1, &key)),
            role: role as u8,
            ..HelloBody::default()
        };
        assert_eq!(world.servers[home].hellos, [expected.to_bytes().to_vec()]);
    }
}

/// Another server would give the same answer.
#[test]
fn a_refusal_that_every_server_would_give_ends_the_operation() {
    for status in [Status::AuthFailed, Status::UnsupportedVersion] {
        let mut world = World::new(&[0, 0]);
        for server in &mut world.servers {
            server.mode = Mode::Greets(status);
        }
        let began = world.now;
        let result = world.get();
        match status {
            Status::AuthFailed => assert_eq!(result, Err(ClientError::AuthFailed)),
            _ => assert!(matches!(result, Err(ClientError::Protocol(_))), "{result:?}"),
        }
        assert!(world.now.since(began) < ms(5));
        assert_eq!(world.connects, 1);
    }
}

#[test]
fn no_operation_waits_for_room_beyond_its_deadline() {
    let config = ClientConfig { operation_timeout: ms(15), ..ClientConfig::default() };
    let bootstrap = Bootstrap::Config(crate::testing::topology(&[0, 0]));
    let mut world = World::with(&[0, 0], config, bootstrap);
    let (_, home, _) = world.key();
    // The server names 20 ms.
    world.servers[home].mode = Mode::Says(Status::Overloaded);
    let began = world.now;
    assert!(matches!(world.get(), Err(ClientError::Overloaded { .. })));
    assert!(world.now.since(began) < ms(5));
}

#[test]
fn the_error_of_an_unanswered_question_names_the_party() {
    let mut world = World::new(&[0, 0]);
    world.servers[0].mode = Mode::Stuck;
    let target = Target::Server(0);
    world.handle(Input::Ask { op_id: 1, target, question: Question::Stats });
    assert!(matches!(world.result(1), Err(ClientError::NoAnswer(text)) if text.contains("s1")));
}
