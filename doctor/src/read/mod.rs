//! Reading a host. Decides nothing: what can't be read is a value like any other.
//!
//! ```text
//! files.rs     /proc and /sys, or a copy of them in another folder
//! uring.rs     io_uring, by trying it
//! ethtool.rs   the card, by ioctl
//! clock.rs     the kernel's clock, by adjtimex
//! database.rs  the way to the database, by going it
//! ```

mod clock;
mod database;
mod ethtool;
mod files;
mod uring;

use std::net::IpAddr;
use std::path::PathBuf;

use standin_config::OriginConfig;

use crate::facts::{Card, Facts, Unread};
use crate::wanted::Wanted;

/// Where `/proc` and `/sys` are.
#[derive(Debug, Clone)]
pub struct Root {
    prefix: PathBuf,
    is_copy: bool,
}

/// The reason why the kernel, the card and the database are not asked about a copy.
const COPY: &str = "the files are a copy, perhaps of another host";

impl Root {
    /// Those of this host.
    #[must_use]
    pub fn host() -> Self {
        Self { prefix: PathBuf::from("/"), is_copy: false }
    }

    /// Those in a folder, with the folders `proc` and `sys`.
    #[must_use]
    pub fn copy(prefix: PathBuf) -> Self {
        Self { prefix, is_copy: true }
    }

    /// Returns where a path of the host is.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.prefix.join(path.trim_start_matches('/'))
    }
}

/// What to look at.
#[derive(Debug, Clone)]
pub struct Look<'c> {
    /// The host.
    pub root: Root,
    /// The id of the process whose limits and control group are meant; `None`: this one.
    pub process: Option<u32>,
    /// The network cards; if empty, those of the servers' addresses, or of the default route.
    pub cards: Vec<String>,
    /// The database to go to, if there is one.
    pub origin: Option<&'c OriginConfig>,
}

/// Reads everything that judging needs. Takes as long as the way to the database, which is bounded.
#[must_use]
pub fn look(look: &Look<'_>, wanted: &Wanted) -> Facts {
    let root = &look.root;
    let process = look.process.map_or_else(|| "self".to_owned(), |id| id.to_string());
    let mut files = files::Reader::new(root);
    files.host(&process);
    let names = match look.cards.is_empty() {
        false => look.cards.clone(),
        true if root.is_copy => files.default_card().into_iter().collect(),
        true => {
            let of_addresses = cards_of(&wanted.addresses());
            if of_addresses.is_empty() {
                files.default_card().into_iter().collect()
            } else {
                of_addresses
            }
        }
    };
    let asked = if root.is_copy { Err(Unread::NotAsked(COPY)) } else { Ok(()) };
    let cards = names.iter().map(|name| {
        let is_loopback = files.card(name);
        ethtool::card(name, is_loopback, asked.clone())
    });
    let cards: Vec<Card> = cards.collect();
    Facts {
        files: files.finish(),
        process,
        uring: asked.clone().map(|()| uring::read()),
        clock: asked.and_then(|()| clock::read()),
        cards,
        ways: match look.origin {
            Some(origin) if !root.is_copy => database::ways(origin),
            _ => Vec::new(),
        },
    }
}

/// Whether there is a network card of this name.
#[must_use]
pub fn is_card(root: &Root, name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && root.path("/sys/class/net").join(name).exists()
}

/// The interfaces that have these addresses, without those of loopback addresses if there are others.
fn cards_of(addresses: &[IpAddr]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, address) in ethtool::interfaces() {
        if addresses.contains(&address) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
