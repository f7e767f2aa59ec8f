//! The cluster map: the owners in every combination of states, the changes of a partition's epoch,
//! and the refusal of damaged archives.

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;
use standin_protocol::map::ServerState::{self, Leaving, Offline, Online, Returning, Waiting};
use standin_protocol::map::{
    ClusterMap, MapEpoch, MapError, NO_SERVER, PARTITIONS_MAX, ServerStatus, Topology,
};
use standin_protocol::wire_map::WireMap;
use support::{epoch, five_servers, map_with_trouble, server, status, topology};

/// Three servers in one group; the ranks of partition 0 are `home`, `second`, `third`.
fn trio() -> (Arc<Topology>, [u16; 3]) {
    let servers = vec![server("a", 0, 1, 1, 1), server("b", 0, 1, 1, 2), server("c", 0, 1, 1, 3)];
    let topology = Topology::new("trio".into(), ([127, 0, 0, 1], 9).into(), servers, 64)
        .expect("a sound topology");
    let rank = topology.rank(0).try_into().expect("all three, they are one group");
    (Arc::new(topology), rank)
}

#[test]
fn the_owner_follows_from_the_states() {
    let (topology, rank) = trio();
    let [home, second, third] = rank;
    let none = NO_SERVER;
    // States of home, second, third → owner, stand-in, how many ranks count for the epoch.
    let table = [
        ([Online, Online, Online], home, second, 1),
        ([Online, Offline, Online], home, third, 1),
        ([Online, Returning, Online], home, second, 1),
        ([Online, Offline, Offline], home, none, 1),
        ([Offline, Online, Online], second, third, 2),
        ([Offline, Online, Returning], second, third, 2),
        ([Offline, Online, Offline], second, none, 2),
        ([Offline, Offline, Online], third, none, 3),
        ([Offline, Offline, Offline], none, none, 3),
        ([Returning, Online, Online], none, second, 1),
        ([Returning, Offline, Online], none, third, 1),
        ([Returning, Offline, Offline], none, none, 1),
        ([Returning, Returning, Returning], none, second, 1),
        ([Leaving, Online, Online], none, second, 1),
        ([Offline, Leaving, Online], none, third, 2),
        ([Offline, Returning, Online], none, third, 2),
        ([Offline, Returning, Offline], none, none, 2),
        ([Offline, Offline, Returning], none, none, 3),
        // The server that comes next may write while the last owner's lease runs out.
        ([Waiting, Online, Online], none, second, 1),
        ([Waiting, Waiting, Online], none, third, 1),
        ([Waiting, Offline, Online], none, third, 1),
        ([Waiting, Offline, Offline], none, none, 1),
        ([Online, Waiting, Online], home, third, 1),
        ([Offline, Waiting, Online], none, third, 2),
    ];
    for (states, owner, stand_in, counted) in table {
        let mut statuses = vec![ServerStatus::default(); 3];
        // Later ranks changed later, so that the epoch shows how many were counted.
        for (counter, (id, state)) in (1..).zip(rank.into_iter().zip(states)) {
            statuses[usize::from(id)] = status(state, epoch(1, counter), 0);
        }
        let map = ClusterMap::new(Arc::clone(&topology), epoch(1, 9), statuses);
        let got = map.ownership(0);
        assert_eq!((got.home, got.owner, got.stand_in), (home, owner, stand_in), "{states:?}");
        assert_eq!(got.epoch, epoch(1, counted), "{states:?}");

        // The candidates: first the servers that are not offline, each of them once.
        let candidates: Vec<u16> = map.candidates(0).collect();
        let mut sorted = candidates.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2], "{states:?}");
        let answers = |state: ServerState| state != Offline && state != Waiting;
        let up = states.iter().filter(|state| answers(**state)).count();
        assert!(candidates[..up].iter().all(|id| answers(map.state(*id))), "{states:?}");
        if owner != NO_SERVER {
            assert_eq!(candidates[0], owner, "{states:?}");
        }
        if stand_in != NO_SERVER {
            assert!(candidates[..2].contains(&stand_in), "{states:?}");
        }
        if states[0] == Waiting && stand_in != NO_SERVER {
            assert_eq!(candidates[0], stand_in, "the one that may write comes first: {states:?}");
        }
    }
}

#[test]
fn missing_statuses_count_as_online_since_ever() {
    let map = ClusterMap::new(topology(16), epoch(1, 0), Vec::new());
    assert_eq!(map.statuses(), [ServerStatus::default(); 5]);
    for partition in 0..16 {
        let ownership = map.ownership(partition);
        assert_eq!(ownership.owner, map.topology.home(partition));
        assert_eq!(ownership.epoch, MapEpoch::default());
    }
}

