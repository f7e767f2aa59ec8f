//! Cache-aside, as an application does it with a cache that knows of no database: a read that finds nothing in the cache
//! asks the database and puts the row into the cache; a write goes to the database first, and then deletes or sets the
//! cached value. Without a cache, the database alone.
//!
//! A request has failed if the cache or the database fails it, but for the value that could not be put into the cache: its
//! answer has arrived by then.

use std::rc::Rc;

use standin_protocol::frame::response_flags;
use standin_protocol::time::Micros;

use super::asked::Asked;
use super::database::DatabaseClient;
use super::request::{Job, Sent};
use super::shared::Shared;
use super::wire::WireClient;
use crate::database::Statement;
use crate::targets::AsideWrites;
use crate::targets::operation::{Action, Answer, Failure, Found, Question};

/// A client of a cache and of the database behind it.
pub(super) struct AsideClient {
    pub(super) cache: Option<WireClient>,
    pub(super) database: Rc<DatabaseClient>,
    pub(super) writes: AsideWrites,
    pub(super) ttl_s: u32,
}

impl AsideClient {
    /// Closes its connections to the cache, whatever is under way on them.
    pub(super) fn close(&self) {
        self.cache.iter().for_each(WireClient::close);
    }
}

/// What an application was told.
enum Told {
    /// The value, if there is one, and whether the cache had it.
    Read {
        value: Option<Vec<u8>>,
        is_hit: bool,
    },
    Done,
}

/// Carries out a job and those that follow from it, until none does.
pub(super) async fn run(shared: Rc<Shared>, client: Rc<AsideClient>, job: Job) {
    let mut next = Some(job);
    while let Some(job) = next {
        let Sent::One(flight, asked) = job.send(&shared, Micros::boottime()) else {
            unreachable!("options refuse requests for many keys of an application's cache")
        };
        let key = flight.name(&shared).into_vec();
        let told = client.carry_out(&shared, key, asked).await;
        let answer = |found, flags| Answer { found, flags, server: 0, sends: 1 };
        let ending = match &told {
            Ok(Told::Read { value: Some(value), is_hit }) => {
                let flags = if *is_hit { response_flags::HIT } else { 0 };
                Ok(answer(Found::Value(value), flags))
            }
            Ok(Told::Read { value: None, .. }) => Ok(answer(Found::Absent, 0)),
            Ok(Told::Done) => Ok(answer(Found::Done, 0)),
            Err(failure) => Err(failure.clone()),
        };
        next = flight.end(&shared, Micros::boottime(), ending);
    }
    drop(client);
    shared.end();
}

impl AsideClient {
    async fn carry_out(
        &self,
        shared: &Rc<Shared>,
        key: Vec<u8>,
        asked: Asked,
    ) -> Result<Told, Failure> {
        match asked {
            Asked::Read => self.read(shared, key).await,
            Asked::Write { value, ttl_s } => {
                self.database.ask(Statement::Put, key.clone(), value.clone()).await?;
                let action = match self.writes {
                    AsideWrites::Delete => Action::Delete,
                    AsideWrites::Set => Action::Put { value: &value, ttl_s },
                };
                self.cached(shared, &key, action).await?;
                Ok(Told::Done)
            }
            Asked::Delete => {
                self.database.ask(Statement::Delete, key.clone(), Vec::new()).await?;
                self.cached(shared, &key, Action::Delete).await?;
                Ok(Told::Done)
            }
            _ => unreachable!("options refuse requests that a keyspace has no statement for"),
        }
    }

    async fn read(&self, shared: &Rc<Shared>, key: Vec<u8>) -> Result<Told, Failure> {
        if let Some(value) = self.cached(shared, &key, Action::Get).await? {
            return Ok(Told::Read { value: Some(value), is_hit: true });
        }
        let value = self.database.ask(Statement::Get, key.clone(), Vec::new()).await?;
        if let Some(value) = &value {
            let ttl_s = self.ttl_s;
            // See the head of the file.
            let _ = self.cached(shared, &key, Action::Put { value, ttl_s }).await;
        }
        Ok(Told::Read { value, is_hit: false })
    }

    /// Asks the cache, if there is one. Returns the value that it has.
    async fn cached(
        &self,
        shared: &Rc<Shared>,
        key: &[u8],
        action: Action<'_>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        match &self.cache {
            Some(cache) => cache.ask(shared, &Question { key, action }).await,
            None => Ok(None),
        }
    }
}
