//! TCP: requests, responses, and the bodies that some of them carry.

use serde_json::{Value, json};
use standin_protocol::auth::ClusterKey;
use standin_protocol::body::{Counter, NotOwner, PingReply, StatsReply};
use standin_protocol::frame::{
    Opcode, Request, RequestHeader, Response, ResponseHeader, Status, request_flags, response_flags,
};
use standin_protocol::hash::key_hash;
use standin_protocol::hello::{ANY_SHARD, HelloBody, HelloReply, Role, cluster_id};
use standin_protocol::hot::{HotKey, HotReply, KEY_BYTES_MAX};
use standin_protocol::item::{ItemHead, NEVER};
use standin_protocol::modify::wire::{self, ModifyHead};
use standin_protocol::modify::{Edit, Gives, Modify, Ttl};
use standin_protocol::transact::{Condition, Step, StepResult, Transaction};
use standin_protocol::users::UserKey;
use standin_protocol::walk::{ANY_SLOT, WalkHead, WalkedHead, append_key};

use super::wide;
use crate::support::{epoch, hex, map_with_trouble};

pub(super) fn ttls() -> Vec<Value> {
    [0, 1, 3_600, 65_535, 65_536, 65_580, 86_400, 3_932_100]
        .map(|ttl_s| {
            let mut header = RequestHeader::new(Opcode::Put, 1, 1);
            header.set_ttl_s(ttl_s);
            json!({
                "asked_s": ttl_s, "ttl": header.ttl,
                "minutes": header.flags & request_flags::TTL_MINUTES != 0,
                "means_s": header.ttl_s(),
            })
        })
        .to_vec()
}

fn hello() -> HelloBody {
    HelloBody {
        client_id: 0x0123_4567_89AB_CDEF,
        cluster_id: cluster_id("example"),
        shard: 2,
        role: Role::Client as u8,
        reserved: [0; 13],
    }
}

fn request_json(header: RequestHeader, key: &[u8], value: &[u8]) -> Value {
    let mut bytes = Vec::new();
    Request::write(header, key, value, &mut bytes);
    let opcode = Opcode::from_wire(header.opcode).expect("a known one");
    json!({
        "name": opcode.name(), "opcode": header.opcode, "flags": header.flags,
        "keyspace": header.keyspace, "request_id": header.request_id,
        "map_epoch": header.map_epoch, "deadline_ms": header.deadline_ms, "ttl": header.ttl,
        "cas_version": wide(header.cas_version),
        "key": hex(key), "value": hex(value), "hex": hex(&bytes),
    })
}

pub(super) fn requests() -> Vec<Value> {
    let header = |opcode, request_id| RequestHeader {
        map_epoch: epoch(3, 8).tag(),
        deadline_ms: 100,
        ..RequestHeader::new(opcode, 1, request_id)
    };
    let whole_server = |opcode, request_id| RequestHeader::new(opcode, 0, request_id);
    let mut week = header(Opcode::Put, 4);
    week.set_ttl_s(7 * 86_400);
    let retry = RequestHeader { flags: request_flags::RETRY, ttl: 300, ..header(Opcode::Put, 3) };
    let cas = RequestHeader { cas_version: 0x0001_0203_0405_0607, ..header(Opcode::Cas, 6) };
    let forwarded = RequestHeader { flags: request_flags::FORWARDED, ..header(Opcode::Get, 7) };
    let item = RequestHeader { flags: request_flags::ITEM, ..header(Opcode::Put, 14) };
    let item_head = ItemHead { item_flags: 7, ttl_ms: 1_500, ..ItemHead::default() };
    let append = ModifyHead { edit: 2, ttl_kind: 1, gives: 3, ..ModifyHead::default() };
    let append = [&append.to_bytes()[..], b", Countess"].concat();
    vec![
        request_json(whole_server(Opcode::Hello, 1), b"", &hello().to_bytes()),
        request_json(header(Opcode::Get, 2), b"user:1", b""),
        request_json(header(Opcode::Put, 3), b"user:1", b"Ada"),
        request_json(retry, b"user:1", b"Ada"),
        request_json(week, b"user:1", b""),
        request_json(header(Opcode::Delete, 5), b"user:1", b""),
        request_json(cas, b"user:1", b"Grace"),
        request_json(forwarded, b"user:1", b""),
        request_json(RequestHeader { ttl: 60, ..header(Opcode::Touch, 8) }, b"user:1", b""),
        request_json(header(Opcode::Invalidate, 9), b"user:1", b""),
        request_json(whole_server(Opcode::Ping, 10), b"", b""),
        request_json(whole_server(Opcode::Map, 11), b"", b""),
        request_json(whole_server(Opcode::Stats, 0xFFFF_FFFF), b"", b""),
        request_json(header(Opcode::Flush, 13), b"17", b""),
        request_json(item, b"user:1", &[&item_head.to_bytes()[..], b"Ada"].concat()),
        request_json(header(Opcode::Modify, 15), b"user:1", &append),
        request_json(whole_server(Opcode::Hot, 16), b"", b""),
    ]
}

