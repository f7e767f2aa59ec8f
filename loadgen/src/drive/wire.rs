//! Sockets and timers for the clients of other caches (`targets/wire/`), on one thread.
//!
//! ```text
//! submit ─► engine ◄─ Tick ─ driver task ── outputs ─► connection ─► TCP
//!             │  ▲                                        │
//!  Flight ◄───┘  └────────────── Received ────────────────┘
//! ```
//! The driver task runs after all requests of a wake-up have been submitted, so that each connection sends them
//! with one system call.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use standin_client::monoio::connection::{self, Happening, Outlet, Owner};
use standin_client::monoio::driver::{self, Driven, Driver};
use standin_protocol::time::Micros;

use super::DriveError;
use super::request::{Asked, Flight, Job};
use super::shared::Shared;
use crate::targets::operation::{Action, Question};
use crate::targets::wire::settings::Settings;
use crate::targets::wire::{ConnId, Engine, Input, Output};

/// A request's own state, and what all of a worker's share.
pub(super) struct Token {
    flight: Flight,
    shared: Rc<Shared>,
}

/// A client. It must stay on one thread.
pub(super) struct WireClient {
    inner: Rc<Inner>,
}

struct Inner {
    engine: RefCell<Engine<Token>>,
    outlets: RefCell<BTreeMap<ConnId, Rc<Outlet>>>,
    driver: Driver,
    settled: RefCell<Option<Waker>>,
}

/// Gives a job to the engine. What ends at once may be followed by others.
pub(super) fn submit(engine: &mut Engine<Token>, shared: &Rc<Shared>, job: Job, now: Micros) {
    let mut next = Some(job);
    while let Some(job) = next.take() {
        let (flight, asked) = job.send(shared, now);
        let key = shared.plan.keys.name(flight.key());
        let action = match &asked {
            Asked::Read => Action::Get,
            Asked::Write { value, ttl_s } => Action::Put { value, ttl_s: *ttl_s },
            Asked::Add { value, ttl_s } => Action::Add { value, ttl_s: *ttl_s },
            Asked::Touch { ttl_s } => Action::Touch { ttl_s: *ttl_s },
            Asked::Delete => Action::Delete,
        };
        let token = Token { flight, shared: Rc::clone(shared) };
        let submitted = engine.submit(now, &Question { key: &key, action }, token);
        if let Err((token, failure)) = submitted {
            next = token.flight.end(shared, now, Err(failure));
            if next.is_none() {
                token.shared.end();
            }
        }
    }
}

/// Tells the engine what has happened, and gives it the jobs that follow from requests that have ended.
pub(super) fn handle(engine: &mut Engine<Token>, now: Micros, input: Input<'_>) {
    let mut next = Vec::new();
    engine.handle(now, input, &mut |token: Token, ending| {
        let Token { flight, shared } = token;
        match flight.end(&shared, now, ending) {
            Some(job) => next.push((shared, job)),
            None => shared.end(),
        }
    });
    for (shared, job) in next {
        submit(engine, &shared, job, now);
    }
}

impl WireClient {
    /// A client on the current runtime.
    pub(super) fn new(settings: &Settings) -> Self {
        let inner = Rc::new(Inner {
            engine: RefCell::new(Engine::new(settings.clone())),
            outlets: RefCell::default(),
            driver: Driver::default(),
            settled: RefCell::default(),
        });
        driver::start(&inner);
        Self { inner }
    }

    /// Opens all connections, or finds out that they can't be opened now.
    ///
    /// # Errors
    /// The servers should be a cluster, and the one that was asked knows of none.
    pub(super) async fn connect(&self) -> Result<(), DriveError> {
        self.inner.engine.borrow_mut().connect_all(Micros::boottime());
        self.inner.driver.wake();
        poll_fn(|context| {
            if self.inner.engine.borrow().is_settled() {
                return Poll::Ready(());
            }
            *self.inner.settled.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        match self.inner.engine.borrow().slots_problem() {
            Some(problem) => Err(DriveError::NoSlots(problem.to_owned())),
            None => Ok(()),
        }
    }

    /// Sends a job, and those that follow from it.
    pub(super) fn submit(&self, shared: &Rc<Shared>, job: Job) {
        submit(&mut self.inner.engine.borrow_mut(), shared, job, Micros::boottime());
        self.inner.driver.wake();
    }
}

impl Inner {
    fn feed(&self, input: Input<'_>) {
        handle(&mut self.engine.borrow_mut(), Micros::boottime(), input);
        if let Some(waker) = self.settled.borrow_mut().take() {
            waker.wake();
        }
        self.driver.wake();
    }
}

impl Driven for Inner {
    fn driver(&self) -> &Driver {
        &self.driver
    }

    fn next_deadline(&self) -> Option<Micros> {
        self.engine.borrow().next_deadline()
    }

    fn tick(&self, _now: Micros) {
        self.feed(Input::Tick);
    }

    fn carry_out(self: &Rc<Self>) {
        loop {
            // The borrow ends before an output is executed.
            let Some(output) = self.engine.borrow_mut().poll() else { break };
            match output {
                Output::Connect(conn, address) => {
                    let outlet = Rc::new(Outlet::default());
                    self.outlets.borrow_mut().insert(conn, Rc::clone(&outlet));
                    // What the network does not take in time must not arrive later.
                    let unsent_max = self.engine.borrow().settings().timeout;
                    let owner = Rc::downgrade(self);
                    monoio::spawn(connection::run(owner, conn, address, unsent_max, outlet));
                }
                Output::Send(conn, bytes) => {
                    // A connection that has ended has no outlet any more. Its end is told separately.
                    if let Some(outlet) = self.outlets.borrow().get(&conn) {
                        outlet.send(bytes);
                    }
                }
                Output::Close(conn) => {
                    if let Some(outlet) = self.outlets.borrow_mut().remove(&conn) {
                        outlet.end();
                    }
                }
            }
        }
    }
}

impl Owner for Inner {
    type Id = ConnId;

    fn happened(self: &Rc<Self>, conn: ConnId, event: Happening<'_>) {
        match event {
            Happening::Connected => self.feed(Input::Connected(conn)),
            Happening::Received(bytes) => self.feed(Input::Received(conn, bytes)),
            Happening::ConnectFailed(error) => {
                self.outlets.borrow_mut().remove(&conn);
                self.feed(Input::ConnectFailed(conn, &error.to_string()));
            }
            Happening::Closed => {
                self.outlets.borrow_mut().remove(&conn);
                self.feed(Input::Closed(conn));
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for outlet in self.outlets.borrow().values() {
            outlet.shut();
        }
    }
}
