//! The exchange with each target: a request, the length of the right reply, and how to check it. Only
//! right replies count, so no target wins by failing.
//!
//! All targets hold the same: 16-byte keys, and 100-byte values that begin with their key. A write
//! writes the value that is there.

use standin_protocol::frame::{
    HEADER_BYTES, Opcode, Request, RequestHeader, Response, ResponseHeader, Status, response_flags,
};

/// Bytes of every key.
pub const KEY_BYTES: usize = 16;
/// Bytes of every value.
pub const VALUE_BYTES: usize = 100;
/// The keyspace of the Standin server under test that has a database.
pub const KEYSPACE: u8 = 1;
/// Its keyspace without a database: that of memcached's and Redis' keys, and of writes.
pub const CACHE: u8 = 2;
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

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The number of its key.
    pub key: u32,
    /// Whether it writes the key's value, or reads it.
    pub is_write: bool,
}

/// The requests and replies of a protocol.
pub trait Exchange {
    /// Appends the request of this place in a batch.
    fn request(batch: &[Ask], slot: usize, out: &mut Vec<u8>);

    /// The length of the right reply whose first bytes these are; `None` if it can't be told yet.
    /// `slot` is its place in the order of arrival.
    fn reply_bytes(batch: &[Ask], slot: usize, head: &[u8]) -> Option<usize>;

    /// Whether this is the right reply.
    fn is_right(batch: &[Ask], slot: usize, reply: &[u8]) -> bool;
}

fn standin_get(keyspace: u8, slot: usize, key: &[u8], out: &mut Vec<u8>) {
    let header = RequestHeader::new(Opcode::Get, keyspace, slot as u32);
    Request::write(header, key, &[], out);
}

fn standin_reply_bytes(head: &[u8]) -> Option<usize> {
    ResponseHeader::read(head).map(|header| header.frame_bytes())
}

fn standin_is_right(batch: &[Ask], reply: &[u8], flags: u8) -> bool {
    let Ok(Some(Response { header, status: Status::Ok, value })) = Response::parse(reply) else {
        return false;
    };
    // Replies may come in any order: the id says whose this is.
    let Some(ask) = batch.get(header.request_id as usize) else { return false };
    if ask.is_write {
        return header.opcode == Opcode::Put as u8;
    }
    header.flags & flags != 0 && value.len() == VALUE_BYTES && value[..KEY_BYTES] == key(ask.key)
}

/// GETs that hit, by Standin's own protocol.
#[derive(Debug)]
pub struct StandinGet;

impl Exchange for StandinGet {
    #[inline]
    fn request(batch: &[Ask], slot: usize, out: &mut Vec<u8>) {
        standin_get(KEYSPACE, slot, &key(batch[slot].key), out);
    }

    #[inline]
    fn reply_bytes(_batch: &[Ask], _slot: usize, head: &[u8]) -> Option<usize> {
        standin_reply_bytes(head)
    }

    #[inline]
    fn is_right(batch: &[Ask], _slot: usize, reply: &[u8]) -> bool {
        standin_is_right(batch, reply, response_flags::HIT)
    }
}

/// GETs that may fill.
#[derive(Debug)]
pub struct StandinFill;

impl Exchange for StandinFill {
    fn request(batch: &[Ask], slot: usize, out: &mut Vec<u8>) {
        StandinGet::request(batch, slot, out);
    }

    fn reply_bytes(_batch: &[Ask], _slot: usize, head: &[u8]) -> Option<usize> {
        standin_reply_bytes(head)
    }

    fn is_right(batch: &[Ask], _slot: usize, reply: &[u8]) -> bool {
        standin_is_right(batch, reply, response_flags::CACHED)
    }
}

/// GETs and PUTs of the keyspace without a database, by Standin's own protocol.
#[derive(Debug)]
pub struct StandinCache;

impl Exchange for StandinCache {
    #[inline]
    fn request(batch: &[Ask], slot: usize, out: &mut Vec<u8>) {
        let key = key(batch[slot].key);
        if !batch[slot].is_write {
            return standin_get(CACHE, slot, &key, out);
        }
        let header = RequestHeader::new(Opcode::Put, CACHE, slot as u32);
        Request::write(header, &key, &value(&key), out);
    }

    #[inline]
    fn reply_bytes(_batch: &[Ask], _slot: usize, head: &[u8]) -> Option<usize> {
        standin_reply_bytes(head)
    }

    #[inline]
    fn is_right(batch: &[Ask], _slot: usize, reply: &[u8]) -> bool {
        standin_is_right(batch, reply, response_flags::HIT)
    }
}

/// Standin's request, and the echo's unchanging reply.
#[derive(Debug)]
pub struct EchoGet;

impl Exchange for EchoGet {
    #[inline]
    fn request(batch: &[Ask], slot: usize, out: &mut Vec<u8>) {
        StandinGet::request(batch, slot, out);
    }

