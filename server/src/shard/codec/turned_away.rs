//! What callers hear who are turned away before they have asked for anything.

use standin_config::ServiceProtocol;

use super::{memcached, redis};

/// The reply to a caller for whom there is no place.
pub(in crate::shard) fn no_place(protocol: ServiceProtocol) -> &'static [u8] {
    match protocol {
        ServiceProtocol::Memcached => memcached::password::NO_PLACE,
        ServiceProtocol::Redis => redis::password::NO_PLACE,
    }
}

/// The reply to a caller with TLS on a port that has none. It can't read it, but sees that it is no TLS.
pub(in crate::shard) fn only_plain(protocol: ServiceProtocol) -> &'static [u8] {
    match protocol {
        ServiceProtocol::Memcached => b"SERVER_ERROR this port has no TLS\r\n",
        ServiceProtocol::Redis => b"-ERR this port has no TLS\r\n",
    }
}

/// The reply to a caller without TLS on a port that has to have it.
pub(in crate::shard) fn no_tls(protocol: ServiceProtocol) -> &'static [u8] {
    match protocol {
        ServiceProtocol::Memcached => b"SERVER_ERROR this port takes TLS only\r\n",
        ServiceProtocol::Redis => b"-ERR this port takes TLS only\r\n",
    }
}
