//! The answer to bytes that are no frame of this version.

use standin_protocol::frame::{FrameError, RequestHeader, Status};

/// The header that the answer repeats, and its status. Bytes that are no frame at all have nothing to
/// repeat.
pub(super) fn unreadable(bytes: &[u8], error: FrameError) -> (RequestHeader, Status) {
    let header = RequestHeader::read(bytes).unwrap_or_default();
    match error {
        FrameError::BadMagic(_) => (RequestHeader::default(), Status::Malformed),
        FrameError::BadVersion(_) => (header, Status::UnsupportedVersion),
        _ => (header, Status::Malformed),
    }
}