#[test]
fn an_owner_that_was_away_has_another_epoch() {
    let (topology, [home, ..]) = trio();
    let mut statuses = vec![ServerStatus::default(); 3];
    let before = ClusterMap::new(Arc::clone(&topology), epoch(1, 0), statuses.clone());
    // An observer that missed everything in between still sees that it was away.
    statuses[usize::from(home)] = status(Online, epoch(1, 3), 2);
    let after = ClusterMap::new(topology, epoch(1, 3), statuses);
    assert_eq!(before.ownership(0).owner, after.ownership(0).owner);
    assert_ne!(before.ownership(0).epoch, after.ownership(0).epoch);
}

#[test]
fn epochs_are_ordered_and_their_tags_too() {
    assert!(epoch(2, 0) > epoch(1, u32::MAX));
    assert_eq!(epoch(3, 7).to_u64(), 0x0000_0003_0000_0007);
    assert_eq!(epoch(0x1_03, 0x0100_0007).tag(), 0x0300_0007);
    assert_eq!(epoch(3, 7).next(), epoch(3, 8));
    assert_eq!(epoch(3, 7).to_string(), "3.7");
    let newer = |a: MapEpoch, b: MapEpoch| MapEpoch::tag_is_newer(a.tag(), b.tag());
    assert!(newer(epoch(1, 1), epoch(1, 0)) && !newer(epoch(1, 0), epoch(1, 1)));
    assert!(newer(epoch(2, 0), epoch(1, 900)) && !newer(epoch(1, 900), epoch(2, 0)));
    assert!(newer(epoch(256, 0), epoch(255, 5)), "the term's low byte wraps");
    assert!(!newer(epoch(1, 1), epoch(1, 1)));
    assert!(!MapEpoch::tag_is_newer(0x8000_0000, 0) && !MapEpoch::tag_is_newer(0, 0x8000_0000));
}

#[test]
fn unsound_topologies_are_refused() {
    let new = |servers, partitions| {
        Topology::new("x".into(), ([127, 0, 0, 1], 1).into(), servers, partitions).map(|_| ())
    };
    let good = || vec![server("a", 0, 1, 1, 1)];
    let with = |weight, shards| vec![server("a", 0, weight, shards, 1)];
    assert_eq!(new(good(), 1), Ok(()));
    assert_eq!(new(good(), PARTITIONS_MAX), Ok(()));
    let bad = [
        (Vec::new(), 1),
        (vec![server("a", 0, 1, 1, 1); 1_025], 1),
        (good(), 0),
        (good(), PARTITIONS_MAX + 1),
        (with(0, 1), 1),
        (with(65, 1), 1),
        (with(1, 0), 1),
    ];
    for (servers, partitions) in bad {
        assert!(matches!(new(servers, partitions), Err(MapError::Unsound(_))));
    }
}

#[test]
fn an_address_means_the_same_however_it_is_written() {
    let mut mapped = five_servers();
    mapped[0].address = "[::ffff:127.0.0.1]:7411".parse().unwrap();
    let master: SocketAddr = "[::ffff:127.0.0.1]:7400".parse().unwrap();
    let mapped = Topology::new("example".into(), master, mapped, 8).unwrap();
    assert_eq!(mapped, *topology(8));
    let map = ClusterMap::new(Arc::new(mapped), epoch(1, 0), Vec::new());
    assert_eq!(ClusterMap::from_bytes(&map.to_bytes()), Ok(map));
}

#[test]
fn the_id_covers_everything_that_must_agree() {
    let id = |change: fn(&mut Vec<_>)| {
        let mut servers = five_servers();
        change(&mut servers);
        Topology::new("example".into(), ([127, 0, 0, 1], 7400).into(), servers, 8).unwrap().id
    };
    let own = topology(8).id;
    assert_eq!(id(|_| ()), own);
    assert_ne!(id(|s| s[1].name.push('x')), own);
    assert_ne!(id(|s| s[1].group = 1), own);
    assert_ne!(id(|s| s[1].weight = 9), own);
    assert_ne!(id(|s| s[1].shards = 9), own);
    assert_ne!(id(|s| s[1].address.set_port(9)), own);
    assert_ne!(id(|s| s.swap(0, 1)), own);
    assert_ne!(topology(9).id, own);
}