fn response_json(header: ResponseHeader, value: &[u8]) -> Value {
    let mut bytes = Vec::new();
    Response::write(header, value, &mut bytes);
    let status = Status::from_wire(header.status).expect("a known one");
    json!({
        "name": status.name(), "status": header.status, "flags": header.flags,
        "opcode": header.opcode, "retry_after_ms": header.retry_after_ms,
        "request_id": header.request_id, "map_epoch": header.map_epoch, "ttl_s": header.ttl_s,
        "cas_version": wide(header.cas_version), "value": hex(value), "hex": hex(&bytes),
    })
}

pub(super) fn responses() -> Vec<Value> {
    use response_flags::{CACHED, FILLED, FORWARDED, HIT, PROVISIONAL, STAND_IN};
    let version = 0x0001_0203_0405_0607;
    let header = |opcode, status, flags| ResponseHeader {
        map_epoch: epoch(3, 8).tag(),
        flags,
        ..ResponseHeader::reply_to(&RequestHeader::new(opcode, 1, 2), status)
    };
    let hit = ResponseHeader {
        ttl_s: 287,
        cas_version: version,
        ..header(Opcode::Get, Status::Ok, HIT | CACHED)
    };
    let stand_in = FILLED | STAND_IN | PROVISIONAL | CACHED;
    let filled = ResponseHeader {
        ttl_s: 2,
        cas_version: version,
        ..header(Opcode::Get, Status::Ok, stand_in)
    };
    let written =
        ResponseHeader { cas_version: version, ..header(Opcode::Put, Status::Ok, FORWARDED) };
    let mismatch =
        ResponseHeader { cas_version: version, ..header(Opcode::Cas, Status::VersionMismatch, 0) };
    let not_owner = NotOwner { map_epoch: epoch(3, 8).to_u64() };
    let overloaded =
        ResponseHeader { retry_after_ms: 20, ..header(Opcode::Get, Status::Overloaded, 0) };
    let mut all = vec![
        response_json(hit, b"Ada"),
        response_json(filled, b"Ada"),
        response_json(written, b""),
        response_json(mismatch, b""),
        response_json(header(Opcode::Get, Status::NotOwner, 0), &not_owner.to_bytes()),
        response_json(overloaded, b""),
        response_json(header(Opcode::Get, Status::OriginRejected, 0), b"no such table: users"),
        response_json(header(Opcode::Map, Status::Ok, 0), &map_with_trouble(2).to_bytes()),
    ];
    all.extend(Status::ALL.iter().map(|s| response_json(header(Opcode::Get, *s, 0), b"")));
    all
}

pub(super) fn item_heads() -> Vec<Value> {
    let heads = [
        ItemHead::default(),
        ItemHead { item_flags: 0x0403_0201, marks: 5, ttl_ms: 1_500, ..ItemHead::default() },
        ItemHead { ttl_ms: NEVER, ..ItemHead::default() },
    ];
    heads
        .map(|head| {
            json!({
                "item_flags": head.item_flags, "marks": head.marks, "ttl_ms": wide(head.ttl_ms),
                "hex": hex(&head.to_bytes()),
            })
        })
        .into()
}

