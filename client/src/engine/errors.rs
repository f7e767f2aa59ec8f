//! The reasons why requests were not served, and the errors that follow from them.

use std::time::Duration;

use standin_protocol::frame::Status;

use super::Engine;
use crate::operation::{ClientError, Question, Target};

/// The reason why a server did not serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// It is silent, refuses connections, or is offline by the map.
    Silent,
    /// It has answered that it can't serve the request now.
    Unready,
    /// It has answered that it has no room.
    NoRoom { retry_after: Duration },
}

impl Engine {
    /// The error of an operation that none of these servers has served.
    pub(super) fn unavailable(&self, passed: &[(u16, Passed)]) -> ClientError {
        let names = |is_silent| {
            let these = passed.iter().filter(|(_, why)| (*why == Passed::Silent) == is_silent);
            these.map(|(server, _)| self.named(*server)).collect()
        };
        ClientError::Unavailable { silent: names(true), unready: names(false) }
    }

    /// The error of a question to any server that none has answered: for the best of their reasons.
    pub(super) fn nobody(&self, question: Question, passed: &[(u16, Passed)]) -> ClientError {
        let room = passed.iter().find_map(|(_, passed)| match passed {
            Passed::NoRoom { retry_after } => Some(*retry_after),
            Passed::Silent | Passed::Unready => None,
        });
        match room {
            Some(retry_after) => ClientError::Overloaded { retry_after },
            None if passed.iter().any(|(_, passed)| *passed == Passed::Unready) => {
                self.not_ready(Target::Any, question, Status::Unavailable, "")
            }
            None => self.no_answer(Target::Any),
        }
    }

    /// The error of a question that was answered with this status, which means: not now.
    pub(super) fn not_ready(
        &self,
        target: Target,
        question: Question,
        status: Status,
        why: &str,
    ) -> ClientError {
        const REMEDY: &str =
            "is the master running, and do UDP datagrams pass between it and the servers?";
        ClientError::NotReady(match (question, target) {
            _ if status != Status::Unavailable => {
                format!("{} answered {} with {status}", self.party(target), question.opcode())
            }
            (Question::Map, Target::Master) => "the master has no map yet, because it is still \
                 learning the servers' states; try again in a few seconds"
                .to_owned(),
            (Question::Map, Target::Server(_) | Target::Any) => {
                format!("{} has no map yet; {REMEDY}", self.party(target))
            }
            (
                Question::Ping { .. } | Question::Stats | Question::Hot | Question::Walk { .. },
                _,
            ) => {
                let (party, opcode) = (self.party(target), question.opcode());
                format!("{party} answered {opcode} with {status}: {why}")
            }
        })
    }

    fn party(&self, target: Target) -> String {
        match target {
            Target::Server(id) => self.named(id),
            Target::Master => "the master".to_owned(),
            Target::Any => "every server that answers".to_owned(),
        }
    }

    pub(super) fn no_answer(&self, target: Target) -> ClientError {
        ClientError::NoAnswer(match target {
            Target::Server(id) => format!("{} does not answer; is it", self.named(id)),
            Target::Master => "the master does not answer; is it".to_owned(),
            Target::Any => "no server answers; are they".to_owned(),
        })
    }

    /// Returns the name and address of a server.
    fn named(&self, server: u16) -> String {
        let servers = self.router.as_ref().map(|router| &router.map().topology.servers);
        match servers.and_then(|servers| servers.get(usize::from(server))) {
            Some(info) => format!("{} ({})", info.name, info.address),
            None => format!("server number {server}"),
        }
    }
}
