//! Requests of partitions that another server owns: sent on once, and processed here if
//! that fails (claim 15).

use slotmap::{Key as _, KeyData};
use standin_protocol::frame::{Request, Response, Status, request_flags, response_flags};

use super::reply::Reply;
use super::state::Pending;
use super::{ForwardFailure, Node, Now, Output, PendingKey};

impl Node {
    /// Sends a waiting request on to the partition's owner.
    pub(super) fn forward(&mut self, now: Now, key: PendingKey, peer: u16) {
        let Some(pending) = self.pending.get(key) else { return };
        let mut header = pending.header;
        if header.flags & request_flags::FORWARDED != 0 {
            // It was sent on to this server, and has had its hop while it waited here.
            self.counters.not_owner += 1;
            let version = self.map.as_ref().map_or(0, |map| map.epoch.to_u64());
            return self.reply(key, Reply { version, ..Reply::status(Status::NotOwner) });
        }
        header.flags |= request_flags::FORWARDED;
        header.map_epoch = self.map_tag;
        if header.deadline_ms != 0 {
            // The time that the request has already spent here is gone.
            let left_ms = pending.deadline.since(now.mono).as_millis().max(1);
            header.deadline_ms = u16::try_from(left_ms).unwrap_or(u16::MAX);
        }
        let mut frame = Vec::new();
        Request::write(header, &pending.key, &pending.value, &mut frame);
        let shard = self.topology.shard(peer, pending.partition);
        let token = key.data().as_ffi();
        self.counters.forwarded += 1;
        self.outputs.push_back(Output::Forward { peer, shard, token, frame });
    }

    /// The peer has answered a forward, or there is no answer to be had.
    pub fn forward_done(
        &mut self,
        now: Now,
        peer: u16,
        token: u64,
        answer: Result<Response<'_>, ForwardFailure>,
    ) {
        let key = PendingKey::from(KeyData::from_ffi(token));
        let response = match answer {
            Ok(response) => response,
            Err(failure) => {
                self.counters.forwards_failed += 1;
                return self.forward_failed(now, peer, key, failure);
            }
        };
        match response.status {
            // The two servers hold different maps, or the owner is on its way out of them.
            // One hop is all a request gets (scenario 18): a read is processed here, and
            // nothing is kept while this server thinks that another is the owner; a write
            // waits until the two agree.
            Status::NotOwner | Status::ShuttingDown | Status::Unavailable => {
                match self.pending.get(key).is_some_and(Pending::is_write) {
                    true => self.park_for_retry(now, key),
                    false => self.process_here(now, key),
                }
            }
            status => {
                let reply = Reply {
                    status,
                    flags: response.header.flags | response_flags::FORWARDED,
                    value: response.value,
                    version: response.header.cas_version,
                    ttl_s: response.header.ttl_s,
                    retry_after_ms: response.header.retry_after_ms,
                };
                self.reply(key, reply);
            }
        }
    }

    /// Claim 15: sending was unsuccessful, so the request is processed here: a read at once, a
    /// write as soon as the master has said who owns its partition.
    fn forward_failed(&mut self, now: Now, peer: u16, key: PendingKey, failure: ForwardFailure) {
        let is_write = self.pending.get(key).is_some_and(Pending::is_write);
        match failure {
            // The peer is alive and may yet carry it out: a second time would be one too many.
            ForwardFailure::TimedOut if is_write => {
                self.reply(key, Reply::status(Status::OutcomeUnknown));
            }
            ForwardFailure::TimedOut => self.process_here(now, key),
            ForwardFailure::Unreachable | ForwardFailure::Refused => {
                if let Some(pending) = self.pending.get_mut(key) {
                    pending.refused_since.get_or_insert(now.mono);
                }
                self.mark_unreachable(now, peer);
                match is_write {
                    true => self.process(now, key),
                    false => self.process_here(now, key),
                }
            }
        }
    }

    fn process_here(&mut self, now: Now, key: PendingKey) {
        if let Some(pending) = self.pending.get_mut(key) {
            pending.here = true;
            self.process(now, key);
        }
    }
}