pub(super) fn transactions() -> Vec<Value> {
    let set = Modify { ttl: Ttl::For(30_000), ..Modify::new(Edit::Set) };
    let get = Modify { gives: Gives::Old, ..Modify::new(Edit::Keep) };
    let step = |key, modify, operand| Step { key, modify, item_flags: 7, operand };
    let snapshot = Transaction {
        steps: vec![step(b"{u}a", get, b""), step(b"{u}b", get, b"")],
        ..Transaction::default()
    };
    let transfer = Transaction {
        conditions: vec![
            Condition { key: b"{u}a", version: Some(0x0102_0304_0506_0708) },
            Condition { key: b"{u}b", version: None },
        ],
        steps: vec![step(b"{u}a", set, b"90"), step(b"{u}b", Modify::new(Edit::Add(10)), b"")],
    };
    [snapshot, transfer]
        .map(|transaction| {
            let conditions = transaction.conditions.iter().map(|condition| {
                json!({ "key": hex(condition.key), "version": wide(condition.version.unwrap_or(0)) })
            });
            let steps = transaction.steps.iter().map(|step| {
                let operation = wire::write(&step.modify, step.item_flags).to_bytes();
                json!({
                    "key": hex(step.key), "operation": hex(&operation), "operand": hex(step.operand),
                })
            });
            json!({
                "conditions": conditions.collect::<Vec<_>>(), "steps": steps.collect::<Vec<_>>(),
                "hex": hex(&transaction.to_bytes()),
            })
        })
        .into()
}

pub(super) fn transaction_results() -> Vec<Value> {
    let stored = StepResult {
        status: Status::Ok,
        version: 0,
        ttl_ms: 30_000,
        item_flags: 0,
        marks: 0,
        value: b"",
    };
    let read = StepResult { version: 0x0102_0304_0506_0708, ttl_ms: NEVER, value: b"90", ..stored };
    let refused = StepResult { status: Status::NotANumber, item_flags: 7, marks: 1, ..read };
    [vec![], vec![stored, read], vec![refused]]
        .map(|results| {
            let mut bytes = Vec::new();
            results.iter().for_each(|result| result.append(&mut bytes));
            let results: Vec<Value> = results
                .iter()
                .map(|result| {
                    json!({
                        "status": result.status as u8, "version": wide(result.version),
                        "ttl_ms": wide(result.ttl_ms), "item_flags": result.item_flags,
                        "marks": result.marks, "value": hex(result.value),
                    })
                })
                .collect();
            json!({ "results": results, "hex": hex(&bytes) })
        })
        .into()
}

pub(super) fn walks() -> Vec<Value> {
    let all = WalkHead {
        looked_max: u32::MAX,
        found_max: u32::MAX,
        slot: ANY_SLOT,
        ..WalkHead::default()
    };
    let some = WalkHead {
        start: 0x0102_0304_0506_0708,
        position: 77,
        looked_max: 10,
        found_max: 1,
        slot: 12_739,
        gives_keys: 1,
        ..all
    };
    [(all, &b""[..]), (some, b"user:*")]
        .map(|(head, pattern)| {
            json!({
                "start": wide(head.start), "position": head.position,
                "looked_max": head.looked_max, "found_max": head.found_max, "slot": head.slot,
                "gives_keys": head.gives_keys, "pattern": hex(pattern),
                "hex": hex(&[&head.to_bytes()[..], pattern].concat()),
            })
        })
        .into()
}

