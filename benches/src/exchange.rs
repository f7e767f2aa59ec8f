//! The exchange with each target: one request, the length of the right reply, and how to
//! check it. Only right replies count, so no target wins by failing.
//!
//! All targets hold the same: 16-byte keys, and 100-byte values that begin with their key.

use standin_protocol::frame::{
    HEADER_BYTES, Opcode, Request, RequestHeader, Response, Status, response_flags,
};

/// Bytes of every key.
pub const KEY_BYTES: usize = 16;
/// Bytes of every value.
pub const VALUE_BYTES: usize = 100;
/// The one keyspace of the Standin server under test.
pub const KEYSPACE: u8 = 1;
/// SQL for the value of a key, see [`value`].
pub const VALUE_SQL: &str =
    "SELECT CAST(substr(:key || :key || :key || :key || :key || :key || :key, 1, 100) AS BLOB)";
/// Bytes of a request to Standin and to the echo.
pub const ECHO_REQUEST_BYTES: usize = HEADER_BYTES + KEY_BYTES;
/// Bytes of a hit's reply from Standin and of each reply of the echo.
pub const ECHO_REPLY_BYTES: usize = HEADER_BYTES + VALUE_BYTES;

/// Key number `index`.
#[inline]
#[must_use]
pub fn key(index: u32) -> [u8; KEY_BYTES] {
    let mut key = *b"item:key00000000";
    for (place, byte) in key[8..].iter_mut().enumerate() {
        let digit = (index >> (28 - 4 * place)) & 15;
        *byte = b"0123456789abcdef"[digit as usize];
    }
    key
}

/// The value of a key: the key over and over.
#[must_use]
pub fn value(key: &[u8; KEY_BYTES]) -> [u8; VALUE_BYTES] {
    std::array::from_fn(|at| key[at % KEY_BYTES])
}

/// One kind of request and its reply.
pub trait Exchange {
    /// Bytes of the right reply; all have the same.
    const REPLY_BYTES: usize;

    /// Appends the request for a key; `slot` is its place in the batch.
    fn request(slot: u32, index: u32, out: &mut Vec<u8>);

    /// Whether this is the right reply; `keys` are the batch's, `slot` the reply's place in
    /// order of arrival.
    fn is_right(reply: &[u8], keys: &[u32], slot: usize) -> bool;
}

fn standin_request(slot: u32, index: u32, out: &mut Vec<u8>) {
    let header = RequestHeader::new(Opcode::Get, KEYSPACE, slot);
    Request::write(header, &key(index), &[], out);
}

fn standin_is_right(reply: &[u8], keys: &[u32], flags: u8) -> bool {
    let Ok(Some(Response { header, status: Status::Ok, value })) = Response::parse(reply) else {
        return false;
    };
    // Replies may come in any order: the id says whose this is.
    let Some(&index) = keys.get(header.request_id as usize) else { return false };
    header.flags & flags != 0 && value.len() == VALUE_BYTES && value[..KEY_BYTES] == key(index)
}

/// A GET that hits.
#[derive(Debug)]
pub struct StandinGet;

impl Exchange for StandinGet {
    const REPLY_BYTES: usize = ECHO_REPLY_BYTES;

    #[inline]
    fn request(slot: u32, index: u32, out: &mut Vec<u8>) {
        standin_request(slot, index, out);
    }

    #[inline]
    fn is_right(reply: &[u8], keys: &[u32], _slot: usize) -> bool {
        standin_is_right(reply, keys, response_flags::HIT)
    }
}

/// A GET that may fill.
#[derive(Debug)]
pub struct StandinFill;

impl Exchange for StandinFill {
    const REPLY_BYTES: usize = ECHO_REPLY_BYTES;

    fn request(slot: u32, index: u32, out: &mut Vec<u8>) {
        standin_request(slot, index, out);
    }

    fn is_right(reply: &[u8], keys: &[u32], _slot: usize) -> bool {
        standin_is_right(reply, keys, response_flags::CACHED)
    }
}

/// Standin's request, and the echo's unchanging reply.
#[derive(Debug)]
pub struct EchoGet;

impl Exchange for EchoGet {
    const REPLY_BYTES: usize = ECHO_REPLY_BYTES;

    #[inline]
    fn request(slot: u32, index: u32, out: &mut Vec<u8>) {
        standin_request(slot, index, out);
    }

    #[inline]
    fn is_right(reply: &[u8], _keys: &[u32], _slot: usize) -> bool {
        matches!(Response::parse(reply), Ok(Some(reply)) if reply.value.len() == VALUE_BYTES)
    }
}