    #[inline]
    fn reply_bytes(_batch: &[Ask], _slot: usize, _head: &[u8]) -> Option<usize> {
        Some(ECHO_REPLY_BYTES)
    }

    #[inline]
    fn is_right(_batch: &[Ask], _slot: usize, reply: &[u8]) -> bool {
        matches!(Response::parse(reply), Ok(Some(reply)) if reply.value.len() == VALUE_BYTES)
    }
}

/// Whether a reply consists of this head, the value of the request in this place, and this end.
#[inline]
fn brings(batch: &[Ask], slot: usize, reply: &[u8], head: usize, end: &[u8]) -> bool {
    reply.len() == head + VALUE_BYTES + end.len()
        && reply.ends_with(end)
        && reply[head..][..KEY_BYTES] == key(batch[slot].key)
}

/// memcached's meta commands.
#[derive(Debug)]
pub struct MemcachedMeta;

const VA: &[u8] = b"VA 100\r\n";
const HD: &[u8] = b"HD\r\n";

impl Exchange for MemcachedMeta {
    #[inline]
    fn request(batch: &[Ask], slot: usize, out: &mut Vec<u8>) {
        let key = key(batch[slot].key);
        if !batch[slot].is_write {
            out.extend_from_slice(b"mg ");
            out.extend_from_slice(&key);
            return out.extend_from_slice(b" v\r\n");
        }
        out.extend_from_slice(b"ms ");
        out.extend_from_slice(&key);
        out.extend_from_slice(b" 100\r\n");
        out.extend_from_slice(&value(&key));
        out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn reply_bytes(batch: &[Ask], slot: usize, _head: &[u8]) -> Option<usize> {
        Some(if batch[slot].is_write { HD.len() } else { VA.len() + VALUE_BYTES + 2 })
    }

    #[inline]
    fn is_right(batch: &[Ask], slot: usize, reply: &[u8]) -> bool {
        match batch[slot].is_write {
            true => reply == HD,
            false => reply.starts_with(VA) && brings(batch, slot, reply, VA.len(), b"\r\n"),
        }
    }
}

/// memcached's classic commands.
#[derive(Debug)]
pub struct MemcachedText;

const STORED: &[u8] = b"STORED\r\n";
const TEXT_END: &[u8] = b"\r\nEND\r\n";
/// The length of a reply before its value: `VALUE key 0 100`.
const TEXT_HEAD_BYTES: usize = 6 + KEY_BYTES + 8;

fn text_is_right(batch: &[Ask], slot: usize, reply: &[u8], end: &[u8]) -> bool {
    reply.starts_with(b"VALUE ")
        && reply[6..][..KEY_BYTES] == key(batch[slot].key)
        && brings(batch, slot, reply, TEXT_HEAD_BYTES, end)
}

impl Exchange for MemcachedText {
    #[inline]
    fn request(batch: &[Ask], slot: usize, out: &mut Vec<u8>) {
        let key = key(batch[slot].key);
        if !batch[slot].is_write {
            out.extend_from_slice(b"get ");
            out.extend_from_slice(&key);
            return out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"set ");
        out.extend_from_slice(&key);
        out.extend_from_slice(b" 0 0 100\r\n");
        out.extend_from_slice(&value(&key));
        out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn reply_bytes(batch: &[Ask], slot: usize, _head: &[u8]) -> Option<usize> {
        Some(match batch[slot].is_write {
            true => STORED.len(),
            false => TEXT_HEAD_BYTES + VALUE_BYTES + TEXT_END.len(),
        })
    }

    #[inline]
    fn is_right(batch: &[Ask], slot: usize, reply: &[u8]) -> bool {
        match batch[slot].is_write {
            true => reply == STORED,
            false => text_is_right(batch, slot, reply, TEXT_END),
        }
    }
}

/// memcached's classic `get` of all keys of a batch.
#[derive(Debug)]
pub struct MemcachedMulti;

impl MemcachedMulti {
    fn end(batch: &[Ask], slot: usize) -> &'static [u8] {
        if slot + 1 == batch.len() { TEXT_END } else { b"\r\n" }
    }
}

impl Exchange for MemcachedMulti {
    #[inline]
    fn request(batch: &[Ask], slot: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(if slot == 0 { b"get " } else { b" " });
        out.extend_from_slice(&key(batch[slot].key));
        if slot + 1 == batch.len() {
            out.extend_from_slice(b"\r\n");
        }
    }

    #[inline]
    fn reply_bytes(batch: &[Ask], slot: usize, _head: &[u8]) -> Option<usize> {
        Some(TEXT_HEAD_BYTES + VALUE_BYTES + Self::end(batch, slot).len())
    }

