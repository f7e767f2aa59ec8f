//! Walks through clusters of shards with keys, in which each question is carried out at once.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use standin_config::{ClusterConfig, KeyspaceConfig, Naming};
use standin_protocol::map::ServerInfo;
use standin_protocol::slots::Prefixes;

use super::*;
use crate::shard::codec::flushes::Flushes;
use crate::shard::codec::slice::{WORK_MAX, WORK_OF_KEY};

/// Servers with shards with parts with keys.
type Servers = Vec<Vec<Vec<Vec<u16>>>>;

/// Two servers are a group.
fn topology(servers: &Servers) -> Arc<Topology> {
    let info = |(id, shards): (u16, &Vec<_>)| ServerInfo {
        name: format!("s{id}"),
        group: id / 2,
        weight: 1,
        shards: shards.len() as u16,
        address: ([127, 0, 0, 1], id + 1).into(),
    };
    let infos = (0..).zip(servers).map(info).collect();
    let topology = Topology::new("t".into(), ([127, 0, 0, 1], 99).into(), infos, 64).unwrap();
    Arc::new(topology.with_slots(Prefixes::default()).unwrap())
}

/// Keyspace 1 is the default one.
fn spelling() -> Names {
    let mut cluster = ClusterConfig::new("c", ([127, 0, 0, 1], 1).into(), None);
    cluster.keyspaces = vec![KeyspaceConfig::cache(1, "key"), KeyspaceConfig::cache(2, "users")];
    cluster.naming = Naming { separator: ":".to_owned(), default_keyspace: Some(1) };
    Names::new(&cluster, Flushes::default())
}

/// Keys of odd numbers are in keyspace 2.
fn name(key: u16) -> String {
    if key.is_multiple_of(2) { format!("k{key}") } else { format!("users:k{key}") }
}

/// How a walk has ended.
type Outcome = Result<(u64, u64, Vec<String>), Step>;

/// Carries a walk out at a shard of a cluster of which some servers are not online. A slice's work is
/// bounded.
fn walk_from(
    own: (u16, u16),
    mut walk: Walk,
    servers: &Servers,
    random: u64,
    offline: &[u16],
) -> Outcome {
    let names = spelling();
    walk.begin(topology(servers), own, random);
    while let Some((server, shard)) = walk.stop() {
        if offline.contains(&server) {
            walk.pass_over();
            continue;
        }
        let slice = walk.slice();
        assert_eq!(Slice::from_bytes(&slice.to_bytes()), Some(slice.clone()));
        let parts = &servers[usize::from(server)][usize::from(shard)];
        let (mut looked_at, largest) = (0, parts.iter().map(Vec::len).max().unwrap_or(0));
        let answer = slice.carry_out(parts.len() as u32, &names, |part, give| {
            let keys = &parts[part as usize];
            for key in keys {
                give(1 + (key % 2) as u8, format!("k{key}").as_bytes());
            }
            looked_at += keys.len();
            keys.len()
        });
        assert!(looked_at <= WORK_MAX / WORK_OF_KEY + largest);
        match walk.take(&answer, &names) {
            Step::On => {}
            Step::Ended => break,
            step => return Err(step),
        }
    }
    let answer = walk.into_answer();
    let found = Found::read(&answer).unwrap();
    let names = found.names().map(|name| String::from_utf8(name.to_vec()).unwrap()).collect();
    Ok((found.cursor, found.number, names))
}

fn walk(walk: Walk, servers: &Servers) -> Outcome {
    walk_from((0, 0), walk, servers, 0, &[])
}

/// All that a client finds that calls SCAN again and again, and the number of calls.
fn scan(servers: &Servers, count: u32, offline: &[u16]) -> (Vec<String>, usize) {
    let (mut cursor, mut all, mut calls) = (0, Vec::new(), 0);
    loop {
        let (next, number, names) =
            walk_from((0, 0), Walk::some(cursor, count, None), servers, 0, offline).unwrap();
        assert_eq!(names.len() as u64, number);
        all.extend(names);
        (cursor, calls) = (next, calls + 1);
        if cursor == 0 {
            return (all, calls);
        }
    }
}

fn servers() -> impl Strategy<Value = Servers> {
    let shard = (1_usize..30).prop_flat_map(|parts| vec(vec(any::<u16>(), 0..9), parts));
    vec(vec(shard, 1..4), 2..5).prop_map(|mut servers| {
        // Each key is there once.
        let mut number = 0..;
        servers.iter_mut().flatten().flatten().flatten().for_each(|key| {
            *key = number.next().unwrap();
        });
        servers
    })
}

fn names_of<'a>(servers: impl IntoIterator<Item = &'a Vec<Vec<Vec<u16>>>>) -> BTreeSet<String> {
    servers.into_iter().flatten().flatten().flatten().map(|key| name(*key)).collect()
}

