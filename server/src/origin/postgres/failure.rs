//! The classification of the server's errors by what a caller may conclude from them: by SQLSTATE
//! and, where that is not enough, by the routine that raised the error. Never by the message, which
//! may be in any language. docs/ORIGIN.md has a table.
//!
//! An ERROR ends a statement and its transaction, so the statement was not executed. A FATAL or
//! PANIC ends the session, perhaps after a COMMIT that is not reported.

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity};

use crate::origin::{Failure, shortened};

/// The meaning of an error for the call that got it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The connection is lost, and the statements sent on it may have been executed. The server's
    /// last message, if there was one.
    Lost(Option<String>),
    /// The prepared statement was not executed, and must be prepared again.
    Stale(Failure),
    /// The transaction was rolled back because of concurrent ones, and may succeed if repeated at
    /// once.
    Again(Failure),
    /// This connection's server is read-only; another may accept writes.
    ReadOnly(Failure),
    /// The server has answered.
    Failed(Failure),
}

pub(super) fn judge(error: &Error, is_write: bool) -> Verdict {
    let Some(error) = error.as_db_error() else { return Verdict::Lost(None) };
    let text = told(error);
    let severity = error.parsed_severity();
    let is_fatal = matches!(severity, Some(Severity::Fatal | Severity::Panic));
    match class(error.code().code(), error.routine()) {
        _ if is_fatal => Verdict::Lost(Some(text)),
        // Old servers report the severity only in their own language.
        Class::Lost if severity.is_none() => Verdict::Lost(Some(text)),
        Class::Stale => Verdict::Stale(Failure::Refused(text)),
        Class::Again => Verdict::Again(Failure::Refused(text)),
        Class::ReadOnly => Verdict::ReadOnly(Failure::Refused(text)),
        Class::Unknown if is_write => Verdict::Failed(Failure::Doubtful(text)),
        Class::Unknown | Class::Lost | Class::Later => Verdict::Failed(Failure::Refused(text)),
        Class::Never => Verdict::Failed(Failure::Rejected(text)),
    }
}

/// Returns the server's message, for people.
fn told(error: &DbError) -> String {
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    // The state comes first, so that it is not cut off.
    shortened(format!("SQLSTATE {}: {}{detail}", error.code().code(), error.message()))
}

/// Returns the SQLSTATE of an error, for counting; `None` if the connection is lost.
pub(super) fn state(error: &Error) -> Option<&str> {
    error.as_db_error().map(|error| error.code().code())
}

/// The classes of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The session has ended.
    Lost,
    Stale,
    Again,
    ReadOnly,
    /// It may have been executed.
    Unknown,
    /// It may succeed later.
    Later,
    /// It would fail again.
    Never,
}

fn class(state: &str, routine: Option<&str>) -> Class {
    match state {
        // The statement does not exist (any more), because of a pooler, DEALLOCATE or DISCARD.
        "26000" => Class::Stale,
        // "Cached plan must not change result type", after ALTER TABLE.
        "0A000" if routine == Some("RevalidateCachedQuery") => Class::Stale,
        // serialization_failure, also of a standby that is replaying; deadlock_detected.
        "40001" | "40P01" => Class::Again,
        // statement_completion_unknown, which distributed databases report.
        "40003" => Class::Unknown,
        // A constraint violation found at COMMIT.
        "40002" => Class::Never,
        // read_only_sql_transaction: a standby, or a primary that is becoming one.
        "25006" => Class::ReadOnly,
        // admin_shutdown, crash_shutdown, cannot_connect_now, database_dropped and
        // idle_session_timeout; idle_in_transaction_session_timeout.
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" => Class::Lost,
        // object_in_use, lock_not_available, snapshot_too_old, fdw_unable_to_establish_connection.
        "55006" | "55P03" | "72000" | "HV00N" => Class::Later,
        // Connection, transaction rollback, resources (disk full, out of memory, connections),
        // operator intervention (a statement's timeout), system.
        _ if ["08", "40", "53", "57", "58"].contains(&state.get(..2).unwrap_or_default()) => {
            Class::Later
        }
        _ => Class::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of docs/ORIGIN.md.
    #[test]
    fn every_class_is_decided_by_its_state() {
        let document = include_str!("../../../../docs/ORIGIN.md");
        let cases = [
            ("25006", Class::ReadOnly),
            ("40001", Class::Again),
            ("40P01", Class::Again),
            ("40003", Class::Unknown),
            ("57014", Class::Later),
            ("55P03", Class::Later),
            ("53100", Class::Later),
            ("53200", Class::Later),
            ("53300", Class::Later),
            ("57P01", Class::Lost),
            ("57P03", Class::Lost),
            ("26000", Class::Stale),
            ("23505", Class::Never),
            ("22003", Class::Never),
            ("42501", Class::Never),
            ("42P01", Class::Never),
            ("0A000", Class::Never),
        ];
        for (state, expected) in cases {
            assert_eq!(class(state, None), expected, "{state}");
            assert!(document.contains(state), "{state} is not documented");
        }
        assert_eq!(class("0A000", Some("RevalidateCachedQuery")), Class::Stale);
    }
}
