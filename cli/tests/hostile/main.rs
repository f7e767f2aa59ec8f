//! A server process and hostile clients. Afterwards the server still serves, and has its
//! descriptors and its memory back. The server's own socket tests (server/tests/sockets) cover what
//! single connections may do.
//!
//! ```text
//! crowd.rs    thousands of connections, and readers that never read
//! forged.rs   datagrams that an attacker forges
//! gone.rs     connections whose other side disappears silently
//! memory.rs   replies and rows that no client reads
//! places.rs   no server looks dead because others have taken all connections
//! process.rs  figures of a process from /proc
//! ```

#[path = "../common/mod.rs"]
mod common;

/// Defines one test for each event loop from one function.
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
