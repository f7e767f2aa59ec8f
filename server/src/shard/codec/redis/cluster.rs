//! CLUSTER and the answers that refer clients to other nodes, in the shapes of Redis 7.0.

use std::fmt::Write as _;

use super::call::{Call, Made};
use super::resp::{self, Version};
use super::said::Said;
use super::session::Session;
use super::tag::{Kind, Tag};
use crate::node::routes::{Health, Redirect, Routes};
use crate::shard::codec::{Request, What};
use crate::shard::nodes::{NodeInfo, Nodes};
use standin_protocol::slots::slot;

/// The subcommands of CLUSTER that are answered by the routes, by the numbers of their tags.
const SLOTS_OF_NODES: u64 = 0;
const SHARDS: u64 = 1;
const NODES: u64 = 2;
const INFO: u64 = 3;
const MY_ID: u64 = 4;

pub(super) fn cluster_slots(call: &Call<'_>) -> Made {
    by_routes(call, SLOTS_OF_NODES)
}

pub(super) fn cluster_shards(call: &Call<'_>) -> Made {
    by_routes(call, SHARDS)
}

pub(super) fn cluster_nodes(call: &Call<'_>) -> Made {
    by_routes(call, NODES)
}

pub(super) fn cluster_info(call: &Call<'_>) -> Made {
    by_routes(call, INFO)
}

pub(super) fn cluster_myid(call: &Call<'_>) -> Made {
    numbered(call, MY_ID, What::Said)
}

pub(super) fn cluster_keyslot(call: &Call<'_>) -> Made {
    match call.around.names.is_slotted() {
        true => call.tagged(Tag { number: slot(call.word(2)).into(), ..Tag::new(Kind::Number) }),
        false => Said::NoCluster.into(),
    }
}

/// No node has replicas.
pub(super) fn cluster_replicas(call: &Call<'_>) -> Made {
    if call.around.names.is_slotted() { Said::Empty.into() } else { Said::NoCluster.into() }
}

/// READONLY, READWRITE and ASKING mean nothing where every node answers for its slots.
pub(super) fn switch(call: &Call<'_>) -> Made {
    if call.around.names.is_slotted() { Said::Ok.into() } else { Said::NoCluster.into() }
}

fn by_routes(call: &Call<'_>, which: u64) -> Made {
    numbered(call, which, What::Routes)
}

fn numbered(call: &Call<'_>, which: u64, what: What) -> Made {
    if !call.around.names.is_slotted() {
        return Said::NoCluster.into();
    }
    match call.tagged(Tag { number: which, ..Tag::new(Kind::Cluster) }) {
        Made::Request(request) => Made::Request(Request { what, ..request }),
        made => made,
    }
}

/// Appends the reply to a command that is answered by the routes.
pub(super) fn write(tag: Tag, value: &[u8], session: &Session, out: &mut Vec<u8>) {
    let version = session.version;
    let Some(nodes) = &session.cluster.nodes else {
        return resp::line(Said::NoCluster.text(), out);
    };
    if tag.number == MY_ID {
        return resp::bulk(nodes.own().id.as_bytes(), out);
    }
    let Some(routes) = Routes::from_bytes(value) else {
        return resp::line("-ERR the routes can't be read", out);
    };
    match tag.number {
        SLOTS_OF_NODES => write_slots(nodes, &routes, version, out),
        SHARDS => write_shards(nodes, &routes, version, out),
        NODES => write_nodes(nodes, &routes, version, out),
        _ => write_info(nodes, &routes, version, out),
    }
}

/// Appends the error that refers a client to another node.
#[cold]
pub(super) fn moved(value: &[u8], session: &Session, out: &mut Vec<u8>) {
    let nodes = session.cluster.nodes.as_ref();
    let found = nodes.zip(Redirect::from_bytes(value)).and_then(|(nodes, redirect)| {
        Some((redirect.slot, nodes.of_shard(redirect.server, redirect.shard)?))
    });
    match found {
        Some((slot, node)) => {
            let NodeInfo { host, port, .. } = node;
            resp::line(&format!("-MOVED {slot} {host}:{port}"), out);
        }
        // Only a node refers clients to others.
        None => resp::line("-CLUSTERDOWN the owner of the key is unavailable", out),
    }
}

fn write_slots(nodes: &Nodes, routes: &Routes, version: Version, out: &mut Vec<u8>) {
    let ranges = nodes.ranges(routes);
    resp::array(ranges.len() as u64, out);
    for ((first, last), (server, shard)) in ranges {
        let node = nodes.of_shard(server, shard).expect("ranges are of nodes that there are");
        resp::array(3, out);
        resp::number(first.into(), out);
        resp::number(last.into(), out);
        resp::array(4, out);
        resp::bulk(node.host.as_bytes(), out);
        resp::number(node.port.into(), out);
        resp::bulk(node.id.as_bytes(), out);
        resp::map(0, version, out);
    }
}

