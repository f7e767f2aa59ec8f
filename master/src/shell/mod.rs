//! The master's sockets, clock and disk around its machine.
//!
//! ```text
//! ┌──────────── master thread: one monoio loop ─────────────┐      ┌── saver thread ──┐
//! │ udp.rs: datagrams   tcp.rs: connections   timer         │      │ write, fsync,    │
//! │        └──────────────┬──────┴──────────────┘           │ ───► │ rename, fsync    │
//! │                  Shell::feed ─► Machine ─► outputs      │ ◄─── │                  │
//! │ probe.rs: one task per shard                            │ wake └──────────────────┘
//! └─────────────────────────────────────────────────────────┘
//! ``` monoio gives tasks, timers and *readiness*; reading and writing are plain non-blocking calls (see `ready.rs`), so that cancelling a wait loses and leaks nothing. A slow disk delays announcements of new epochs, but neither renewals nor probes.

mod access;
mod connections;
mod descriptors;
mod dial;
mod error;
mod mishaps;
mod probe;
mod ready;
mod saver;
mod scrape;
mod start;
mod stopper;
mod stream;
mod tcp;
mod udp;

use std::cell::{Cell, RefCell};
use std::io::Read as _;
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use monoio::time::timeout;
use socket2::SockRef;
use standin_protocol::map::Topology;
use standin_protocol::time::Micros;
use standin_tls::{Acceptor, Connector};
use tracing::{Level, debug, error, info, warn};

use crate::event::MasterEvent;
use crate::machine::{Input, Machine, Output};
use access::Access;
pub use access::Reloader;
pub use descriptors::TooFewDescriptors;
pub use error::MasterError;
use mishaps::Mishaps;
use ready::{Notify, Permits, Ready};
use saver::Saver;
pub use scrape::Scrape;
pub use start::{Certificates, Master, MasterHandle, MasterOptions};
pub use stopper::Stopper;
use stream::Streams;

/// The longest time that a stopping master waits for its tasks, or for a disk that hangs.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// The state shared by the tasks of the master's thread.
pub(crate) struct Shell {
    machine: RefCell<Machine>,
    topology: Arc<Topology>,
    log_lines_lost: Arc<AtomicU64>,
    access: RefCell<Rc<Access>>,
    reloader: Reloader,
    cluster_id: u64,
    /// Whether a certificate is enough for clients.
    lets_clients_in: bool,
    /// The certificates of this side for callers, if its port has TLS.
    tls: Option<Arc<Acceptor>>,
    /// Whom this side trusts when it calls servers, if their ports have TLS.
    tls_calls: Option<Arc<Connector>>,
    mishaps: Mishaps,
    udp: UdpSocket,
    saver: Saver,
    probe_permits: Rc<Permits>,
    connections_max: usize,
    events: Box<dyn Fn(MasterEvent)>,
    /// The limit on the time for a caller's HELLO, for a frame that has begun, and for taking an
    /// answer.
    handshake_timeout: Duration,
    fetch_timeout: Duration,
    started_at: Micros,
    /// The time for which the timer waits.
    timer_at: Cell<Micros>,
    /// The notification of the timer that its time has become an earlier one.
    timer: Notify,
    scraped: Arc<scrape::Shared>,
    groups: Vec<String>,
    streams: Rc<Streams>,
    /// The number of tasks under way.
    tasks: Cell<usize>,
    /// The notification that a task has ended.
    task_ended: Notify,
    is_stopping: Cell<bool>,
}

impl Shell {
    /// Who may connect at the moment.
    fn access(&self) -> Rc<Access> {
        self.access.borrow().clone()
    }

    /// Gives the machine an input, and carries out its outputs.
    pub(crate) fn feed(self: &Rc<Self>, input: Input) {
        self.machine.borrow_mut().handle(Micros::boottime(), input);
        self.drain();
        if self.next_deadline() < self.timer_at.get() {
            self.timer.notify();
        }
    }

    fn next_deadline(&self) -> Micros {
        self.machine.borrow().next_deadline().min(self.saver.due())
    }

    fn feed_results_of_saves(self: &Rc<Self>) {
        while let Some((epoch, ok)) = self.saver.result() {
            self.feed(Input::Persisted { epoch, ok });
        }
    }

    /// Gives the figures to the thread that has asked for them.
    fn give_figures(&self) {
        let now = Micros::boottime();
        let lost = self.log_lines_lost.load(Ordering::Relaxed);
        let port = self.mishaps.counters();
        self.scraped.give(now, || self.machine.borrow().samples(now, lost, &port, &self.groups));
    }

