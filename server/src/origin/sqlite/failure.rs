//! SQLite's errors as what a caller may conclude from them.

use rusqlite::ErrorCode;

use crate::origin::{Failure, shortened};

/// An error of SQLite while the database was surely not changed by the statement.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    /// SQLite's extended result code, if it is SQLite that speaks.
    code: Option<i32>,
    message: String,
}

/// What kind of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Somebody else holds the lock for longer than the call may take.
    Busy,
    /// The call took longer than it may, and was interrupted.
    Interrupted,
    /// Disk or memory is full: the connection is sound.
    Full,
    /// The file cannot be used through this connection any more.
    Broken,
    /// A constraint; in a batch perhaps one that is only checked at COMMIT.
    Constraint,
    /// The statement or its values.
    Statement,
}

impl Trouble {
    /// The answer to a call whose statement met this.
    pub(super) fn failure(&self) -> Failure {
        match self.kind {
            Kind::Busy | Kind::Interrupted | Kind::Full | Kind::Broken => {
                Failure::Refused(self.message.clone())
            }
            Kind::Constraint | Kind::Statement => Failure::Rejected(self.message.clone()),
        }
    }

    /// The answer to a write that may have been committed all the same.
    pub(super) fn doubt(&self) -> Failure {
        Failure::Doubtful(self.message.clone())
    }

    /// Errors of one code are the same to the log.
    pub(super) fn code(&self) -> String {
        format!("{:?}", self.code)
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error().map(|error| error.extended_code);
        Self { kind: kind_of(&error), code, message: shortened(error.to_string()) }
    }
}

fn kind_of(error: &rusqlite::Error) -> Kind {
    let Some(code) = error.sqlite_error_code() else {
        return Kind::Statement;
    };
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Kind::Busy,
        ErrorCode::OperationInterrupted | ErrorCode::OperationAborted => Kind::Interrupted,
        ErrorCode::DiskFull | ErrorCode::OutOfMemory => Kind::Full,
        ErrorCode::CannotOpen
        | ErrorCode::SystemIoFailure
        | ErrorCode::NotADatabase
        | ErrorCode::DatabaseCorrupt
        | ErrorCode::PermissionDenied
        | ErrorCode::ReadOnly
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::NoLargeFileSupport => Kind::Broken,
        ErrorCode::ConstraintViolation => Kind::Constraint,
        _ => Kind::Statement,
    }
}
