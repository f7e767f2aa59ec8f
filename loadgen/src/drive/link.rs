//! A worker's way to the target: takes a job, and sees to it that it ends.

use std::rc::Rc;

use standin_client::monoio::Client;
use standin_client::{Action, ClientError, Modification, Operation, Outcome};
use standin_protocol::modify::{Edit, Gives, Modify, Presence, Ttl, When};
use standin_protocol::time::Micros;

use super::aside::{self, AsideClient};
use super::asked::Asked;
use super::database::DatabaseClient;
use super::many::{KeyAnswer, Many};
use super::request::{Job, Sent};
use super::shared::Shared;
use super::wire::WireClient;
use crate::recorder::FailureKind;
use crate::targets::operation::{Answer, Ending, Failure, Found, Kind};

/// One client of a target.
pub(super) enum Link {
    /// Standin's own client; the keyspace.
    Standin(Client, u8),
    /// A client of another cache.
    Wire(WireClient),
    /// An application with a database.
    Aside(Rc<AsideClient>),
}

impl Link {
    /// Sends a job, and those that follow from it, until none does.
    pub(super) fn begin(&self, shared: &Rc<Shared>, job: Job) {
        shared.begin();
        match self {
            Self::Standin(client, keyspace) => {
                let (shared, client) = (Rc::clone(shared), client.clone());
                monoio::spawn(run(shared, client, *keyspace, job));
            }
            Self::Wire(client) => client.submit(shared, job),
            Self::Aside(client) => {
                monoio::spawn(aside::run(Rc::clone(shared), Rc::clone(client), job));
            }
        }
    }

    /// Closes its connections to a cache, whatever is under way on them: what waits for it keeps the client itself.
    pub(super) fn close(&self) {
        match self {
            // Without its loop, it does nothing more.
            Self::Standin(..) => {}
            Self::Wire(client) => client.close(),
            Self::Aside(client) => client.close(),
        }
    }

    /// The database, which [`Self::close`] leaves open.
    pub(super) fn database(&self) -> Option<&DatabaseClient> {
        match self {
            Self::Standin(..) | Self::Wire(_) => None,
            Self::Aside(client) => Some(&client.database),
        }
    }
}

async fn run(shared: Rc<Shared>, client: Client, keyspace: u8, job: Job) {
    let mut next = Some(job);
    while let Some(job) = next {
        next = match job.send(&shared, Micros::boottime()) {
            Sent::One(flight, asked) => {
                let kind = asked.action().kind();
                let key = flight.name(&shared).into_vec();
                let action = action(asked);
                let result = client.run(Operation { keyspace, key, action }).await;
                flight.end(&shared, Micros::boottime(), ending(kind, &result))
            }
            Sent::Many(keys) => {
                run_many(&shared, &client, keyspace, Many::new(&shared, keys)).await
            }
        };
    }
    drop(client);
    shared.end();
}

/// Sends the requests for all keys at once, as the client's own `get_many`, and waits for the last answer.
async fn run_many(
    shared: &Rc<Shared>,
    client: &Client,
    keyspace: u8,
    mut many: Many,
) -> Option<Job> {
    let get = |key| Operation { keyspace, key, action: Action::Get };
    let operations = many.names(shared).into_iter().map(get).collect();
    let results = client.run_all(operations).await;
    let now = Micros::boottime();
    for (place, result) in results.iter().enumerate() {
        match result {
            Ok(answer) => {
                let value = match &answer.outcome {
                    Outcome::Value(value) => Some(value.bytes.as_slice()),
                    _ => None,
                };
                let (flags, server, sends) = (answer.flags, answer.served_by, answer.sends);
                many.answered(shared, now, place, KeyAnswer { value, flags, server, sends });
            }
            Err(error) => many.failed(shared, &[place], failure(error)),
        }
    }
    many.end(shared, now)
}

fn action(asked: Asked) -> Action {
    match asked {
        Asked::Read | Asked::ReadMany { .. } | Asked::ReadVersion { .. } => Action::Get,
        Asked::Write { value, ttl_s } => Action::Put { value, ttl_s },
        Asked::Add { value, ttl_s } => Action::Modify(add(&value, ttl_s)),
        Asked::Touch { ttl_s } => Action::Touch { ttl_s },
        Asked::Delete => Action::Delete,
        Asked::Increment { by } => {
            let edit = Edit::Increment(by.into());
            let modify = Modify { gives: Gives::New, ..Modify::new(edit) };
            Action::Modify(Modification::new(&modify, &[], 0))
        }
        Asked::Swap { version, value, ttl_s, .. } => Action::Cas { version, value, ttl_s },
    }
}

/// A write if there is no value.
fn add(value: &[u8], ttl_s: u32) -> Modification {
    let ttl = if ttl_s == 0 { Ttl::Keyspace } else { Ttl::For(u64::from(ttl_s) * 1_000) };
    let when = When { presence: Presence::Absent, ..When::ALWAYS };
    Modification::new(&Modify { when, ttl, ..Modify::new(Edit::Set) }, value, 0)
}

fn ending(kind: Kind, result: &Result<standin_client::Answer, ClientError>) -> Ending<'_> {
    let answer = match result {
        Ok(answer) => answer,
        Err(error) => return Err(failure(error)),
    };
    let found = match &answer.outcome {
        // A value that is not cached has no version, and can't be replaced on condition of it.
        Outcome::Value(value) if kind == Kind::Gets && value.version > 0 => {
            Found::Versioned(&value.bytes, value.version)
        }
        Outcome::Value(value) => Found::Value(&value.bytes),
        Outcome::Modified(value) if kind == Kind::Increment => match number(&value.bytes) {
            Some(number) => Found::Number(number),
            None => {
                let text = format!("a sum that is no number: {}", value.bytes.escape_ascii());
                return Err(Failure { kind: FailureKind::Protocol, text });
            }
        },
        Outcome::NotFound => Found::Absent,
        Outcome::Unmet(_) | Outcome::Mismatch { .. } => Found::Exists,
        _ => Found::Done,
    };
    let (flags, server, sends) = (answer.flags, answer.served_by, answer.sends);
    Ok(Answer { found, flags, server, sends })
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn failure(error: &ClientError) -> Failure {
    Failure { kind: FailureKind::from(error), text: error.to_string() }
}
