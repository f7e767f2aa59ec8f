//! The client on tokio: for services. Clones share connections and state, may be used on any thread,
//! and on runtimes with one thread or many.
//!
//! ```text
//! caller ─ submit ─► State { engine, outlets, waiters } ◄─ Tick ─ driver task
//!   ▲                  │ outputs                 ▲
//!   └─ Completed ──────┤                         │ Received
//!                      └─ bytes ─► connection: writes at once, else its task ◄── TCP
//! ```
//! The driver task runs after the callers that are ready have submitted their operations, so that a
//! connection gets their requests in one write.
//!
//! **Cancel safety.** Every call begins its operation when it is first polled. Dropping the future
//! does not cancel the operation: a write may still be executed. Nothing is lost for other calls.

mod connection;
mod notices;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use standin_protocol::map::ClusterMap;
use standin_protocol::time::Micros;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use crate::config::{Bootstrap, ClientConfig};
use crate::engine::{ConnId, Engine, Input, Output};
use crate::event::ClientEvent;
use crate::ids::Map;
use crate::operation::{Answer, ClientError, Operation, Question, Target};
use crate::socket;

use connection::Outlet;

/// The longest pause of the driver task. Engines without a deadline have nothing to do.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The shortest pause. Timers tick in milliseconds, so a shorter pause would only keep the
/// processor busy.
const PAUSE_MIN: Duration = Duration::from_millis(1);

type Ended = Result<Answer, ClientError>;
type Observer = Arc<dyn Fn(Micros, &ClientEvent) + Send + Sync>;

/// A client of a cluster. Connections close when the last clone is dropped.
#[derive(Clone)]
pub struct Client {
    owner: Arc<Owner>,
}

/// What the last clone of a client ends.
struct Owner {
    shared: Arc<Shared>,
    driver: AbortHandle,
}

struct Shared {
    state: Mutex<State>,
    /// The runtime of the client's tasks.
    runtime: Handle,
    /// Wakes the driver task.
    wake: Arc<Notify>,
}

struct State {
    engine: Engine,
    /// The callers that wait for operations.
    waiters: Map<u64, oneshot::Sender<Ended>>,
    last_op: u64,
    connections: BTreeMap<ConnId, Arc<Outlet>>,
    notices: Option<UnboundedSender<(SocketAddr, Vec<u8>)>>,
    observer: Option<Observer>,
    /// The client's tasks have ended with their runtime.
    has_ended: bool,
}

impl Client {
    /// Creates a client on the current runtime. Connections are opened when they are needed.
    ///
    /// # Errors
    /// If the system has no random numbers, or a file of `[tls]` can't be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime that has IO and timers.
    pub fn new(config: ClientConfig, bootstrap: Bootstrap) -> io::Result<Self> {
        let (client_id, seed) = socket::identity()?;
        let (runtime, wake) = (Handle::current(), Arc::new(Notify::new()));
        let state = State {
            engine: Engine::start(config, bootstrap, client_id, seed)?,
            waiters: Map::default(),
            last_op: 0,
            connections: BTreeMap::new(),
            notices: None,
            observer: None,
            has_ended: false,
        };
        let state = Mutex::new(state);
        let shared = Arc::new(Shared { state, runtime, wake: Arc::clone(&wake) });
        let driver = shared.runtime.spawn(drive(Arc::downgrade(&shared), wake)).abort_handle();
        Ok(Self { owner: Arc::new(Owner { shared, driver }) })
    }

    /// Calls this function on every event from now on. It runs on whichever thread the event
    /// happens, and must not block.
    pub fn observe(&self, observer: impl Fn(Micros, &ClientEvent) + Send + Sync + 'static) {
        self.owner.shared.lock().observer = Some(Arc::new(observer));
    }

    /// Returns the map by which this client routes, once it has one.
    #[must_use]
    pub fn map_in_force(&self) -> Option<Arc<ClusterMap>> {
        self.owner.shared.lock().engine.map().cloned()
    }

    /// Returns the number of operations that have not ended.
    #[must_use]
    pub fn open_operations(&self) -> usize {
        self.owner.shared.lock().engine.open_operations()
    }

    fn submit(&self, operation: Operation) -> Pending {
        self.begin(|op_id| Input::Submit { op_id, operation })
    }

    fn ask(&self, target: Target, question: Question) -> Pending {
        self.begin(|op_id| Input::Ask { op_id, target, question })
    }

