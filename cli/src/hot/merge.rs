//! The hottest keys of all servers together. A key has one owner, but while a server stands in for another,
//! or a key has just changed hands, more than one server has served it. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;

use standin_protocol::hot::{HotKey, HotReply};
use standin_protocol::map::Topology;

use crate::status::Heard;

/// What is shown of a cluster.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) cluster: String,
    /// Name, and the requests per second; `None` of a server that has not answered.
    pub(super) servers: Vec<(String, Option<u64>)>,
    pub(super) requests_per_s: u64,
    /// The hottest first.
    pub(super) keys: Vec<Key>,
}

/// A key, with the servers and shards that have served it.
#[derive(Debug)]
pub(super) struct Key {
    /// Its first bytes.
    pub(super) start: Vec<u8>,
    pub(super) bytes: u16,
    pub(super) keyspace: String,
    pub(super) requests_per_s: u64,
    /// The part of these that may be other keys'.
    pub(super) doubtful_per_s: u64,
    /// The busiest first.
    pub(super) places: Vec<Place>,
}

/// A shard of a server, with its requests for a key per second.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) server: String,
    pub(super) shard: u16,
    pub(super) requests_per_s: u64,
}

impl Merged {
    /// Merges the answers of a cluster's servers, which are in the order of their ids.
    pub(super) fn of<'a>(
        topology: &Topology,
        keyspaces: impl Iterator<Item = (u8, &'a str)>,
        heard: &[Heard<HotReply>],
        keys_max: usize,
    ) -> Self {
        let names: HashMap<u8, &str> = keyspaces.collect();
        let mut found: HashMap<(u8, u64), Key> = HashMap::new();
        let mut servers = Vec::new();
        for (info, heard) in topology.servers.iter().zip(heard) {
            let reply = heard.answer();
            servers.push((info.name.clone(), reply.map(|reply| reply.requests_per_s)));
            for hot in reply.into_iter().flat_map(|reply| &reply.keys) {
                let key = found.entry((hot.keyspace, hot.hash)).or_insert_with(|| {
                    let number = || format!("#{}", hot.keyspace);
                    let name = names.get(&hot.keyspace).map(|name| (*name).to_owned());
                    Key::new(hot, name.unwrap_or_else(number))
                });
                key.add(&info.name, hot);
            }
        }
        let mut keys: Vec<Key> = found.into_values().collect();
        keys.sort_by(|a, b| {
            let order = |key: &Key| Reverse(key.requests_per_s);
            let by_name = || (&a.keyspace, &a.start).cmp(&(&b.keyspace, &b.start));
            order(a).cmp(&order(b)).then_with(by_name)
        });
        keys.truncate(keys_max);
        keys.iter_mut()
            .for_each(|key| key.places.sort_by_key(|place| Reverse(place.requests_per_s)));
        let rates = servers.iter().filter_map(|(_, rate)| *rate);
        let requests_per_s = rates.fold(0, u64::saturating_add);
        Self { cluster: topology.name.clone(), servers, requests_per_s, keys }
    }
}

impl Key {
    fn new(hot: &HotKey, keyspace: String) -> Self {
        let (start, bytes) = (hot.key.clone(), hot.key_bytes);
        let places = Vec::new();
        Self { start, bytes, keyspace, requests_per_s: 0, doubtful_per_s: 0, places }
    }

    fn add(&mut self, server: &str, hot: &HotKey) {
        let requests_per_s = hot.requests_per_s;
        self.requests_per_s = self.requests_per_s.saturating_add(requests_per_s);
        self.doubtful_per_s = self.doubtful_per_s.saturating_add(hot.doubtful_per_s);
        let server = server.to_owned();
        self.places.push(Place { server, shard: hot.shard, requests_per_s });
    }

    /// Its part of all requests, if there are any.
    #[expect(clippy::cast_precision_loss, reason = "a ratio of estimates, for reading")]
    pub(super) fn share(&self, merged: &Merged) -> Option<f64> {
        // The two are rounded each on its own.
        let share = self.requests_per_s as f64 / merged.requests_per_s as f64;
        (merged.requests_per_s > 0).then(|| share.min(1.0))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use standin_client::ClientError;
    use standin_config::ClusterConfig;

    use super::*;

    pub(in crate::hot) fn topology() -> Topology {
        let address = |port: u16| ([127, 0, 0, 1], port).into();
        ClusterConfig::new("shop", address(1), None)
            .with_group("g", [("a", address(2)), ("b", address(3))])
            .topology()
            .unwrap()
    }

    pub(in crate::hot) fn hot(key: &str, shard: u16, requests_per_s: u64) -> HotKey {
        HotKey {
            key: key.as_bytes().to_vec(),
            hash: key.bytes().map(u64::from).sum(),
            requests_per_s,
            doubtful_per_s: requests_per_s / 10,
            key_bytes: u16::try_from(key.len()).unwrap(),
            shard,
            keyspace: 1,
            reserved: [0; 3],
        }
    }

    fn place(server: &str, shard: u16, requests_per_s: u64) -> Place {
        Place { server: server.to_owned(), shard, requests_per_s }
    }

    #[test]
    fn a_key_that_two_servers_have_served_is_one_with_both_rates() {
        let a = HotReply { requests_per_s: 500, keys: vec![hot("x", 0, 100), hot("y", 1, 200)] };
        let other = HotKey { keyspace: 9, ..hot("x", 0, 1) };
        let b = HotReply { requests_per_s: 700, keys: vec![hot("x", 3, 150), other] };
        let heard = [Heard::Answer(a), Heard::Answer(b)];
        let merged = Merged::of(&topology(), [(1, "items")].into_iter(), &heard, 10);
        let shown: Vec<_> = merged
            .keys
            .iter()
            .map(|key| (key.keyspace.as_str(), key.start.as_slice(), key.requests_per_s))
            .collect();
        let (x, y) = (&b"x"[..], &b"y"[..]);
        assert_eq!(shown, [("items", x, 250), ("items", y, 200), ("#9", x, 1)]);
        assert_eq!(merged.keys[0].places, [place("b", 3, 150), place("a", 0, 100)]);
        assert_eq!(merged.keys[0].doubtful_per_s, 25);
        assert_eq!(merged.keys[1].share(&merged), Some(200.0 / 1_200.0));
    }

    #[test]
    fn a_server_that_does_not_answer_is_said_to_and_the_number_of_keys_is_bounded() {
        let keys = ["x", "y", "z"].map(|key| hot(key, 0, 7)).to_vec();
        let silent = Heard::Failed(ClientError::NoAnswer("it does not answer".to_owned()));
        let heard = [silent, Heard::Answer(HotReply { requests_per_s: 5, keys })];
        let merged = Merged::of(&topology(), std::iter::empty(), &heard, 2);
        assert_eq!(merged.servers, [("a".to_owned(), None), ("b".to_owned(), Some(5))]);
        assert_eq!((merged.keys.len(), merged.requests_per_s), (2, 5));
        assert_eq!(merged.keys[0].share(&merged), Some(1.0), "never more than all");
        let none = Merged::of(&topology(), std::iter::empty(), &[Heard::Busy, Heard::Busy], 2);
        assert!(none.keys.is_empty() && none.requests_per_s == 0);
    }
}
