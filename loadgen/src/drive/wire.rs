//! Sockets and timers for the clients of other caches (`targets/wire/`), on one thread.
//!
//! ```text
//! submit ─► engine ◄─ Tick ─ driver task ── outputs ─► connection ─► TCP
//!             │  ▲                                        │
//!  Flight ◄───┘  └────────────── Received ────────────────┘
//! ```
//! The driver task runs after all requests of a wake-up have been submitted, so that each connection sends them
//! with one system call.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use standin_client::monoio::connection::{self, Happening, Outlet, Owner};
use standin_client::monoio::driver::{self, Driven, Driver};
use standin_protocol::frame::response_flags;
use standin_protocol::time::Micros;

use super::DriveError;
use super::many::{KeyAnswer, Many};
use super::request::{Flight, Job, Sent};
use super::shared::Shared;
use crate::targets::operation::{Action, Answer, Ending, Failure, Found, Question};
use crate::targets::wire::settings::Settings;
use crate::targets::wire::{ConnId, Engine, Input, Output};

/// A request's own state, and what all of a worker's share.
pub(super) struct Token {
    part: Part,
    shared: Rc<Shared>,
}

/// A request, or the keys of one for many that go to one server: their places in it.
enum Part {
    One(Flight),
    Some(Rc<RefCell<Option<Many>>>, Vec<usize>),
    /// A question of an application, which waits for the answer itself.
    Asked(Rc<Answered>),
}

/// The place of an answer that somebody waits for.
#[derive(Default)]
struct Answered {
    ended: RefCell<Option<Result<Option<Vec<u8>>, Failure>>>,
    waker: RefCell<Option<Waker>>,
}

impl Answered {
    fn end(&self, ending: Ending<'_>) {
        let ended = ending.map(|answer| match answer.found {
            Found::Value(value) => Some(value.to_vec()),
            _ => None,
        });
        *self.ended.borrow_mut() = Some(ended);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Token {
    /// Ends the request, or this part of it. Returns the job that follows, once the whole request has ended.
    fn end(self, now: Micros, ending: Ending<'_>) -> Option<(Rc<Shared>, Job)> {
        let Self { part, shared } = self;
        let next = match part {
            Part::One(flight) => flight.end(&shared, now, ending),
            // The whole request of the application goes on.
            Part::Asked(answered) => {
                answered.end(ending);
                return None;
            }
            Part::Some(many, places) => {
                let mut slot = many.borrow_mut();
                let Some(whole) = slot.as_mut() else {
                    unreachable!("a request for many keys ends with the last part of it")
                };
                end_part(whole, &shared, now, &places, ending);
                // Other parts are still to come.
                let whole = slot.take_if(|whole| whole.is_ended())?;
                whole.end(&shared, now)
            }
        };
        match next {
            Some(job) => Some((shared, job)),
            None => {
                shared.end();
                None
            }
        }
    }
}

fn end_part(
    whole: &mut Many,
    shared: &Rc<Shared>,
    now: Micros,
    places: &[usize],
    ending: Ending<'_>,
) {
    let Answer { found, server, sends, .. } = match ending {
        Ok(answer) => answer,
        Err(failure) => return whole.failed(shared, places, failure),
    };
    let single;
    let values = match found {
        Found::Many(values) => values,
        Found::Value(value) => {
            single = [Some(value)];
            &single
        }
        _ => {
            single = [None];
            &single
        }
    };
    for (place, value) in places.iter().zip(values) {
        let flags = if value.is_some() { response_flags::HIT } else { 0 };
        whole.answered(shared, now, *place, KeyAnswer { value: *value, flags, server, sends });
    }
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
    /// Room for the jobs that follow from what has ended.
    following: Cell<Vec<Following>>,
}

/// A job that follows from a request that has ended.
pub(super) type Following = (Rc<Shared>, Job);

/// Gives a job to the engine. What ends at once may be followed by others.
pub(super) fn submit(engine: &mut Engine<Token>, shared: &Rc<Shared>, job: Job, now: Micros) {
    let mut next = Some(job);
    while let Some(job) = next.take() {
        let refused = match job.send(shared, now) {
            Sent::One(flight, asked) => {
                let name = flight.name(shared);
                let token = Token { part: Part::One(flight), shared: Rc::clone(shared) };
                let question = Question { key: &name, action: asked.action() };
                engine.submit(now, &question, token).err().and_then(|refused| end(now, refused))
            }
            Sent::Many(keys) => submit_many(engine, shared, Many::new(shared, keys), now),
        };
        next = refused.map(|(_, job)| job);
    }
}

/// Gives the parts of a request for many keys to the engine.
fn submit_many(
    engine: &mut Engine<Token>,
    shared: &Rc<Shared>,
    many: Many,
    now: Micros,
) -> Option<(Rc<Shared>, Job)> {
    let mut names = many.names(shared);
    let many = Rc::new(RefCell::new(Some(many)));
    let mut next = None;
    for places in engine.split(&names) {
        let mut keys = places.iter().map(|place| std::mem::take(&mut names[*place]));
        let (Some(key), others) = (keys.next(), keys.collect::<Vec<_>>()) else { continue };
        let action = match others.is_empty() {
            true => Action::Get,
            false => Action::GetMany { others: &others },
        };
        let part = Part::Some(Rc::clone(&many), places);
        let token = Token { part, shared: Rc::clone(shared) };
        if let Err(refused) = engine.submit(now, &Question { key: &key, action }, token) {
            // Only the last part can have one.
            next = end(now, refused);
        }
    }
    next
}

/// Ends what the engine has not taken.
fn end(now: Micros, (token, failure): (Token, Failure)) -> Option<(Rc<Shared>, Job)> {
    token.end(now, Err(failure))
}

/// Tells the engine what has happened, and gives it the jobs that follow from requests that have ended. `next` is empty
/// before and behind it.
pub(super) fn handle(
    engine: &mut Engine<Token>,
    now: Micros,
    input: Input<'_>,
    next: &mut Vec<Following>,
) {
    engine.handle(now, input, &mut |token: Token, ending| {
        next.extend(token.end(now, ending));
    });
    for (shared, job) in next.drain(..) {
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
            following: Cell::default(),
        });
        driver::start(&inner);
        Self { inner }
    }

