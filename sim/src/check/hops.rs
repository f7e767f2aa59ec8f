//! One hop: a server forwards a request only if a client (or a server that asks for a relay) has sent it
//! that request, and not if another server has forwarded it (scenario 18).
//!
//! Pieces on a connection are whole frames here, because each piece is what was sent at once.

use std::collections::BTreeMap;

use standin_protocol::frame::{FrameLimits, Opcode, Request, Response, request_flags};
use standin_protocol::hash::key_hash;

use crate::plan::letter;

/// Returns the key in the form that servers use.
fn row(key: &[u8]) -> Vec<u8> {
    key.to_ascii_lowercase()
}

/// The requests under way between parties.
#[derive(Debug, Default)]
pub(crate) struct Hops {
    /// The requests that a server has not answered: (socket, id) → (server, key), and how often
    /// each was sent.
    open: BTreeMap<(usize, u32), ((usize, u64), u32)>,
    /// The number of them that ask a server for a key.
    asked: BTreeMap<(usize, u64), u32>,
}

impl Hops {
    /// Notes the requests that a server reads on a connection opened by another party.
    pub(crate) fn received(&mut self, server: usize, socket: usize, bytes: &[u8]) {
        for request in requests(bytes) {
            let is_sent_on = request.header.flags & request_flags::FORWARDED != 0;
            let may_be_sent_on = !is_sent_on || request.header.flags & request_flags::RELAY != 0;
            if !may_be_sent_on || !Opcode::has_key(request.header.opcode) {
                continue;
            }
            let name = (server, key_hash(request.header.keyspace, &row(request.key)));
            let open = self.open.entry((socket, request.header.request_id)).or_insert((name, 0));
            open.1 += 1;
            *self.asked.entry(name).or_default() += 1;
        }
    }

    /// Notes a server's answers on such a connection.
    pub(crate) fn answered(&mut self, socket: usize, mut bytes: &[u8]) {
        while let Ok(Some(response)) = Response::parse(bytes) {
            let id = (socket, response.header.request_id);
            if let Some((name, times)) = self.open.get_mut(&id)
                && let Some(asked) = self.asked.get_mut(name)
            {
                *asked = asked.saturating_sub(1);
                *times -= 1;
                if *times == 0 {
                    self.open.remove(&id);
                }
            }
            bytes = &bytes[response.header.frame_bytes()..];
        }
    }

    /// Checks the requests that a server sends on a connection that it has opened.
    pub(crate) fn sent(&self, server: usize, bytes: &[u8]) -> Result<(), String> {
        for request in requests(bytes) {
            let name = (server, key_hash(request.header.keyspace, &row(request.key)));
            let is_asked = self.asked.get(&name).is_some_and(|asked| *asked > 0);
            if Opcode::has_key(request.header.opcode) && !is_asked {
                let key = String::from_utf8_lossy(request.key).into_owned();
                let letter = letter(server);
                return Err(format!("server {letter} sends a request for {key} on a second time"));
            }
        }
        Ok(())
    }

    /// Notes that a server's process has ended.
    pub(crate) fn server_ended(&mut self, server: usize) {
        self.open.retain(|_, ((of, _), _)| *of != server);
        self.asked.retain(|(of, _), _| *of != server);
    }
}

pub(super) fn requests(mut bytes: &[u8]) -> impl Iterator<Item = Request<'_>> {
    std::iter::from_fn(move || {
        let request = Request::parse(bytes, FrameLimits::default()).ok().flatten()?;
        bytes = &bytes[request.header.frame_bytes()..];
        Some(request)
    })
}
