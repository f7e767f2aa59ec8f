//! The database's client on the loop of a load thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use monoio::net::UnixStream;
use standin_protocol::time::Micros;

use super::DriveError;
use crate::database::{CALLS_MAX, Call, Caller, Database, Done, Ended, Statement};
use crate::live::Live;
use crate::recorder::FailureKind;
use crate::targets::operation::Failure;

/// A client. It must stay on one thread.
pub(super) struct DatabaseClient {
    inner: Rc<Inner>,
}

struct Inner {
    /// `None`: it was closed.
    caller: RefCell<Option<Caller>>,
    done: Done,
    /// The longest wait for an answer.
    timeout: Duration,
    waiting: RefCell<BTreeMap<u64, Waiting>>,
    last: Cell<u64>,
}

/// A call that has not been taken back by whoever waits for it.
#[derive(Default)]
struct Waiting {
    ended: Option<Ended>,
    waker: Option<Waker>,
}

impl DatabaseClient {
    /// Connects, until the run is to end. Nothing else runs in this loop meanwhile.
    pub(super) fn connect(database: &Database, live: &Live) -> Result<Self, DriveError> {
        let done = Done::new()?;
        let caller = RefCell::new(Some(database.connect(&done, &|| live.is_stopped())?));
        // Only the readiness of the descriptor is used, which needs no socket.
        let signal = std::os::unix::net::UnixStream::from(done.signal()?);
        let watched = UnixStream::from_std(signal)?;
        let (waiting, last) = (RefCell::default(), Cell::default());
        let timeout = database.timeout;
        let inner = Rc::new(Inner { caller, done, timeout, waiting, last });
        monoio::spawn(watch(Rc::downgrade(&inner), watched));
        Ok(Self { inner })
    }

    /// Executes a statement.
    pub(super) async fn ask(&self, statement: Statement, key: Vec<u8>, value: Vec<u8>) -> Ended {
        let by = Micros::boottime() + self.inner.timeout;
        self.ask_by(by, statement, key, value).await
    }

    /// Executes a statement that nobody waits for after this time.
    pub(super) async fn ask_by(
        &self,
        by: Micros,
        statement: Statement,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> Ended {
        let Inner { caller, waiting, last, .. } = &*self.inner;
        if waiting.borrow().len() >= CALLS_MAX {
            let text = format!("this client waits for {CALLS_MAX} calls of the database already");
            return Err(Failure { kind: FailureKind::Overloaded, text });
        }
        let ticket = last.get() + 1;
        last.set(ticket);
        waiting.borrow_mut().insert(ticket, Waiting::default());
        let call = Call { ticket, statement, key, value, by: Some(by) };
        if !caller.borrow().as_ref().is_some_and(|caller| caller.call(call)) {
            waiting.borrow_mut().remove(&ticket);
            let text = "the threads of the database have ended".to_owned();
            return Err(Failure { kind: FailureKind::OriginUnavailable, text });
        }
        poll_fn(|context| {
            let mut waiting = waiting.borrow_mut();
            let own = waiting.get_mut(&ticket).expect("only this future takes it out");
            match own.ended.take() {
                Some(ended) => {
                    waiting.remove(&ticket);
                    Poll::Ready(ended)
                }
                None => {
                    own.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Drops what is under way on these clients. Those that wait for it wait in vain.
pub(super) fn close_all<'c>(clients: impl Iterator<Item = &'c DatabaseClient>) {
    Caller::end_all(clients.filter_map(|client| client.inner.caller.take()));
}

impl Drop for DatabaseClient {
    fn drop(&mut self) {
        // The task that watches sees that nobody is left.
        self.inner.done.wake();
    }
}

async fn watch(owner: Weak<Inner>, signal: UnixStream) {
    while signal.readable(false).await.is_ok() {
        let Some(inner) = owner.upgrade() else { return };
        for (ticket, ended) in inner.done.take() {
            let mut waiting = inner.waiting.borrow_mut();
            let Some(waiting) = waiting.get_mut(&ticket) else { continue };
            waiting.ended = Some(ended);
            if let Some(waker) = waiting.waker.take() {
                waker.wake();
            }
        }
    }
}