fn set(names: Vec<String>) -> BTreeSet<String> {
    let (length, set) = (names.len(), names.into_iter().collect::<BTreeSet<_>>());
    assert_eq!(set.len(), length, "each once");
    set
}

proptest! {
    #[test]
    fn walks_through_some_keys_find_each_once(servers in servers(), count in 1_u32..30) {
        let (names, calls) = scan(&servers, count, &[]);
        // Each call but the last looks at as many keys, because these shards are few and small.
        prop_assert!(calls <= names.len() / count as usize + 1);
        prop_assert_eq!(set(names), names_of(&servers));
    }

    #[test]
    fn a_walk_through_all_keys_finds_those_that_match(servers in servers(), from in any::<[u16; 2]>()) {
        let (_, number, names) =
            walk_from((from[0], from[1]), Walk::all(Some(b"*[05]")), &servers, 0, &[]).unwrap();
        prop_assert_eq!(number, names.len() as u64);
        let wanted: BTreeSet<String> =
            names_of(&servers).into_iter().filter(|name| name.ends_with(['0', '5'])).collect();
        prop_assert_eq!(set(names), wanted);
        let (_, _, names) = walk(Walk::all(Some(b"users:*")), &servers).unwrap();
        prop_assert!(names.iter().all(|name| name.starts_with("users:")));
        let (_, number, none) = walk(Walk::number(), &servers).unwrap();
        prop_assert_eq!((number as usize, none.len()), (names_of(&servers).len(), 0));
    }

    #[test]
    fn servers_that_are_not_online_are_passed_over(
        servers in servers(),
        offline in vec(0_u16..5, 0..4),
        count in 1_u32..30,
        random in any::<u64>(),
    ) {
        let online = || (0..).zip(&servers).filter(|(id, _)| !offline.contains(id));
        let wanted = names_of(online().map(|(_, server)| server));
        prop_assert_eq!(&set(scan(&servers, count, &offline).0), &wanted);
        let all = walk_from((0, 0), Walk::all(None), &servers, 0, &offline).unwrap().2;
        prop_assert_eq!(&set(all), &wanted);
        let (_, number, _) = walk_from((0, 0), Walk::number(), &servers, 0, &offline).unwrap();
        prop_assert_eq!(number as usize, wanted.len());
        let (_, _, any) = walk_from((0, 0), Walk::any(), &servers, random, &offline).unwrap();
        prop_assert_eq!(any.len(), wanted.len().min(1));
        prop_assert!(any.iter().all(|name| wanted.contains(name)));
    }

    #[test]
    fn a_walk_to_some_keys_finds_as_many_as_there_are(servers in servers(), count in 0_u32..40) {
        let all = names_of(&servers);
        let (_, _, names) = walk(Walk::first(count), &servers).unwrap();
        prop_assert_eq!(names.len(), all.len().min(count as usize));
        prop_assert!(set(names).is_subset(&all));
    }

    #[test]
    fn any_cursor_is_understood(servers in servers(), cursor in any::<u64>()) {
        let all = names_of(&servers);
        let shards = servers.iter().map(Vec::len).sum::<usize>() as u64;
        for cursor in [cursor, cursor % (40 * shards)] {
            let (next, _, names) = walk(Walk::some(cursor, 10, None), &servers).unwrap();
            prop_assert!(names.iter().all(|name| all.contains(name)));
            prop_assert!(next / shards <= 30);
        }
    }

    #[test]
    fn a_shard_s_walk_stays_there(servers in servers(), count in 1_u32..30) {
        let own = (1, servers[1].len() as u16 - 1);
        let mine = &servers[1][usize::from(own.1)];
        let wanted: BTreeSet<String> = mine.iter().flatten().map(|key| name(*key)).collect();
        let (mut cursor, mut all) = (0, Vec::new());
        loop {
            let walk = Walk::some(cursor, count, None).of_one_shard(true);
            let (next, _, names) = walk_from(own, walk, &servers, 0, &[]).unwrap();
            all.extend(names);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        prop_assert_eq!(&set(all), &wanted);
        let walk = Walk::number().of_one_shard(true);
        prop_assert_eq!(walk_from(own, walk, &servers, 0, &[]).unwrap().1, wanted.len() as u64);
    }

    #[test]
    fn garbage_is_no_answer(bytes in vec(any::<u8>(), 0..80)) {
        let (names, mut walk) = (spelling(), Walk::all(None));
        walk.begin(topology(&vec![vec![vec![vec![]]]; 2]), (0, 0), 0);
        let before = walk.bytes();
        let step = walk.take(&bytes, &names);
        prop_assert!(step == Step::Wrong || bytes.len() >= 24);
        prop_assert!(walk.bytes() <= before + 4_096);
    }
}

#[test]
fn a_walk_of_a_slot_asks_the_shards_that_may_have_its_keys() {
    let servers: Servers = vec![vec![vec![vec![]]; 2], vec![vec![vec![]]; 3], vec![vec![vec![]]]];
    let topology = topology(&servers);
    for slot in (0..16_384).step_by(97) {
        let partition = partition_of_slot(slot, 64);
        let mut walk = Walk::number().of_slot(slot);
        walk.begin(Arc::clone(&topology), (0, 0), 0);
        let mut asked = Vec::new();
        while let Some(stop) = walk.stop() {
            assert_eq!(walk.slice().slot(), Some(slot));
            asked.push(stop);
            walk.pass_over();
        }
        let rank = topology.rank(partition).iter();
        let wanted: Vec<(u16, u16)> =
            rank.map(|server| (*server, topology.shard(*server, partition))).collect();
        assert_eq!(asked, wanted);
    }
}

#[test]
fn an_answer_that_does_not_go_on_ends_the_walk() {
    let names = spelling();
    let mut walk = Walk::all(None);
    walk.begin(topology(&vec![vec![vec![vec![]]]; 2]), (0, 0), 0);
    let answer = |position| WalkedHead { position, ..WalkedHead::default() }.to_bytes();
    assert_eq!(walk.take(&answer(5), &names), Step::On);
    assert_eq!(walk.slice().head.position, 5);
    for position in [1, 5] {
        assert_eq!(walk.clone().take(&answer(position), &names), Step::Wrong);
    }
    assert_eq!(walk.take(&answer(0), &names), Step::On);
    assert_eq!((walk.stop(), walk.slice().head.position), (Some((1, 0)), 0));
}

#[test]
fn each_key_may_be_the_random_one() {
    let servers: Servers =
        vec![vec![vec![vec![0, 1], vec![]], vec![vec![], vec![2]]], vec![vec![vec![], vec![3]]]];
    let mut found = BTreeSet::new();
    for number in 0..200_u64 {
        let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        found.extend(walk_from((0, 0), Walk::any(), &servers, random, &[]).unwrap().2);
    }
    assert_eq!(found.len(), 4);
}

#[test]
fn a_walk_is_bounded_in_bytes_and_in_work() {
    let keys: Vec<u16> = (0..60_000).collect();
    let parts = |chunk| -> Vec<Vec<u16>> { keys.chunks(chunk).map(<[u16]>::to_vec).collect() };
    // Together they have more names than a reply may have.
    let full: Servers = vec![vec![parts(100); 2]; 2];
    assert_eq!(walk(Walk::all(None), &full), Err(Step::TooMany));
    assert_eq!(walk(Walk::first(u32::MAX), &full), Err(Step::TooMany));
    assert_eq!(walk(Walk::all(Some(b"k8")), &full).unwrap().2.len(), 4);
    assert_eq!(walk(Walk::number(), &full).unwrap().1, 240_000);
    let (cursor, _, names) = walk(Walk::some(0, u32::MAX, None), &full).unwrap();
    assert!(cursor > 0 && names.len() < 8_000, "{}", names.len());
    // What has expired or was flushed is work, but no key.
    let mut gone = Walk::some(0, 10, None);
    gone.begin(topology(&vec![vec![vec![vec![]]]; 2]), (0, 0), 0);
    let answer = gone.slice().carry_out(500, &spelling(), |_, _| 1);
    let (walked, _) = WalkedHead::split(&answer).unwrap();
    assert_eq!((walked.position, walked.looked, walked.found), (0, 0, 0));
    let answer = gone.slice().carry_out(5_000, &spelling(), |_, _| 1);
    let (walked, _) = WalkedHead::split(&answer).unwrap();
    assert_eq!(walked.position as usize, WORK_MAX.div_ceil(1 + WORK_OF_KEY));
    // A client asks again, also where there is nothing.
    let slices = SOME_SLICES_MAX as usize;
    let empty: Servers = vec![vec![vec![vec![]; slices * WORK_MAX + 1]]];
    let (cursor, _, _) = walk(Walk::some(0, 10, None), &empty).unwrap();
    assert_eq!(cursor as usize, slices * WORK_MAX);
    let small: Servers = vec![vec![vec![vec![]]; slices], vec![vec![vec![7]]]];
    let (cursor, _, names) = walk(Walk::some(0, 10, None), &small).unwrap();
    assert_eq!((cursor as usize, names.len()), (slices, 0));
    let (cursor, _, names) = walk(Walk::some(cursor, 10, None), &small).unwrap();
    assert_eq!((cursor, names.len()), (0, 1));
}
