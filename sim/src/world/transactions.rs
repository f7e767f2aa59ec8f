//! A client's transactions: it reads both keys of a pair, and writes these later if neither has changed since.

use standin_client::{Action, Encoded, Operation, Outcome};
use standin_protocol::frame::{Opcode, Status};
use standin_protocol::modify::{Edit, Gives, Modify, Ttl};
use standin_protocol::transact::{self, Condition, Step, StepResult};

use super::World;
use super::cluster::KEYSPACE;
use crate::check::Transaction;
use crate::origin::{Value, sent_bytes, sent_value};
use crate::plan::Written;
use standin_client::engine::Input;

const READ: Modify = Modify { gives: Gives::Old, ..Modify::new(Edit::Keep) };
const WRITE: Modify = Modify { ttl: Ttl::Keyspace, ..Modify::new(Edit::Set) };

/// What a client has seen of a pair of keys: the versions of their values.
pub(crate) type Seen = [Option<u64>; 2];

impl World {
    /// Begins a transaction of a pair, which it tells the checker.
    pub(super) fn transact(&mut self, client: usize, key: usize, written: Written, id: Value) {
        let servers = self.setup.servers();
        let pair = key % servers;
        let keys = [pair, pair + servers];
        let seen = self.clients[client].seen[pair].take();
        let writes = match (seen, written) {
            (None, _) => [false; 2],
            (_, Written::First) => [true, false],
            (_, Written::Second) => [false, true],
            (_, Written::Both) => [true; 2],
        };
        let transaction = Transaction { keys, seen, writes };
        let value = sent_bytes(id, self.setup.value_bytes);
        let names = keys.map(|key| self.cluster.keys[key].as_slice());
        let mut request = transact::Transaction::default();
        for (at, key) in names.into_iter().enumerate() {
            if let Some(seen) = seen {
                request.conditions.push(Condition { key, version: seen[at] });
            }
            let (modify, operand) = if writes[at] { (WRITE, &value[..]) } else { (READ, &[][..]) };
            if seen.is_none() || writes[at] {
                request.steps.push(Step { key, modify, item_flags: 0, operand });
            }
        }
        let encoded = Encoded {
            opcode: Opcode::Transact,
            is_item: false,
            ttl_s: 0,
            version: 0,
            head_bytes: 0,
            value: request.to_bytes(),
        };
        let (keyspace, key) = (KEYSPACE, names[0].to_vec());
        self.checker.asked_transaction(self.time, id, transaction);
        let operation = Operation { keyspace, key, action: Action::Encoded(encoded) };
        self.client_turn(client, Input::Submit { op_id: u64::from(id), operation });
    }

    /// Takes the end of a transaction.
    pub(super) fn transacted(
        &mut self,
        client: usize,
        id: Value,
        of: &Transaction,
        result: &Result<standin_client::Answer, standin_client::ClientError>,
    ) {
        let reply = match result.as_ref().map(|answer| &answer.outcome) {
            Ok(Outcome::Encoded(reply)) => Some(reply),
            _ => None,
        };
        let is_executed = match reply.map(|reply| reply.status) {
            Some(Status::Ok) => Some(true),
            Some(Status::VersionMismatch) => Some(false),
            Some(status @ (Status::NotSupported | Status::Malformed | Status::TooLarge)) => {
                return self.violation(format!("the transaction v{id} was refused: {status}"));
            }
            _ => None,
        };
        self.note(|| format!("client {client}: the transaction v{id} {of:?}: {is_executed:?}"));
        if let Some(reply) = reply.filter(|_| is_executed == Some(true) && of.seen.is_none()) {
            let Some(results) = transact::results(&reply.value) else {
                return self.violation(format!("the results of v{id} can't be read"));
            };
            let [first, second] = &results[..] else {
                return self.violation(format!("v{id} has {} results", results.len()));
            };
            // Without a version there is no value.
            let found = [first, second].map(|result: &StepResult<'_>| {
                (result.version != 0).then(|| (sent_value(result.value), result.version))
            });
            self.clients[client].seen[of.keys[0]] = Some(found.map(|found| Some(found?.1)));
            let values =
                found.map(|found| found.and_then(|(value, version)| Some((value?, version))));
            if let Err(wrong) = self.checker.read_both(of.keys, values) {
                return self.violation(wrong);
            }
        }
        let sends = result.as_ref().map_or(0, |answer| answer.sends);
        if let Err(wrong) = self.checker.transacted(self.time, id, of, is_executed, sends) {
            self.violation(wrong);
        }
    }
}
