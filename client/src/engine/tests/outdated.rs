//! Tests of a topology that is no longer the cluster's. The cluster itself decides which servers
//! are in it.

use std::sync::Arc;

use standin_protocol::frame::{Opcode, Status};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerInfo, Topology};

use super::world::{Mode, World, put};
use crate::event::ClientEvent;
use crate::operation::{Action, ClientError, Outcome, Question, Target};
use crate::testing::topology;
use crate::{Bootstrap, ClientConfig};

/// Returns the cluster's topology with other servers.
fn with_servers(servers: Vec<ServerInfo>) -> Arc<Topology> {
    let now = topology(&[0, 0]);
    Arc::new(Topology::new(now.name.clone(), now.master, servers, now.partitions).unwrap())
}

/// Returns the cluster's servers in another order, so that each id belongs to another server.
fn turned() -> Arc<Topology> {
    with_servers(topology(&[0, 0]).servers.iter().rev().cloned().collect())
}

/// Returns a topology with the same servers, all of which have moved, except this one.
fn moved(but: Option<usize>) -> Arc<Topology> {
    let mut servers = topology(&[0, 0]).servers.clone();
    for (at, server) in servers.iter_mut().enumerate() {
        if Some(at) != but {
            server.address.set_port(9_000 + server.address.port());
        }
    }
    with_servers(servers)
}

fn world(file: Arc<Topology>) -> World {
    let mut world = World::with(&[0, 0], ClientConfig::default(), Bootstrap::Config(file));
    let epoch = MapEpoch { term: 3, counter: 1 };
    for server in &mut world.servers {
        server.map = ClusterMap::new(Arc::clone(&server.map.topology), epoch, Vec::new());
    }
    world
}

fn world_interval() -> std::time::Duration {
    ClientConfig::default().map_fetch_interval
}

fn told(world: &mut World) -> Vec<String> {
    let events = world.take_events().into_iter();
    let how = events.filter_map(|event| match event {
        ClientEvent::TopologyDiffers { how } => Some(how),
        _ => None,
    });
    how.collect()
}

#[test]
fn reads_and_writes_succeed_and_the_difference_is_reported_once() {
    for file in [turned(), moved(Some(0)), moved(Some(1))] {
        let mut world = world(file);
        assert!(matches!(world.run(put()).unwrap().outcome, Outcome::Written { .. }));
        for _ in 0..3 {
            world.get().unwrap();
        }
        let (_, home, _) = world.key();
        assert_eq!(usize::from(world.get().unwrap().served_by), home, "by the cluster's ranks");
        assert_eq!(told(&mut world).len(), 1);
        assert_eq!(world.engine.map().unwrap().topology.id, world.topology.id);
    }
}

#[test]
fn requests_under_way_when_the_topology_changes_are_sent_again() {
    let mut world = world(turned());
    let many: Vec<u64> = (0..50).map(|_| world.submit(put())).collect();
    for op_id in many {
        world.result(op_id).unwrap();
    }
    assert_eq!(world.engine.open_operations(), 0);
}

/// The topology changes while a client runs. The servers were all restarted, and their epochs start
/// again.
#[test]
fn a_lower_epoch_of_another_topology_is_accepted_when_no_server_serves_the_old_one() {
    let mut world = world(turned());
    world.get().unwrap();
    let file = told(&mut world);
    assert_eq!(file.len(), 1);
    for server in &mut world.servers {
        server.mode = Mode::Says(Status::NotOwner);
        let servers = server.map.topology.servers.iter().cloned().map(|mut info| {
            info.weight = 2;
            info
        });
        let topology = with_servers(servers.collect());
        let epoch = MapEpoch { term: 1, counter: 1 };
        server.map = ClusterMap::new(topology, epoch, Vec::new());
    }
    let op_id = world.submit(Action::Get);
    world.run_for(std::time::Duration::from_millis(500));
    world.servers.iter_mut().for_each(|server| server.mode = Mode::Up);
    world.result(op_id).unwrap();
    assert_eq!(world.engine.map().unwrap().epoch.term, 1);
    assert!(told(&mut world).is_empty(), "one warning is enough");
}

#[test]
fn a_question_waits_for_the_answer_of_the_seeds() {
    let mut world = world(turned());
    for (op_id, server) in [(1_001, 0), (1_002, 1)] {
        let (target, question) = (Target::Server(server), Question::Stats);
        world.handle(crate::engine::Input::Ask { op_id, target, question });
        // These servers give a wrong answer to STATS, but it is an answer.
        assert!(matches!(world.result(op_id), Err(ClientError::Protocol(_))));
        let asked = world.servers[usize::from(server)].requests.iter();
        assert_eq!(asked.filter(|h| h.opcode == Opcode::Stats as u8).count(), 1);
    }
}

