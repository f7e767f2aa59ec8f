//! Results of the client's operations as answers of a shard.

use bytes::Bytes;
use standin_client::{ClientError, EncodedReply};
use standin_protocol::frame::Response;
use standin_server::node::{Answer, AnswerHead, Status};
use standin_server::shard::codec::standin::read_answer;

/// The answer that a server has given.
pub(crate) fn answer_of(reply: EncodedReply) -> Answer {
    let EncodedReply { header, status, value } = reply;
    let (head, rest) = read_answer(&Response { header, status, value: &value });
    let before = value.len() - rest.len();
    Answer { head, value: Bytes::from(value).slice(before..) }
}

/// The answer to a request that no server has answered.
pub(crate) fn refusal(error: &ClientError) -> Answer {
    let status = match error {
        ClientError::Overloaded { .. } => return AnswerHead::overloaded().into(),
        ClientError::OutcomeUnknown => Status::OutcomeUnknown,
        ClientError::DeadlineExceeded => Status::DeadlineExceeded,
        ClientError::TooLarge(_) => return Answer::status(Status::TooLarge),
        ClientError::AuthFailed | ClientError::Tls { .. } => Status::AuthFailed,
        _ => Status::Unavailable,
    };
    let value = match status {
        Status::AuthFailed => Bytes::from(error.to_string()),
        _ => Bytes::new(),
    };
    Answer { head: AnswerHead::status(status), value }
}
