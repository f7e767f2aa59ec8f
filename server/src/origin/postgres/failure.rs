//! The server's errors as what a caller may conclude from them.
//!
//! An ERROR ends a statement, and with it its transaction: it was not executed. A
//! FATAL or PANIC ends the session, perhaps after a COMMIT that it no longer reports.

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::origin::Failure;

/// What an error means for the call that met it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The connection is lost; what was sent on it may have been executed.
    Lost,
    /// The prepared statement must be prepared anew; it was not executed.
    Stale,
    /// The server has answered.
    Failed(Failure),
}

pub(super) fn judge(error: &Error, is_write: bool) -> Verdict {
    match error.as_db_error() {
        Some(error) => judge_answer(error, is_write),
        None => Verdict::Lost,
    }
}

fn judge_answer(error: &DbError, is_write: bool) -> Verdict {
    if matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) {
        return Verdict::Lost;
    }
    let code = error.code();
    if *code == SqlState::INVALID_SQL_STATEMENT_NAME
        || (*code == SqlState::FEATURE_NOT_SUPPORTED && error.message().contains("cached plan"))
    {
        return Verdict::Stale;
    }
    Verdict::Failed(match code.code() {
        // statement_completion_unknown: databases of many machines say so.
        "40003" if is_write => Failure::OutcomeUnknown,
        // query_canceled: the session's statement_timeout.
        "57014" if !is_write => Failure::Timeout,
        // lock_not_available; read_only_sql_transaction: a standby, or one to be.
        "55P03" | "25006" => Failure::Unavailable,
        // Connection, transaction rollback (deadlock, serialization), resources (disk
        // full), operator intervention, system: it would not fail for ever.
        code if ["08", "40", "53", "57", "58"].contains(&code.get(..2).unwrap_or_default()) => {
            Failure::Unavailable
        }
        code => {
            let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
            Failure::Rejected(format!("{}{detail} (SQLSTATE {code})", error.message()))
        }
    })
}
