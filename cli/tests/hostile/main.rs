//! A server process and clients that mean it ill: afterwards it serves on, and has its
//! descriptors and its memory back. What single connections may do is tested at the
//! server's own sockets (server/tests/sockets).
//!
//! ```text
//! crowd.rs    thousands of connections, and readers that never read
//! forged.rs   datagrams that somebody else makes
//! gone.rs     connections whose other side is gone without a word
//! memory.rs   replies and rows that nobody takes
//! places.rs   nobody looks dead because others have taken all connections
//! process.rs  what /proc says of a process
//! ```

#[path = "../common/mod.rs"]
mod common;

/// One test for each event loop from one function.
macro_rules! on_both_loops {
    ($($name:ident: $body:ident,)+) => { $(
        mod $name {
            use super::*;

            #[test]
            fn uring() {
                super::$body(crate::common::ring());
            }

            #[test]
            fn epoll() {
                super::$body(IoKind::Epoll);
            }
        }
    )+ };
}

mod crowd;
mod forged;
mod gone;
mod memory;
mod places;
mod process;
