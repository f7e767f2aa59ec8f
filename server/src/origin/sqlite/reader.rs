//! A reader thread. It executes one read after another. Each sees everything that was committed
//! before it began.

use std::time::Duration;

use bytes::Bytes;
use rusqlite::types::ValueRef;
use standin_config::sql::Translated;
use standin_protocol::time::Micros;

use super::connection::{Access, Connection};
use super::failure::{Trouble, TroubleKind};
use super::{LOOK_AGAIN, Shared};
use crate::origin::queue::{Job, Lane, Next};
use crate::origin::statements::Keyspace;
use crate::origin::ticket::Ticket;
use crate::origin::value::flags_of;
use crate::origin::{Call, Failure, Outcome, RowValue};

/// The time for which a check that the file is still the same is valid. The check costs a system
/// call, of which a read has few.
const CHECK_EVERY: Duration = Duration::from_millis(10);

/// The thread's body: takes reads until it is told to stop.
pub(super) fn run(shared: &Shared, index: usize, reads: &Lane) {
    let mut reader = Reader { shared, connection: None, checked: Micros(0) };
    let mut wakes = 0;
    reads.reset(index);
    loop {
        let within = reader.connection.is_none().then_some(LOOK_AGAIN);
        match reads.wait(index, within, &mut wakes) {
            Next::Job(job) => {
                standin_protocol::fault::point();
                let Job { call, ticket, .. } = job;
                reader.serve(&call, ticket);
                reads.done(index, &call.key);
            }
            Next::Nothing => reader.look(),
            Next::Stop => return,
        }
    }
}

struct Reader<'s> {
    shared: &'s Shared,
    connection: Option<Connection>,
    /// The time at which the connection's file was last known to be the one at the path.
    checked: Micros,
}

impl Reader<'_> {
    fn serve(&mut self, call: &Call, ticket: Ticket) {
        if !ticket.start() {
            return;
        }
        let shared = self.shared;
        let outcome = match self.connection() {
            None => Err(shared.unavailable()),
            Some(connection) => {
                connection.set_deadline(ticket.due());
                match read(connection, shared, call) {
                    Ok(value) => Ok(value),
                    Err(ReadError::Call(failure)) => Err(failure),
                    Err(ReadError::Sqlite(trouble)) => {
                        shared.log_failure(call, &trouble);
                        Err(self.fail(&trouble))
                    }
                }
            }
        };
        ticket.finish(match outcome {
            Ok(value) => Outcome::Value(value),
            Err(failure) => Outcome::Failed(failure),
        });
    }

    /// Called when there is no work: closes the connection if all have to be closed, and opens it
    /// if it is not open.
    fn look(&mut self) {
        if self.shared.gate.is_condemned() {
            self.connection = None;
        }
        if self.connection.is_none() {
            self.connection = self.shared.try_open(Access::Read);
        }
    }

    fn connection(&mut self) -> Option<&Connection> {
        let now = Micros::boottime();
        let is_due = now.since(self.checked) >= CHECK_EVERY;
        if is_due || self.shared.gate.is_condemned() {
            self.checked = now;
            if self
                .connection
                .as_ref()
                .is_some_and(|open| !open.is_current(&self.shared.setup.path))
            {
                self.connection = None;
            }
        }
        if self.connection.is_none() {
            self.connection = self.shared.try_open(Access::Read);
        }
        self.connection.as_ref()
    }

    fn fail(&mut self, trouble: &Trouble) -> Failure {
        match trouble.kind {
            TroubleKind::Interrupted => Failure::Timeout,
            TroubleKind::Broken => {
                self.shared.health.mark_down(trouble);
                self.connection = None;
                trouble.failure()
            }
            _ => trouble.failure(),
        }
    }
}

pub(super) enum ReadError {
    Call(Failure),
    Sqlite(Trouble),
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        Self::Call(failure)
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error.into())
    }
}

fn read(
    connection: &Connection,
    shared: &Shared,
    call: &Call,
) -> Result<Option<RowValue>, ReadError> {
    let (keyspace, statement) = shared.setup.statements.of(call)?;
    read_row(connection, keyspace, statement, call)
}

/// Returns the content of the first row that a keyspace's `get` finds.
pub(super) fn read_row(
    connection: &Connection,
    keyspace: &Keyspace,
    get: &Translated,
    call: &Call,
) -> Result<Option<RowValue>, ReadError> {
    let mut params = Vec::with_capacity(1);
    for parameter in &get.parameters {
        params.push(keyspace.param(*parameter, call)?);
    }
    let mut prepared = connection.bind(get, &params).map_err(ReadError::Sqlite)?;
    let mut rows = prepared.raw_query();
    let value = match rows.next()? {
        None => None,
        Some(row) => content(keyspace, row)?,
    };
    Ok(value)
}

/// Returns the content of a row: its first column, and the second if that has the flags.
pub(super) fn content(
    keyspace: &Keyspace,
    row: &rusqlite::Row<'_>,
) -> Result<Option<RowValue>, ReadError> {
    let Some(bytes) = to_wire(row.get_ref(0)?)? else { return Ok(None) };
    let flags = match keyspace.has_flags() {
        true => flags(row.get_ref(1)?)?,
        false => 0,
    };
    Ok(Some(RowValue { bytes, flags }))
}

/// Converts the flags of a row. A row that another program has written may have none.
fn flags(column: ValueRef<'_>) -> Result<u32, Failure> {
    match column {
        ValueRef::Null => Ok(0),
        ValueRef::Integer(number) => flags_of(number),
        _ => Err(Failure::Rejected("the row's flags are not an integer".to_owned())),
    }
}

/// Converts a value for the client. SQLite's columns contain values of any type, whatever their
/// declaration.
fn to_wire(column: ValueRef<'_>) -> Result<Option<Bytes>, Failure> {
    match column {
        ValueRef::Null => Ok(None),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(Some(Bytes::copy_from_slice(bytes))),
        ValueRef::Integer(number) => Ok(Some(Bytes::from(number.to_string()))),
        ValueRef::Real(_) => Err(Failure::Rejected(
            "the value is a floating-point number, which has more than one text form; write \
             CAST(… AS TEXT) in `get`"
                .to_owned(),
        )),
    }
}
