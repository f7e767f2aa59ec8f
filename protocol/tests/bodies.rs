//! HELLO, PING and STATS: layouts, round trips, and who is let in.

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod support;

use proptest::prelude::*;
use standin_protocol::auth::{ClusterKey, Purpose};
use standin_protocol::body::{BodyError, Counter, PingReply, StatsReply};
use standin_protocol::hello::{
    ANY_SHARD, HelloBody, HelloError, HelloReply, Known, NONCE_BYTES, Role, cluster_id,
};
use standin_protocol::hot::{HotKey, HotReply, KEY_BYTES_MAX};
use support::hex;

const NONCE: [u8; 16] = *b"sixteen byte on!";

fn key() -> ClusterKey {
    ClusterKey::new([7; 32])
}

fn hello() -> HelloBody {
    HelloBody {
        client_id: 0x0706_0504_0302_0100,
        cluster_id: cluster_id("example"),
        shard: ANY_SHARD,
        role: Role::Client as u8,
        reserved: [0; 13],
    }
}

#[test]
fn hello_fields_lie_where_the_document_says() {
    let body = HelloBody {
        client_id: 0x0706_0504_0302_0100,
        cluster_id: 0x0F0E_0D0C_0B0A_0908,
        shard: 0x1110,
        role: 0x12,
        reserved: std::array::from_fn(|i| 0x13 + u8::try_from(i).expect("small")),
    };
    assert_eq!(body.to_bytes().as_slice(), (0..32).collect::<Vec<u8>>());
    let reply = HelloReply {
        cluster_id: 0x0706_0504_0302_0100,
        server: 0x0908,
        shards: 0x0B0A,
        shard: 0x0D0C,
        reserved: 0x0F0E,
    };
    assert_eq!(reply.to_bytes().as_slice(), (0..16).collect::<Vec<u8>>());
}

#[test]
fn hellos_are_let_in_or_told_why_not() {
    let (own, key, other_key) = (cluster_id("example"), key(), ClusterKey::new([8; 32]));
    let plain = hello().to_bytes().to_vec();
    let proven = hello().with_proof(&key, &NONCE);
    let changed = |offset: usize, byte: u8| {
        let mut bytes = plain.clone();
        bytes[offset] = byte;
        bytes
    };
    let any_cluster = HelloBody { cluster_id: 0, ..hello() };
    let good = Ok((hello(), Role::Client));
    let (none, some, nonce) = (None, Some(&key), Some(&NONCE));
    let table = [
        ("no secret", plain.clone(), none, None, good),
        (
            "no secret, any cluster",
            any_cluster.to_bytes().to_vec(),
            none,
            None,
            Ok((any_cluster, Role::Client)),
        ),
        ("a proof that nobody asked for", proven.clone(), none, None, good),
        ("no bytes", Vec::new(), none, None, Err(HelloError::BadLength(0))),
        ("31 bytes", plain[..31].to_vec(), none, None, Err(HelloError::BadLength(31))),
        ("40 bytes", [&plain[..], &[0; 8]].concat(), some, nonce, Err(HelloError::BadLength(40))),
        ("role 4", changed(18, 4), none, None, Err(HelloError::BadBody)),
        ("reserved byte", changed(31, 1), none, None, Err(HelloError::BadBody)),
        ("another cluster", changed(8, !plain[8]), none, None, Err(HelloError::OtherCluster)),
        ("proof missing", plain.clone(), some, None, Err(HelloError::ProofMissing)),
        ("proof still missing", plain.clone(), some, nonce, Err(HelloError::ProofMissing)),
        ("proof before the challenge", proven.clone(), some, None, Err(HelloError::ProofMissing)),
        ("right proof", proven.clone(), some, nonce, good),
        (
            "proof of another nonce",
            hello().with_proof(&key, &[0; 16]),
            some,
            nonce,
            Err(HelloError::ProofWrong),
        ),
        (
            "proof by another secret",
            hello().with_proof(&other_key, &NONCE),
            some,
            nonce,
            Err(HelloError::ProofWrong),
        ),
        (
            "proof of another body",
            [&changed(0, 9)[..], &proven[32..]].concat(),
            some,
            nonce,
            Err(HelloError::ProofWrong),
        ),
    ];
    for (what, value, key, nonce, expected) in table {
        assert_eq!(accept(&value, key, nonce, own), expected, "{what}");
    }
}

