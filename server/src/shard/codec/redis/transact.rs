//! Transactions with watched keys that the owner carries out in one step, by a TRANSACT: all their keys are in one
//! partition of a keyspace without a database (docs/REDIS.md, *WATCH*).
//!
//! ```text
//! EXEC ─► all commands are decoded ─► what was seen ‖ a step for each key of each command ─► TRANSACT
//!                                                 null ◄── VERSION_MISMATCH ──┤            reply.rs
//!    the replies by the results, and the commands without keys ◄── OK ────────┘
//! ```

use std::borrow::Cow;

use standin_protocol::transact::{CONDITIONS_MAX, Condition, STEPS_MAX, Step, Transaction};

use super::guard::read_modify_write;
use super::queued::{Queued, commands};
use super::said::Said;
use super::tag::{Kind, Tag};
use super::watch::{Part, Rest, Seen, Transacted, Watched};
use super::{At, Decoder};
use crate::node::modify::Modify;
use crate::node::{Action, CommandHead};
use crate::shard::codec::{Request, Spelling, Surroundings, What, head, position};

/// A step, with a key that is in its form.
struct OwnStep<'a> {
    key: Cow<'a, [u8]>,
    modify: Modify,
    item_flags: u32,
    operand: &'a [u8],
}

/// The keyspace and the partition of all keys.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    keyspace: u8,
    partition: u32,
}

/// What is kept of a transaction until it is answered, with the bytes of its request; or why EXEC is refused.
type Planned = Result<(Box<Transacted>, Vec<u8>), Said>;

/// Plans a transaction of these commands as one step of the owner. Returns `None` if it does not fit into one;
/// then nothing is said about it.
pub(super) fn plan(watched: &Watched, queue: &[u8], around: &Surroundings<'_>) -> Option<Planned> {
    let mut keys = Keys { around, place: None };
    let mut conditions = Vec::new();
    for (name, seen) in &watched.keys {
        let version = match seen {
            Seen::Version(version) => Some(*version),
            Seen::Absent => None,
            Seen::Unknown => return None,
        };
        conditions.push((keys.key(name)?, version));
        if conditions.len() > CONDITIONS_MAX {
            return None;
        }
    }
    let (mut ends, mut steps, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for (number, command) in commands(queue).enumerate() {
        ends.push(ends.last().copied().unwrap_or(0) + command.bytes.len());
        // It drops everything.
        if command.writes() && command.keys().is_empty() {
            return None;
        }
        match requests(&command, around)? {
            Requests::Keyed(requests) => {
                if steps.len() + requests.len() > STEPS_MAX {
                    return None;
                }
                for (request, bytes) in requests {
                    steps.push(keys.step(&request, bytes)?);
                    let echo = request.memo(bytes).echo.into();
                    parts.push(Part { command: number, tag: Tag::unpack(request.tag), echo });
                }
            }
            Requests::Others => {}
            Requests::Mixed => return Some(Err(Said::ExecAbort)),
        }
    }
    let Place { keyspace, .. } = keys.place?;
    let transaction = Transaction {
        conditions: conditions
            .iter()
            .map(|(key, version)| Condition { key, version: *version })
            .collect(),
        steps: steps.iter().map(OwnStep::borrowed).collect(),
    };
    let body = transaction.to_bytes();
    if body.len() > around.limits.value_bytes as usize {
        return None;
    }
    let first = conditions.first().map(|(key, _)| &**key)?;
    let bytes = request_bytes(keyspace, first, &body);
    let rest = Rest { queue: queue.to_vec(), ends };
    Some(Ok((Box::new(Transacted { rest, parts }), bytes)))
}

impl OwnStep<'_> {
    fn borrowed(&self) -> Step<'_> {
        let Self { key, modify, item_flags, operand } = self;
        Step { key, modify: *modify, item_flags: *item_flags, operand }
    }
}

/// The keys of a transaction, all of which have to be in one place.
struct Keys<'a> {
    around: &'a Surroundings<'a>,
    place: Option<Place>,
}

