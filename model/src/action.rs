//! The possible steps of the model, and their descriptions.

use std::fmt;

/// One step of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// One step of time passes.
    Time,
    /// A server's renewals no longer reach the master.
    Silence(usize),
    /// A GRANT arrives that was under way for a long time.
    LateGrant(usize),
    /// The home finds out whether it may keep its cache, and serves from it again.
    Resume,
    /// A map reaches a server.
    Learn(usize, u8),
    /// The master receives a server's acknowledgement of its current map.
    Ack(usize),
    /// A member hands over its log to the returning home.
    HandBack(usize, u8),
    /// The process dies.
    Crash(usize),
    /// A server's process starts again.
    Restart(usize),
    /// The master dies.
    MasterCrash,
    /// The master starts again.
    MasterRestart,
    /// The master starts again without its state file. It learns from this server, or from none.
    MasterForgets(Option<usize>),
    /// The master hears a server whose incarnation it did not know.
    Named(usize),
    /// The master's verification of a server fails.
    GiveUp(usize),
    /// The master moves the partitions of a waiting server.
    Over(usize),
    /// A server that was offline or waiting, or another incarnation, answers a probe.
    Returns(usize),
    /// The master marks a returning server online again.
    Online(usize),
    /// A server is asked to stop.
    Leave(usize),
    /// A server that was asked to stop has stopped.
    Left(usize),
    /// A server sends a write to the origin.
    Begin(usize, usize),
    /// The origin commits a write.
    Commit(usize),
    /// The server of a write acknowledges it.
    Acknowledge(usize),
    /// The server of a write settles the key at the owner, and then acknowledges the write.
    Settle(usize, usize),
    /// The outcome of a write stays unknown.
    Abandon(usize),
    /// A server tells the owner of a key in its log.
    Pay(usize, usize),
    /// A member tells another whether it hears the master.
    Gossip(usize, usize),
    /// A server hears the master, which grants it no lease.
    Heard(usize),
}

impl Action {
    /// Whether the step makes the master publish a map.
    pub(crate) fn publishes(self) -> bool {
        matches!(
            self,
            Self::GiveUp(_)
                | Self::Over(_)
                | Self::Returns(_)
                | Self::Online(_)
                | Self::Leave(_)
                | Self::Left(_)
                | Self::Named(_)
                | Self::MasterForgets(_)
                | Self::MasterRestart
        )
    }
}

/// Returns a server's name as used in schedules.
#[must_use]
pub fn name(id: usize) -> &'static str {
    ["H", "A", "B"].get(id).copied().unwrap_or("?")
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Time => write!(f, "a step of time passes"),
            Self::Silence(id) => write!(f, "{} is paused, or M does not hear it", name(id)),
            Self::LateGrant(id) => write!(f, "a late GRANT reaches {}", name(id)),
            Self::Resume => write!(f, "H serves from its cache again"),
            Self::Learn(id, epoch) => write!(f, "{} applies map {epoch}", name(id)),
            Self::Ack(id) => write!(f, "{} acknowledges its map to M", name(id)),
            Self::HandBack(id, epoch) => {
                write!(f, "{} hands its log over to H, for the return of map {epoch}", name(id))
            }
            Self::Crash(id) => write!(f, "{} crashes", name(id)),
            Self::Restart(id) => write!(f, "{} starts again, empty", name(id)),
            Self::MasterCrash => write!(f, "M crashes"),
            Self::MasterRestart => write!(f, "M restarts with what it has saved"),
            Self::MasterForgets(None) => {
                write!(f, "M restarts without its file, and learns nothing")
            }
            Self::MasterForgets(Some(id)) => {
                write!(f, "M restarts without its file, and learns from {}", name(id))
            }
            Self::Named(id) => write!(f, "M hears which incarnation of {} is running", name(id)),
            Self::GiveUp(id) => write!(f, "M gets no answer from {}", name(id)),
            Self::Over(id) => write!(f, "M: {}'s lease is over, it is offline", name(id)),
            Self::Returns(id) => write!(f, "{} answers M: it returns", name(id)),
            Self::Online(id) => write!(f, "M: {} is online", name(id)),
            Self::Leave(id) => write!(f, "{} is asked to stop: it leaves", name(id)),
            Self::Left(id) => write!(f, "M: {} has left, it is offline", name(id)),
            Self::Begin(write, id) => {
                write!(f, "{} sends write {} to the origin", name(id), write + 1)
            }
            Self::Commit(write) => write!(f, "the origin commits write {}", write + 1),
            Self::Acknowledge(write) => write!(f, "write {} is acknowledged", write + 1),
            Self::Settle(write, owner) => {
                let owner = name(owner);
                write!(f, "write {}: {owner} drops the key; acknowledged", write + 1)
            }
            Self::Abandon(write) => write!(f, "the outcome of write {} stays unknown", write + 1),
            Self::Pay(id, owner) => write!(f, "{} tells {} of its key", name(id), name(owner)),
            Self::Gossip(from, to) => write!(f, "{} gossips to {}", name(from), name(to)),
            Self::Heard(id) => write!(f, "{} hears M, without a lease", name(id)),
        }
    }
}
