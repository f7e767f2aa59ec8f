//! Tests of an owner that only one server can't reach (scenario 2), and of probes for the master.

use super::net::{Net, boot};
use super::*;
use ServerState::{Offline, Online};

/// Returns servers of which server 1 can't reach server 0, while the master says that server 0 is
/// online.
fn split(servers: u16) -> (Net, Vec<u8>) {
    let mut net = Net::new(servers, |_| {});
    let k = net.key(0, 0);
    net.origin.insert(k.clone(), b"v0".to_vec());
    net.get(0, &k);
    net.cut(0, 1);
    let first = net.get(1, &k);
    assert_eq!(first.flags & flags::CACHED, 0);
    assert_eq!(net.reported, [(1, 0)]);
    let now = net.now;
    net.nodes[1].verdict(now, 0, Online);
    net.run();
    (net, k)
}

#[test]
fn requests_go_through_a_member_that_reaches_the_owner() {
    let (mut net, k) = split(3);
    assert_eq!(net.nodes[1].serving(net.topology.partition(1, &k)), Serving::Relay(0));
    assert!(net.hits(1, &k), "the owner's answer");
    let write = net.put(1, &k, b"v1");
    assert_eq!(net.status(write), Some(Status::Ok));
    assert_eq!(net.get(0, &k).value, b"v1");
    assert!(net.hits(0, &k));
    assert_eq!((net.counters(1).relayed, net.counters(2).forwarded), (2, 2));
    assert_eq!(net.counters(0).origin_writes, 1);
}

#[test]
fn without_such_a_member_reads_go_to_the_origin_and_writes_are_refused() {
    let (mut net, k) = split(2);
    assert_eq!(net.get(1, &k).value, b"v0");
    let write = net.put(1, &k, b"v1");
    assert_eq!(net.status(write), Some(Status::Unavailable));
    assert_eq!(net.origin[&k], b"v0");
}

#[test]
fn a_member_that_does_not_reach_the_owner_either_refuses_and_does_not_stand_in() {
    let (mut net, k) = split(3);
    net.cut(0, 2);
    let write = net.put(1, &k, b"v1");
    assert_eq!(net.status(write), Some(Status::Unavailable));
    assert_eq!(net.origin[&k], b"v0");
    assert_eq!(net.get(1, &k).value, b"v0");
    assert_eq!(net.counters(2).provisional_requests, 0);
}

#[test]
fn relaying_ends_when_the_owner_answers_and_when_the_hold_is_over() {
    let (mut net, k) = split(3);
    let partition = net.topology.partition(1, &k);
    net.cut.clear();
    let now = net.now;
    net.nodes[1].verdict(now, 0, Online);
    net.run();
    assert_eq!(net.nodes[1].serving(partition), Serving::Forward(0), "it has answered a ping");
    let (mut net, _) = split(3);
    net.advance(Duration::from_secs(2));
    assert_eq!(net.nodes[1].serving(partition), Serving::Forward(0), "it is tried again");
    let (mut net, _) = split(3);
    net.say(0, Offline, &[0]);
    assert_eq!(net.nodes[1].serving(partition).other(), (net.stand_in(&k) == 2).then_some(2));
}

#[test]
fn a_probe_combines_the_answers_of_all_shards() {
    let mut net = Net::new(2, |_| {});
    net.nodes[1].ask_probe(9, 0);
    net.run();
    let map_epoch = net.nodes[0].map().unwrap().epoch;
    assert_eq!(net.probed, [PeerProbe::Answered { boot_id: boot(0), map_epoch }]);
    net.cut(0, 1);
    net.nodes[1].ask_probe(10, 0);
    net.run();
    assert_eq!(net.probed[1..], [PeerProbe::Silent]);
    assert_eq!(
        net.nodes[1].serving(net.topology.partition(1, &net.key(0, 0))),
        Serving::Forward(0)
    );
}

#[test]
fn requests_that_arrive_while_a_probe_runs_share_the_next() {
    let mut net = Net::new(2, |_| {});
    for nonce in [9, 10, 11, 10] {
        net.nodes[1].ask_probe(nonce, 0);
    }
    assert_eq!(
        net.nodes[1].forwards(),
        1,
        "a shard that was stopped finds many requests in its mailbox"
    );
    net.run();
    assert_eq!(net.probed.len(), 3, "each is answered once");
    assert_eq!(net.nodes[1].forwards(), 0);
}

/// Returns the members that may relay a request of server 1 to server 0, in the order for this key.
fn members(net: &Net, key: &[u8]) -> Vec<u16> {
    let rank = net.topology.rank(net.topology.partition(1, key));
    rank.iter().copied().filter(|member| ![0, 1].contains(member)).collect()
}

#[test]
fn requests_go_through_one_member_that_is_online_and_reachable() {
    for is_cut in [false, true] {
        let (mut net, k) = split(4);
        let (first, second) = (members(&net, &k)[0], members(&net, &k)[1]);
        match is_cut {
            true => {
                net.cut(1, first);
                // Another request finds this out.
                let theirs = net.key(first, 0);
                net.get(1, &theirs);
            }
            false => net.say(first, Offline, &[]),
        }
        let before = net.counters(1).relayed;
        assert!(net.hits(1, &k), "the owner's answer");
        assert_eq!(net.counters(1).relayed, before + 1);
        assert_eq!((net.counters(first).forwarded, net.counters(second).forwarded), (0, 1));
    }
}

#[test]
fn without_a_verdict_only_orphans_send_writes_through_others() {
    let mut net = Net::new(3, |_| {});
    let k = net.key(0, 0);
    net.cut(0, 1);
    let write = net.put(1, &k, b"v1");
    assert_eq!(net.status(write), None);
    net.advance(Duration::from_secs(1));
    assert_eq!(net.status(write), Some(Status::Unavailable));
    assert_eq!(net.counters(1).relayed, 0);
}

#[test]
fn a_member_that_turns_out_to_be_unreachable_is_skipped() {
    let (mut net, k) = split(4);
    let (first, second) = (members(&net, &k)[0], members(&net, &k)[1]);
    net.cut(1, first);
    let write = net.put(1, &k, b"v1");
    assert_eq!(net.status(write), Some(Status::Ok));
    assert_eq!(net.counters(second).forwarded, 1);
}