    fn drain(self: &Rc<Self>) {
        loop {
            // This call is not in the loop's head, because the borrow would last over the body.
            let Some(output) = self.machine.borrow_mut().poll() else { return };
            match output {
                Output::Send { to, datagram } => udp::send(self, to, &datagram),
                Output::Probe(order) => {
                    self.spawn(probe::probe(self.clone(), order));
                }
                Output::FetchMap { server, address } => {
                    self.spawn(probe::fetch_map(self.clone(), server, address));
                }
                Output::Persist(state) => {
                    let epoch = state.epoch;
                    if !self.saver.save(state) {
                        // The saving thread hangs or has died. The master continues without it.
                        let input = Input::Persisted { epoch, ok: false };
                        self.machine.borrow_mut().handle(Micros::boottime(), input);
                    }
                }
                Output::Event(event) => {
                    let server =
                        event.server().map(|id| &*self.topology.servers[usize::from(id)].name);
                    let (kind, text) = (event.kind(), event.describe(&self.topology));
                    match event.level() {
                        Level::ERROR => error!(event = kind, server, "{text}"),
                        Level::WARN => warn!(event = kind, server, "{text}"),
                        Level::INFO => info!(event = kind, server, "{text}"),
                        _ => debug!(event = kind, server, "{text}"),
                    }
                    (self.events)(event);
                }
            }
        }
    }

    /// Spawns a task that [`Self::stop`] waits for.
    fn spawn<T: 'static>(
        self: &Rc<Self>,
        task: impl Future<Output = T> + 'static,
    ) -> monoio::task::JoinHandle<T> {
        self.tasks.set(self.tasks.get() + 1);
        let shell = self.clone();
        monoio::spawn(async move {
            let result = task.await;
            shell.tasks.set(shell.tasks.get() - 1);
            shell.task_ended.notify();
            result
        })
    }

    /// Runs the master until it is stopped.
    async fn run(
        self: &Rc<Self>,
        listener: TcpListener,
        mut wake: UnixStream,
        stopper: &Stopper,
    ) -> std::io::Result<()> {
        let udp_ready = Ready::of(&self.udp)?;
        let tcp_ready = Ready::of(&listener)?;
        let wake_ready = Ready::of(&wake)?;
        let listener = Rc::new(listener);
        self.drain();
        self.spawn(udp::receive(self.clone(), udp_ready));
        self.spawn(tcp::accept(self.clone(), listener.clone(), tcp_ready));
        self.spawn(self.clone().keep_time());
        let mut bytes = [0; 64];
        while !stopper.is_stopped() {
            self.feed_results_of_saves();
            self.give_figures();
            if let Some(access) = self.reloader.take() {
                self.access.replace(Rc::new(access));
            }
            wake_ready.readable().await?;
            // Only the wake-up matters, not the bytes. It is not an error if there are none.
            while matches!(wake.read(&mut bytes), Ok(len) if len > 0) {}
        }
        self.stop(&listener).await;
        Ok(())
    }

    /// Ends every task. Each task wakes up because the socket that it waits for is shut down.
    async fn stop(&self, listener: &TcpListener) {
        self.is_stopping.set(true);
        // On a socket without a peer this reports an error, but it wakes the task that waits for
        // the socket.
        let _ = SockRef::from(&self.udp).shutdown(Shutdown::Both);
        let _ = SockRef::from(listener).shutdown(Shutdown::Both);
        self.streams.close();
        self.timer.notify();
        let all = async {
            while self.tasks.get() > 0 {
                self.task_ended.wait().await;
            }
        };
        if timeout(STOP_WAIT, all).await.is_err() {
            warn!(tasks = self.tasks.get(), "stopping while tasks are still running");
        }
        self.mishaps.tell(Micros::NEVER);
    }

    async fn keep_time(self: Rc<Self>) {
        while !self.is_stopping.get() {
            let now = Micros::boottime();
            self.mishaps.tell(now);
            let deadline = self.next_deadline();
            if deadline <= now {
                self.feed_results_of_saves();
                self.feed(Input::Tick);
                ready::yield_now().await;
                continue;
            }
            self.timer_at.set(deadline);
            // The loop's timers tick in milliseconds, and its clock stops when the host is
            // suspended.
            let wait = deadline.since(now).min(Duration::from_secs(1)) + Duration::from_millis(1);
            let _ = timeout(wait, self.timer.wait()).await;
        }
    }
}
