//! All messages to other servers that have not ended: forwarded requests, and this server's own
//! messages.

use slotmap::{Key as _, KeyData, SlotMap, new_key_type};
use standin_protocol::map::MapEpoch;

use super::handback::ToldKey;
use super::state::PendingKey;
use super::walk::WalkAsked;

new_key_type! {
    struct ForwardKey;
}

/// A message that was sent to a peer.
#[derive(Debug)]
pub(super) enum Forwarded {
    /// A request, sent to the owner or to a member that relays it.
    Request(PendingKey),
    /// A ping that finds out whether the peer can be reached again.
    Ping { server: u16 },
    /// A ping of a server to which clients are referred.
    Check { server: u16 },
    /// A ping of one shard of a server, as part of a probe.
    Probe { server: u16 },
    /// A request for the number of fetches that a shard of the peer usually makes.
    Measure { server: u16 },
    /// Keys that this server has to drop, sent directly or through another member. They are keys of
    /// a handover, or owed keys.
    Settle { server: u16, via: Option<u16>, keys: Vec<ToldKey>, handover: Option<MapEpoch> },
    /// The end of a handover.
    Handback { server: u16, epoch: MapEpoch },
    /// A request for a slice of a walk.
    Walk(WalkAsked),
}

/// All messages that have not ended, by token.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    sent: SlotMap<ForwardKey, Forwarded>,
}

impl Forwards {
    /// Records a message that is sent, and returns its token.
    pub(super) fn begin(&mut self, forwarded: Forwarded) -> u64 {
        self.sent.insert(forwarded).data().as_ffi()
    }

    /// Removes a message that has been answered or has failed.
    pub(super) fn end(&mut self, token: u64) -> Forwarded {
        let sent = self.sent.remove(ForwardKey::from(KeyData::from_ffi(token)));
        sent.expect("each forward must end exactly once")
    }

    /// Whether a request was sent with this token.
    pub(super) fn is_request(&self, token: u64) -> bool {
        let sent = self.sent.get(ForwardKey::from(KeyData::from_ffi(token)));
        matches!(sent, Some(Forwarded::Request(_)))
    }

    /// Returns the forwarded requests.
    pub(super) fn requests(&self) -> impl Iterator<Item = (u64, PendingKey)> + '_ {
        self.sent.iter().filter_map(|(key, sent)| match sent {
            Forwarded::Request(request) => Some((key.data().as_ffi(), *request)),
            _ => None,
        })
    }

    /// Returns the number of requests for slices of walks.
    pub(super) fn walks(&self) -> usize {
        self.sent.values().filter(|sent| matches!(sent, Forwarded::Walk(_))).count()
    }

    /// Returns the number of messages that have not ended.
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_this_server_s_own_messages() {
        let mut forwards = Forwards::default();
        let key = PendingKey::default();
        let (request, ping) = (
            forwards.begin(Forwarded::Request(key)),
            forwards.begin(Forwarded::Ping { server: 1 }),
        );
        assert!(forwards.is_request(request) && !forwards.is_request(ping));
        assert_eq!(forwards.requests().collect::<Vec<_>>(), [(request, key)]);
        assert!(matches!(forwards.end(ping), Forwarded::Ping { server: 1 }));
        assert_eq!(forwards.len(), 1);
        forwards.end(request);
        assert!(!forwards.is_request(request));
    }

    #[test]
    #[should_panic(expected = "each forward must end exactly once")]
    fn a_forward_ends_once() {
        let mut forwards = Forwards::default();
        let token = forwards.begin(Forwarded::Ping { server: 1 });
        forwards.end(token);
        forwards.end(token);
    }
}