/// A valid archive with one number changed must not be believed.
#[test]
fn archives_that_contradict_themselves_are_refused() {
    let good = map_with_trouble(8);
    let refused = |change: fn(&mut WireMap)| {
        let mut wire = WireMap::from(&good);
        change(&mut wire);
        let bytes = rkyv::to_bytes::<rkyv::rancor::Failure>(&wire).unwrap();
        matches!(ClusterMap::from_bytes(&bytes), Err(MapError::Unsound(_)))
    };
    assert!(!refused(|_| ()));
    assert!(!refused(|wire| wire.epoch += 1), "the epoch stands for itself");
    assert!(refused(|wire| wire.topology_id ^= 1));
    assert!(refused(|wire| wire.partitions = 7));
    assert!(refused(|wire| wire.partitions = u32::MAX));
    assert!(refused(|wire| wire.partitions = 0));
    assert!(refused(|wire| wire.servers.clear()));
    assert!(refused(|wire| wire.servers.swap(0, 1)));
    assert!(refused(|wire| wire.servers[0].name = b"a9".to_vec()));
    assert!(refused(|wire| wire.servers[0].name = vec![0xFF]));
    assert!(refused(|wire| wire.servers[0].weight = 0));
    assert!(refused(|wire| wire.servers[0].shards = 0));
    assert!(refused(|wire| wire.servers[0].port += 1));
    assert!(refused(|wire| wire.servers[0].status.state = 0), "the owners say otherwise");
    assert!(refused(|wire| wire.servers[0].status.state = 3));
    assert!(refused(|wire| wire.name = vec![0xC0]));
    assert!(refused(|wire| wire.master_port += 1));
    assert!(refused(|wire| wire.owners[3].owner ^= 1));
    assert!(refused(|wire| wire.owners[3].stand_in ^= 1));
    assert!(refused(|wire| wire.owners[3].epoch += 1));
    assert!(refused(|wire| wire.owners[3].reserved = 1));
    assert!(refused(|wire| wire.owners.truncate(7)));
}

fn any_statuses() -> impl Strategy<Value = Vec<ServerStatus>> {
    let one = (prop::sample::select(ServerState::ALL), 0u32..4, 0u32..40, any::<u64>());
    prop::collection::vec(one, 5).prop_map(|all| {
        all.into_iter()
            .map(|(state, term, counter, boot)| status(state, epoch(term, counter), boot))
            .collect()
    })
}

proptest! {
    #[test]
    fn maps_come_back(statuses in any_statuses(), partitions in 1u32..200, at: u64) {
        let map = ClusterMap::new(topology(partitions), MapEpoch::from_u64(at), statuses);
        prop_assert_eq!(ClusterMap::from_bytes(&map.to_bytes()), Ok(map));
    }

    /// A damaged archive is refused, or the damage is in fields that can't contradict others
    /// (epochs, boot ids).
    #[test]
    fn damaged_maps_are_refused_or_sound(
        statuses in any_statuses(), at in any::<prop::sample::Index>(), byte: u8, cut: bool
    ) {
        let map = ClusterMap::new(topology(16), epoch(5, 5), statuses);
        let mut bytes = map.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let bytes = if cut { &bytes[..at] } else { &bytes[..] };
        if let Ok(read) = ClusterMap::from_bytes(bytes) {
            prop_assert_eq!(&read.topology, &map.topology);
            prop_assert_eq!(ClusterMap::from_bytes(&read.to_bytes()), Ok(read));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(ClusterMap::from_bytes(&bytes).is_err());
    }

    /// For any history of state changes, and an observer who may miss any of them: if the owner is
    /// another, or was another in between, the epoch is higher; if nothing happened to the owner,
    /// it never goes back.
    #[test]
    fn a_partitions_epoch_tells_whether_its_owner_changed(
        changes in prop::collection::vec((0usize..5, prop::sample::select(ServerState::ALL), any::<bool>()), 1..40)
    ) {
        let topology = topology(32);
        let mut statuses = vec![ServerStatus::default(); 5];
        let mut seen = ClusterMap::new(Arc::clone(&topology), epoch(1, 0), statuses.clone());
        let mut last = seen.clone();
        // For each partition: has the owner changed since the observer looked?
        let mut changed = [false; 32];
        for (counter, (server, state, is_seen)) in (1..).zip(changes) {
            if statuses[server].state == state {
                continue;
            }
            statuses[server] = status(state, epoch(1, counter), 0);
            let map = ClusterMap::new(Arc::clone(&topology), epoch(1, counter), statuses.clone());
            for (partition, changed) in (0..).zip(&mut changed) {
                *changed |= map.ownership(partition).owner != last.ownership(partition).owner;
                prop_assert!(map.ownership(partition).epoch >= last.ownership(partition).epoch);
                if *changed {
                    prop_assert!(map.ownership(partition).epoch > seen.ownership(partition).epoch);
                }
            }
            if is_seen {
                seen = map.clone();
                changed = [false; 32];
            }
            last = map;
        }
    }
}