fn write_shards(nodes: &Nodes, routes: &Routes, version: Version, out: &mut Vec<u8>) {
    let ranges = nodes.ranges(routes);
    resp::array(nodes.all().count() as u64, out);
    for ((server, shard), node) in nodes.all() {
        let slots = Nodes::slots_of(&ranges, (server, shard));
        let is_here = health(routes, server) == Health::Ok;
        resp::map(2, version, out);
        resp::bulk(b"slots", out);
        resp::array(2 * slots.len() as u64, out);
        for (first, last) in slots {
            resp::number(first.into(), out);
            resp::number(last.into(), out);
        }
        resp::bulk(b"nodes", out);
        resp::array(1, out);
        resp::map(7, version, out);
        resp::bulk(b"id", out);
        resp::bulk(node.id.as_bytes(), out);
        resp::bulk(b"port", out);
        resp::number(node.port.into(), out);
        for (key, value) in [("ip", &*node.host), ("endpoint", &*node.host), ("role", "master")] {
            resp::bulk(key.as_bytes(), out);
            resp::bulk(value.as_bytes(), out);
        }
        resp::bulk(b"replication-offset", out);
        resp::number(0, out);
        resp::bulk(b"health", out);
        resp::bulk(if is_here { b"online" } else { b"fail" }, out);
    }
}

fn write_nodes(nodes: &Nodes, routes: &Routes, version: Version, out: &mut Vec<u8>) {
    let ranges = nodes.ranges(routes);
    let mut text = String::new();
    for (number, ((server, shard), node)) in (1..).zip(nodes.all()) {
        let NodeInfo { id, host, port, bus_port } = node;
        let myself = if node == nodes.own() { "myself," } else { "" };
        let (state, link) = match health(routes, server) {
            Health::Ok => ("", "connected"),
            Health::Suspected => (",fail?", "disconnected"),
            Health::Failed => (",fail", "disconnected"),
        };
        let _ = write!(
            text,
            "{id} {host}:{port}@{bus_port} {myself}master{state} - 0 0 {number} {link}"
        );
        for (first, last) in Nodes::slots_of(&ranges, (server, shard)) {
            let _ = match first == last {
                true => write!(text, " {first}"),
                false => write!(text, " {first}-{last}"),
            };
        }
        text.push('\n');
    }
    resp::text(&text, version, out);
}

fn write_info(nodes: &Nodes, routes: &Routes, version: Version, out: &mut Vec<u8>) {
    let ranges = nodes.ranges(routes);
    let of = |wanted: Health| -> u32 {
        let is_of =
            |((_, _), (server, _)): &&((u16, u16), (u16, u16))| health(routes, *server) == wanted;
        let slots = ranges.iter().filter(is_of);
        slots.map(|((first, last), _)| u32::from(last - first) + 1).sum()
    };
    let (ok, suspected, failed) = (of(Health::Ok), of(Health::Suspected), of(Health::Failed));
    let known = nodes.all().count();
    let serving =
        nodes.all().filter(|(node, _)| !Nodes::slots_of(&ranges, *node).is_empty()).count();
    let state = if Nodes::is_covered(&ranges) { "ok" } else { "fail" };
    let assigned = ok + suspected + failed;
    let own = nodes.all().position(|(_, node)| node == nodes.own()).map_or(0, |at| at + 1);
    let lines = [
        ("cluster_state", state.to_owned()),
        ("cluster_slots_assigned", assigned.to_string()),
        ("cluster_slots_ok", ok.to_string()),
        ("cluster_slots_pfail", suspected.to_string()),
        ("cluster_slots_fail", failed.to_string()),
        ("cluster_known_nodes", known.to_string()),
        ("cluster_size", serving.to_string()),
        ("cluster_current_epoch", routes.epoch.to_string()),
        ("cluster_my_epoch", own.to_string()),
        ("cluster_stats_messages_sent", "0".to_owned()),
        ("cluster_stats_messages_received", "0".to_owned()),
        ("total_cluster_links_buffer_limit_exceeded", "0".to_owned()),
    ];
    let text: String = lines.iter().map(|(key, value)| format!("{key}:{value}\r\n")).collect();
    resp::text(&text, version, out);
}

fn health(routes: &Routes, server: u16) -> Health {
    routes.servers.get(usize::from(server)).copied().unwrap_or(Health::Failed)
}
