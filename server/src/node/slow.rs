//! Requests that this server has had for long: how long each keyspace allows, and where the time went.
//!
//! A waiting request knows what it waits for, and since when (`Waits`). A request that is answered when it
//! arrives waits for nothing, so hits know nothing of this.

use std::time::Duration;

use standin_protocol::time::Micros;

use super::answer::Status;
use super::command::Action;
use super::keyspaces::Keyspaces;

/// What a request can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A fetch of its key: one that runs, or one that a limit holds back.
    Fetch,
    /// Its turn: an earlier write of its key is under way.
    Turn,
    /// A connection or thread to the database.
    Connection,
    /// The database, from when the statement was sent.
    Database,
    /// The answer of another server, to which it was sent on.
    Peer,
    /// Its partition to get an owner.
    Owner,
    /// The acknowledgement: the owner has to drop the key.
    Settle,
}

impl Wait {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Fetch,
        Self::Turn,
        Self::Connection,
        Self::Database,
        Self::Peer,
        Self::Owner,
        Self::Settle,
    ];
}

/// The times that a request has waited, by what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times([u32; Wait::ALL.len()]);

impl Times {
    fn add(&mut self, wait: Wait, time: Duration) {
        let us = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let sum = &mut self.0[wait as usize];
        *sum = sum.saturating_add(us);
    }

    /// Returns the time that the request has waited for this.
    #[must_use]
    pub fn of(&self, wait: Wait) -> Duration {
        Duration::from_micros(self.0[wait as usize].into())
    }
}

/// What a request waits for now, and what it has waited for before.
#[derive(Debug, Default)]
pub(super) struct Waits {
    now: Option<(Wait, Micros)>,
    times: Times,
    /// The server that it was sent on to last.
    peer: Option<u16>,
}

impl Waits {
    /// Notes what the request waits for from now on; `None`: for nothing.
    pub(super) fn change(&mut self, now: Micros, wait: Option<Wait>) {
        if let Some((before, since)) = std::mem::replace(&mut self.now, wait.map(|w| (w, now))) {
            self.times.add(before, now.since(since));
        }
    }

    /// Notes that the request is sent on to this server.
    pub(super) fn sent_on(&mut self, now: Micros, peer: u16) {
        self.change(now, Some(Wait::Peer));
        self.peer = Some(peer);
    }

    /// Notes that the call to the database has ended whose statement was sent at `sent`, if it was.
    pub(super) fn called(&mut self, now: Micros, sent: Option<Micros>) {
        if let Some((Wait::Connection, since)) = self.now {
            // The clock of the thread that sent it may have been read a little later than `now`.
            let sent = sent.unwrap_or(now).max(since).min(now);
            self.change(sent, Some(Wait::Database));
            self.change(now, None);
        }
    }

    /// Notes that the request is answered. Returns its times, and the server that it was sent on to last.
    pub(super) fn end(&mut self, now: Micros) -> (Times, Option<u16>) {
        self.change(now, None);
        (self.times, self.peer)
    }
}

/// A request that has taken longer than its keyspace allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slow {
    /// Keyspace id.
    pub keyspace: u8,
    /// The key.
    pub key: Box<[u8]>,
    /// What was asked.
    pub action: Action,
    /// How it was answered.
    pub status: Status,
    /// Another server has sent it on.
    pub is_peer: bool,
    /// The time from when it was served to its answer.
    pub took: Duration,
    /// What it has waited for. The rest of the time is the shard's own.
    pub times: Times,
    /// The server that it was sent on to last, if it was.
    pub peer: Option<u16>,
}

/// The time that each keyspace allows.
#[derive(Debug)]
pub(super) struct Thresholds(Box<[Duration; 256]>);

impl Thresholds {
    pub(super) fn new(keyspaces: &Keyspaces) -> Self {
        let of = |id| keyspaces.get(id).and_then(|keyspace| keyspace.log_slower_than);
        let mut all = Box::new([Duration::MAX; 256]);
        for id in 0..=u8::MAX {
            all[usize::from(id)] = of(id).unwrap_or(Duration::MAX);
        }
        Self(all)
    }

    /// Whether a request of the keyspace that took this long has taken too long.
    pub(super) fn are_exceeded(&self, keyspace: u8, took: Duration) -> bool {
        took >= self.0[usize::from(keyspace)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Micros {
        Micros(ms * 1_000)
    }

    fn times(waits: &Waits) -> Vec<(Wait, u64)> {
        let of = |wait| (wait, waits.times.of(wait).as_micros() as u64 / 1_000);
        Wait::ALL.into_iter().map(of).filter(|(_, ms)| *ms > 0).collect()
    }

    #[test]
    fn time_counts_for_what_is_waited_for_and_what_comes_again_is_added() {
        let mut waits = Waits::default();
        waits.change(ms(0), Some(Wait::Turn));
        waits.change(ms(30), None);
        waits.change(ms(35), Some(Wait::Owner));
        waits.sent_on(ms(45), 1);
        waits.change(ms(65), Some(Wait::Turn));
        waits.change(ms(72), None);
        assert_eq!(times(&waits), [(Wait::Turn, 37), (Wait::Peer, 20), (Wait::Owner, 10)]);
        assert_eq!(waits.peer, Some(1));
    }

    #[test]
    fn a_call_is_divided_where_its_statement_was_sent() {
        for (sent, connection, database) in
            [(Some(ms(40)), 40, 60), (None, 100, 0), (Some(ms(200)), 100, 0), (Some(ms(0)), 0, 100)]
        {
            let mut waits = Waits::default();
            waits.change(ms(0), Some(Wait::Connection));
            waits.called(ms(100), sent);
            let of = |waits: &Waits, wait| waits.times.of(wait);
            assert_eq!(of(&waits, Wait::Connection), ms(connection).since(ms(0)), "{sent:?}");
            assert_eq!(of(&waits, Wait::Database), ms(database).since(ms(0)), "{sent:?}");
            waits.called(ms(300), None);
            assert_eq!(of(&waits, Wait::Connection), ms(connection).since(ms(0)), "it has ended");
        }
    }
}