    /// Opens all connections, or finds out that they can't be opened now.
    ///
    /// # Errors
    /// The servers should be a cluster, and the one that was asked knows of none. Or one refuses this client for good.
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
        let engine = self.inner.engine.borrow();
        if let Some(refusal) = engine.refusal() {
            return Err(DriveError::Refused(refusal.clone()));
        }
        match engine.slots_problem() {
            Some(problem) => Err(DriveError::NoSlots(problem.to_owned())),
            None => Ok(()),
        }
    }

    /// Closes all connections at once.
    pub(super) fn close(&self) {
        self.inner.close();
    }

    /// Asks a question, and waits for its answer: the value, if that was asked for and there is one.
    pub(super) async fn ask(
        &self,
        shared: &Rc<Shared>,
        question: &Question<'_>,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let (answered, now) = (Rc::<Answered>::default(), Micros::boottime());
        let part = Part::Asked(Rc::clone(&answered));
        let token = Token { part, shared: Rc::clone(shared) };
        // Not borrowed while the end is told.
        let refused = self.inner.engine.borrow_mut().submit(now, question, token).err();
        refused.and_then(|refused| end(now, refused));
        self.inner.driver.wake();
        poll_fn(|context| match answered.ended.borrow_mut().take() {
            Some(ended) => Poll::Ready(ended),
            None => {
                *answered.waker.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    /// Sends a job, and those that follow from it.
    pub(super) fn submit(&self, shared: &Rc<Shared>, job: Job) {
        submit(&mut self.inner.engine.borrow_mut(), shared, job, Micros::boottime());
        self.inner.driver.wake();
    }
}

impl Inner {
    fn close(&self) {
        for outlet in self.outlets.borrow().values() {
            outlet.shut();
        }
    }

    fn feed(&self, input: Input<'_>) {
        let mut following = self.following.take();
        handle(&mut self.engine.borrow_mut(), Micros::boottime(), input, &mut following);
        self.following.set(following);
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
        self.engine.borrow_mut().next_deadline()
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
        self.close();
    }
}
