//! Giving connections with TLS to the kernel: whether it takes any, and, for both loops, the system calls between
//! what the core decides.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use standin_config::{KernelUse, TlsConfig};
use standin_tls::Failure;
use standin_tls::kernel::{End, KernelTls, end_of};
use tracing::info;

use super::core::backend::Backend;
use super::core::{ConnKey, Core, Mishap};
use super::sockets;
use crate::node::Now;

/// Returns the kernel, if it is to encrypt connections to ports with TLS, and can. Says so in the log.
#[must_use]
pub fn kernel_tls(config: &TlsConfig) -> Option<Arc<KernelTls>> {
    if config.kernel == KernelUse::Off {
        return None;
    }
    match KernelTls::probe() {
        Ok(kernel) => {
            info!(ciphers = kernel.ciphers(), "the kernel encrypts connections with TLS 1.3");
            Some(Arc::new(kernel))
        }
        Err(error) => {
            info!(%error, "connections with TLS are encrypted without the kernel");
            None
        }
    }
}

/// Gives a connection to the kernel that is ready for that; returns whether it does so now. No receive and no
/// send may be under way on its socket.
pub(super) fn give_to_kernel<B: Backend>(
    core: &mut Core<B>,
    now: Now,
    key: ConnKey,
    socket: &impl AsFd,
) -> bool {
    // It has been closed, or the kernel has it.
    let Some(kernel) = core.kernel_for(key) else { return false };
    if let Err(not_taken) = kernel.prepare(socket) {
        core.stays(now, key, not_taken);
        return false;
    }
    match kernel.take(socket, core.take_tls(key).into_keys()) {
        Ok(()) => {
            core.given(now, key);
            true
        }
        Err(not_taken) => {
            core.not_given(now, key, not_taken);
            false
        }
    }
}

/// Deals with the error of a receive on a connection that the kernel has; returns whether the loop has to close it
/// at once, because it is lost, or because a fatal alert was the last that may be sent on it. If not, it is closed
/// when what was read before has been answered.
pub(super) fn ended_in_kernel<B: Backend>(
    core: &mut Core<B>,
    now: Now,
    key: ConnKey,
    (socket, error): (&impl AsFd, io::Error),
) -> bool {
    let failure = match end_of(socket, error) {
        End::Closed => {
            core.end_of_input(now, key);
            return false;
        }
        End::Lost => {
            core.closed(now, key);
            return true;
        }
        End::Failed(failure) => failure,
    };
    // It may go on at once on another connection, and is owed what it has asked for on this one.
    let is_owed_answers = failure == Failure::NewKeys;
    failed(core, now, socket, failure);
    match is_owed_answers {
        true => core.end_of_input(now, key),
        false => core.closed(now, key),
    }
    !is_owed_answers
}

/// Deals with the error of a send. The loop has to close the connection at once.
pub(super) fn not_sent<B: Backend>(
    core: &mut Core<B>,
    now: Now,
    key: ConnKey,
    (socket, error): (&impl AsFd, io::Error),
) {
    // The kernel gives the error of a record that it can't decrypt to whatever is called next on the socket.
    if core.is_in_kernel(key)
        && let End::Failed(failure) = end_of(socket, error)
    {
        failed(core, now, socket, failure);
    }
    core.closed(now, key);
}

fn failed<B: Backend>(core: &mut Core<B>, now: Now, socket: &impl AsFd, failure: Failure) {
    core.failed_in_kernel(now, failure);
    core.called_from(Mishap::Tls, sockets::caller(socket));
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::node::Node;
    use crate::shard::access::Access;
    use crate::shard::core::testing::{NOW, core};
    use crate::shard::listeners::Service;

    /// A shard with a connection, which the kernel has or has not, and both of its ends.
    fn connected(is_in_kernel: bool) -> (Core<Node>, ConnKey, TcpStream, TcpStream) {
        let mut core = core(|_| {}, Access::default());
        let key = core.accept(NOW, false, Service::Standin).expect("it is not stopping");
        if is_in_kernel {
            core.given(NOW, key);
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let caller = TcpStream::connect(listener.local_addr().expect("one")).expect("one");
        caller.set_read_timeout(Some(Duration::from_secs(20))).expect("it is a time");
        let (socket, _) = listener.accept().expect("it has called");
        (core, key, socket, caller)
    }

    /// What the caller hears after a send has failed with this error, and the failures that are counted.
    fn after_failed_send(is_in_kernel: bool, error: i32) -> (Vec<u8>, u64) {
        let (mut core, key, socket, mut caller) = connected(is_in_kernel);
        not_sent(&mut core, NOW, key, (&socket, io::Error::from_raw_os_error(error)));
        assert!(!core.is_in_kernel(key), "it is closed");
        drop(socket);
        let mut heard = Vec::new();
        caller.read_to_end(&mut heard).expect("the other end is closed");
        let counters = core.node.counters();
        assert_eq!(counters.tls_failures, counters.connections_dropped);
        (heard, counters.tls_failures)
    }

    #[test]
    fn a_broken_record_that_a_send_reports_is_answered_by_an_alert_and_counted() {
        // A socket without keys sends the alert as it is: fatal, and its number.
        for (error, alert) in [(libc::EBADMSG, 20), (libc::EMSGSIZE, 22), (libc::EINVAL, 50)] {
            assert_eq!(after_failed_send(true, error), (vec![2, alert], 1), "error {error}");
        }
    }

    #[test]
    fn a_send_on_a_lost_connection_is_no_failure_of_tls() {
        for error in [libc::ECONNRESET, libc::EPIPE, libc::ETIMEDOUT, libc::EIO] {
            assert_eq!(after_failed_send(true, error), (vec![], 0), "error {error}");
        }
        assert_eq!(after_failed_send(false, libc::EBADMSG), (vec![], 0), "without the kernel");
    }
}