    fn begin<'i>(&self, input: impl FnOnce(u64) -> Input<'i>) -> Pending {
        let shared = &self.owner.shared;
        let (waiter, ended) = oneshot::channel();
        let mut state = shared.lock();
        if !state.has_ended {
            state.last_op += 1;
            let op_id = state.last_op;
            state.waiters.insert(op_id, waiter);
            state.engine.handle(Micros::boottime(), input(op_id));
        }
        drop(state);
        shared.wake.notify_one();
        Pending { ended }
    }
}

crate::calls::async_calls!(Client);

/// An operation under way. Dropping it does not cancel the operation.
struct Pending {
    ended: oneshot::Receiver<Ended>,
}

impl Future for Pending {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        Pin::new(&mut self.ended).poll(cx).map(|ended| {
            ended.unwrap_or_else(|_| {
                let text = "the runtime on which the client was created has ended";
                Err(ClientError::Protocol(text.to_owned()))
            })
        })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.driver.abort();
        self.shared.end();
    }
}

/// The driver task: carries out what callers have begun, and calls the engine at its deadlines.
async fn drive(shared: Weak<Shared>, wake: Arc<Notify>) {
    /// Ends the client with its runtime.
    struct Guard(Weak<Shared>);
    impl Drop for Guard {
        fn drop(&mut self) {
            if let Some(shared) = self.0.upgrade() {
                shared.end();
            }
        }
    }
    let guard = Guard(shared);
    loop {
        // The client was dropped.
        let Some(shared) = guard.0.upgrade() else { return };
        let now = Micros::boottime();
        if shared.lock().engine.next_deadline().is_some_and(|due| due <= now) {
            shared.lock().engine.handle(now, Input::Tick);
        }
        shared.carry_out();
        let due = shared.lock().engine.next_deadline().unwrap_or(Micros::NEVER);
        drop(shared);
        let pause = due.since(Micros::boottime()).clamp(PAUSE_MIN, PAUSE_MAX);
        // Neither future loses anything when it is dropped.
        let _ = tokio::time::timeout(pause, wake.notified()).await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes an input from a connection to the engine, unless the connection was closed meanwhile,
    /// and carries out what follows.
    fn feed(self: &Arc<Self>, conn: ConnId, input: Input<'_>) {
        let mut state = self.lock();
        if !state.connections.contains_key(&conn) {
            return;
        }
        if matches!(input, Input::Closed(_) | Input::ConnectFailed(_)) {
            state.connections.remove(&conn);
        }
        state.engine.handle(Micros::boottime(), input);
        drop(state);
        self.carry_out();
        // There may be an earlier deadline now.
        self.wake.notify_one();
    }

    /// Passes a datagram from the master to the engine.
    fn hear(self: &Arc<Self>, datagram: &[u8]) {
        self.lock().engine.handle(Micros::boottime(), Input::Datagram(datagram));
        self.carry_out();
    }

    /// Carries out what the engine wants. Bytes are appended to their connections in the engine's
    /// order while the state is locked, and written afterwards.
    fn carry_out(self: &Arc<Self>) {
        let (mut written, mut events) = (Vec::new(), Vec::new());
        let mut state = self.lock();
        while let Some(output) = state.engine.poll() {
            match output {
                Output::Connect { conn, addr, .. } => {
                    let outlet = Outlet::open(self, conn, addr, state.engine.unsent_max());
                    state.connections.insert(conn, outlet);
                }
                Output::Send { conn, bytes } => {
                    // A connection that has ended has no outlet any more. Its end is reported
                    // separately.
                    if let Some(outlet) = state.connections.get(&conn) {
                        outlet.append(bytes);
                        written.push(Arc::clone(outlet));
                    }
                }
                Output::Close { conn } => {
                    if let Some(outlet) = state.connections.remove(&conn) {
                        outlet.close();
                    }
                }
                Output::Datagram { to, bytes } => {
                    let notices = state.notices.get_or_insert_with(|| notices::open(self));
                    // It does not matter if the datagram is lost, because only the verdict counts.
                    let _ = notices.send((to, bytes));
                }
                Output::Completed { op_id, result } => {
                    // A caller that has dropped its future does not wait.
                    if let Some(waiter) = state.waiters.remove(&op_id) {
                        let _ = waiter.send(result);
                    }
                }
                Output::Event(event) => events.push(event),
            }
        }
        let observer = state.observer.clone().filter(|_| !events.is_empty());
        drop(state);
        written.iter().for_each(|outlet| outlet.flush());
        if let Some(observer) = observer {
            let now = Micros::boottime();
            events.iter().for_each(|event| observer(now, event));
        }
    }

    /// Ends all connections, and the calls that wait.
    fn end(&self) {
        let mut state = self.lock();
        state.has_ended = true;
        state.waiters.clear();
        state.notices = None;
        std::mem::take(&mut state.connections).values().for_each(|outlet| outlet.close());
    }
}