fn accept(
    value: &[u8],
    key: Option<&ClusterKey>,
    nonce: Option<&[u8; NONCE_BYTES]>,
    own: u64,
) -> Result<(HelloBody, Role), HelloError> {
    let accepted = HelloBody::accept(value, Known::of(key), nonce, own);
    accepted.map(|accepted| (accepted.body, accepted.role))
}

#[test]
fn the_clients_key_lets_in_clients_and_observers_only() {
    let (own, clients) = (cluster_id("example"), key().for_clients());
    for role in Role::ALL {
        let body = HelloBody { role: *role as u8, ..hello() };
        let heard = accept(&body.with_proof(&clients, &NONCE), Some(&key()), Some(&NONCE), own);
        let wanted = match role {
            Role::Client | Role::Observer => Ok((body, *role)),
            Role::Peer | Role::Master => Err(HelloError::ProofWrong),
        };
        assert_eq!(heard, wanted, "{role:?}");
        let member = body.with_proof(&key(), &NONCE);
        let heard = accept(&member, Some(&key()), Some(&NONCE), own);
        assert_eq!(heard, Ok((body, *role)));
    }
}

#[test]
fn a_code_is_good_for_one_purpose_only() {
    let mac = key().mac(Purpose::Hello, &[b"bytes"]);
    assert!(key().verify(Purpose::Hello, &[b"by", b"tes"], &mac));
    assert!(!key().verify(Purpose::Datagram, &[b"bytes"], &mac));
    assert!(!key().verify(Purpose::Hello, &[b"bytes"], &mac[..15]));
    assert!(!key().verify(Purpose::Hello, &[b"bytes"], b""));
    assert_eq!(format!("{:?}", key()), "ClusterKey(…)");
}

#[test]
fn ping_fields_lie_where_the_document_says() {
    let ping = PingReply {
        boot_id: 0x0706_0504_0302_0100,
        map_epoch: 0x0F0E_0D0C_0B0A_0908,
        drained_epoch: 0x1716_1514_1312_1110,
        usual_fetches_per_s: 0x1F1E_1D1C_1B1A_1918,
        loop_lag_us: 0x2322_2120,
        in_flight: 0x2726_2524,
        server: 0x2928,
        shard: 0x2B2A,
        origin_up: 0x2C,
        reserved: [0x2D, 0x2E, 0x2F],
    };
    assert_eq!(ping.to_bytes(), (0..48).collect::<Vec<u8>>());
}

#[test]
fn short_strings_are_inline_and_long_ones_pointed_to() {
    let stats = |server: &str| {
        let bytes = StatsReply { server: server.to_owned(), ..StatsReply::default() }.to_bytes();
        hex(&bytes[bytes.len() - 40..bytes.len() - 32])
    };
    assert_eq!(stats(""), "ffffffffffffffff");
    assert_eq!(stats("a1"), "6131ffffffffffff");
    assert_eq!(stats("12345678"), "3132333435363738");
    // 9 = 0b1001: low six bits, then binary 10 as bits 6 and 7. The string lies 9 bytes before.
    assert_eq!(stats("123456789"), "89000000f7ffffff");
    // 70 = 0b1_000110: the bits from the sixth on move up by two.
    assert_eq!(stats(&"x".repeat(70)), "86010000baffffff");
}

prop_compose! {
    fn stats()(
        server in "\\PC{0,20}", boot_id: u64, uptime_ms: u64, map_epoch: u64,
        counters in prop::collection::vec(("[a-z_]{0,80}", any::<u64>()), 0..12),
    ) -> StatsReply {
        let counters = counters.into_iter().map(|(name, value)| Counter { name, value }).collect();
        StatsReply { server, boot_id, uptime_ms, map_epoch, counters }
    }
}

