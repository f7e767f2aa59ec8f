//! The types of records, which their first byte says.

/// The first byte of a connection that begins with TLS: the type of a handshake's records.
pub(crate) const HANDSHAKE: u8 = 22;
/// The type of the records with which a side says why it does not go on.
pub(crate) const ALERT: u8 = 21;
