//! The replies to requests that could not be carried out.

use super::resp::end;
use super::said::Said;
use crate::node::{AnswerHead, Status};

/// The longest explanation, in bytes.
const TEXT_BYTES_MAX: usize = 200;

/// Appends the reply. Its first word tells clients what to do, as Redis' own: after TRYAGAIN and
/// CLUSTERDOWN the command has not been executed and may be sent again; after LOADING, over another
/// connection.
#[cold]
pub(super) fn failure(head: &AnswerHead, value: &[u8], out: &mut Vec<u8>) {
    let text = match head.status {
        Status::NotANumber => Said::NotInteger.text(),
        Status::OutOfRange => Said::WouldOverflow.text(),
        Status::TooLarge if value.is_empty() => Said::StringTooLong.text(),
        Status::Overloaded => "-TRYAGAIN this server is out of memory or overloaded",
        Status::Unavailable => "-CLUSTERDOWN the owner of the key is unavailable",
        Status::ShuttingDown => "-LOADING this server is shutting down",
        Status::OutcomeUnknown if value.is_empty() => {
            "-ERR OUTCOME_UNKNOWN: it may have been carried out; read before it is sent again"
        }
        Status::DeadlineExceeded if value.is_empty() => {
            "-ERR DEADLINE_EXCEEDED: it took too long, and was not carried out"
        }
        Status::NotPermitted => {
            out.extend_from_slice(b"-NOPERM ");
            append_shown(&value[..value.len().min(TEXT_BYTES_MAX)], out);
            return end(out);
        }
        status => {
            out.extend_from_slice(b"-ERR ");
            out.extend_from_slice(status.to_string().as_bytes());
            if !value.is_empty() {
                out.extend_from_slice(b": ");
                append_shown(&value[..value.len().min(TEXT_BYTES_MAX)], out);
            }
            return end(out);
        }
    };
    out.extend_from_slice(text.as_bytes());
    end(out);
}

/// Appends bytes that come from elsewhere to the line of an error: whatever ends a line becomes a
/// space.
pub(super) fn append_shown(bytes: &[u8], out: &mut Vec<u8>) {
    let shown = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
    out.extend(bytes.iter().map(shown));
}
