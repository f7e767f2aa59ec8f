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

use std::sync::Arc;

use standin_tls::kernel::{KernelTls, NotTaken, PAUSE};
use standin_tls::{Failure, Tls};

use super::backend::Backend;
use super::conn::Conn;
use super::{ConnKey, Core, Io};
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

    /// Takes the TLS of such a connection out. It has no other from then on.
    pub(in crate::shard) fn take_tls(&mut self, key: ConnKey) -> Tls {
        let sealed = self.conns.get_mut(key).and_then(|conn| conn.sealed.take());
        sealed.expect("it was found to be ready").into_tls()
    }

    /// Has a connection on its way to the kernel stay with rustls.
    pub(super) fn keep_from_kernel(&mut self, now: Now, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if let Some(sealed) = &mut conn.sealed
            && sealed.is_leaving()
        {
            sealed.stay();
            self.read_input(now, key);
        }
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
    pub(in crate::shard) fn stays(&mut self, now: Now, key: ConnKey, not_taken: NotTaken) {
        self.begin(now);
        self.pause_kernel(now, &not_taken);
        if !matches!(not_taken, NotTaken::Ending(_)) {
            self.failures.stayed(not_taken);
        }
        self.keep_from_kernel(now, key);
    }

    /// The kernel has refused the keys, of which rustls has no copy: nothing more can be sent.
    pub(in crate::shard) fn not_given(&mut self, now: Now, key: ConnKey, not_taken: NotTaken) {
        self.begin(now);
        self.pause_kernel(now, &not_taken);
        self.count_failure(Failure::Kernel(not_taken));
        self.abort(key);
    }

    /// A connection in the kernel has failed: its caller has sent what ends it.
    pub(in crate::shard) fn failed_in_kernel(&mut self, now: Now, failure: Failure) {
        self.begin(now);
        self.count_failure(failure);
    }

    /// Gives connections that are accepted in the next seconds to the kernel no more, if it lacks memory.
    fn pause_kernel(&mut self, now: Now, not_taken: &NotTaken) {
        if matches!(not_taken, NotTaken::ForNow(_)) {
            self.kernel_paused_until = now.mono + PAUSE;
        }
    }

    /// Whether connections that are accepted now go to the kernel, if there is one that takes them.
    pub(super) fn gives_to_kernel(&self, now: Now) -> bool {
        now.mono >= self.kernel_paused_until
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

#[cfg(test)]
mod tests {
    use standin_protocol::time::Micros;

    use super::*;
    use crate::shard::access::Access;
    use crate::shard::core::testing::{NOW, core};

    #[test]
    fn a_kernel_without_memory_gets_no_connections_for_some_seconds() {
        let mut core = core(|_| {}, Access::default());
        assert!(core.gives_to_kernel(NOW));
        let key = ConnKey::default();
        core.stays(NOW, key, NotTaken::Ending("not connected".to_owned()));
        core.stays(NOW, key, NotTaken::ForGood("no such file".to_owned()));
        assert!(core.gives_to_kernel(NOW), "others are refused by the kernel's own part");
        core.not_given(NOW, key, NotTaken::ForNow("out of memory".to_owned()));
        let at = |after: Micros| Now { mono: after, ..NOW };
        assert!(!core.gives_to_kernel(at(Micros(NOW.mono.0 + 9_999_999))));
        assert!(core.gives_to_kernel(at(NOW.mono + PAUSE)));
        assert_eq!(core.node.counters().tls_failures, 1, "only this one was closed");
    }
}
