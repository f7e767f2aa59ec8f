//! The copies of writes. A client or a server may send a write several times, but a process executes it
//! once (scenarios 14, 33). If only one process has executed a write, no copy of it can be executed any more.
//!
//! The identity of a write is read from the connections, and the processes are asked which identities
//! they have executed. A process remembers only so many. A client that gives its writes no identity
//! sends them once, and a server that sends such a write on has to give it one.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use standin_protocol::frame::{IDENTITY_BYTES, Opcode, Request, request_flags};
use standin_protocol::hello::Role;
use standin_protocol::modify::wire::MODIFY_HEAD_BYTES;
use standin_protocol::transact::Transaction;
use standin_server::node::Identity;

use super::hops::requests;
use crate::origin::{Value, sent_value};
use crate::plan::letter;

/// The number of newer writes of a shard after which a process may execute a write again.
const REMEMBERED: usize = 4_096;

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// The ids of the clients, by socket.
    callers: BTreeMap<usize, NonZeroU64>,
    identities: BTreeMap<Value, Identity>,
    /// The writes without an identity.
    without_id: BTreeSet<Value>,
    /// The number of processes that had executed a write when they ended.
    ended: BTreeMap<Value, usize>,
    /// Whether a process that has ended may have forgotten a write.
    has_forgotten: bool,
    /// The writes that reached the origin, by server and incarnation.
    executed: BTreeSet<(usize, u32, Value)>,
}

impl Copies {
    /// Notes the requests that a server reads on a connection opened by another party.
    pub(crate) fn received(&mut self, socket: usize, bytes: &[u8]) {
        for request in requests(bytes) {
            match Opcode::from_wire(request.header.opcode) {
                Some(Opcode::Hello) => {
                    self.callers.extend(client_id(request.value).map(|id| (socket, id)));
                }
                _ => self.note(socket, &request),
            }
        }
    }

    fn note(&mut self, socket: usize, request: &Request<'_>) {
        let Some((sent_on, value)) = write(request) else { return };
        let direct = || {
            let client_id = self.callers.get(&socket).copied();
            let request_id = request.header.request_id;
            client_id.map(|client_id| Identity { client_id, request_id })
        };
        match sent_on.or_else(direct) {
            Some(identity) => drop(self.identities.insert(value, identity)),
            None => drop(self.without_id.insert(value)),
        }
    }

    /// Notes that a process ends, which says whether it has executed a write, or that it may have
    /// forgotten that.
    pub(crate) fn ended(&mut self, has_executed: impl Fn(Identity) -> Option<bool>) {
        for (value, identity) in &self.identities {
            match has_executed(*identity) {
                Some(true) => *self.ended.entry(*value).or_default() += 1,
                Some(false) => {}
                None => self.has_forgotten = true,
            }
        }
    }

    /// Whether an acknowledged write can't be executed any more. `running`: the number of running
    /// processes that have executed a write; `None` if one of them may have forgotten it.
    pub(super) fn is_over(
        &self,
        value: Value,
        running: &dyn Fn(Identity) -> Option<usize>,
    ) -> bool {
        let Some(identity) = self.identities.get(&value) else {
            return self.without_id.contains(&value);
        };
        let ended = self.ended.get(&value).copied().unwrap_or(0);
        let executed = running(*identity);
        !self.has_forgotten && executed.is_some_and(|running| running + ended <= 1)
    }

    /// Notes that the origin executes a write for a process.
    pub(super) fn executes(
        &mut self,
        (server, life): (usize, u32),
        value: Value,
    ) -> Result<(), String> {
        if self.executed.insert((server, life, value)) {
            return Ok(());
        }
        let all = (server, life, 0)..=(server, life, Value::MAX);
        match self.executed.range(all).count() > REMEMBERED {
            true => Ok(()),
            false => {
                let letter = letter(server);
                Err(format!("a write, v{value}, is carried out a second time by server {letter}"))
            }
        }
    }
}

/// Returns the value of a write, and its identity if the request names one.
fn write(request: &Request<'_>) -> Option<(Option<Identity>, Value)> {
    let opcode = Opcode::from_wire(request.header.opcode)?;
    let (identity, value) = match request.header.flags & request_flags::IDENTITY != 0 {
        true => {
            let (name, value) = request.value.split_at_checked(IDENTITY_BYTES)?;
            (named(name), value)
        }
        false => (None, request.value),
    };
    let written = match opcode {
        Opcode::Put | Opcode::Cas => value,
        Opcode::Modify => value.get(MODIFY_HEAD_BYTES..)?,
        // All that it writes is the same value.
        Opcode::Transact => Transaction::read(value)?.steps.first()?.operand,
        _ => return None,
    };
    Some((identity, sent_value(written)?))
}

