//! Proxies in the path of a target that can be slow, silent or gone. One for connections counts the statements that
//! pass through it to a database.
//!
//! ```text
//! connections.rs
//! client ──► listener ─┬─ up:   read ─► tally.rs ─► until it is due (shape.rs) ─► write ─► server
//!                      └─ down: write ◄───────────── until it is due ◄───────────── read ◄─┘
//! bounds.rs            how many connections there are, and how many bytes wait
//! datagrams.rs         the same for UDP, with losses and repetitions
//! ```
//! One thread, one task per direction. A delay is one of latency, not of throughput: what was
//! read together with the first byte does not wait behind it. What waits for its time goes on at once when the
//! treatment changes.

mod bounds;
mod connections;
mod datagrams;
mod shape;
mod tally;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde::Serialize;
use standin_protocol::time::Micros;
use tokio::sync::watch;
use tokio::time::sleep;

pub use datagrams::DatagramProxy;
pub use shape::{Shape, Way};
use tally::Tally;

use bounds::{Crowd, Limits, Room};
use connections::Shared;
use shape::Direction;

/// How a proxy treats what passes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conduct {
    /// Passes everything on.
    #[default]
    Pass,
    /// Passes it on as a bad line does.
    Slow(Shape),
    /// Accepts everything and passes nothing on in these directions; connections stay open, and go on afterwards
    /// without a loss. Datagrams are lost.
    Stall(Way),
    /// Resets every connection, also each new one at once. Datagrams are lost.
    Refuse,
    /// The proxy ends.
    End,
}

impl Conduct {
    fn shape(&self) -> Shape {
        match self {
            Self::Slow(shape) => *shape,
            _ => Shape::default(),
        }
    }

    fn stalls(&self, direction: Direction) -> bool {
        matches!(self, Self::Stall(way) if way.concerns(direction))
    }
}

/// How a proxy treats what passes through it now.
#[derive(Debug, Clone, Copy, Default)]
struct Treatment {
    conduct: Conduct,
    /// The number of times that the treatment was set: the same conduct twice is two treatments.
    number: u64,
}

impl Treatment {
    fn shape(&self) -> Shape {
        self.conduct.shape()
    }
}

/// Sets the treatment, and sees it.
fn treatments() -> (watch::Sender<Treatment>, watch::Receiver<Treatment>) {
    watch::channel(Treatment::default())
}

fn set(treatments: &watch::Sender<Treatment>, conduct: Conduct) {
    treatments.send_modify(|now| *now = Treatment { conduct, number: now.number + 1 });
}

/// Waits until this time, but no longer than the treatment lasts.
async fn while_it_lasts(
    treatments: &mut watch::Receiver<Treatment>,
    Treatment { number, .. }: Treatment,
    until: Micros,
) {
    let left = until.since(Micros::boottime());
    if !left.is_zero() {
        tokio::select! {
            () = sleep(left) => {}
            _ = treatments.wait_for(|now| now.number != number) => {}
        }
    }
}

/// A running proxy for connections; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    treatment: watch::Sender<Treatment>,
    resets: watch::Sender<()>,
    reads: Arc<AtomicU64>,
    #[cfg(test)]
    rooms: [Arc<Room>; 2],
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// As [`Self::plain`], before a PostgreSQL, whose calls are counted.
    ///
    /// # Errors
    /// No thread, or no event loop.
    pub fn counting(
        listener: std::net::TcpListener,
        upstream: SocketAddr,
        seed: u64,
    ) -> io::Result<Self> {
        Self::run(listener, upstream, seed, true, Limits::USUAL)
    }

    /// Accepts from `listener`, and connects to `upstream` for each connection it accepts. The seed is the one of jitter.
    ///
    /// # Errors
    /// No thread, or no event loop.
    pub fn plain(
        listener: std::net::TcpListener,
        upstream: SocketAddr,
        seed: u64,
    ) -> io::Result<Self> {
        Self::run(listener, upstream, seed, false, Limits::USUAL)
    }

    fn run(
        listener: std::net::TcpListener,
        upstream: SocketAddr,
        seed: u64,
        counts: bool,
        limits: Limits,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (treatment, watched) = treatments();
        let (resets, reset) = watch::channel(());
        let reads = Arc::<AtomicU64>::default();
        let counted = counts.then(|| Arc::clone(&reads));
        let rooms = [(); 2].map(|()| Room::new(limits));
        let shared = Shared {
            upstream,
            treatment: watched,
            resets: reset,
            reads: counted,
            line_free: Arc::default(),
            rooms: rooms.clone(),
            crowd: Crowd::new(limits),
            input: Arc::default(),
            seed,
        };
        let run = move || {
            let served = listener.try_clone().and_then(|listener| {
                runtime.block_on(connections::serve(listener, shared.clone()))
            });
            if let Err(error) = served {
                tracing::warn!(%error, "a proxy has ended");
            }
        };
        let thread = crate::threads::spawn("proxy", run)?;
        Ok(Self {
            treatment,
            resets,
            reads,
            #[cfg(test)]
            rooms,
            thread: Some(thread),
        })
    }

    /// Sets the treatment from now on.
    pub fn set(&self, conduct: Conduct) {
        set(&self.treatment, conduct);
    }

    /// Resets the connections that there are.
    pub fn reset(&self) {
        self.resets.send_replace(());
    }

    /// Counts the reads that were passed on to a database so far.
    pub fn reads(&self) -> impl Fn() -> u64 + Send + use<> {
        let reads = Arc::clone(&self.reads);
        move || reads.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Conduct::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