pub(super) fn walked() -> Vec<Value> {
    let end = WalkedHead { found: 7_000, looked: 9_000, ..WalkedHead::default() };
    let some = WalkedHead { found: 2, position: 78, looked: 12, ..WalkedHead::default() };
    let keys: [(u8, &[u8]); 2] = [(1, b"user:1"), (9, b"")];
    [(end, &[][..]), (some, &keys)]
        .map(|(head, keys)| {
            let mut bytes = head.to_bytes().to_vec();
            keys.iter().for_each(|(keyspace, key)| append_key(*keyspace, key, &mut bytes));
            let keys: Vec<Value> = keys
                .iter()
                .map(|(keyspace, key)| json!({ "keyspace": keyspace, "key": hex(key) }))
                .collect();
            json!({
                "found": wide(head.found), "position": head.position, "looked": head.looked,
                "keys": keys, "hex": hex(&bytes),
            })
        })
        .into()
}

pub(super) fn modify_heads() -> Vec<Value> {
    let base = ModifyHead { ttl_kind: 1, ..ModifyHead::default() };
    let heads = [
        (
            "add",
            ModifyHead { edit: 1, presence: 1, ttl_kind: 3, ttl_ms: 30_000, item_flags: 7, ..base },
        ),
        ("append", ModifyHead { edit: 2, presence: 2, gives: 3, ..base }),
        ("increment", ModifyHead { edit: 5, number: 5, gives: 2, ..base }),
        ("add -1", ModifyHead { edit: 7, number: u64::MAX, gives: 2, ..base }),
        (
            "counter",
            ModifyHead {
                edit: 5,
                number: 1,
                gives: 2,
                vivify: 2,
                vivify_number: 10,
                vivify_ttl_kind: 3,
                vivify_ttl_ms: 60_000,
                ..base
            },
        ),
        ("unlock", ModifyHead { edit: 12, tests: 4, ..base }),
        ("get and touch", ModifyHead { gives: 1, ttl_kind: 3, ttl_ms: 5_000, ..base }),
        ("expire if longer", ModifyHead { lifetime_test: 3, ttl_kind: 3, ttl_ms: 5_000, ..base }),
    ];
    heads.map(|(name, head)| {
        json!({
            "name": name, "edit": head.edit, "presence": head.presence,
            "lifetime_test": head.lifetime_test, "tests": head.tests, "ttl_kind": head.ttl_kind,
            "gives": head.gives, "vivify": head.vivify, "vivify_ttl_kind": head.vivify_ttl_kind,
            "number": wide(head.number), "ttl_ms": wide(head.ttl_ms),
            "vivify_number": wide(head.vivify_number), "vivify_ttl_ms": wide(head.vivify_ttl_ms),
            "item_flags": head.item_flags, "hex": hex(&head.to_bytes()),
        })
    }).into()
}

pub(super) fn hellos() -> Vec<Value> {
    let secret: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).expect("below 32"));
    let nonce: [u8; 16] = std::array::from_fn(|i| 0xF0 + u8::try_from(i).expect("below 16"));
    let body = hello();
    let challenge = request_header_1();
    let answer = RequestHeader { request_id: 2, ..challenge };
    let reply = HelloReply {
        cluster_id: cluster_id("example"),
        server: 3,
        shards: 4,
        shard: 2,
        reserved: 0,
    };
    let proven = body.with_proof(&ClusterKey::new(secret), &nonce);
    let (name, password) = ("ann", "correct horse");
    let key = UserKey::new(name.as_bytes(), password.as_bytes());
    let of_user = body.with_user(name, &key, &nonce);
    let any = HelloBody { cluster_id: 0, shard: ANY_SHARD, ..body };
    vec![
        json!({
            "client_id": wide(body.client_id), "cluster_id": wide(body.cluster_id),
            "shard": body.shard, "role": body.role, "body": hex(&body.to_bytes()),
        }),
        json!({
            "client_id": wide(any.client_id), "cluster_id": wide(0),
            "shard": any.shard, "role": any.role, "body": hex(&any.to_bytes()),
        }),
        json!({
            "secret": hex(&secret), "nonce": hex(&nonce), "body": hex(&body.to_bytes()),
            "proof": hex(&proven[32..]), "value_of_second_hello": hex(&proven),
            "challenge": response_json(
                ResponseHeader::reply_to(&challenge, Status::AuthRequired), &nonce),
            "second_hello": request_json(answer, b"", &proven),
        }),
        json!({
            "user": name, "password": password, "key": hex(key.bytes()),
            "verifier": hex(key.verifier().bytes()), "nonce": hex(&nonce),
            "body": hex(&body.to_bytes()), "proof": hex(&of_user[32..64]),
            "value_of_second_hello": hex(&of_user),
        }),
        json!({
            "reply_cluster_id": wide(reply.cluster_id), "server": reply.server,
            "shards": reply.shards, "shard": reply.shard, "reply": hex(&reply.to_bytes()),
        }),
    ]
}

