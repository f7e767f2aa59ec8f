//! Replies that are one line, and those to requests that could not be carried out.

use super::said::Said;
use crate::node::{AnswerHead, Status};

/// The longest explanation, in bytes: clients read a line into a buffer.
const TEXT_BYTES_MAX: usize = 200;

/// Appends a line.
pub(super) fn line(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The reply to a request that could not be carried out.
#[cold]
pub(super) fn failure(head: &AnswerHead, value: &[u8], out: &mut Vec<u8>) {
    let text = match head.status {
        Status::NotANumber => {
            return line("CLIENT_ERROR cannot increment or decrement non-numeric value", out);
        }
        Status::NotPermitted => return line("CLIENT_ERROR permission denied", out),
        Status::TooLarge if value.is_empty() => return line(Said::TooLarge.text(), out),
        Status::Overloaded => "out of memory or overloaded; try again",
        Status::Unavailable => "the owner of the key is unavailable",
        Status::ShuttingDown => "this server is shutting down",
        Status::DeadlineExceeded => "it took too long, and was not carried out",
        Status::OutcomeUnknown if value.is_empty() => {
            "OUTCOME_UNKNOWN: it may have been carried out; read before it is sent again"
        }
        status => {
            out.extend_from_slice(b"SERVER_ERROR ");
            out.extend_from_slice(status.to_string().as_bytes());
            let printable = |byte: &u8| if byte.is_ascii_control() { b' ' } else { *byte };
            if !value.is_empty() {
                out.extend_from_slice(b": ");
                out.extend(value.iter().take(TEXT_BYTES_MAX).map(printable));
            }
            return out.extend_from_slice(b"\r\n");
        }
    };
    out.extend_from_slice(b"SERVER_ERROR ");
    line(text, out);
}
