//! Handling of received bytes: bytes become replies, and replies become results.

use std::sync::Arc;
use std::time::Duration;

use standin_protocol::body::{PingReply, StatsReply};
use standin_protocol::frame::{FrameError, Status};
use standin_protocol::handshake::CallerError;
use standin_protocol::hello::HelloReply;
use standin_protocol::hot::HotReply;
use standin_protocol::map::ClusterMap;
use standin_protocol::time::Micros;
use standin_tls::Failure;

use super::connection::Place;
use super::errors::Passed;
use super::operations::Work;
use super::{ConnId, Engine, Timer};
use crate::config::ClientConfig;
use crate::operation::{
    Action, Answer, ClientError, EncodedReply, Operation, Outcome, Question, Target, Value,
};
use crate::session::{Incoming, Reply, SessionError};

/// The id of the master, in `served_by` and in the `server` of its hello.
const MASTER: u16 = 0xFFFF;

impl Engine {
    pub(super) fn received(&mut self, now: Micros, conn: ConnId, bytes: &[u8]) {
        // The shell may have read from a connection that the engine has closed since.
        let Some(session) =
            self.connections.get_mut(&conn).and_then(|connection| connection.session())
        else {
            return;
        };
        session.receive(bytes);
        // A message may close the connection.
        while let Some(connection) = self.connections.get_mut(&conn) {
            let place = connection.place;
            match connection.session().map(|session| session.poll()) {
                Some(Ok(Some(Incoming::Ready(hello)))) => self.greeted(now, conn, place, hello),
                Some(Ok(Some(Incoming::Reply(reply)))) => self.replied(now, conn, place, reply),
                Some(Err(error)) => return self.broken(now, conn, place, &error),
                Some(Ok(None)) | None => break,
            }
        }
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.heard(now);
            self.transmit_waiting(now, conn);
        }
    }

    fn greeted(&mut self, now: Micros, conn: ConnId, place: Place, hello: HelloReply) {
        let is_expected = match place {
            Place::Server { server, .. } => hello.server == server,
            Place::Master => hello.server == MASTER,
            Place::Seed(_) => true,
        };
        if self.cluster_id != 0 && hello.cluster_id != self.cluster_id || !is_expected {
            // Another process has the address. That is the same as no server there.
            self.doubt(now);
            self.lose(now, conn, None, true);
        }
    }

    fn broken(&mut self, now: Micros, conn: ConnId, place: Place, error: &SessionError) {
        if let SessionError::Handshake(CallerError::NoRoom { retry_after_ms }) = error {
            return self.no_room(now, conn, Duration::from_millis((*retry_after_ms).into()));
        }
        let is_misplaced = *error == CallerError::Refused(Status::NoSuchShard).into();
        if is_misplaced {
            self.doubt(now);
        }
        let terminal = match error {
            // The request is sent again when it is known how many shards the server has.
            _ if is_misplaced && self.doubt.is_open() => None,
            SessionError::Handshake(CallerError::AuthFailed) => Some(ClientError::AuthFailed),
            SessionError::TlsOnly => self.connections.get(&conn).map(|connection| {
                ClientError::Tls { addr: connection.addr, failure: Failure::Wanted }
            }),
            SessionError::Handshake(CallerError::Refused(
                Status::NoSuchShard | Status::UnsupportedVersion,
            ))
            | SessionError::Frame(FrameError::BadVersion(_)) => {
                Some(ClientError::Protocol(error.to_string()))
            }
            SessionError::Handshake(CallerError::Refused(Status::ShuttingDown)) => {
                if let Place::Server { server, .. } = place {
                    self.leaving(now, server);
                }
                None
            }
            _ => None,
        };
        tracing::debug!(?place, %error, "connection given up");
        self.lose(now, conn, terminal, true);
    }

    fn replied(&mut self, now: Micros, conn: ConnId, place: Place, reply: Reply) {
        let id = reply.header.request_id;
        let tag = reply.header.map_epoch;
        // The request has ended meanwhile.
        let Some(open) = self.open.get_mut(&id) else { return };
        open.sent_on.retain(|other| *other != conn);
        let is_current = open.current.is_some_and(|current| current.conn == conn);
        let server = match place {
            Place::Server { server, .. } => server,
            Place::Master | Place::Seed(_) => MASTER,
        };
        match &open.work {
            Work::Ping => self.retire(now, id),
            Work::MapFetch => return self.map_fetched(now, conn, id, &reply),
            Work::Question { target, question, .. } => {
                let (target, question) = (*target, *question);
                self.question_replied(now, id, server, target, question, &reply);
            }
            Work::Operation { .. } if is_current => {
                self.operation_replied(now, conn, id, server, reply);
            }
            // This is a late answer from a server that was given up. Both sends carried the same
            // identity and value. So if the answer says that the write is done, it is done.
            Work::Operation { operation, .. } => {
                if matches!(reply.status, Status::Ok | Status::NotFound) {
                    let (flags, sends) = (reply.header.flags, open.sends);
                    let outcome = result_of(&self.config, operation, reply);
                    self.finish(now, id, answer(outcome, server, flags, sends));
                }
            }
        }
        self.see_tag(now, conn, tag);
    }

    fn question_replied(
        &mut self,
        now: Micros,
        id: u32,
        server: u16,
        target: Target,
        question: Question,
        reply: &Reply,
    ) {
        let retry_after = Duration::from_millis(reply.header.retry_after_ms.into());
        let passed = match reply.status {
            Status::Unavailable | Status::ShuttingDown => Some(Passed::Unready),
            Status::Overloaded => Some(Passed::NoRoom { retry_after }),
            _ => None,
        };
        match passed {
            // Another server may know what this one can't tell.
            Some(passed) if target == Target::Any => self.pass_over(now, id, server, passed),
            Some(Passed::NoRoom { retry_after }) => {
                self.finish(now, id, Err(ClientError::Overloaded { retry_after }));
            }
            Some(Passed::Unready | Passed::Silent) => {
                let error = self.not_ready(target, question, reply.status, &text(reply));
                self.finish(now, id, Err(error));
            }
            None => {
                let (flags, sends) = (reply.header.flags, self.request(id).sends);
                let outcome = answer_to_question(question, reply);
                self.finish(now, id, answer(outcome, server, flags, sends));
            }
        }
    }

    fn operation_replied(&mut self, now: Micros, conn: ConnId, id: u32, server: u16, reply: Reply) {
        // This reply decides the trial, whatever else happens to the operation.
        let trial = self.request(id).current.as_mut().is_some_and(|c| std::mem::take(&mut c.trial));
        if reply.status == Status::ShuttingDown {
            self.leaving(now, server);
            return self.pass_over(now, id, server, Passed::Unready);
        }
        self.succeeded(now, server, trial);
        match reply.status {
            Status::Unavailable => self.pass_over(now, id, server, Passed::Unready),
            Status::NotOwner => {
                self.fetch_map(now, conn);
                self.pass_over(now, id, server, Passed::Unready);
            }
            Status::Overloaded => {
                self.overloaded_by_server(
                    now,
                    id,
                    Duration::from_millis(reply.header.retry_after_ms.into()),
                );
            }
            _ => {
                let open = self.open.get(&id).expect("it is being answered");
                let Work::Operation { operation, .. } = &open.work else {
                    unreachable!("the reply belongs to an operation");
                };
                let (flags, sends) = (reply.header.flags, open.sends);
                let outcome = result_of(&self.config, operation, reply);
                self.finish(now, id, answer(outcome, server, flags, sends));
            }
        }
    }

    /// Handles a server that has no room for the request now: sends it once more to the same server
    /// later. The load would only overwhelm a stand-in.
    pub(super) fn overloaded_by_server(&mut self, now: Micros, id: u32, retry_after: Duration) {
        let retry_after = retry_after.max(Duration::from_millis(1));
        let open = self.request(id);
        if open.overloads == 0 && now + retry_after < open.deadline {
            open.overloads = 1;
            open.current = None;
            self.set_timer(now + retry_after, Timer::Dispatch(id));
        } else {
            self.finish(now, id, Err(ClientError::Overloaded { retry_after }));
        }
    }
}