fn request_header_1() -> RequestHeader {
    RequestHeader::new(Opcode::Hello, 0, 1)
}

pub(super) fn pings() -> Vec<Value> {
    let ping = PingReply {
        boot_id: 0x1122_3344_5566_7788,
        map_epoch: epoch(3, 8).to_u64(),
        drained_epoch: epoch(3, 7).to_u64(),
        usual_fetches_per_s: 44,
        loop_lag_us: 450,
        in_flight: 12,
        server: 3,
        shard: 2,
        origin_up: 1,
        reserved: [0; 3],
    };
    vec![json!({
        "boot_id": wide(ping.boot_id), "map_epoch": wide(ping.map_epoch),
        "drained_epoch": wide(ping.drained_epoch),
        "usual_fetches_per_s": ping.usual_fetches_per_s,
        "loop_lag_us": ping.loop_lag_us, "in_flight": ping.in_flight, "server": ping.server,
        "shard": ping.shard, "origin_up": ping.origin_up, "hex": hex(&ping.to_bytes()),
    })]
}

pub(super) fn hot() -> Vec<Value> {
    let key = |key: &[u8], key_bytes| HotKey {
        key: key.to_vec(),
        hash: key_hash(1, key),
        requests_per_s: 40_000,
        doubtful_per_s: 120,
        key_bytes,
        shard: 3,
        keyspace: 1,
        reserved: [0; 3],
    };
    let keys = vec![key(b"user:1", 6), key(&[0xC3; KEY_BYTES_MAX], 200)];
    [HotReply::default(), HotReply { requests_per_s: 250_000, keys }]
        .map(|hot| {
            let keys = hot.keys.iter().map(|key| {
                json!({
                    "key": hex(&key.key), "hash": wide(key.hash),
                    "requests_per_s": wide(key.requests_per_s),
                    "doubtful_per_s": wide(key.doubtful_per_s), "key_bytes": key.key_bytes,
                    "shard": key.shard, "keyspace": key.keyspace,
                })
            });
            json!({
                "requests_per_s": wide(hot.requests_per_s), "keys": keys.collect::<Value>(),
                "hex": hex(&hot.to_bytes()),
            })
        })
        .to_vec()
}

pub(super) fn stats() -> Vec<Value> {
    let counter = |name: &str, value| Counter { name: name.to_owned(), value };
    let empty = StatsReply::default();
    let full = StatsReply {
        server: "a1".to_owned(),
        boot_id: 0x1122_3344_5566_7788,
        uptime_ms: 86_400_000,
        map_epoch: epoch(3, 8).to_u64(),
        counters: vec![
            counter("hits", 7),
            counter("requests", u64::MAX),
            counter("origin_reads", 3),
            counter(&format!("{}_bytes", "long_".repeat(14)), 1),
        ],
    };
    [empty, full]
        .map(|stats| {
            let counters: Value = stats
                .counters
                .iter()
                .map(|c| json!({ "name": c.name, "value": wide(c.value) }))
                .collect();
            json!({
                "server": stats.server, "boot_id": wide(stats.boot_id),
                "uptime_ms": wide(stats.uptime_ms), "map_epoch": wide(stats.map_epoch),
                "counters": counters, "hex": hex(&stats.to_bytes()),
            })
        })
        .to_vec()
}
