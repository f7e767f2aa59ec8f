//! What the engine does when time has passed: requests and connects that time out, silent connections, attempts
//! to connect again, ejected servers that return.

use std::time::Duration;

use standin_protocol::time::Micros;

use super::cluster::Cluster;
use super::connection::{Connection, State};
use super::{Engine, Member, Output};
use crate::recorder::FailureKind;
use crate::targets::operation::{Ending, Failure};

impl<T> Engine<T> {
    /// The time at which `Input::Tick` is due, or one before it. Requests that come and are answered move the earliest
    /// deadline only later, so it is not looked for again, over all connections, before it has come.
    pub fn next_deadline(&mut self) -> Option<Micros> {
        if self.deadline.is_none() {
            self.deadline = Some(self.earliest());
        }
        let deadline = self.deadline.flatten();
        debug_assert!(
            deadline.unwrap_or(Micros::NEVER) <= self.earliest().unwrap_or(Micros::NEVER),
            "a deadline would be missed"
        );
        deadline
    }

    fn earliest(&self) -> Option<Micros> {
        let timeout = self.settings.timeout;
        let of_connection = |connection: &Connection<T>| {
            let state = match connection.state {
                State::Down(again) if !connection.is_idle() => Some(again),
                State::Connecting(since) => Some(since + timeout),
                State::Down(_) | State::Open => None,
            };
            let oldest = connection.oldest().map(|since| since + timeout);
            let greeted = connection.greeted().map(|since| since + timeout);
            state.into_iter().chain(oldest).chain(greeted).min()
        };
        let of_member = |member: &Member<T>| {
            let connections = member.connections.iter().filter_map(of_connection);
            connections.chain(member.ejected).min()
        };
        // With nothing to send, no slot is needed.
        let slots = self.cluster.as_ref().and_then(Cluster::due).filter(|_| self.open > 0);
        self.members.iter().filter_map(of_member).chain(slots).min()
    }

    pub(super) fn tick(&mut self, now: Micros, end: &mut impl FnMut(T, Ending<'_>)) {
        let before = Micros(now.0.saturating_sub(micros(self.settings.timeout)));
        let mut is_back = false;
        for server in self.servers() {
            let member = &mut self.members[usize::from(server)];
            if member.ejected.is_some_and(|until| until <= now) {
                (member.ejected, is_back) = (None, true);
            }
            for place in 0..self.settings.connections.max(1) {
                self.tick_connection(now, before, (server, place), end);
            }
        }
        if is_back {
            self.place();
        }
        self.ask_slots(now);
    }

    fn tick_connection(
        &mut self,
        now: Micros,
        before: Micros,
        (server, place): (u16, u16),
        end: &mut impl FnMut(T, Ending<'_>),
    ) {
        let id = self.id(server, place);
        let connection = &mut self.members[usize::from(server)].connections[usize::from(place)];
        if let State::Connecting(since) = connection.state
            && since <= before
        {
            self.outputs.push_back(Output::Close(id));
            return self.connect_failed(now, id, "the connect has timed out", end);
        }
        let (mut ended, mut ended_bytes) = (0, 0);
        let (name, timeout) =
            (&self.settings.servers[usize::from(server)].name, self.settings.timeout);
        connection.expire(before, |token, bytes| {
            ended += 1;
            ended_bytes += bytes;
            let text = format!("{name}: no answer within {timeout:?}");
            end(token, Err(Failure { kind: FailureKind::DeadlineExceeded, text }));
        });
        let long_before = Micros(before.0.saturating_sub(micros(timeout)));
        let is_open = connection.state == State::Open;
        let overdue = connection.overdue(before, long_before).filter(|_| is_open);
        let is_due =
            matches!(connection.state, State::Down(again) if again <= now) && !connection.is_idle();
        self.open -= ended;
        self.open_bytes -= ended_bytes;
        if let Some(why) = overdue {
            self.outputs.push_back(Output::Close(id));
            self.lost(now, id, (FailureKind::ConnectionLost, why), end);
        } else if is_due {
            self.connect(now, server, place);
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
