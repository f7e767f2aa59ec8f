//! A connection without a server, for the tests of codecs: what a client sees must not depend on the
//! pieces in which its bytes come, on the order in which its requests are answered, or on pauses.

use std::sync::Arc;

use standin_config::{ClusterConfig, KeyspaceConfig, Naming, ServiceConfig, ServiceProtocol};
use standin_protocol::frame::FrameLimits;
use standin_protocol::slots::KeyHash;

use super::flushes::Flushes;
use super::names::Names;
use super::standin::Standin;
use super::{Again, Caller, Codec, Decoder, Read, Reads as _, Request, Surroundings, Told, What};
use crate::node::AnswerHead;
use crate::shard::admission::{Admission, Places};
use crate::shard::listeners::Service;
use crate::shard::nodes::Nodes;

/// The longest value that is accepted, in bytes.
pub(super) const VALUE_BYTES: u32 = 1_000;

/// The answer of a server to a request, whose bytes are given.
pub(super) type Answers = fn(&Request, &[u8]) -> (AnswerHead, Vec<u8>);

/// A connection without a server. A request is answered by what it looks like.
pub(super) struct Client {
    names: Names,
    answer: Answers,
    decoder: Decoder,
    pub(super) codec: Codec,
    pub(super) input: Vec<u8>,
    pub(super) out: Vec<u8>,
    late: Vec<(u64, AnswerHead, Vec<u8>)>,
    pub(super) is_ended: bool,
}

impl Client {
    pub(super) fn new(service: Service, answer: Answers) -> Self {
        let (nodes, admission) = (nodes(), Arc::new(Admission::new(Places::wanted(&cluster(), 0))));
        let told = Told { number: 1, nodes: Some(&nodes), admission: &admission };
        let (decoder, codec) = (Decoder::of(service), Codec::of(service, "default", &told));
        let (names, input, out, late) = (names(), Vec::new(), Vec::new(), Vec::new());
        Self { names, answer, decoder, codec, input, out, late, is_ended: false }
    }

    /// The requests in what has come, each with its bytes, and removes them from the input.
    pub(super) fn requests(&mut self) -> Vec<(Request, Vec<u8>)> {
        let around = around(&self.names);
        let (mut at, mut requests) = (0, Vec::new());
        while at < self.input.len() {
            let rest = &self.input[at..];
            let mut short = self.decoder;
            let read = match &mut short {
                Decoder::Standin => Standin.read(rest, &around),
                Decoder::Memcached(decoder) => decoder.read(rest, &around),
                Decoder::Redis(decoder) => decoder.read(rest, &around),
            };
            let Some(request) = self.decoder.decode(rest, &around).unwrap() else {
                assert_eq!(read, None);
                break;
            };
            // The short way gives what the long way gives, or nothing.
            if read.is_some() {
                assert_eq!((read, short), (Read::of(&request), self.decoder));
            }
            let bytes = rest[..request.bytes as usize].to_vec();
            at += bytes.len();
            let halts = request.halts();
            requests.push((request, bytes));
            if halts {
                break;
            }
        }
        self.input.drain(..at);
        requests
    }

    /// Serves requests: `choice` says of each whether it is answered at once (0), later (1), or held
    /// with all behind it (2).
    pub(super) fn serve(
        &mut self,
        requests: Vec<(Request, Vec<u8>)>,
        mut choice: impl FnMut() -> u8,
    ) {
        let mut held: Option<Vec<u8>> = None;
        for (request, bytes) in requests {
            if self.is_ended {
                return;
            }
            let choice = if held.is_some() { 2 } else { choice() };
            if choice == 2 {
                let decoder = self.decoder.before(request.tag);
                let held = held.get_or_insert_with(|| {
                    self.decoder = decoder;
                    Vec::new()
                });
                held.extend_from_slice(&bytes);
                continue;
            }
            match &request.what {
                What::Nothing => continue,
                What::Last => {
                    self.is_ended = true;
                    continue;
                }
                What::Again => {
                    let memo = request.memo(&bytes);
                    let again = self.codec.again(memo, &around(&self.names), &mut self.out);
                    held = again.map(|again| self.decode_first(again));
                    continue;
                }
                _ => {}
            }
            let (head, value) = (self.answer)(&request, &bytes);
            if choice == 0 || matches!(request.what, What::Said | What::Auth | What::Held(_)) {
                self.codec.answer_now(request.memo(&bytes), &head, &value, &mut self.out);
            } else {
                self.late.push((self.codec.tag(request.tag), head, value));
                self.codec.wait(request.memo(&bytes));
            }
        }
        let again = self.codec.take_again().map(|again| self.decode_first(again));
        if let Some(mut held) = again.or(held) {
            held.append(&mut self.input);
            self.input = held;
        }
    }

