//! The hottest keys as a table for people, and as JSON. Pure.

use serde_json::{Value, json};
use standin_protocol::key::shown;

use super::merge::{Key, Merged};

/// The places of a key that the table shows.
const PLACES_SHOWN: usize = 3;

/// Returns a line for each key.
pub(super) fn table(merged: &Merged) -> String {
    let answering = merged.servers.iter().filter(|(_, rate)| rate.is_some()).count();
    let mut lines = vec![format!(
        "cluster {}   {answering} of {} servers answer   about {} requests for keys per second",
        merged.cluster,
        merged.servers.len(),
        merged.requests_per_s
    )];
    let silent = merged.servers.iter().filter(|(_, rate)| rate.is_none());
    lines.extend(silent.map(|(name, _)| format!("{name} does not answer: its keys are missing")));
    if merged.keys.is_empty() {
        lines.push("no key is hot".to_owned());
        return lines.join("\n");
    }
    lines.push(format!(
        "{:>10} {:>7} {:<16} {:<24} {}",
        "requests/s", "share", "keyspace", "server/shard", "key"
    ));
    lines.extend(merged.keys.iter().map(|key| {
        let share = key.share(merged).map_or("-".to_owned(), |s| format!("{:.1} %", s * 100.0));
        let mut places: Vec<String> = key
            .places
            .iter()
            .take(PLACES_SHOWN)
            .map(|place| format!("{}/{}", place.server, place.shard))
            .collect();
        if key.places.len() > PLACES_SHOWN {
            places.push("…".to_owned());
        }
        format!(
            "{:>10} {share:>7} {:<16} {:<24} {}",
            key.requests_per_s,
            key.keyspace,
            places.join(", "),
            shown(&key.start, key.bytes.into())
        )
    }));
    lines.join("\n")
}

/// Returns everything that the table shows, and the errors.
pub(super) fn as_json(merged: &Merged) -> Value {
    let servers = merged.servers.iter().map(
        |(name, rate)| json!({ "name": name, "answers": rate.is_some(), "requests_per_s": rate }),
    );
    let places = |key: &Key| -> Value {
        let place = |place: &super::merge::Place| {
            json!({
                "server": place.server, "shard": place.shard,
                "requests_per_s": place.requests_per_s,
            })
        };
        key.places.iter().map(place).collect()
    };
    let keys = merged.keys.iter().map(|key| {
        json!({
            "key": shown(&key.start, key.bytes.into()),
            "key_start_hex": hex(&key.start),
            "key_bytes": key.bytes,
            "keyspace": key.keyspace,
            "requests_per_s": key.requests_per_s,
            "doubtful_per_s": key.doubtful_per_s,
            "share": key.share(merged),
            "places": places(key),
        })
    });
    json!({
        "cluster": merged.cluster,
        "requests_per_s": merged.requests_per_s,
        "servers": servers.collect::<Vec<_>>(),
        "keys": keys.collect::<Vec<_>>(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use standin_protocol::hot::HotReply;

    use super::super::merge::tests::{hot, topology};
    use super::*;
    use crate::status::Heard;

    fn merged(keys: Vec<standin_protocol::hot::HotKey>) -> Merged {
        let heard = [Heard::Answer(HotReply { requests_per_s: 400, keys }), Heard::Busy];
        Merged::of(&topology(), [(1, "items")].into_iter(), &heard, 10)
    }

    #[test]
    fn the_table_shows_keys_in_one_line_each_whatever_is_in_them() {
        let keys = vec![hot("line\nbreak", 1, 100), hot(&"k".repeat(70), 0, 40)];
        let table = table(&merged(keys));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[0],
            "cluster shop   1 of 2 servers answer   about 400 requests for keys per second"
        );
        assert_eq!(lines[1], "b does not answer: its keys are missing");
        let ends = [
            r"a/1                      line\nbreak".to_owned(),
            format!("{}… (70 bytes)", "k".repeat(64)),
        ];
        assert!(lines[3].ends_with(&ends[0]) && lines[3].contains("25.0 %"), "{table}");
        assert!(lines[4].ends_with(&ends[1]) && lines.len() == 5, "{table}");
    }

    #[test]
    fn a_cluster_without_hot_keys_says_so() {
        assert!(table(&merged(Vec::new())).ends_with("no key is hot"));
    }

    #[test]
    fn json_has_what_the_table_has() {
        let json = as_json(&merged(vec![hot("a\"b", 1, 100)]));
        assert_eq!(json["keys"][0]["key"], r#"a\"b"#);
        assert_eq!(json["keys"][0]["key_start_hex"], "612262");
        assert_eq!(json["keys"][0]["share"], 0.25);
        assert_eq!(json["keys"][0]["places"][0]["server"], "a");
        assert_eq!(json["servers"][1]["answers"], false);
    }
}