prop_compose! {
    fn hot_key()(
        key in prop::collection::vec(any::<u8>(), 0..=KEY_BYTES_MAX), hash: u64,
        requests_per_s: u64, doubtful_per_s: u64, key_bytes: u16, shard: u16, keyspace: u8,
    ) -> HotKey {
        let reserved = [0; 3];
        HotKey { key, hash, requests_per_s, doubtful_per_s, key_bytes, shard, keyspace, reserved }
    }
}

prop_compose! {
    fn hot()(
        requests_per_s: u64, keys in prop::collection::vec(hot_key(), 0..6),
    ) -> HotReply {
        HotReply { requests_per_s, keys }
    }
}

proptest! {
    #[test]
    fn hot_keys_come_back_and_mutated_ones_never_panic(
        hot in hot(), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        let mut bytes = hot.to_bytes();
        prop_assert_eq!(HotReply::from_bytes(&bytes), Ok(hot));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read) = HotReply::from_bytes(&bytes) {
            prop_assert_eq!(HotReply::from_bytes(&read.to_bytes()), Ok(read));
        }
    }

    #[test]
    fn hellos_come_back(client_id: u64, shard: u16, role in 0u8..4, with_secret: bool) {
        let own = cluster_id("example");
        let body = HelloBody { client_id, cluster_id: own, shard, role, reserved: [0; 13] };
        let key = with_secret.then(key);
        let value = match &key {
            Some(key) => body.with_proof(key, &NONCE),
            None => body.to_bytes().to_vec(),
        };
        let accepted = accept(&value, key.as_ref(), Some(&NONCE), own);
        prop_assert_eq!(accepted, Ok((body, Role::from_wire(role).unwrap())));
    }

    #[test]
    fn hello_replies_come_back(cluster_id: u64, server: u16, shards: u16, shard: u16) {
        let reply = HelloReply { cluster_id, server, shards, shard, reserved: 0 };
        prop_assert_eq!(HelloReply::read(&reply.to_bytes()), Some(reply));
        prop_assert_eq!(HelloReply::read(&reply.to_bytes()[1..]), None);
    }

    #[test]
    fn pings_come_back(boot_id: u64, map_epoch: u64, drained_epoch: u64, usual_fetches_per_s: u64, loop_lag_us: u32, in_flight: u32, server: u16, shard: u16, origin_up in 0u8..2) {
        let ping = PingReply { boot_id, map_epoch, drained_epoch, usual_fetches_per_s, loop_lag_us, in_flight, server, shard, origin_up, reserved: [0; 3] };
        prop_assert_eq!(PingReply::from_bytes(&ping.to_bytes()), Ok(ping));
    }

    #[test]
    fn stats_come_back(stats in stats()) {
        prop_assert_eq!(StatsReply::from_bytes(&stats.to_bytes()), Ok(stats.clone()));
        for counter in &stats.counters {
            let first = stats.counters.iter().find(|c| c.name == counter.name).unwrap();
            prop_assert_eq!(stats.counter(&counter.name), first.value);
        }
        prop_assert_eq!(stats.counter("No Such Counter"), 0);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = accept(&bytes, None, None, 0);
        let _ = accept(&bytes, Some(&key()), Some(&NONCE), 0);
        let _ = HelloReply::read(&bytes);
        if bytes.len() < 32 {
            prop_assert_eq!(PingReply::from_bytes(&bytes), Err(BodyError));
        }
        let _ = StatsReply::from_bytes(&bytes);
    }

    /// If a damaged archive can still be read, the result can be written and read again.
    #[test]
    fn mutated_stats_never_panic(stats in stats(), at in any::<prop::sample::Index>(), byte: u8, cut: bool) {
        let mut bytes = stats.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let bytes = if cut { &bytes[at..] } else { &bytes[..] };
        if let Ok(read) = StatsReply::from_bytes(bytes) {
            prop_assert_eq!(StatsReply::from_bytes(&read.to_bytes()), Ok(read));
        }
    }
}
