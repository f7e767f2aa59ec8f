//! The nodes of Redis Cluster, one for each shard: their ports, and that all servers have some.

use std::net::SocketAddr;

use standin_protocol::slots::KeyHash;

use super::servers::{Server, shards_of};
use super::services::Service;
use crate::mistake::Report;
use crate::nodes::first_node_port;
use crate::section::At;
use crate::services::ServiceProtocol;

pub(super) const KEY: &str = "group.server.redis_node_port";

/// The addresses of a server's nodes, by shard. They are empty if it has none, or if something is wrong.
pub(super) fn of(server: &Server, hash: KeyHash, report: &mut Report<'_>) -> Vec<At<SocketAddr>> {
    // What is wrong with the key itself has been reported.
    let Some(given) = server.redis_node_port else { return Vec::new() };
    let redis = redis_of(server);
    if let Some(given) = given
        && let Some(wrong) = misplaced(hash, redis.is_some())
    {
        report.mistake(given.at, KEY, wrong);
        return Vec::new();
    }
    let address = redis.and_then(|redis| redis.address);
    let (KeyHash::Crc16, Some(address), Some(shards)) = (hash, address, shards_of(server)) else {
        return Vec::new();
    };
    let at = given.map_or(address.at, |given| given.at);
    let first = first_node_port(address.value, given.map(|given| given.value));
    let last = first.and_then(|first| first.checked_add(shards - 1));
    let (Some(first), Some(last)) = (first, last) else {
        let wrong = format!(
            "{} has {shards} shards, each with a port for clients of Redis Cluster, and the last of these \
             would be above 65535; write a lower one, such as `redis_node_port = 7000`",
            server.shown()
        );
        report.mistake(at, KEY, wrong);
        return Vec::new();
    };
    let node = |port| At { value: SocketAddr::new(address.value.ip(), port), at };
    (first..=last).map(node).collect()
}

/// Why `redis_node_port` means nothing here, if that is so.
fn misplaced(hash: KeyHash, speaks_redis: bool) -> Option<&'static str> {
    match (hash, speaks_redis) {
        (KeyHash::Xxh3, _) => Some(
            "there are nodes for clients of Redis Cluster only where keys are hashed as they do it; write \
             `hash = \"crc16\"` in [cluster], or remove this line",
        ),
        (KeyHash::Crc16, false) => {
            Some("there is no address that the port belongs to; write `redis = \"127.0.0.1:6379\"`")
        }
        (KeyHash::Crc16, true) => None,
    }
}

fn redis_of(server: &Server) -> Option<&Service> {
    server.services.iter().find(|service| service.protocol == ServiceProtocol::Redis)
}

/// Clients of Redis Cluster must find a node for every slot, so all servers have nodes if one has.
pub(super) fn check(servers: &[Server], hash: KeyHash, report: &mut Report<'_>) {
    let without = servers.iter().find(|server| redis_of(server).is_none());
    if let (KeyHash::Crc16, Some(without)) = (hash, without)
        && servers.iter().any(|server| redis_of(server).is_some())
    {
        let wrong = format!(
            "with `hash = \"crc16\"`, clients of Redis Cluster look for keys at every server, but {} has \
             no address for them; write `redis = \"127.0.0.1:6379\"` for each server, or for none",
            without.shown()
        );
        report.mistake(without.at, "group.server.redis", wrong);
    }
}
