//! The bytes of clients of memcached's and Redis' protocol, served by a whole server without sockets.
//!
//! ```text
//! input: how the server behaves (1 byte), in which pieces the rest comes (4 bytes), what the client sends
//! ```
//! Whatever the bytes are, the replies are well formed, all queues stay within their bounds, memory is
//! bounded by a multiple of the input, and when the client has sent everything, it gets all replies and the
//! connection is closed. In a keyspace without a database, the replies depend neither on the pieces nor
//! on the client's pauses.

mod replies;
mod server;

use standin_config::ServiceProtocol;

use self::server::{Behaviour, Server};
use crate::memory;

/// Bytes of the input before those that the client sends.
const HEAD_BYTES: usize = 5;
/// Words after which replies depend on time, on other connections or on what is cached.
const VOLATILE: [&str; 5] = ["scan", "keys", "randomkey", "dbsize", "rows:"];
/// Tells whether replies to what was sent are well formed.
type Grammar = fn(replies: &[u8], sent: &[u8]) -> bool;

/// The memory that a connection may take whatever it sends, and per byte that it has sent.
const MEMORY_BYTES: usize = 24 << 20;
const MEMORY_PER_BYTE: usize = 512;

/// Commands of a client of Redis' protocol.
pub fn redis(data: &[u8]) {
    run(ServiceProtocol::Redis, data, replies::redis);
}

/// Commands of a client of memcached's protocol.
pub fn memcached(data: &[u8]) {
    run(ServiceProtocol::Memcached, data, replies::memcached);
}

fn run(protocol: ServiceProtocol, data: &[u8], are_well_formed: Grammar) {
    let Some((head, sent)) = data.split_at_checked(HEAD_BYTES) else { return };
    let seed = u64::from(u32::from_le_bytes([head[1], head[2], head[3], head[4]]));
    let is_volatile = VOLATILE.iter().any(|word| {
        sent.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
    });
    let one_shard = Behaviour::at_once();
    let whole = serve(protocol, one_shard, sent, are_well_formed);
    let behaviour = Behaviour::of(head[0], seed);
    let in_pieces = serve(protocol, behaviour, sent, are_well_formed);
    // Versions, by which CAS compares values, are each shard's own.
    if !is_volatile && behaviour.shards == 1 {
        assert!(
            whole == in_pieces,
            "{behaviour:?}\nsent      {}\nat once   {}\nin pieces {}",
            sent.escape_ascii(),
            whole.escape_ascii(),
            in_pieces.escape_ascii()
        );
    }
}

/// Serves a client and returns all replies.
fn serve(
    protocol: ServiceProtocol,
    behaviour: Behaviour,
    sent: &[u8],
    are_well_formed: Grammar,
) -> Vec<u8> {
    let mut server = Server::start(behaviour);
    let before = memory::begin();
    let replies = server.serve(protocol, sent);
    let peak = memory::peak().saturating_sub(before);
    let most = MEMORY_BYTES + MEMORY_PER_BYTE * sent.len() + 2 * replies.len();
    assert!(peak <= most, "{peak} bytes of memory for {} bytes", sent.len());
    assert!(
        are_well_formed(&replies, sent),
        "{behaviour:?}\nsent    {}\nreplies {}",
        sent.escape_ascii(),
        replies.escape_ascii()
    );
    replies
}
