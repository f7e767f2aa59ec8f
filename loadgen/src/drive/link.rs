//! A worker's way to the target: takes a job, and sees to it that it ends.

use std::rc::Rc;

use standin_client::monoio::Client;
use standin_client::{Action, ClientError, Modification, Operation, Outcome};
use standin_protocol::modify::{Edit, Modify, Presence, Ttl, When};
use standin_protocol::time::Micros;

use super::request::{Asked, Job};
use super::shared::Shared;
use super::wire::WireClient;
use crate::recorder::FailureKind;
use crate::targets::operation::{Answer, Ending, Failure, Found};

/// One client of a target.
pub(super) enum Link {
    /// Standin's own client; the keyspace.
    Standin(Client, u8),
    /// A client of another cache.
    Wire(WireClient),
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
        }
    }
}

async fn run(shared: Rc<Shared>, client: Client, keyspace: u8, job: Job) {
    let mut next = Some(job);
    while let Some(job) = next {
        let (flight, asked) = job.send(&shared, Micros::boottime());
        let action = match asked {
            Asked::Read => Action::Get,
            Asked::Write { value, ttl_s } => Action::Put { value, ttl_s },
            Asked::Add { value, ttl_s } => Action::Modify(add(&value, ttl_s)),
            Asked::Touch { ttl_s } => Action::Touch { ttl_s },
            Asked::Delete => Action::Delete,
        };
        let key = shared.plan.keys.name(flight.key());
        let result = client.run(Operation { keyspace, key, action }).await;
        next = flight.end(&shared, Micros::boottime(), ending(&result));
    }
    drop(client);
    shared.end();
}

/// A write if there is no value.
fn add(value: &[u8], ttl_s: u32) -> Modification {
    let ttl = if ttl_s == 0 { Ttl::Keyspace } else { Ttl::For(u64::from(ttl_s) * 1_000) };
    let when = When { presence: Presence::Absent, ..When::ALWAYS };
    Modification::new(&Modify { when, ttl, ..Modify::new(Edit::Set) }, value, 0)
}

fn ending(result: &Result<standin_client::Answer, ClientError>) -> Ending<'_> {
    match result {
        Ok(answer) => {
            let found = match &answer.outcome {
                Outcome::Value(value) => Found::Value(&value.bytes),
                Outcome::NotFound => Found::Absent,
                Outcome::Unmet(_) => Found::Exists,
                _ => Found::Done,
            };
            let (flags, server, sends) = (answer.flags, answer.served_by, answer.sends);
            Ok(Answer { found, flags, server, sends })
        }
        Err(error) => Err(Failure { kind: FailureKind::from(error), text: error.to_string() }),
    }
}