impl Keys<'_> {
    /// Returns the key of a name in its form. `None` if it is elsewhere than the others, or a database has it.
    fn key<'b>(&mut self, name: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        let named = self.around.names.of(name)?;
        self.of(named.keyspace, &name[named.prefix..])
    }

    fn of<'b>(&mut self, keyspace: u8, key: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        let names = self.around.names;
        let topology = names.flushes().topology().filter(|_| names.is_lone_cache(keyspace))?;
        let key = topology.key_forms.hashed(keyspace, key);
        let place = Place { keyspace, partition: topology.partition(keyspace, &key) };
        let is_here = *self.place.get_or_insert(place) == place;
        (is_here && key.len() <= usize::from(self.around.limits.key_bytes)).then_some(key)
    }

    fn step<'b>(&mut self, request: &Request, bytes: &'b [u8]) -> Option<OwnStep<'b>> {
        let (head, modify) = read_modify_write(&request.what)?;
        let key = self.of(head.keyspace, &bytes[request.key()])?;
        let operand = &bytes[request.value()];
        Some(OwnStep { key, modify, item_flags: head.item_flags, operand })
    }
}

/// The requests of a command that waits for EXEC.
enum Requests<'a> {
    /// Each reads or writes a key. With the bytes that begin with them.
    Keyed(Vec<(Request, &'a [u8])>),
    /// None does.
    Others,
    /// Some do; others are refused.
    Mixed,
}

/// Returns `None` if it has more than fit into one step.
fn requests<'a>(command: &Queued<'a>, around: &Surroundings<'_>) -> Option<Requests<'a>> {
    let (mut decoder, mut at) = (Decoder::default(), 0);
    let (mut keyed, mut others) = (Vec::new(), 0);
    while at < command.bytes.len() {
        let bytes = &command.bytes[at..];
        let Some(request) = decoder.decode(bytes, around).filter(|request| request.bytes > 0)
        else {
            return Some(Requests::Others);
        };
        at += request.bytes as usize;
        if keyed.len() == STEPS_MAX {
            return None;
        }
        let is_plain = request.spelling == Spelling::Plain;
        match is_plain && read_modify_write(&request.what).is_some() {
            true => keyed.push((request, bytes)),
            false => others += 1,
        }
    }
    Some(match (keyed.is_empty(), others) {
        (true, _) => Requests::Others,
        (false, 0) => Requests::Keyed(keyed),
        (false, _) => Requests::Mixed,
    })
}

/// The bytes of the request before its key: the keyspace, and the lengths of the key and of the value.
const HEAD_BYTES: usize = 7;

fn request_bytes(keyspace: u8, key: &[u8], body: &[u8]) -> Vec<u8> {
    // They have been compared with the limits.
    let (key_len, body_len) = (key.len() as u16, position(body.len()));
    [&[keyspace][..], &key_len.to_le_bytes(), &body_len.to_le_bytes(), key, body].concat()
}

impl Decoder {
    /// The TRANSACT at the head of `bytes`, all of which is there.
    pub(super) fn transact(&mut self, bytes: &[u8], around: &Surroundings<'_>) -> Request {
        let (head_bytes, _) =
            bytes.split_first_chunk::<HEAD_BYTES>().expect("a transaction has its head");
        let [keyspace, low, high, length @ ..] = *head_bytes;
        let key_end = HEAD_BYTES + usize::from(u16::from_le_bytes([low, high]));
        let end = key_end + u32::from_le_bytes(length) as usize;
        self.at = At::Command;
        Request {
            tag: Tag::new(Kind::Transact).pack(),
            bytes: position(end),
            key: (position(HEAD_BYTES), position(key_end)),
            value: (position(key_end), position(end)),
            echo: (0, 0),
            spelling: Spelling::Plain,
            what: What::Alone(
                CommandHead { wants_item: false, ..head(Action::Transact, keyspace, around) },
                None,
            ),
        }
    }
}
