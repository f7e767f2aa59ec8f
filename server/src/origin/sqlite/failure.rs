//! The classification of SQLite's errors by what a caller may conclude from them.

use rusqlite::ErrorCode;

use crate::origin::{Failure, shortened};

/// An error of SQLite after which the statement has certainly not changed the database.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) kind: TroubleKind,
    /// The extended result code, if the error is SQLite's.
    code: Option<i32>,
    message: String,
}

/// The kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TroubleKind {
    /// The lock was held elsewhere for longer than the call may take.
    Busy,
    /// The call took too long, and was interrupted.
    Interrupted,
    /// Disk or memory is full. The connection can still be used.
    Full,
    /// The file can no longer be used through this connection.
    Broken,
    /// A constraint failed. In a batch it may be one that is only checked at COMMIT.
    Constraint,
    /// The statement or its values are wrong.
    Statement,
}

impl Trouble {
    /// Returns the answer to a call whose statement failed with this.
    pub(super) fn failure(&self) -> Failure {
        match self.kind {
            TroubleKind::Busy
            | TroubleKind::Interrupted
            | TroubleKind::Full
            | TroubleKind::Broken => Failure::Refused(self.message.clone()),
            TroubleKind::Constraint | TroubleKind::Statement => {
                Failure::Rejected(self.message.clone())
            }
        }
    }

    /// Returns the answer to a write that may have been committed nevertheless.
    pub(super) fn doubt(&self) -> Failure {
        Failure::Doubtful(self.message.clone())
    }

    /// Returns the code by which the log groups errors.
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

fn kind_of(error: &rusqlite::Error) -> TroubleKind {
    let Some(code) = error.sqlite_error_code() else {
        return TroubleKind::Statement;
    };
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => TroubleKind::Busy,
        ErrorCode::OperationInterrupted | ErrorCode::OperationAborted => TroubleKind::Interrupted,
        ErrorCode::DiskFull | ErrorCode::OutOfMemory => TroubleKind::Full,
        ErrorCode::CannotOpen
        | ErrorCode::SystemIoFailure
        | ErrorCode::NotADatabase
        | ErrorCode::DatabaseCorrupt
        | ErrorCode::PermissionDenied
        | ErrorCode::ReadOnly
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::NoLargeFileSupport => TroubleKind::Broken,
        ErrorCode::ConstraintViolation => TroubleKind::Constraint,
        _ => TroubleKind::Statement,
    }
}
