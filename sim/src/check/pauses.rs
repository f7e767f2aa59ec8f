//! Checks that a server which was stopped does not send the writes that it holds to the origin or
//! another server when it resumes, and that a write whose client has left while it waited for an owner
//! is not sent either (scenario 14).
//!
//! The checker knows when a write arrived at a server's host, when the host was stopped and for how
//! long, and when the write is sent on from there.

use std::collections::{BTreeMap, BTreeSet};

use standin_protocol::frame::{FrameLimits, IDENTITY_BYTES, Opcode, Request, request_flags};

use crate::clock::Time;
use crate::origin::{Value, sent_value};
use crate::plan::letter;
use crate::plan::words::Seconds;

/// A time for which a server was stopped.
#[derive(Debug, Clone, Copy)]
struct Pause {
    server: usize,
    from: Time,
    until: Time,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Pauses {
    /// The time at which a write last arrived at a server.
    arrived: BTreeMap<(usize, Value), Time>,
    left: BTreeSet<(usize, Value)>,
    pauses: Vec<Pause>,
    /// The longest time that a server does not consider a pause, by any clock.
    pause_max: Time,
}

impl Pauses {
    pub(crate) fn new(pause_max: Time) -> Self {
        Self { arrived: BTreeMap::new(), left: BTreeSet::new(), pauses: Vec::new(), pause_max }
    }

    /// Notes bytes that have arrived at a server's host, whether or not a process reads them.
    pub(crate) fn arrived(&mut self, now: Time, server: usize, bytes: &[u8]) {
        for value in writes(bytes) {
            self.arrived.insert((server, value), now);
            self.left.remove(&(server, value));
        }
    }

    /// Notes that a server is stopped.
    pub(crate) fn stopped(&mut self, server: usize, from: Time, until: Time) {
        if until > from + self.pause_max {
            self.pauses.push(Pause { server, from, until });
        }
    }

    /// Notes that a server has learned that the client of this write has closed its connection,
    /// while the write waits for an owner.
    pub(crate) fn left(&mut self, server: usize, value: Value) {
        if self.arrived.contains_key(&(server, value)) {
            self.left.insert((server, value));
        }
    }

    /// Checks a write that a server sends to the origin or to another server.
    pub(crate) fn goes(&self, now: Time, server: usize, value: Value) -> Result<(), String> {
        let name = (server, value);
        let Some(arrived) = self.arrived.get(&name) else { return Ok(()) };
        let letter = letter(server);
        let is_through =
            |p: &&Pause| p.server == server && *arrived < p.until && p.until <= now && p.from < now;
        if let Some(pause) = self.pauses.iter().find(is_through) {
            let (lasted, ago) = (Seconds(pause.until - pause.from), Seconds(now - pause.until));
            return Err(format!(
                "server {letter} goes on with v{value}, which it had when it was stopped for \
                 {lasted}, {ago} ago"
            ));
        }
        match self.left.contains(&name) {
            true => Err(format!("server {letter} goes on with v{value}, whose client has left")),
            false => Ok(()),
        }
    }

    /// Checks all writes in the bytes that a server sends to another.
    pub(crate) fn sent(&self, now: Time, server: usize, bytes: &[u8]) -> Result<(), String> {
        writes(bytes).try_for_each(|value| self.goes(now, server, value))
    }

    pub(crate) fn server_ended(&mut self, server: usize) {
        self.arrived.retain(|(of, _), _| *of != server);
        self.left.retain(|(of, _)| *of != server);
        // Pauses of this process do not affect the next one.
        self.pauses.retain(|pause| pause.server != server);
    }
}

/// The values of the writes in some requests.
fn writes(mut bytes: &[u8]) -> impl Iterator<Item = Value> + '_ {
    std::iter::from_fn(move || {
        loop {
            let request = Request::parse(bytes, FrameLimits::default()).ok().flatten()?;
            bytes = &bytes[request.header.frame_bytes()..];
            let opcode = Opcode::from_wire(request.header.opcode);
            if !matches!(opcode, Some(Opcode::Put | Opcode::Cas)) {
                continue;
            }
            let value = match request.header.flags & request_flags::IDENTITY != 0 {
                true => request.value.get(IDENTITY_BYTES..).unwrap_or_default(),
                false => request.value,
            };
            if let Some(value) = sent_value(value) {
                return Some(value);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use standin_protocol::frame::RequestHeader;

    use super::*;

    fn put(value: Value) -> Vec<u8> {
        let mut frame = Vec::new();
        let header = RequestHeader::new(Opcode::Put, 1, 7);
        Request::write(header, b"k", &crate::origin::sent_bytes(value, 8), &mut frame);
        frame
    }

    #[test]
    fn what_came_before_the_end_of_a_long_pause_may_go_nowhere() {
        let mut pauses = Pauses::new(400);
        pauses.arrived(1_000, 0, &put(5));
        pauses.stopped(0, 1_100, 1_300);
        assert_eq!(pauses.goes(1_400, 0, 5), Ok(()), "a short pause");
        pauses.stopped(0, 2_000, 3_000);
        assert_eq!(pauses.goes(1_999, 0, 5), Ok(()), "before it");
        assert!(pauses.sent(3_000, 0, &put(5)).is_err());
        assert_eq!(pauses.goes(3_000, 1, 5), Ok(()), "another server");
        pauses.arrived(3_000, 0, &put(5));
        assert_eq!(pauses.goes(3_001, 0, 5), Ok(()), "it has come once more");
        pauses.stopped(0, 4_000, 9_000);
        pauses.server_ended(0);
        pauses.arrived(5_000, 0, &put(5));
        assert_eq!(pauses.goes(9_001, 0, 5), Ok(()), "the next process was never stopped");
    }
}
