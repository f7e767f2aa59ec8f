//! Hashes, ranks, epochs and whole maps.

use std::sync::Arc;

use serde_json::{Value, json};
use standin_protocol::hash::{key_hash, partition_of, shard_of};
use standin_protocol::hello::cluster_id;
use standin_protocol::key::{KeyForm, KeyForms};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerInfo, Topology};
use standin_protocol::placement::{Candidate, rank, score};
use standin_protocol::seeds::HashSeeds;
use standin_protocol::slots::{Prefixes, partition_of_slot, slot};

use super::wide;
use crate::support::{
    epoch, five_servers, hex, map_with_trouble, map_with_waiting, pattern, topology,
};

/// Lengths on both sides of every branch of XXH3-64.
const KEY_LENGTHS: [usize; 24] = [
    0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 96, 97, 128, 129, 144, 240, 241, 1_000, 1_024,
    1_025, 2_049,
];

pub(super) fn hashes() -> Vec<Value> {
    let names: [&[u8]; 2] = [b"user:1", b"user:2"];
    let keys = KEY_LENGTHS.into_iter().map(pattern).chain(names.map(<[u8]>::to_vec));
    keys.map(|key| {
        let hashes = [0, 1, 7, 255].map(|keyspace| {
            let hash = key_hash(keyspace, &key);
            let partition = partition_of(hash, 1_024);
            json!({
                "keyspace": keyspace, "hash": wide(hash),
                "partition_of_1024": partition, "shard_of_3": shard_of(partition, 3),
                "partition_of_1000": partition_of(hash, 1_000),
            })
        });
        json!({ "key": hex(&key), "key_bytes": key.len(), "hashes": hashes })
    })
    .collect()
}

/// Names with and without hash tags.
pub(super) fn slots() -> Vec<Value> {
    let names: [&[u8]; 16] = [
        b"",
        b"a",
        b"123456789",
        b"user:1",
        b"user:{1}:name",
        b"{1}",
        b"{user1000}.following",
        b"foo{}{bar}",
        b"foo{{bar}}zap",
        b"foo{bar}{zap}",
        b"foo{bar",
        b"foo}bar{",
        b"}{x}",
        b"{",
        "größe".as_bytes(),
        &[0, 0xFF, b'{', 0x80, b'}', 1],
    ];
    let vector = |name: &[u8]| {
        let slot = slot(name);
        let [a, b, c] =
            [1_024, 1_000, 16_384].map(|partitions| partition_of_slot(slot, partitions));
        json!({
            "name": hex(name), "slot": slot, "partition_of_1024": a, "partition_of_1000": b,
            "partition_of_16384": c,
        })
    };
    names.into_iter().map(<[u8]>::to_vec).chain([pattern(300)]).map(|name| vector(&name)).collect()
}

/// Each key in each form; null where it has none.
pub(super) fn key_forms() -> Vec<Value> {
    let keys: [&[u8]; 14] = [
        b"",
        b"User:1",
        "Größe ÄÖÜ".as_bytes(),
        // One that gets shorter, one that gets longer, and one that is mapped by hand.
        "K".as_bytes(),
        "Ⱥ".as_bytes(),
        "İstanbul ΣΑΣ".as_bytes(),
        &[b'A', 0xFF],
        b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        b"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
        b"{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
        b"A0eebc999c0b4ef8bb6d6bb9bd380a11",
        b"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        b"a0-eebc999c0b4ef8bb6d6bb9bd380a11",
        b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g",
    ];
    let vector = |key: &[u8]| {
        let form = |form: KeyForm| form.bring(key).map(|key| hex(&key));
        json!({
            "key": hex(key), "exact": form(KeyForm::Exact), "ascii": form(KeyForm::Ascii),
            "unicode": form(KeyForm::Unicode), "uuid": form(KeyForm::Uuid),
        })
    };
    keys.map(vector).to_vec()
}

pub(super) fn cluster_ids() -> Vec<Value> {
    ["", "example", "Zürich"]
        .map(|name| json!({ "name": name, "cluster_id": wide(cluster_id(name)) }))
        .to_vec()
}

fn servers_json(servers: &[ServerInfo]) -> Value {
    servers
        .iter()
        .map(|s| json!({ "name": s.name, "group": s.group, "weight": s.weight }))
        .collect()
}

pub(super) fn ranks() -> Vec<Value> {
    let servers = five_servers();
    let candidates: Vec<Candidate<'_>> = servers
        .iter()
        .map(|s| Candidate { name: &s.name, group: s.group, weight: s.weight })
        .collect();
    let partitions = (0..24).chain([1_023, 4_096, 65_535]);
    let ranks = partitions.map(|partition| {
        let scores: Vec<String> =
            servers.iter().map(|s| wide(score(partition, &s.name, s.weight))).collect();
        json!({ "partition": partition, "scores": scores, "rank": rank(partition, &candidates) })
    });
    [json!({ "servers": servers_json(&servers) })].into_iter().chain(ranks).collect()
}

