//! Where the slots of a Redis Cluster are, as far as this client knows: from `CLUSTER SLOTS`, and from redirects.

use std::time::Duration;

use standin_protocol::slots::{SLOTS, slot};
use standin_protocol::time::Micros;

/// The shortest time between two questions for the slots.
const INTERVAL: Duration = Duration::from_millis(100);
/// The largest number of redirects of a request, as in Redis' own clients.
pub(super) const SENDS_MAX: u32 = 17;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Cluster {
    owners: Box<[u16]>,
    is_known: bool,
    /// The last answer from which nothing could be learned.
    problem: Option<String>,
    is_wanted: bool,
    next: Micros,
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot belongs to this server.
    Moved(u16, String),
    /// This request is for this server, because its key is being moved.
    Ask(String),
}

impl Redirect {
    /// Reads an error; `None`: it is no redirect. An address without a host has that of `asked`.
    pub(super) fn of(error: &[u8], asked: &str) -> Option<Self> {
        let mut words = std::str::from_utf8(error).ok()?.split(' ');
        let (kind, slot, address) = (words.next()?, words.next()?, words.next()?);
        let slot: u16 = slot.parse().ok().filter(|slot| u32::from(*slot) < SLOTS)?;
        let (host, port) = address.rsplit_once(':')?;
        let name = node_name(host, port.parse().ok()?, asked)?;
        match kind {
            "MOVED" => Some(Self::Moved(slot, name)),
            "ASK" => Some(Self::Ask(name)),
            _ => None,
        }
    }
}

/// The name `host:port` of a node. A node that does not know its own host is where it was asked.
pub(super) fn node_name(host: &str, port: u16, asked: &str) -> Option<String> {
    let host = match host {
        "" | "?" => asked.rsplit_once(':')?.0,
        host => host,
    };
    let is_bare_v6 = host.contains(':') && !host.starts_with('[');
    Some(if is_bare_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

impl Cluster {
    /// Nothing is known: the first server is asked for everything, and redirects.
    pub(super) fn new() -> Self {
        let owners = vec![0; SLOTS as usize].into();
        Self { owners, is_known: false, problem: None, is_wanted: true, next: Micros(0) }
    }

    /// Whether slots were learned at least once.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// The server of a key.
    pub(super) fn server(&self, key: &[u8]) -> u16 {
        self.owners[usize::from(slot(key))]
    }

    /// A redirect has said where this slot is; others may have moved too.
    pub(super) fn moved(&mut self, slot: u16, server: u16) {
        self.owners[usize::from(slot)] = server;
        self.is_wanted = true;
    }

    /// Something has failed: the slots may be elsewhere.
    pub(super) fn doubt(&mut self) {
        self.is_wanted = true;
    }

    /// The slots from a node: first, last and server.
    pub(super) fn learn(&mut self, ranges: &[(u16, u16, u16)]) {
        for (first, last, server) in ranges {
            for slot in *first..=*last {
                self.owners[usize::from(slot)] = *server;
            }
        }
        (self.is_known, self.is_wanted) = (true, false);
    }

    /// A node was asked for the slots and has given none that can be used, with this text.
    pub(super) fn not_learned(&mut self, problem: String) {
        self.problem = Some(problem);
    }

    /// The reason why no slots are known, if nodes have given one.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref().filter(|_| !self.is_known)
    }

    /// The time at which a node should be asked for the slots.
    pub(super) fn due(&self) -> Option<Micros> {
        self.is_wanted.then_some(self.next)
    }

    /// A node is asked now, or there is none that could be.
    pub(super) fn asked(&mut self, now: Micros) {
        self.next = now + INTERVAL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read() {
        let of = |text: &str| Redirect::of(text.as_bytes(), "10.0.0.9:7000");
        assert_eq!(of("MOVED 42 10.0.0.1:7001"), Some(Redirect::Moved(42, "10.0.0.1:7001".into())));
        assert_eq!(of("MOVED 42 :7001"), Some(Redirect::Moved(42, "10.0.0.9:7001".into())));
        assert_eq!(of("ASK 42 ::1:7001"), Some(Redirect::Ask("[::1]:7001".into())));
        for other in ["ERR x", "MOVED x 10.0.0.1:1", "MOVED 16384 10.0.0.1:1", "ASK 1 a:b", "ASK 1"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn slots_are_asked_for_once_in_an_interval() {
        let mut cluster = Cluster::new();
        assert!(!cluster.is_known() && cluster.due() == Some(Micros(0)));
        cluster.asked(Micros(5));
        assert_eq!(cluster.due(), Some(Micros(100_005)));
        cluster.learn(&[(0, 8_000, 0), (8_001, 16_383, 1)]);
        assert!(cluster.is_known() && cluster.due().is_none());
        // The slot of "foo" is 12182.
        assert_eq!((cluster.server(b"foo"), cluster.server(b"{foo}x")), (1, 1));
        cluster.moved(12_182, 2);
        assert_eq!((cluster.server(b"foo"), cluster.due()), (2, Some(Micros(100_005))));
    }
}