fn answer(
    outcome: Result<Outcome, ClientError>,
    served_by: u16,
    flags: u8,
    sends: u32,
) -> Result<Answer, ClientError> {
    Ok(Answer { outcome: outcome?, served_by, flags, sends })
}

fn result_of(
    config: &ClientConfig,
    operation: &Operation,
    reply: Reply,
) -> Result<Outcome, ClientError> {
    if let Action::Encoded(_) = operation.action {
        let Reply { header, status, value } = reply;
        return Ok(Outcome::Encoded(EncodedReply { header, status, value }));
    }
    let keyspace = || config.keyspace(operation.keyspace);
    let version = reply.header.cas_version;
    let ttl_s = reply.header.ttl_s;
    Ok(match (reply.status, &operation.action) {
        (Status::Ok, Action::Get) => Outcome::Value(Value { bytes: reply.value, version, ttl_s }),
        (Status::Ok, Action::Put { .. } | Action::Cas { .. }) => Outcome::Written { version },
        (Status::Ok, Action::Modify(_)) => {
            Outcome::Modified(Value { bytes: reply.value, version, ttl_s })
        }
        (Status::NotStored, Action::Modify(_)) => {
            Outcome::Unmet(Value { bytes: reply.value, version, ttl_s })
        }
        (Status::NotANumber | Status::OutOfRange, _) => return Err(ClientError::NotANumber),
        (Status::Ok, Action::Delete) => Outcome::Deleted,
        (Status::Ok, Action::Touch { .. }) => Outcome::Touched { ttl_s },
        // A value that is not cached counts as dropped.
        (Status::Ok | Status::NotFound, Action::Invalidate) => Outcome::Invalidated,
        (Status::Ok, Action::Flush) => Outcome::Flushed,
        (Status::NotFound, _) => Outcome::NotFound,
        (Status::VersionMismatch, _) => Outcome::Mismatch { version },
        (Status::OriginUnavailable, _) => {
            return Err(ClientError::OriginUnavailable(text(&reply)));
        }
        (Status::OriginRejected, _) => return Err(ClientError::OriginRejected(text(&reply))),
        (Status::NotStored, _) => {
            return Err(ClientError::NotStored { keyspace: keyspace() });
        }
        (Status::OutcomeUnknown, _) => return Err(ClientError::OutcomeUnknown),
        (Status::DeadlineExceeded, _) => return Err(ClientError::DeadlineExceeded),
        (Status::UnknownKeyspace, _) => {
            return Err(ClientError::UnknownKeyspace(keyspace()));
        }
        (Status::TooLarge, _) => return Err(ClientError::TooLarge(text(&reply))),
        (Status::NotSupported, action) => {
            let (keyspace, opcode) = (keyspace(), action.opcode());
            return Err(ClientError::NotSupported { keyspace, opcode });
        }
        (Status::NotPermitted, action) => {
            let place = format!("keyspace {}", keyspace());
            return Err(ClientError::NotPermitted { opcode: action.opcode(), place });
        }
        (Status::AuthRequired | Status::AuthFailed, _) => return Err(ClientError::AuthFailed),
        (status, _) => {
            return Err(ClientError::Protocol(format!("the server answered with {status}")));
        }
    })
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.value).into_owned()
}

