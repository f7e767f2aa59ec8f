//! A request that is no hit: refused, answered at once, or made to wait for the origin or a
//! peer. Also the marks that only servers may set.

use std::time::Duration;

use bytes::Bytes;
use standin_protocol::frame::{Opcode, Request, Status, request_flags};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::config::PENDING_BYTES;
use super::recent::{self, Ending, Known};
use super::reply::{Answer, Reply};
use super::serving::Serving;
use super::state::{Identity, Pending, PendingKey, Presence, is_write};
use super::{Aimed, Caller, ConnId, Node, Now};

impl Node {
    /// Everything but a hit. An answer, or `None` if it comes later.
    pub(super) fn serve_other(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request<'_>,
        place: Aimed,
        may_wait: bool,
        caller: Caller,
    ) -> Option<Answer> {
        let mut header = request.header;
        let mut value = request.value;
        let mut identity = None;
        if !caller.is_peer {
            header.flags &= !(request_flags::RELAY | request_flags::IDENTITY);
            let (client_id, request_id) = (caller.client_id, header.request_id);
            identity = (client_id != 0).then_some(Identity { client_id, request_id });
        } else if header.flags & request_flags::IDENTITY != 0 {
            let Some((of_client, rest)) = Identity::split(value) else {
                return Some(Answer::text(Status::Malformed, "no room for the identity"));
            };
            (identity, value) = (Some(of_client), rest);
        }
        let Some(opcode) = Opcode::from_wire(header.opcode) else {
            return Some(Answer::status(Status::UnknownOpcode));
        };
        match opcode {
            Opcode::Ping => return Some(self.ping()),
            Opcode::Map if self.map.is_none() => return Some(Answer::status(Status::Unavailable)),
            Opcode::Map => return Some(Answer::value(self.map_bytes.clone())),
            Opcode::Settle | Opcode::Handback if !caller.is_peer => {
                return Some(Answer::text(Status::NotSupported, "for servers only"));
            }
            Opcode::Handback => return Some(self.hear_handback(now, request)),
            Opcode::Settle => return self.serve_settle(now, conn, request, place),
            // The shell answers these: it knows the connection and the other shards.
            Opcode::Hello | Opcode::Stats => {
                return Some(Answer::text(Status::Malformed, "not expected here"));
            }
            _ => {}
        }
        if self.stopping {
            return Some(Answer::status(Status::ShuttingDown));
        }
        let Some(keyspace) = &self.keyspaces[usize::from(header.keyspace)] else {
            return Some(Answer::status(Status::UnknownKeyspace));
        };
        let supported = match opcode {
            Opcode::Put | Opcode::Cas => keyspace.put.is_some(),
            Opcode::Delete => keyspace.delete.is_some(),
            _ => true,
        };
        if !supported {
            let text = "the cluster file has no statement for this operation in this keyspace";
            return Some(Answer::text(Status::NotSupported, text));
        }
        let forwarded = header.flags & request_flags::FORWARDED != 0;
        let serving = self.partitions[place.partition as usize].serving;
        if forwarded && !serving.is_own() && !mutant::is(Mutant::ForwardTwice) {
            self.counters.not_owner += 1;
            let epoch = self.map.as_ref().map_or(0, |map| map.epoch.to_u64());
            return Some(Answer { version: epoch, ..Answer::status(Status::NotOwner) });
        }
        let relay = header.flags & request_flags::RELAY != 0;
        if relay && !serving.is_own() && !matches!(serving, Serving::Forward(_)) {
            return Some(Answer::status(Status::Unavailable));
        }
        match opcode {
            Opcode::Touch => {
                if let Some(answer) = self.touch(now, request, place) {
                    return Some(answer);
                }
            }
            // Only its owner can drop what is cached of a key; else it waits, like a write. So
            // does one whose home has to be told of it.
            Opcode::Invalidate
                if serving == Serving::Cached
                    && self.topology.home(place.partition) == self.config.server =>
            {
                return Some(self.invalidate(header.keyspace, request.key, place.hash));
            }
            Opcode::Flush
                if serving == Serving::Cached
                    && self.topology.home(place.partition) == self.config.server =>
            {
                self.flush(now, header.keyspace, place.partition);
                return Some(Answer::status(Status::Ok));
            }
            _ => {}
        }
        let request = Request { header, ..*request };
        if !may_wait {
            return Some(self.refuse_full());
        }
        let Some(pending) = self.insert_pending(now, conn, &request, place, identity, value) else {
            return Some(self.refuse_full());
        };
        let Some(identity) = identity.filter(|_| is_write(opcode)) else {
            self.dispatch(now, pending);
            return None;
        };
        let named = recent::Request { identity, opcode, hash: place.hash };
        let is_retry = header.flags & request_flags::RETRY != 0;
        match self.recent.arrive(named, pending, is_retry && !mutant::is(Mutant::NoIdentity)) {
            Known::No => self.dispatch(now, pending),
            Known::Joined => self.counters.retries_joined += 1,
            Known::Ended(Ending { status, flags, version, ttl_s }) => {
                self.counters.retries_answered += 1;
                self.reply(pending, Reply { flags, version, ttl_s, ..Reply::status(status) });
            }
        }
        None
    }

    pub(super) fn refuse_full(&mut self) -> Answer {
        self.counters.overloaded += 1;
        Answer::overloaded()
    }

    /// Makes a request wait; `None`: there is no room.
    pub(super) fn insert_pending(
        &mut self,
        now: Now,
        conn: ConnId,
        request: &Request<'_>,
        place: Aimed,
        identity: Option<Identity>,
        value: &[u8],
    ) -> Option<PendingKey> {
        let header = request.header;
        let opcode = Opcode::from_wire(header.opcode)?;
        let bytes = PENDING_BYTES + request.key.len() + value.len();
        let bytes_max = self.config.pending_bytes_max();
        if self.pending.len() >= self.config.in_flight_max || self.pending_bytes + bytes > bytes_max
        {
            return None;
        }
        let deadline = match header.deadline_ms {
            0 => Micros::NEVER,
            ms => now.mono + Duration::from_millis(u64::from(ms)),
        };
        self.pending_bytes += bytes;
        Some(self.pending.insert(Pending {
            conn,
            header,
            opcode,
            hash: place.hash,
            partition: place.partition,
            key: request.key.into(),
            value: Bytes::copy_from_slice(value),
            deadline,
            here: false,
            waits_since: None,
            caller: Presence::There,
            relays_tried: 0,
            is_begun: false,
            identity,
        }))
    }

    /// Processes a waiting request here, whoever usually does.
    pub(super) fn process(&mut self, now: Now, key: PendingKey) {
        let Some(pending) = self.pending.get(key) else { return };
        match self.partitions[pending.partition as usize].serving {
            Serving::Cached | Serving::Early => {
                let stand_in = self.topology.home(pending.partition) != self.config.server;
                self.counters.stand_in_requests += u64::from(stand_in);
            }
            Serving::Through | Serving::Waiting | Serving::Unowned => {
                self.counters.through_requests += 1;
            }
            Serving::Forward(_) | Serving::Relay(_) | Serving::Provisional(_) => {
                self.counters.provisional_requests += 1;
            }
        }
        match pending.opcode {
            _ if pending.is_write() => self.write(now, key),
            _ => self.read(now, key),
        }
    }
}