pub(super) fn epoch_tags() -> Vec<Value> {
    [epoch(0, 0), epoch(1, 0), epoch(3, 7), epoch(0x1FF, 0x0100_0002), epoch(u32::MAX, u32::MAX)]
        .map(|epoch| {
            json!({
                "term": epoch.term, "counter": epoch.counter,
                "epoch": wide(epoch.to_u64()), "tag": epoch.tag(),
            })
        })
        .to_vec()
}

pub(super) fn tag_order() -> Vec<Value> {
    let pairs = [
        (1, 0),
        (0, 1),
        (5, 5),
        (0x0200_0000, 0x01FF_FFFF),
        (0x0000_0001, 0xFF00_0005),
        (0xFF00_0005, 0x0000_0001),
        (0x7FFF_FFFF, 0),
        (0x8000_0000, 0),
        (0, 0x8000_0000),
    ];
    pairs
        .map(|(a, b)| json!({ "a": a, "b": b, "a_is_newer": MapEpoch::tag_is_newer(a, b) }))
        .to_vec()
}

pub(super) fn maps() -> Vec<Value> {
    let calm = ClusterMap::new(topology(16), epoch(1, 0), Vec::new());
    let seeds = HashSeeds::of_bonds([(1, 2), (9, 2), (255, 254)]);
    let bound = Topology::clone(&topology(16)).with_hash_seeds(seeds);
    let bound = ClusterMap::new(Arc::new(bound), epoch(1, 0), Vec::new());
    let forms: KeyForms =
        KeyForm::ALL.iter().zip([1, 2, 3, 255]).map(|(form, keyspace)| (keyspace, *form)).collect();
    let formed = Topology::clone(&topology(16)).with_key_forms(forms);
    let formed = ClusterMap::new(Arc::new(formed), epoch(1, 0), Vec::new());
    let slots = Topology::clone(&formed.topology).with_hash_seeds(seeds);
    // Keyspaces 1, 2 and 9 are over the same rows, and 3 is the default one.
    let prefixes: [(u8, &[u8]); 4] = [(1, b"user:"), (2, b"user:"), (9, b"user:"), (77, b"x/")];
    let prefixes = Prefixes::of_list(&prefixes).expect("prefixes");
    let slots = slots.with_slots(prefixes).expect("a topology with slots");
    let slots = ClusterMap::new(Arc::new(slots), epoch(1, 0), Vec::new());
    let maps = [calm, map_with_trouble(16), map_with_waiting(16), bound, formed, slots];
    maps.iter().map(map_json).collect()
}

fn map_json(map: &ClusterMap) -> Value {
    let topology = &map.topology;
    let servers = topology.servers.iter().zip(map.statuses()).map(|(info, status)| {
        json!({
            "name": info.name, "ip": info.address.ip(), "port": info.address.port(),
            "group": info.group, "weight": info.weight, "shards": info.shards,
            "state": status.state as u8, "since": wide(status.since.to_u64()),
            "boot_id": wide(status.boot_id),
        })
    });
    let owners = (0..topology.partitions).map(|partition| {
        let o = map.ownership(partition);
        let candidates: Vec<u16> = map.candidates(partition).collect();
        json!({
            "epoch": wide(o.epoch.to_u64()), "home": o.home, "owner": o.owner,
            "stand_in": o.stand_in, "ask_in_this_order": candidates,
        })
    });
    let bound = topology.hash_seeds.bound();
    let bound =
        bound.map(|(keyspace, hash_seed)| json!({ "keyspace": keyspace, "hash_seed": hash_seed }));
    let formed = topology.key_forms.formed();
    let formed =
        formed.map(|(keyspace, form)| json!({ "keyspace": keyspace, "form": form.name() }));
    let named = topology.slot_prefixes.iter().flat_map(Prefixes::named);
    let named = named.map(|(keyspace, prefix)| json!({ "keyspace": keyspace, "prefix": prefix }));
    let partitions_of = |key: &[u8]| {
        [1, 2, 3, 9].map(|keyspace| {
            let key = topology.key_forms.hashed(keyspace, key);
            json!({ "keyspace": keyspace, "partition": topology.partition(keyspace, &key) })
        })
    };
    json!({
        "hex": hex(&map.to_bytes()),
        "epoch": wide(map.epoch.to_u64()),
        "topology_id": wide(topology.id),
        "partitions": topology.partitions,
        "name": topology.name,
        "master_ip": topology.master.ip(),
        "master_port": topology.master.port(),
        "servers": servers.collect::<Value>(),
        "owners": owners.collect::<Value>(),
        "bound": bound.collect::<Value>(),
        "formed": formed.collect::<Value>(),
        "hash": topology.key_hash().name(),
        "named": named.collect::<Value>(),
        "partitions_of_user_1": partitions_of(b"user:1"),
        "partitions_of_USER_1": partitions_of(b"USER:1"),
    })
}
