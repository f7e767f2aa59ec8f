//! The sections of `docs/vectors.json`.

mod control;
mod data;
mod placing;

use serde_json::Value;

/// Name and vectors of each section, in the order of the file.
pub(crate) fn all() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        ("hash", placing::hashes()),
        ("slot", placing::slots()),
        ("key_form", placing::key_forms()),
        ("cluster_id", placing::cluster_ids()),
        ("placement", placing::ranks()),
        ("epoch_tag", placing::epoch_tags()),
        ("tag_is_newer", placing::tag_order()),
        ("ttl", data::ttls()),
        ("request", data::requests()),
        ("response", data::responses()),
        ("item_head", data::item_heads()),
        ("modify_head", data::modify_heads()),
        ("transact", data::transactions()),
        ("transact_results", data::transaction_results()),
        ("walk", data::walks()),
        ("walked", data::walked()),
        ("hello", data::hellos()),
        ("ping_reply", data::pings()),
        ("stats_reply", data::stats()),
        ("hot_reply", data::hot()),
        ("map", placing::maps()),
        ("datagram", control::datagrams()),
        ("replay_window", control::replay_windows()),
    ]
}

/// A 64-bit number as the file has it.
fn wide(number: u64) -> String {
    format!("{number:#018x}")
}