    fn decode_first(&mut self, again: Again) -> Vec<u8> {
        self.decoder = self.decoder.again(again.tag);
        again.bytes
    }

    pub(super) fn answer_late(&mut self, mut pick: impl FnMut(usize) -> usize) {
        while !self.late.is_empty() {
            let at = pick(self.late.len()) % self.late.len();
            let (tag, head, value) = self.late.swap_remove(at);
            self.codec.answer(tag, &head, &value, &mut self.out);
        }
        if let Some(again) = self.codec.take_again() {
            let mut bytes = self.decode_first(again);
            bytes.append(&mut self.input);
            self.input = bytes;
        }
    }
}

/// The replies to bytes that come at once, with answers at once.
pub(super) fn replies(service: Service, answer: Answers, bytes: &[u8]) -> Client {
    let mut client = Client::new(service, answer);
    client.input = bytes.to_vec();
    client.serve_here(|| 0);
    client
}

/// The replies to bytes that come in these pieces, with answers as these numbers choose.
pub(super) fn replies_in_pieces(
    service: Service,
    answer: Answers,
    bytes: &[u8],
    cuts: Vec<usize>,
    choices: Vec<u8>,
    picks: Vec<usize>,
) -> Client {
    let mut client = Client::new(service, answer);
    let (mut rest, mut cuts) = (bytes, cuts.into_iter().cycle());
    let (mut choices, mut picks) = (choices.into_iter().cycle(), picks.into_iter().cycle());
    while !client.is_ended {
        let (piece, others) = rest.split_at(rest.len().min(cuts.next().unwrap()));
        client.input.extend_from_slice(piece);
        rest = others;
        let requests = client.requests();
        client.serve(requests, || choices.next().unwrap());
        client.answer_late(|_| picks.next().unwrap());
        if rest.is_empty() {
            client.serve_here(|| 0);
            break;
        }
    }
    client
}

impl Client {
    /// Serves all that is there, also what takes the place of requests.
    pub(super) fn serve_here(&mut self, mut choice: impl FnMut() -> u8) {
        loop {
            let requests = self.requests();
            if requests.is_empty() || self.is_ended {
                return;
            }
            self.serve(requests, &mut choice);
        }
    }
}

/// What requests are decoded with.
fn around(names: &Names) -> Surroundings<'_> {
    let limits = FrameLimits { key_bytes: 1_024, value_bytes: VALUE_BYTES };
    let (caller, wall_ms) = (Caller::default(), 1_700_000_000_000);
    Surroundings { limits, caller, names, wall_ms, deadline_ms: 6_000 }
}

/// The nodes of the cluster: one of each server, with the ports 7001 and 7003.
fn nodes() -> Arc<Nodes> {
    Arc::new(Nodes::of_cluster(&cluster(), (0, 0)).unwrap())
}

fn names() -> Names {
    let cluster = cluster();
    let flushes = Flushes::new([1, 2].into_iter(), &Arc::new(cluster.topology().unwrap()));
    Names::new(&cluster, flushes)
}

fn cluster() -> ClusterConfig {
    let address = |port: u16| ([127, 0, 0, 1], port).into();
    let mut cluster = ClusterConfig::new("c", address(1), None);
    cluster = cluster.with_group("g", [("a", address(2)), ("b", address(3))]);
    cluster.partitions = 3;
    cluster.hash = KeyHash::Crc16;
    for (server, port) in cluster.servers.iter_mut().zip([7_000, 7_002]) {
        let (protocol, address) = (ServiceProtocol::Redis, address(port));
        server.services = vec![ServiceConfig { protocol, address, passwords: None }];
    }
    let caches = [(1, "users"), (2, "rest")].map(|(id, name)| KeyspaceConfig::cache(id, name));
    cluster.keyspaces = caches.into_iter().chain([KeyspaceConfig::new(3, "rows", "")]).collect();
    cluster.naming = Naming { default_keyspace: Some(2), ..Naming::default() };
    cluster
}
