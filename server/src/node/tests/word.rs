//! Tests of the partitions that a server owns, and of the keys that it was told of, after it has
//! given its group the word that it has lost the master.

use super::net::Net;
use super::*;
use ServerState::{Offline, Online, Returning};

const L: Duration = Duration::from_millis(2_200);

fn word(counter: u32, until: Micros) -> Word {
    Word { epoch: MapEpoch { term: 1, counter }, until }
}

#[test]
fn values_of_partitions_taken_over_while_a_word_is_open_are_kept_briefly() {
    let mut s = Script::new();
    let (own, other) = (s.key_of(OWN), s.key_of(PEER));
    s.fill(&own, b"o");
    s.node.word(word(1, s.now.mono + L));
    s.announce([Online, Offline]);
    let serving = |s: &Script, key: &[u8]| s.node.serving(s.topology.partition(1, key));
    assert_eq!(serving(&s, &own), Serving::Cached, "it was its own before");
    assert!(s.get(&own).is_some());
    assert_eq!(serving(&s, &other), Serving::Early);
    s.fill(&other, b"v0");
    let hit = s.get(&other).unwrap();
    assert_eq!((hit.value, hit.version), (b"v0".to_vec(), 0), "the value serves reads only");
    // It writes at once, and keeps no value of the write.
    assert_eq!(s.put(&other, b"v1"), None);
    let call = s.call();
    s.written(&call);
    let written = s.reply();
    assert_eq!((written.status, written.flags & flags::CACHED), (Status::Ok, 0));
    s.fill(&other, b"v1");
    s.advance(Duration::from_millis(1_900));
    assert_eq!(s.get(&other), None, "older than a lease");
    let call = s.call();
    s.found(&call, b"v2");
    s.reply();
    assert_eq!(s.node.next_deadline(), Some(Micros(1_000_000) + L));
    s.advance(Duration::from_millis(300));
    assert_eq!(serving(&s, &other), Serving::Cached);
    assert_eq!(s.get(&other).unwrap().value, b"v2", "its values still expire by themselves");
    s.advance(Duration::from_millis(1_800));
    s.fill(&other, b"v3");
    assert_ne!(s.get(&other).unwrap().version, 0);
}

#[test]
fn a_word_under_the_current_map_makes_no_partition_early() {
    let mut s = Script::new();
    s.announce([Online, Offline]);
    s.node.word(word(2, s.now.mono + L));
    let other = s.topology.partition(1, &s.key_of(PEER));
    s.node.begin(s.now);
    assert_eq!(s.node.serving(other), Serving::Cached);
    s.lease(Micros(0), false);
    s.lease(Micros::NEVER, false);
    assert_eq!(
        s.node.serving(other),
        Serving::Cached,
        "its lease had ended, but no map has arrived"
    );
}

#[test]
fn a_process_whose_port_was_just_closed_keeps_values_briefly_while_a_member_is_away() {
    let started = || Script::with(|config| config.port_was_closed = Micros(1_000_000) + L);
    let serving = |s: &Script| s.node.serving(s.topology.partition(1, &s.key_of(PEER)));
    let mut s = started();
    s.announce([Online, Offline]);
    assert_eq!(serving(&s), Serving::Early);
    s.advance(L);
    assert_eq!(serving(&s), Serving::Cached);
    let mut s = started();
    s.announce([Online, Offline]);
    s.announce([Returning, Online]);
    s.announce([Online, Online]);
    let own = s.topology.partition(1, &s.key_of(OWN));
    assert_eq!(s.node.serving(own), Serving::Cached, "every member knows that the server is back");
}

/// Whether server 0 keeps its values. It is cut off and returns, and gives its word before or after
/// the return was announced.
fn home_keeps(word_before: bool) -> bool {
    let mut net = Net::new(3, |_| {});
    let k = net.key(0, 0);
    net.origin.insert(k.clone(), b"v0".to_vec());
    net.get(0, &k);
    net.lease(0, Micros(0), false);
    net.say(0, Offline, &[]);
    let give = |net: &mut Net| {
        let epoch = net.nodes[0].map().unwrap().epoch;
        net.nodes[0].word(Word { epoch, until: net.now.mono + L });
    };
    if word_before {
        give(&mut net);
    }
    net.say(0, Returning, &[]);
    if !word_before {
        give(&mut net);
        net.advance(L);
    }
    net.say(0, Online, &[]);
    net.lease(0, Micros::NEVER, false);
    net.hits(0, &k)
}

#[test]
fn a_home_relies_on_told_keys_only_if_it_has_given_no_word_since() {
    assert!(home_keeps(true), "a member that hands over has this map, and ignores older words");
    assert!(!home_keeps(false), "a member may have written since it handed over");
}
