//! What was read from a host: the text of files in `/proc` and `/sys`, and the answers to what only the
//! kernel, the card and the database can say. Plain values, without a judgement.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// A value, or why there is none.
pub type Reading<T> = Result<T, Unread>;

/// The reason why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// This host has no such thing: the kernel is built without it, or the hardware lacks it.
    Absent,
    /// This user may not read it.
    Denied,
    /// It was read, and is nothing that can be understood, or reading it failed.
    Failed(String),
    /// Nobody asked, for this reason.
    NotAsked(&'static str),
}

impl fmt::Display for Unread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => out.write_str("not on this host"),
            Self::Denied => out.write_str("this user may not read it"),
            Self::Failed(why) => out.write_str(why),
            Self::NotAsked(why) => write!(out, "not asked: {why}"),
        }
    }
}

/// Everything that was read from a host.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Files and folders of `/proc` and `/sys`.
    pub files: Files,
    /// The limits of this process, or of the one that was named: its id, or `self`.
    pub process: String,
    /// io_uring, as this process may use it.
    pub uring: Reading<Uring>,
    /// The state of the kernel's clock.
    pub clock: Reading<Clock>,
    /// The network cards that serve clients.
    pub cards: Vec<Card>,
    /// The ways to the database.
    pub ways: Vec<Way>,
}

/// The name by which [`Files`] has the names of all processes.
pub(crate) const PROCESSES: &str = "processes";

/// The text of files, by their paths on the host, and the names in folders.
#[derive(Debug, Clone, Default)]
pub struct Files {
    pub(crate) texts: BTreeMap<String, Reading<String>>,
    pub(crate) folders: BTreeMap<String, BTreeSet<String>>,
}

impl Files {
    /// Returns the text of a file, without white space around it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn text(&self, path: &str) -> Reading<&str> {
        match self.texts.get(path) {
            Some(Ok(text)) => Ok(text.trim()),
            Some(Err(unread)) => Err(unread.clone()),
            None => Err(Unread::Absent),
        }
    }

    /// Returns the number that a file consists of.
    ///
    /// # Errors
    /// Why there is none.
    pub fn number(&self, path: &str) -> Reading<u64> {
        let text = self.text(path)?;
        text.parse().map_err(|_| odd(text))
    }

    /// Returns the names in a folder, sorted; none if there is no such folder.
    pub fn names<'f>(&'f self, path: &str) -> impl Iterator<Item = &'f str> + use<'f> {
        self.folders.get(path).into_iter().flatten().map(String::as_str)
    }

    /// Puts in the text of a file.
    pub fn put(&mut self, path: &str, text: Reading<String>) {
        self.texts.insert(path.to_owned(), text);
    }
}

/// The reason for a text that can't be understood. Only its beginning is kept.
pub(crate) fn odd(text: &str) -> Unread {
    const SHOWN: usize = 40;
    let shown: String = text.chars().take(SHOWN).collect();
    Unread::Failed(format!("holds {shown:?}, which is not understood"))
}

/// What io_uring offers to this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uring {
    /// Why a ring as a shard's can't be set up, with its flags and registered buffers; `None`: it can.
    pub hindrance: Option<String>,
    /// The operations that a shard uses and this kernel lacks.
    pub missing: Vec<&'static str>,
    /// The number of operations that a shard uses.
    pub used: usize,
}

/// The state of the kernel's clock, as `adjtimex` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Whether something keeps it in step with other clocks.
    pub is_synchronised: bool,
    /// The largest error, in microseconds, by whoever keeps it in step.
    pub error_max_us: u64,
}

/// A network card.
#[derive(Debug, Clone)]
pub struct Card {
    /// The name of its interface.
    pub name: String,
    /// Whether it is loopback, and no card at all.
    pub is_loopback: bool,
    /// Its rings.
    pub rings: Reading<Rings>,
    /// Its queues.
    pub channels: Reading<Channels>,
    /// Whether its interrupts are coalesced adaptively, for receiving and for sending.
    pub adaptive: Reading<Adaptive>,
    /// Generic receive offload.
    pub gro: Reading<bool>,
    /// TCP segmentation offload.
    pub tso: Reading<bool>,
    /// Large receive offload.
    pub lro: Reading<bool>,
    /// The receive queue of each entry in the table by which the card spreads packets.
    pub spread: Reading<Vec<u32>>,
}

/// The rings of a card, in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rings {
    /// Packets that the receive ring holds.
    pub receive: u32,
    /// Packets that it could hold.
    pub receive_max: u32,
}

/// The queues of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channels {
    /// Queues in use.
    pub used: u32,
    /// Queues that it could have.
    pub max: u32,
}

/// The coalescing of a card's interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adaptive {
    /// Whether the card adapts the delay of interrupts for received packets.
    pub receive: bool,
    /// Whether it adapts that for packets that were sent.
    pub send: bool,
    /// The fixed delay for received packets.
    pub receive_us: u32,
}

/// A way to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The place as the cluster file names it, without a password.
    pub place: String,
    /// The time until it answered, or why it can't be used.
    pub answered: Result<WayAnswer, String>,
}

/// What was found at the end of a way to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayAnswer {
    /// PostgreSQL answered its first message after this time, with the connection's set-up.
    Postgres(Duration),
    /// The file, or the folder in which it will be, can be written to.
    Writable,
    /// The file is on a network file system of this kind, on which SQLite's write-ahead log does not work.
    OnNetwork(&'static str),
}