/// memcached's meta get.
#[derive(Debug)]
pub struct MemcachedGet;

impl Exchange for MemcachedGet {
    const REPLY_BYTES: usize = 8 + VALUE_BYTES + 2;

    #[inline]
    fn request(_slot: u32, index: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"mg ");
        out.extend_from_slice(&key(index));
        out.extend_from_slice(b" v\r\n");
    }

    #[inline]
    fn is_right(reply: &[u8], keys: &[u32], slot: usize) -> bool {
        reply.starts_with(b"VA 100\r\n")
            && reply.ends_with(b"\r\n")
            && keys.get(slot).is_some_and(|&index| reply[8..][..KEY_BYTES] == key(index))
    }
}

/// memcached's classic get.
#[derive(Debug)]
pub struct MemcachedTextGet;

/// The length of a reply before its value: `VALUE key 0 100`.
const TEXT_HEAD_BYTES: usize = 6 + KEY_BYTES + 8;

impl Exchange for MemcachedTextGet {
    const REPLY_BYTES: usize = TEXT_HEAD_BYTES + VALUE_BYTES + 7;

    #[inline]
    fn request(_slot: u32, index: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"get ");
        out.extend_from_slice(&key(index));
        out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn is_right(reply: &[u8], keys: &[u32], slot: usize) -> bool {
        reply.starts_with(b"VALUE ")
            && reply.ends_with(b"\r\nEND\r\n")
            && keys.get(slot).is_some_and(|&index| {
                let key = key(index);
                reply[6..][..KEY_BYTES] == key && reply[TEXT_HEAD_BYTES..][..KEY_BYTES] == key
            })
    }
}

/// memcached's meta set.
#[derive(Debug)]
pub struct MemcachedSet;

impl Exchange for MemcachedSet {
    const REPLY_BYTES: usize = 4;

    fn request(_slot: u32, index: u32, out: &mut Vec<u8>) {
        let key = key(index);
        out.extend_from_slice(b"ms ");
        out.extend_from_slice(&key);
        out.extend_from_slice(b" 100\r\n");
        out.extend_from_slice(&value(&key));
        out.extend_from_slice(b"\r\n");
    }

    fn is_right(reply: &[u8], _keys: &[u32], _slot: usize) -> bool {
        reply == b"HD\r\n"
    }
}

/// GET of Redis and Valkey.
#[derive(Debug)]
pub struct RedisGet;

impl Exchange for RedisGet {
    const REPLY_BYTES: usize = 6 + VALUE_BYTES + 2;

    #[inline]
    fn request(_slot: u32, index: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$16\r\n");
        out.extend_from_slice(&key(index));
        out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn is_right(reply: &[u8], keys: &[u32], slot: usize) -> bool {
        reply.starts_with(b"$100\r\n")
            && reply.ends_with(b"\r\n")
            && keys.get(slot).is_some_and(|&index| reply[6..][..KEY_BYTES] == key(index))
    }
}

/// SET of Redis and Valkey.
#[derive(Debug)]
pub struct RedisSet;

impl Exchange for RedisSet {
    const REPLY_BYTES: usize = 5;

    fn request(_slot: u32, index: u32, out: &mut Vec<u8>) {
        let key = key(index);
        out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$16\r\n");
        out.extend_from_slice(&key);
        out.extend_from_slice(b"\r\n$100\r\n");
        out.extend_from_slice(&value(&key));
        out.extend_from_slice(b"\r\n");
    }

    fn is_right(reply: &[u8], _keys: &[u32], _slot: usize) -> bool {
        reply == b"+OK\r\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_index_in_hexadecimal() {
        assert_eq!(&key(0x0123_abcd), b"item:key0123abcd");
        let value = value(&key(7));
        assert_eq!((&value[..16], &value[96..]), (&key(7)[..], &key(7)[..4]));
    }

    #[test]
    fn only_the_right_reply_counts() {
        let mut reply = b"VA 100\r\n".to_vec();
        reply.extend_from_slice(&value(&key(5)));
        reply.extend_from_slice(b"\r\n");
        assert_eq!(reply.len(), MemcachedGet::REPLY_BYTES);
        assert!(MemcachedGet::is_right(&reply, &[4, 5], 1));
        assert!(!MemcachedGet::is_right(&reply, &[4, 5], 0), "another key's value");
        assert!(!StandinGet::is_right(&reply, &[4, 5], 0), "another protocol's reply");
    }
}