#[test]
fn the_map_of_another_cluster_is_refused() {
    let mut world = world(topology(&[0, 0]));
    let name = "other".to_owned();
    let now = topology(&[0, 0]);
    let servers = now.servers.iter().rev().cloned().collect();
    let other = Arc::new(Topology::new(name, now.master, servers, now.partitions).unwrap());
    for server in &mut world.servers {
        let epoch = MapEpoch { term: 9, counter: 1 };
        server.map = ClusterMap::new(Arc::clone(&other), epoch, Vec::new());
    }
    for _ in 0..20 {
        world.get().unwrap();
    }
    let refused = |world: &mut World| {
        let events = world.take_events().into_iter();
        events.filter(|e| matches!(e, ClientEvent::MapRefused { .. })).count()
    };
    assert_eq!(refused(&mut world), 1, "it is not fetched again at once");
    assert_eq!(world.engine.map().unwrap().topology.id, now.id);
    world.run_for(world_interval());
    world.get().unwrap();
    world.get().unwrap();
    assert_eq!(refused(&mut world), 1, "after a while it may be another one");
}

#[test]
fn the_caller_is_told_in_time_that_no_server_answers() {
    let mut world = world(moved(None));
    let error = world.get().unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error:?}");
    assert!(told(&mut world).is_empty());
}

/// Returns a map of the cluster's topology with other weights of the servers.
fn reweighted(term: u32) -> ClusterMap {
    let servers = topology(&[0, 0]).servers.clone().into_iter();
    let servers = servers.map(|info| ServerInfo { weight: 2, ..info }).collect();
    let epoch = MapEpoch { term, counter: 1 };
    ClusterMap::new(with_servers(servers), epoch, Vec::new())
}

#[test]
fn an_older_map_of_another_topology_is_refused_while_this_one_serves() {
    let mut world = world(topology(&[0, 0]));
    world.get().unwrap();
    world.get().unwrap();
    world.take_events();
    let (now, before) = (world.now, world.engine.map().unwrap().clone());
    assert_eq!(before.epoch.term, 3);
    world.engine.apply(now, reweighted(3));
    world.engine.apply(now, reweighted(2));
    world.handle(crate::engine::Input::Tick);
    let events = world.take_events();
    assert!(
        matches!(events[..], [ClientEvent::MapRefused { .. }, ClientEvent::MapRefused { .. }]),
        "{events:?}"
    );
    assert_eq!(world.engine.map().unwrap().topology.id, before.topology.id);
    world.engine.apply(now, reweighted(4));
    assert_ne!(world.engine.map().unwrap().topology.id, before.topology.id);
}

/// A request that was sent under the old topology may have been executed. Another server's answer
/// to a second send says nothing about the first.
#[test]
fn a_write_sent_before_the_topology_changed_is_not_reported_as_not_executed() {
    let mut world = world(topology(&[0, 0]));
    world.get().unwrap();
    for server in &mut world.servers {
        server.mode = Mode::Stuck;
    }
    let write = world.submit(Action::Cas { version: 1, value: b"v".to_vec(), ttl_s: 0 });
    let read = world.submit(Action::Get);
    world.run_for(std::time::Duration::from_millis(1));
    for server in &mut world.servers {
        server.mode = Mode::Says(Status::VersionMismatch);
    }
    let (began, connects) = (world.now, world.connects);
    world.engine.apply(began, reweighted(9));
    world.handle(crate::engine::Input::Tick);
    assert_eq!(world.result(write), Err(ClientError::OutcomeUnknown));
    assert!(world.result(read).is_ok(), "the answer to a read counts");
    assert!(world.now.since(began) < std::time::Duration::from_millis(5), "sent again at once");
    assert!(world.connects > connects, "on other connections");
}

#[test]
fn no_server_is_reported_by_an_id_of_the_previous_topology() {
    let mut world = world(topology(&[0, 0]));
    world.get().unwrap();
    let (_, home, _) = world.key();
    world.kill(home);
    world.get().unwrap();
    assert_eq!(world.notices.len(), 1);
    let (now, other) = (world.now, reweighted(9));
    world.topology = Arc::clone(&other.topology);
    world.engine.apply(now, other);
    world.handle(crate::engine::Input::Tick);
    world.run_for(std::time::Duration::from_secs(1));
    assert_eq!(world.notices.len(), 1, "it is not sent again although its verdict has not arrived");
}
