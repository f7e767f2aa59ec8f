//! The client on monoio, for one thread: for the load generator, and for programs that embed it.
//!
//! ```text
//! caller ─ submit ─► engine ◄─ Tick ─ driver task ── outputs ─► connection: writer task ─► TCP
//!   ▲                  ▲                                                                  │
//!   └─ Completed ──────┴───────── Received ────── connection: reader task ◄───────────────┘
//! ```
//! The driver task runs after the callers of one wake-up have submitted their operations, so that
//! each connection gets all their requests in one write. It needs a runtime with timers, which tick
//! in milliseconds (see [`crate::runtime::runtime`]).

pub mod connection;
pub mod driver;
mod notices;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use standin_protocol::map::ClusterMap;
use standin_protocol::time::Micros;

use crate::config::{Bootstrap, ClientConfig};
use crate::engine::{ConnId, Engine, Input, Output};
use crate::event::ClientEvent;
use crate::ids::Map;
use crate::operation::{Answer, ClientError, Operation, Question, Target};
use crate::socket;

use connection::{Happening, Outlet, Owner};
use driver::{Driven, Driver};
use notices::NoticeSocket;

type Observer = Rc<dyn Fn(Micros, &ClientEvent)>;

/// A client of a cluster. Clones share connections and state, and all must stay on one thread.
/// Connections close when the last clone is dropped.
#[derive(Clone)]
pub struct Client {
    inner: Rc<Inner>,
}

enum Waiter {
    Waiting(Option<Waker>),
    Ended(Result<Answer, ClientError>),
}

struct Inner {
    engine: RefCell<Engine>,
    waiters: RefCell<Map<u64, Waiter>>,
    last_op: Cell<u64>,
    outlets: RefCell<BTreeMap<ConnId, Rc<Outlet>>>,
    notice_socket: RefCell<Option<NoticeSocket>>,
    observer: RefCell<Option<Observer>>,
    driver: Driver,
}

impl Client {
    /// Creates a client on the current runtime. Connections are opened when they are needed.
    ///
    /// # Errors
    /// If the system has no random numbers, or a file of `[tls]` can't be used.
    ///
    /// # Panics
    /// Outside of a monoio runtime with timers.
    pub fn new(config: ClientConfig, bootstrap: Bootstrap) -> io::Result<Self> {
        let (client_id, seed) = socket::identity()?;
        let inner = Rc::new(Inner {
            engine: RefCell::new(Engine::start(config, bootstrap, client_id, seed)?),
            waiters: RefCell::default(),
            last_op: Cell::new(0),
            outlets: RefCell::default(),
            notice_socket: RefCell::default(),
            observer: RefCell::default(),
            driver: Driver::default(),
        });
        driver::start(&inner);
        Ok(Self { inner })
    }

    /// Calls this function on every event from now on.
    pub fn observe(&self, observer: impl Fn(Micros, &ClientEvent) + 'static) {
        *self.inner.observer.borrow_mut() = Some(Rc::new(observer));
    }

    /// Returns the map by which this client routes, once it has one.
    #[must_use]
    pub fn map_in_force(&self) -> Option<Arc<ClusterMap>> {
        self.inner.engine.borrow().map().cloned()
    }

    /// Returns the number of operations that have not ended.
    #[must_use]
    pub fn open_operations(&self) -> usize {
        self.inner.engine.borrow().open_operations()
    }

    fn submit(&self, operation: Operation) -> Pending {
        self.begin(|op_id| Input::Submit { op_id, operation })
    }

    fn ask(&self, target: Target, question: Question) -> Pending {
        self.begin(|op_id| Input::Ask { op_id, target, question })
    }

    fn begin<'i>(&self, input: impl FnOnce(u64) -> Input<'i>) -> Pending {
        let inner = &self.inner;
        let op_id = inner.last_op.get() + 1;
        inner.last_op.set(op_id);
        inner.waiters.borrow_mut().insert(op_id, Waiter::Waiting(None));
        inner.engine.borrow_mut().handle(Micros::boottime(), input(op_id));
        inner.driver.wake();
        Pending { inner: Rc::clone(inner), op_id }
    }
}

