//! Tests of what clients are told that route by themselves, and of what is found out for them.

use standin_protocol::slots::Prefixes;

use super::*;
use crate::node::routes::{Health, Redirect, Routes};

fn script(shards: u16) -> Script {
    let topology = Topology::clone(&pair(shards, 64)).with_slots(Prefixes::default()).unwrap();
    Script::on(&topology, |_| {})
}

fn redirect(s: &mut Script, key: &[u8]) -> Option<Redirect> {
    let place = s.node.aim(s.node.place(1, key));
    let redirect = s.node.redirect(s.now, 1, key, place);
    s.collect();
    redirect
}

/// Asks for routes, and returns them if they are given at once.
fn ask(s: &mut Script) -> Option<Routes> {
    s.node.routes(s.now, TO);
    s.collect();
    given(s)
}

fn given(s: &mut Script) -> Option<Routes> {
    let mut replies = s.replies();
    assert!(replies.len() <= 1);
    Some(Routes::from_bytes(&replies.pop()?.value).unwrap())
}

/// Whether the routes to all partitions of the peer's home lead to this server.
fn lead(s: &Script, routes: &Routes, server: u16) {
    for (partition, to) in (0..).zip(&routes.partitions) {
        if s.topology.home(partition) == PEER {
            assert_eq!(*to, server, "{partition}");
        }
    }
}

#[test]
fn a_client_is_referred_to_the_shard_that_serves_its_key() {
    let mut s = script(2);
    for number in 0..50 {
        let key = format!("key{number}").into_bytes();
        let partition = s.topology.partition(1, &key);
        let (server, shard) = (s.topology.home(partition), (partition % 2) as u16);
        let slot = standin_protocol::slots::slot(&key);
        let wanted = Redirect { slot, server, shard };
        let is_here = (server, shard) == (OWN, 0);
        assert_eq!(redirect(&mut s, &key), (!is_here).then_some(wanted));
    }
}

#[test]
fn nobody_is_referred_to_a_server_that_can_t_be_reached_or_while_nobody_owns_the_key() {
    let mut s = script(1);
    let key = s.key_of(PEER);
    assert!(redirect(&mut s, &key).is_some());
    let (peer, token, head) = s.forward();
    assert_eq!((peer, head.action), (PEER, Action::Ping), "whether that server answers");
    redirect(&mut s, &key);
    let is_asked = s.outputs.iter().any(|output| matches!(output, Output::Forward { .. }));
    assert!(!is_asked, "once is enough");
    s.forward_fails(token, ForwardFailure::Refused);
    assert_eq!(s.reports(), 1, "the master is told");
    assert_eq!(redirect(&mut s, &key), None, "this server stands in");
    for state in [ServerState::Waiting, ServerState::Returning, ServerState::Offline] {
        s.announce([ServerState::Online, state]);
        assert_eq!(redirect(&mut s, &key), None, "{state:?}");
    }
    s.announce([ServerState::Online, ServerState::Online]);
    assert!(redirect(&mut s, &key).is_some());
    s.node.stop();
    assert_eq!(redirect(&mut s, &key), None);
}

#[test]
fn routes_are_given_when_all_servers_have_answered() {
    let mut s = script(1);
    assert_eq!(ask(&mut s), None);
    let ping = s.forward();
    s.forward_answered(ping, Status::Ok);
    let routes = given(&mut s).unwrap();
    lead(&s, &routes, PEER);
    assert_eq!((routes.servers, routes.epoch), (vec![Health::Ok; 2], (1 << 32) + 1));
}

#[test]
fn a_dead_server_is_found_out_and_the_routes_wait_for_the_master_s_decision() {
    let mut s = script(1);
    assert_eq!(ask(&mut s), None);
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::Refused);
    assert_eq!(s.reports(), 1);
    assert_eq!(given(&mut s), None, "the master has not decided");
    s.announce([ServerState::Online, ServerState::Offline]);
    let routes = given(&mut s).unwrap();
    lead(&s, &routes, OWN);
    assert_eq!(routes.servers, [Health::Ok, Health::Failed]);
    // While it is back but does not own them yet, clients may ask it again.
    s.announce([ServerState::Online, ServerState::Returning]);
    let routes = ask(&mut s).unwrap();
    lead(&s, &routes, PEER);
}

#[test]
fn routes_are_given_without_a_decision_after_a_while_and_lead_to_the_stand_in() {
    let mut s = script(1);
    assert_eq!(ask(&mut s), None);
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::Unreachable);
    assert_eq!(given(&mut s), None);
    s.advance(Duration::from_secs(1));
    s.collect();
    let routes = given(&mut s).unwrap();
    lead(&s, &routes, OWN);
    assert_eq!(routes.servers, [Health::Ok, Health::Suspected]);
    assert!(ask(&mut s).is_some(), "the next one does not wait for it again");
}

#[test]
fn an_owner_that_only_this_server_can_t_reach_stays_on_the_routes() {
    let mut s = script(1);
    assert_eq!(ask(&mut s), None);
    let (_, token, _) = s.forward();
    s.forward_fails(token, ForwardFailure::Unreachable);
    s.node.verdict(s.now, PEER, ServerState::Online);
    s.collect();
    let routes = given(&mut s).unwrap();
    lead(&s, &routes, PEER);
    let key = s.key_of(PEER);
    assert_eq!(redirect(&mut s, &key), None, "requests that come here go through others");
}
