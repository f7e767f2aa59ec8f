//! Plans as text, with one line for each entry.

use std::fmt;

use super::{Act, Ask, Entry, Host, Mode, What, Written};
use crate::clock::Time;

/// A time as `1.204 s`.
pub(crate) struct Seconds(pub(crate) Time);

impl fmt::Display for Seconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:03}", self.0 / 1_000_000, self.0 / 1_000 % 1_000)?;
        if !self.0.is_multiple_of(1_000) {
            write!(out, "{:03}", self.0 % 1_000)?;
        }
        write!(out, " s")
    }
}

/// Returns the letter of a server: a, b, c …
pub(crate) fn letter(server: usize) -> char {
    char::from(b'a' + u8::try_from(server).unwrap_or(25).min(25))
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(id) => write!(out, "server {}", letter(*id)),
            Self::Client(id) => write!(out, "client {id}"),
            Self::Master(0) => write!(out, "the master"),
            Self::Master(_) => write!(out, "the second master"),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Available => "available",
            Self::Strict => "strict",
        })
    }
}

impl fmt::Display for Act {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Get => "reads",
            Self::Put => "writes",
            Self::Delete => "deletes",
            Self::Cas => "writes by CAS",
            Self::Swap => "swaps",
            Self::Transact(Written::First) => "reads or writes the first of the pair of",
            Self::Transact(Written::Second) => "reads or writes the second of the pair of",
            Self::Transact(Written::Both) => "reads or writes the pair of",
            Self::Touch => "touches",
            Self::Invalidate => "invalidates",
            Self::Flush => "flushes the partition of",
            Self::Behind => "changes in the database",
        })
    }
}

impl fmt::Display for What {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Act { client, key, act } => write!(out, "client {client} {act} k{key}"),
            Self::Ask(Ask { client, server, key, act, leaves, has_id }) => {
                let letter = letter(server);
                write!(out, "client {client} {act} k{key} at server {letter}, without a deadline")?;
                if !has_id {
                    write!(out, " or an identity")?;
                }
                match leaves {
                    Some(0) => write!(out, ", and leaves at once"),
                    Some(later) => write!(out, ", and leaves after {}", Seconds(later)),
                    None => Ok(()),
                }
            }
            Self::Cut { from, to, .. } => write!(out, "nothing gets from {from} to {to}"),
            Self::Isolate { host, .. } => write!(out, "{host} is cut off from everybody"),
            Self::Break { a, b } => write!(out, "connections between {a} and {b} are reset"),
            Self::Stall { from, to, .. } => write!(out, "TCP from {from} to {to} is held up"),
            Self::Mute { from, to, .. } => write!(out, "datagrams from {from} to {to} are lost"),
            Self::Noise { loss, twice, late_max, .. } => write!(
                out,
                "{loss} % of all messages are lost, {twice} % come twice, all are late by up to {}",
                Seconds(late_max)
            ),
            Self::Pause { host, .. } => write!(out, "{host} is paused"),
            Self::PauseInside { server, .. } => {
                write!(out, "server {} is paused in the middle of what it does", letter(server))
            }
            Self::StallShard { server, shard, .. } => {
                write!(out, "shard {shard} of server {} is stuck", letter(server))
            }
            Self::Crash { server, silent: false, .. } => {
                write!(out, "server {} is killed", letter(server))
            }
            Self::Crash { server, silent: true, .. } => {
                write!(out, "server {}'s machine loses power", letter(server))
            }
            Self::Leave { server, .. } => write!(out, "server {} is asked to stop", letter(server)),
            Self::CrashMaster { forgets: false, .. } => write!(out, "the master is killed"),
            Self::CrashMaster { forgets: true, .. } => {
                write!(out, "the master is killed and its state file lost")
            }
            Self::DiskFull { .. } => write!(out, "the master's disk is full"),
            Self::ClockRate { host, rate_ppm } => {
                write!(
                    out,
                    "the clock of {host} runs at {}.{:02} %",
                    rate_ppm / 10_000,
                    rate_ppm / 100 % 100
                )
            }
            Self::WallStep { host, by_us } => {
                write!(out, "the wall clock of {host} is set by {} ms", by_us / 1_000)
            }
            Self::OriginSlow { server, by, .. } => {
                write!(out, "the origin is slower by {}", Seconds(by))?;
                match server {
                    Some(server) => write!(out, " for server {}", letter(server)),
                    None => Ok(()),
                }
            }
            Self::OriginDown { .. } => write!(out, "the origin is down"),
            Self::OriginPath { server, hangs, .. } => write!(
                out,
                "server {} {} the origin",
                letter(server),
                if hangs { "hears nothing from" } else { "is refused by" }
            ),
            Self::OriginLate { percent, by_max, .. } => write!(
                out,
                "{percent} % of the writes end unknown and commit up to {} later, or never",
                Seconds(by_max)
            ),
            Self::OtherMaster { host, .. } => {
                write!(out, "{host} takes another process for the master")
            }
            Self::Replay { from, .. } => write!(out, "somebody repeats datagrams of {from}"),
            Self::Forge { server, forged } => {
                let letter = letter(server);
                write!(out, "somebody forges a datagram ({forged:?}, server {letter})")
            }
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "t={}: {}", Seconds(self.at), self.what)?;
        match (self.what, self.what.lasts()) {
            (What::Crash { .. } | What::Leave { .. } | What::CrashMaster { .. }, Some(down)) => {
                write!(out, ", and started again after {}", Seconds(down))
            }
            (_, Some(lasts)) => write!(out, ", for {}", Seconds(lasts)),
            (_, None) => Ok(()),
        }
    }
}
