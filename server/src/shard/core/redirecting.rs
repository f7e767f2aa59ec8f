//! Requests at the ports of nodes of Redis Cluster: what another node serves is answered by a redirection.
//!
//! Some clients do not go where they are redirected: their library has given that node up, or a firewall is in between.
//! They send the same command again and again until their time is up. Such a client is noticed, and what it wants of
//! that server is processed here, as at a port that is not a node's.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use standin_protocol::time::Micros;

use super::backend::Backend;
use crate::node::routes::Redirect;
use crate::node::{Action, CommandHead, Now, Status};
use crate::shard::listeners::Service;

/// A client does not follow if it sends a command this many times and for this long, and is redirected nowhere else in
/// between. One that follows has no reason to. One that does not wait for replies has sent its commands before it
/// could learn of the first redirection, but they are different ones, or are sent within a shorter time.
const REPEATS: u32 = 16;
const REPEATS_FOR: Duration = Duration::from_millis(50);
/// A command that has not come again for this long is not the one that is repeated.
const FORGOTTEN_AFTER: Duration = Duration::from_millis(10);

/// The redirections of a connection; `None`: it did not come to the port of a node, so there are none.
#[derive(Debug, Default)]
pub(super) struct Redirections(Option<Box<Seen>>);

/// What was seen of a client that is redirected.
#[derive(Debug, Default)]
struct Seen {
    latest: Option<Latest>,
    /// The servers to which its client does not go; each once.
    not_followed: Vec<u16>,
}

/// The latest redirections, all of one slot to one place.
#[derive(Debug)]
struct Latest {
    to: Redirect,
    /// The hash of a command, and the number of times that it has come.
    command: u64,
    times: u32,
    /// The times at which it came first and last.
    since: Micros,
    until: Micros,
}

impl Redirections {
    /// Those of a connection to the port of this service.
    pub(super) fn of(service: Service) -> Self {
        Self((service == Service::Node).then(Box::default))
    }

    /// Returns what the client is told if another node serves a key. A flush of what others serve is theirs, so there
    /// is nothing to do.
    pub(super) fn answer<B: Backend>(
        &mut self,
        backend: &mut B,
        now: Now,
        head: &CommandHead,
        [key, value]: [&[u8]; 2],
        place: B::Aimed,
    ) -> Option<(Status, Vec<u8>)> {
        let seen = self.0.as_deref_mut()?;
        let server = backend.elsewhere(place)?;
        if head.action == Action::Flush {
            return Some((Status::Ok, Vec::new()));
        }
        if !seen.are_followed(server) {
            return None;
        }
        let redirect = backend.redirect(now, head.keyspace, key, place)?;
        let mut hasher = DefaultHasher::new();
        (head.action, key, value).hash(&mut hasher);
        seen.note(now.mono, redirect, hasher.finish());
        Some((Status::NotOwner, redirect.to_bytes().to_vec()))
    }
}

impl Seen {
    /// Whether the client goes to this server if it is redirected there, as far as is known.
    fn are_followed(&self, server: u16) -> bool {
        !self.not_followed.contains(&server)
    }

    /// Notes that a command is redirected.
    fn note(&mut self, now: Micros, to: Redirect, command: u64) {
        let is_known = |latest: &Latest| {
            let is_repeated = latest.command == command || now < latest.until + FORGOTTEN_AFTER;
            latest.to == to && is_repeated
        };
        if !self.latest.as_ref().is_some_and(is_known) {
            self.latest = Some(Latest { to, command, times: 1, since: now, until: now });
            return;
        }
        // Others in between are its further keys, or were sent before its reply was read.
        let Some(latest) = self.latest.as_mut().filter(|latest| latest.command == command) else {
            return;
        };
        (latest.times, latest.until) = (latest.times.saturating_add(1), now);
        if latest.times >= REPEATS && now >= latest.since + REPEATS_FOR {
            self.latest = None;
            self.not_followed.push(to.server);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: Redirect = Redirect { slot: 7, server: 1, shard: 0 };

    /// Commands that come every millisecond and are redirected, as long as the client is thought to follow. Returns
    /// the number of them.
    fn redirected(seen: &mut Seen, commands: impl Iterator<Item = u64>) -> usize {
        let follows = |(at, command): &(u64, u64)| {
            let is_so = seen.are_followed(TO.server);
            seen.note(Micros(1_000 * at), TO, *command);
            is_so
        };
        (0..1_000).zip(commands).take_while(follows).count()
    }

    #[test]
    fn a_client_that_sends_a_command_again_and_again_does_not_follow() {
        let mut seen = Seen::default();
        assert_eq!(redirected(&mut seen, std::iter::repeat(5)), 51, "for 50 ms");
        assert!(seen.are_followed(2), "it may reach other servers");
    }

    #[test]
    fn a_command_with_many_keys_of_the_slot_is_a_command_too() {
        let mut seen = Seen::default();
        assert_eq!(redirected(&mut seen, (1..=8).cycle()), 121, "16 times");
    }

    #[test]
    fn a_command_that_is_repeated_counts_also_if_another_one_came_before_it() {
        let mut seen = Seen::default();
        let commands = std::iter::once(4).chain(std::iter::repeat(5));
        assert_eq!(redirected(&mut seen, commands), 61, "10 ms, and 50 ms");
    }

    #[test]
    fn different_commands_are_those_of_a_client_that_has_not_read_the_first_reply() {
        let mut seen = Seen::default();
        assert_eq!(redirected(&mut seen, 0..), 1_000);
    }

    #[test]
    fn a_burst_of_equal_commands_is_one_of_a_client_that_does_not_wait() {
        let mut seen = Seen::default();
        (0..1_000).for_each(|_| seen.note(Micros(7), TO, 5));
        assert!(seen.are_followed(TO.server));
    }

    #[test]
    fn a_redirection_to_another_place_begins_anew() {
        let mut seen = Seen::default();
        for at in 0..1_000 {
            let slot = u16::from(at % 20 == 19);
            seen.note(Micros(at * 1_000), Redirect { slot, ..TO }, 5);
        }
        assert!(seen.are_followed(TO.server), "19 ms at a time");
    }
}