crate::calls::async_calls!(Client);

/// An operation under way. Dropping it does not cancel the operation.
struct Pending {
    inner: Rc<Inner>,
    op_id: u64,
}

impl Future for Pending {
    type Output = Result<Answer, ClientError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waiters = self.inner.waiters.borrow_mut();
        let Entry::Occupied(mut entry) = waiters.entry(self.op_id) else {
            unreachable!("a pending operation keeps its waiter until it is dropped")
        };
        match entry.get_mut() {
            Waiter::Waiting(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Waiter::Ended(_) => match entry.insert(Waiter::Waiting(None)) {
                Waiter::Ended(result) => Poll::Ready(result),
                Waiter::Waiting(_) => Poll::Pending,
            },
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.inner.waiters.borrow_mut().remove(&self.op_id);
    }
}

impl Inner {
    /// Passes an input from a socket to the engine.
    fn feed(this: &Rc<Self>, input: Input<'_>) {
        this.engine.borrow_mut().handle(Micros::boottime(), input);
        this.driver.wake();
    }

    fn complete(&self, op_id: u64, result: Result<Answer, ClientError>) {
        let mut waiters = self.waiters.borrow_mut();
        if let Some(waiter) = waiters.get_mut(&op_id) {
            let before = std::mem::replace(waiter, Waiter::Ended(result));
            if let Waiter::Waiting(Some(waker)) = before {
                waker.wake();
            }
        }
    }
}

impl Driven for Inner {
    fn driver(&self) -> &Driver {
        &self.driver
    }

    fn next_deadline(&self) -> Option<Micros> {
        self.engine.borrow().next_deadline()
    }

    fn tick(&self, now: Micros) {
        self.engine.borrow_mut().handle(now, Input::Tick);
    }

    fn carry_out(self: &Rc<Self>) {
        loop {
            // The borrow ends before an output is executed, because an observer may use the client.
            let Some(output) = self.engine.borrow_mut().poll() else { break };
            match output {
                Output::Connect { conn, addr, .. } => {
                    let outlet = Rc::new(Outlet::default());
                    self.outlets.borrow_mut().insert(conn, Rc::clone(&outlet));
                    let (owner, unsent_max) =
                        (Rc::downgrade(self), self.engine.borrow().unsent_max());
                    monoio::spawn(connection::run(owner, conn, addr, unsent_max, outlet));
                }
                Output::Send { conn, bytes } => {
                    // A connection that has ended has no outlet any more. Its end is reported
                    // separately.
                    if let Some(outlet) = self.outlets.borrow().get(&conn) {
                        outlet.send(bytes);
                    }
                }
                Output::Close { conn } => {
                    if let Some(outlet) = self.outlets.borrow_mut().remove(&conn) {
                        outlet.end();
                    }
                }
                Output::Datagram { to, bytes } => notices::send(self, to, bytes),
                Output::Completed { op_id, result } => self.complete(op_id, result),
                Output::Event(event) => {
                    let observer = self.observer.borrow().clone();
                    if let Some(observer) = observer {
                        observer(Micros::boottime(), &event);
                    }
                }
            }
        }
    }
}

impl Owner for Inner {
    type Id = ConnId;

    fn happened(self: &Rc<Self>, conn: ConnId, event: Happening<'_>) {
        let input = match event {
            Happening::Connected => Input::Connected(conn),
            Happening::Received(bytes) => Input::Received(conn, bytes),
            Happening::ConnectFailed(_) => {
                self.outlets.borrow_mut().remove(&conn);
                Input::ConnectFailed(conn)
            }
            Happening::Closed => {
                self.outlets.borrow_mut().remove(&conn);
                Input::Closed(conn)
            }
        };
        Self::feed(self, input);
    }
}

impl Drop for Inner {
    /// Ends the connections without waking any task. A client may be dropped outside of its
    /// runtime, where monoio panics if a task is woken. The sockets wake their own tasks, and the
    /// driver task checks by itself.
    fn drop(&mut self) {
        for outlet in self.outlets.borrow().values() {
            outlet.shut();
        }
        if let Some(socket) = &*self.notice_socket.borrow() {
            socket.end();
        }
    }
}