fn answer_to_question(question: Question, reply: &Reply) -> Result<Outcome, ClientError> {
    if reply.status == Status::NotPermitted {
        let (opcode, place) = (question.opcode(), "all keyspaces".to_owned());
        return Err(ClientError::NotPermitted { opcode, place });
    }
    if reply.status != Status::Ok {
        let text = format!("{} was answered with {}", question.opcode(), reply.status);
        return Err(ClientError::Protocol(text));
    }
    let unreadable = |error: &dyn std::fmt::Display| ClientError::Protocol(error.to_string());
    match question {
        Question::Ping { .. } => {
            PingReply::from_bytes(&reply.value).map(Outcome::Ping).map_err(|e| unreadable(&e))
        }
        Question::Stats => {
            StatsReply::from_bytes(&reply.value).map(Outcome::Stats).map_err(|e| unreadable(&e))
        }
        Question::Hot => {
            HotReply::from_bytes(&reply.value).map(Outcome::Hot).map_err(|e| unreadable(&e))
        }
        Question::Map => ClusterMap::from_bytes(&reply.value)
            .map(|map| Outcome::Map(Arc::new(map)))
            .map_err(|e| unreadable(&e)),
        Question::Walk { .. } => {
            Ok(Outcome::Walked { value: reply.value.clone(), map_tag: reply.header.map_epoch })
        }
    }
}