/// Returns the id in the HELLO of a client.
fn client_id(hello: &[u8]) -> Option<NonZeroU64> {
    const ROLE_AT: usize = 18;
    let is_client = hello.get(ROLE_AT) == Some(&(Role::Client as u8));
    let id = u64::from_le_bytes(*hello.first_chunk()?);
    NonZeroU64::new(id).filter(|_| is_client)
}

fn named(bytes: &[u8]) -> Option<Identity> {
    let (client_id, request_id) = bytes.split_first_chunk()?;
    let client_id = NonZeroU64::new(u64::from_le_bytes(*client_id))?;
    Some(Identity { client_id, request_id: u32::from_le_bytes(*request_id.first_chunk()?) })
}

#[cfg(test)]
mod tests {
    use standin_protocol::frame::RequestHeader;
    use standin_protocol::hello::HelloBody;

    use super::*;
    use crate::origin::sent_bytes;

    fn frame(opcode: Opcode, flags: u8, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = RequestHeader { flags, ..RequestHeader::new(opcode, 1, 5) };
        Request::write(header, b"k", value, &mut bytes);
        bytes
    }

    fn identity(client_id: u64, request_id: u32) -> Identity {
        Identity { client_id: NonZeroU64::new(client_id).unwrap(), request_id }
    }

    #[test]
    fn the_identity_of_a_write_is_the_clients_on_every_connection() {
        let mut copies = Copies::default();
        let hello = HelloBody { client_id: 77, ..HelloBody::default() };
        copies.received(3, &frame(Opcode::Hello, 0, &hello.to_bytes()));
        copies.received(3, &frame(Opcode::Put, 0, &sent_bytes(8, 8)));
        let name = [&78_u64.to_le_bytes()[..], &6_u32.to_le_bytes(), &sent_bytes(9, 8)].concat();
        copies.received(4, &frame(Opcode::Cas, request_flags::IDENTITY, &name));
        let wanted = [(8, identity(77, 5)), (9, identity(78, 6))];
        assert_eq!(copies.identities, BTreeMap::from(wanted));
    }

    #[test]
    fn a_write_is_over_if_no_second_process_can_have_executed_it() {
        let mut copies = Copies { identities: [(8, identity(77, 5))].into(), ..Copies::default() };
        for (running, is_over) in
            [(Some(0), true), (Some(1), true), (Some(2), false), (None, false)]
        {
            assert_eq!(copies.is_over(8, &|_| running), is_over, "{running:?}");
        }
        assert!(!copies.is_over(9, &|_| Some(0)), "nothing is known of it");
        copies.ended(|id| Some(id == identity(77, 5)));
        assert!(copies.is_over(8, &|_| Some(0)) && !copies.is_over(8, &|_| Some(1)));
        copies.ended(|_| None);
        assert!(!copies.is_over(8, &|_| Some(0)));
    }

    #[test]
    fn a_write_that_nobody_has_sent_on_needs_no_identity() {
        let mut copies = Copies::default();
        copies.received(3, &frame(Opcode::Put, 0, &sent_bytes(8, 8)));
        assert!(copies.is_over(8, &|_| Some(2)), "only its client has sent it, and once");
        let name = [&78_u64.to_le_bytes()[..], &6_u32.to_le_bytes(), &sent_bytes(8, 8)].concat();
        copies.received(4, &frame(Opcode::Put, request_flags::IDENTITY, &name));
        assert!(!copies.is_over(8, &|_| Some(2)) && copies.is_over(8, &|_| Some(1)));
    }

    #[test]
    fn a_process_executes_a_write_once() {
        let mut copies = Copies::default();
        for process in [(0, 1), (1, 1), (0, 2)] {
            assert_eq!(copies.executes(process, 8), Ok(()));
            assert!(copies.executes(process, 8).is_err());
        }
        for value in 9..9 + 4_096 {
            assert_eq!(copies.executes((0, 2), value), Ok(()));
        }
        assert_eq!(copies.executes((0, 2), 8), Ok(()), "it has forgotten it");
    }
}
