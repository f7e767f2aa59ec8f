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
    core.failed_in_kernel(now, failure);
    core.called_from(Mishap::Tls, sockets::caller(socket));
    match is_owed_answers {
        true => core.end_of_input(now, key),
        false => core.closed(now, key),
    }
    !is_owed_answers
}
