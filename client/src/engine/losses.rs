//! Failed sends: lost and silent connections, requests that have waited too long, and their effect
//! on the server's failover machine (claims 10, 12, 14).

use std::time::Duration;

use standin_protocol::control::DatagramKind;
use standin_protocol::time::Micros;

use super::connection::{Health, Place};
use super::errors::Passed;
use super::operations::{Current, Work};
use super::{ConnId, Engine, Output};
use crate::event::ClientEvent;
use crate::failover::{Remedy, State};
use crate::operation::{ClientError, Target};
use crate::router::Router;

impl Engine {
    /// Handles the end of a connection. All requests that it was to carry are routed again, or fail
    /// with `terminal` if no other server could do better.
    pub(super) fn lose(
        &mut self,
        now: Micros,
        conn: ConnId,
        terminal: Option<ClientError>,
        must_close: bool,
    ) {
        // The shell may report the end of a connection that the engine has already closed.
        let Some(connection) = self.connections.remove(&conn) else { return };
        self.by_place.retain(|_, other| *other != conn);
        if must_close {
            self.outputs.push_back(Output::Close { conn });
        }
        let place = connection.place;
        let (sent, waiting) = connection.into_requests();
        for &id in &sent {
            if let Some(open) = self.open.get_mut(&id) {
                open.sent_on.retain(|other| *other != conn);
                open.is_outcome_open |= open.is_write();
            }
        }
        for id in sent.into_iter().chain(waiting) {
            let current = self.open.get(&id).and_then(|open| open.current);
            if current.is_none_or(|current| current.conn != conn) {
                continue;
            }
            match &terminal {
                None => self.send_failed(now, id),
                Some(error) if self.map_fetch == Some(id) => {
                    self.retire(now, id);
                    self.map_refused(now, place, error);
                }
                Some(error) => self.finish(now, id, Err(error.clone())),
            }
        }
    }

    /// Handles a server that is alive but has no room for this connection. Nothing has been sent on
    /// it, and it is no reason to use a stand-in.
    pub(super) fn no_room(&mut self, now: Micros, conn: ConnId, retry_after: Duration) {
        let connection = self
            .connections
            .remove(&conn)
            .expect("the server has just answered on this connection");
        self.by_place.retain(|_, other| *other != conn);
        self.outputs.push_back(Output::Close { conn });
        let place = connection.place;
        let (sent, waiting) = connection.into_requests();
        for id in sent.into_iter().chain(waiting) {
            // A request may end, or be routed elsewhere, while it waits for the connection.
            let Some(open) = self.open.get_mut(&id) else { continue };
            let Some(Current { trial, .. }) = open.current.filter(|c| c.conn == conn) else {
                continue;
            };
            match (&open.work, place) {
                (Work::Operation { .. }, Place::Server { server, .. }) => {
                    self.succeeded(now, server, trial);
                    self.overloaded_by_server(now, id, retry_after);
                }
                (Work::Question { target: Target::Any, .. }, Place::Server { server, .. }) => {
                    self.pass_over(now, id, server, Passed::NoRoom { retry_after });
                }
                (Work::Question { .. } | Work::Operation { .. }, _) => {
                    self.finish(now, id, Err(ClientError::Overloaded { retry_after }));
                }
                (Work::MapFetch, place) => {
                    self.retire(now, id);
                    self.fetch_map_elsewhere(now, place);
                }
                (Work::Ping, _) => self.retire(now, id),
            }
        }
    }

    /// Checks for silent connections.
    pub(super) fn check_connections(&mut self, now: Micros) {
        let conns: Vec<ConnId> = self.connections.keys().copied().collect();
        for conn in conns {
            let connection =
                self.connections.get_mut(&conn).expect("losing a connection closes no other");
            let place = connection.place;
            match connection.health(now, &self.config) {
                Health::Fine => {}
                Health::Dead => self.lose(now, conn, None, true),
                Health::PingDue => {
                    connection.pinged();
                    let id = self.insert(now, Work::Ping);
                    self.request(id).current = Some(Current { conn, place, trial: false });
                    self.transmit(now, conn, id);
                    self.mark_unsent(conn);
                }
            }
        }
    }