    #[inline]
    fn is_right(batch: &[Ask], slot: usize, reply: &[u8]) -> bool {
        text_is_right(batch, slot, reply, Self::end(batch, slot))
    }
}

/// GET and SET of Redis and Valkey.
#[derive(Debug)]
pub struct Redis;

const BULK: &[u8] = b"$100\r\n";
const OK: &[u8] = b"+OK\r\n";

impl Exchange for Redis {
    #[inline]
    fn request(batch: &[Ask], slot: usize, out: &mut Vec<u8>) {
        let key = key(batch[slot].key);
        if !batch[slot].is_write {
            out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$16\r\n");
            out.extend_from_slice(&key);
            return out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$16\r\n");
        out.extend_from_slice(&key);
        out.extend_from_slice(b"\r\n$100\r\n");
        out.extend_from_slice(&value(&key));
        out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn reply_bytes(batch: &[Ask], slot: usize, _head: &[u8]) -> Option<usize> {
        Some(if batch[slot].is_write { OK.len() } else { BULK.len() + VALUE_BYTES + 2 })
    }

    #[inline]
    fn is_right(batch: &[Ask], slot: usize, reply: &[u8]) -> bool {
        match batch[slot].is_write {
            true => reply == OK,
            false => reply.starts_with(BULK) && brings(batch, slot, reply, BULK.len(), b"\r\n"),
        }
    }
}

/// MGET of all keys of a batch. The beginning of its reply counts as part of that to the first key.
#[derive(Debug)]
pub struct RedisMulti;

impl RedisMulti {
    fn head(batch: &[Ask], slot: usize) -> String {
        if slot == 0 { format!("*{}\r\n$100\r\n", batch.len()) } else { "$100\r\n".to_owned() }
    }
}

impl Exchange for RedisMulti {
    #[inline]
    fn request(batch: &[Ask], slot: usize, out: &mut Vec<u8>) {
        if slot == 0 {
            let head = format!("*{}\r\n$4\r\nMGET\r\n", batch.len() + 1);
            out.extend_from_slice(head.as_bytes());
        }
        out.extend_from_slice(b"$16\r\n");
        out.extend_from_slice(&key(batch[slot].key));
        out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn reply_bytes(batch: &[Ask], slot: usize, _head: &[u8]) -> Option<usize> {
        Some(Self::head(batch, slot).len() + VALUE_BYTES + 2)
    }

    #[inline]
    fn is_right(batch: &[Ask], slot: usize, reply: &[u8]) -> bool {
        let head = Self::head(batch, slot);
        reply.starts_with(head.as_bytes()) && brings(batch, slot, reply, head.len(), b"\r\n")
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

    fn ask(key: u32, is_write: bool) -> Ask {
        Ask { key, is_write }
    }

    fn reply(head: &str, key: u32, end: &str) -> Vec<u8> {
        [head.as_bytes(), &value(&super::key(key)), end.as_bytes()].concat()
    }

    #[test]
    fn only_the_right_reply_counts() {
        let batch = [ask(4, false), ask(5, false), ask(5, true)];
        let five = reply("VA 100\r\n", 5, "\r\n");
        assert_eq!(MemcachedMeta::reply_bytes(&batch, 1, &five), Some(five.len()));
        assert!(MemcachedMeta::is_right(&batch, 1, &five));
        assert!(!MemcachedMeta::is_right(&batch, 0, &five), "another key's value");
        assert!(!StandinGet::is_right(&batch, 0, &five), "another protocol's reply");
        assert!(MemcachedMeta::is_right(&batch, 2, b"HD\r\n"));
        assert!(!MemcachedMeta::is_right(&batch, 2, b"NS\r\n"));
    }

    #[test]
    fn a_multi_get_is_one_request_with_a_reply_for_each_key() {
        let batch = [ask(4, false), ask(5, false)];
        let mut sent = Vec::new();
        (0..2).for_each(|slot| MemcachedMulti::request(&batch, slot, &mut sent));
        assert_eq!(sent, b"get item:key00000004 item:key00000005\r\n");
        let head = |key: u32| format!("VALUE item:key{key:08x} 0 100\r\n");
        let (first, last) = (reply(&head(4), 4, "\r\n"), reply(&head(5), 5, "\r\nEND\r\n"));
        for (slot, reply) in [&first, &last].into_iter().enumerate() {
            assert_eq!(MemcachedMulti::reply_bytes(&batch, slot, reply), Some(reply.len()));
            assert!(MemcachedMulti::is_right(&batch, slot, reply));
        }
        assert!(!MemcachedMulti::is_right(&batch, 1, &first));
        let first = reply("*2\r\n$100\r\n", 4, "\r\n");
        assert_eq!(RedisMulti::reply_bytes(&batch, 0, &first), Some(first.len()));
        assert!(RedisMulti::is_right(&batch, 0, &first));
        assert!(RedisMulti::is_right(&batch, 1, &reply("$100\r\n", 5, "\r\n")));
    }
}
