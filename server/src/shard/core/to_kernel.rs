//! Connections that the kernel takes over when their TLS handshakes are done. To this shard they are plain ones
//! from then on, whose receives end with an error at a record that is no data.
//!
//! ```text
//! the handshake is done ─► the connection is leaving: what is decrypted waits in its input
//!     received   no more than what the record that has begun still lacks (ReceiveMode::Part)
//!     sent       the last bytes of the handshake
//! Io::GiveToKernel ─► the loop (shard/give.rs) ─► given, or stays with rustls ─► the input is read
//! ```
//! The handshake's time limit ends a connection that gets no further. Until then no request of it is looked at, so
//! that nothing but the handshake has to be sent before the kernel sends.

use std::io;
use std::sync::Arc;

use standin_tls::Failure;
use standin_tls::kernel::{End, KernelTls, Keys};
use tracing::warn;

use super::backend::Backend;
use super::conn::Conn;
use super::{ConnKey, Core, Io, Mishap};
use crate::node::Now;
use crate::shard::in_kernel::InKernel;

impl Conn {
    /// The number of bytes that it may receive at most, if it is leaving for the kernel.
    pub(super) fn leaving(&self) -> Option<usize> {
        self.sealed.as_ref()?.leaving()
    }

    /// Whether it only waits for the kernel.
    pub(super) fn is_ready_for_kernel(&self) -> bool {
        let has_whole_records = self.leaving() == Some(0);
        has_whole_records && !self.closing && self.output_bytes() == 0 && self.sending_bytes == 0
    }
}

impl<B: Backend> Core<B> {
    /// Has the loop give a connection to the kernel that only waits for that.
    pub(super) fn give_if_ready(&mut self, key: ConnKey) {
        if self.conns.get(key).is_some_and(Conn::is_ready_for_kernel) {
            self.io.push_back(Io::GiveToKernel(key));
        }
    }

    /// Keeps bytes that were decrypted until the kernel has the connection.
    pub(super) fn keep(&mut self, key: ConnKey, plain: &[u8]) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.input.extend_from_slice(plain);
        }
        self.give_if_ready(key);
    }

    /// Returns the number of bytes that may be received at most from a connection that is leaving for the kernel;
    /// `None`: it is not.
    pub(in crate::shard) fn leaving(&self, key: ConnKey) -> Option<usize> {
        // Asked before each receive of a loop. Mostly no connection goes there.
        self.context.tls.as_ref()?.kernel()?;
        self.conns.get(key)?.leaving()
    }

    /// Returns the kernel for a connection that goes there now. `None`: it has been closed since.
    pub(in crate::shard) fn kernel_for(&self, key: ConnKey) -> Option<Arc<KernelTls>> {
        let conn = self.conns.get(key).filter(|conn| conn.is_ready_for_kernel())?;
        conn.sealed.as_ref()?.kernel()
    }

    /// Takes the keys of such a connection out. It has no others from then on.
    pub(in crate::shard) fn take_keys(&mut self, key: ConnKey) -> Result<Keys, Failure> {
        let sealed = self.conns.get_mut(key).and_then(|conn| conn.sealed.take());
        sealed.expect("it was found to be ready").into_keys()
    }

    /// The kernel has it.
    pub(in crate::shard) fn given(&mut self, now: Now, key: ConnKey) {
        self.begin(now);
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.in_kernel = Some(InKernel::new());
        self.node.counters().tls_in_kernel += 1;
        self.read_input(now, key);
    }

    /// The kernel does not take this socket, and has been given no key: rustls goes on.
    pub(in crate::shard) fn stays(&mut self, now: Now, key: ConnKey, error: &io::Error) {
        self.begin(now);
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some(sealed) = &mut conn.sealed else { unreachable!("its keys were not taken") };
        if error.raw_os_error() != Some(libc::ENOTCONN) {
            warn!(%error, "the kernel does not take a connection with TLS; it is encrypted without it");
        }
        sealed.stay();
        self.read_input(now, key);
    }

    /// The kernel has refused the keys, of which rustls has no copy: nothing more can be sent.
    pub(in crate::shard) fn not_given(&mut self, key: ConnKey, failure: Failure) {
        self.count_failure(failure);
        self.abort(key);
    }

    /// A receive on a connection in the kernel has failed.
    pub(in crate::shard) fn ended_in_kernel(&mut self, now: Now, key: ConnKey, end: End) {
        match end {
            End::Closed => self.end_of_input(now, key),
            End::Lost => self.closed(now, key),
            End::Failed(failure) => {
                self.begin(now);
                // It may go on at once on another connection, and is owed what it has asked for on this one.
                let is_owed_answers = failure == Failure::NewKeys;
                self.count_failure(failure);
                self.io.push_back(Io::FindCaller(key, Mishap::Tls));
                match is_owed_answers {
                    true => self.end_of_input(now, key),
                    false => self.close(key),
                }
            }
        }
    }

    /// Whether the kernel has a connection.
    pub(in crate::shard) fn is_in_kernel(&self, key: ConnKey) -> bool {
        self.conns.get(key).is_some_and(|conn| conn.in_kernel.is_some())
    }

    /// Reads nothing more from a connection whose key is worn out. What has been read is answered.
    pub(super) fn end_worn_out(&mut self, key: ConnKey) {
        if let Some(conn) = self.conns.get_mut(key)
            && !std::mem::replace(&mut conn.ended, true)
        {
            self.ended.push(key);
        }
    }

    fn count_failure(&mut self, failure: Failure) {
        let counters = self.node.counters();
        counters.tls_failures += 1;
        counters.connections_dropped += 1;
        self.failures.add(true, failure);
    }
}