    /// Handles a live server that has not answered this send for half the operation timeout.
    pub(super) fn lose_patience(&mut self, now: Micros, id: u32, sends: u32) {
        // The request has ended before its timer.
        let Some(open) = self.open.get_mut(&id) else { return };
        if open.sends == sends && open.current.is_some() {
            open.is_outcome_open |= open.is_write();
            self.send_failed(now, id);
        }
    }

    /// Handles the failure of a request's current send.
    pub(super) fn send_failed(&mut self, now: Micros, id: u32) {
        let attempts_max = self.config.attempts;
        let open = self.request(id);
        let current = open.current.take().expect("a failed send must have been under way");
        let Current { place, trial, .. } = current;
        open.failures += 1;
        let failures = open.failures;
        match (&open.work, place) {
            (Work::Operation { .. }, Place::Server { server, .. }) => {
                match self.failed(now, server, failures, trial) {
                    Remedy::Resend if self.request(id).is_spent() => {
                        self.finish(now, id, Err(ClientError::OutcomeUnknown));
                    }
                    Remedy::Resend => self.place(now, id, place, false),
                    Remedy::NotifyAndStandIn | Remedy::StandIn => {
                        self.pass_over(now, id, server, Passed::Silent);
                    }
                }
            }
            (Work::Question { .. }, _) if failures < attempts_max => {
                self.place(now, id, place, false);
            }
            (Work::Question { target: Target::Any, .. }, Place::Server { server, .. }) => {
                self.pass_over(now, id, server, Passed::Silent);
            }
            (Work::Question { target, .. }, _) => {
                let target = *target;
                let error = self.no_answer(target);
                self.ended_without_answer(now, id, error);
            }
            (Work::MapFetch, place) => {
                self.retire(now, id);
                self.fetch_map_elsewhere(now, place);
            }
            (Work::Ping, _) => self.retire(now, id),
            (Work::Operation { .. }, Place::Master | Place::Seed(_)) => {
                unreachable!("operations are sent to servers only")
            }
        }
    }

    /// Routes a request to the next candidate, because this server does not serve it.
    pub(super) fn pass_over(&mut self, now: Micros, id: u32, server: u16, passed: Passed) {
        self.request(id).passed_over(server, passed);
        self.dispatch(now, id);
    }

    /// Reports a failed send to the server's failover machine, and to the master if failover mode begins.
    pub(super) fn failed(
        &mut self,
        now: Micros,
        server: u16,
        failures: u32,
        trial: bool,
    ) -> Remedy {
        let machine = self.router().machine(server);
        let was_trial = machine.state() == State::Trial;
        let remedy = machine.failure(now, failures, trial);
        if remedy == Remedy::NotifyAndStandIn {
            self.event(ClientEvent::EnteredFailover { server, attempts: failures });
            self.notify(now, DatagramKind::ReportFailed, server, failures);
        } else if was_trial && trial {
            self.event(ClientEvent::TrialFailed { server });
        }
        remedy
    }

    /// Notes that the request that tried a server has ended without the server's answer.
    pub(super) fn trial_failed(&mut self, now: Micros, server: u16) {
        self.failed(now, server, 0, true);
    }

    /// Handles a server that says that it is stopping.
    pub(super) fn leaving(&mut self, now: Micros, server: u16) {
        let machine = self.router().machine(server);
        let before = machine.state();
        machine.leaving(now);
        match before {
            State::Home => self.event(ClientEvent::EnteredFailover { server, attempts: 0 }),
            State::Trial => self.event(ClientEvent::TrialFailed { server }),
            State::Failover { .. } => {}
        }
    }

    /// Notes that the server has answered. If it was on trial, failover mode ends (claim 14).
    pub(super) fn succeeded(&mut self, now: Micros, server: u16, trial: bool) {
        if self.router().machine(server).success(trial) {
            self.event(ClientEvent::LeftFailover { server, by_map: false });
            self.notify(now, DatagramKind::ReportOk, server, 0);
        }
    }

    /// Returns the router. There is one if something was sent to a server.
    fn router(&mut self) -> &mut Router {
        self.router.as_mut().expect("servers are known only from a map")
    }

    fn notify(&mut self, now: Micros, kind: DatagramKind, server: u16, attempts: u32) {
        let nonce = self.notices.open(now, kind, server, attempts);
        self.event(ClientEvent::Reported { kind, server, nonce });
    }
}
