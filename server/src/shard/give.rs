//! Giving connections with TLS to the kernel: whether it takes any, and, for both loops, the system calls between
//! what the core decides.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use standin_config::{KernelUse, TlsConfig};
use standin_tls::kernel::{End, KernelTls, end_of};
use tracing::info;

use super::core::backend::Backend;
use super::core::{ConnKey, Core};
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

/// Gives a connection to the kernel that is ready for that; returns whether the kernel has it. No receive and no
/// send may be under way on its socket.
pub(super) fn give_to_kernel<B: Backend>(
    core: &mut Core<B>,
    now: Now,
    key: ConnKey,
    socket: &impl AsFd,
) -> bool {
    // It has been closed.
    let Some(kernel) = core.kernel_for(key) else { return false };
    if let Err(error) = kernel.prepare(socket) {
        core.stays(now, key, &error);
        return false;
    }
    match core.take_keys(key).and_then(|keys| kernel.give(socket, &keys)) {
        Ok(()) => {
            core.given(now, key);
            true
        }
        Err(failure) => {
            core.not_given(key, failure);
            false
        }
    }
}

/// Deals with the error of a receive on a connection that the kernel has; returns whether the connection is lost.
/// If not, it is closed when what was read before has been answered.
pub(super) fn ended_in_kernel<B: Backend>(
    core: &mut Core<B>,
    now: Now,
    key: ConnKey,
    (socket, error): (&impl AsFd, io::Error),
) -> bool {
    let end = end_of(socket, error);
    let is_lost = end == End::Lost;
    core.ended_in_kernel(now, key, end);
    is_lost
}
