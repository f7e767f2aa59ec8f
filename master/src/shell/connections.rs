//! The connections that callers make to the master. When there are too many, the one that has been
//! idle for the longest time is closed, because a new caller has more use for it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use standin_protocol::time::Micros;

use crate::shell::ready::Notify;

/// The number of connections at once, if the system allows that many.
pub(crate) const CONNECTIONS_MAX: usize = 1_024;
/// The number of connections that may be closing while others are accepted in their place.
pub(crate) const CLOSING: usize = 8;
/// The shortest time for which a connection may be idle, even if all connections are.
const GRACE: Duration = Duration::from_millis(2);

/// All connections.
pub(crate) struct Connections {
    most: usize,
    open: RefCell<BTreeMap<u64, Rc<Connection>>>,
    last_id: Cell<u64>,
    ended: Notify,
}

struct Connection {
    /// The time since which it has sent no request.
    silent_since: Cell<Micros>,
    is_closing: Cell<bool>,
    close: Box<dyn Fn()>,
}

/// The place of a connection. Dropping it frees the place.
pub(crate) struct Place {
    all: Rc<Connections>,
    id: u64,
    connection: Rc<Connection>,
}

impl Connections {
    pub(crate) fn new(most: usize) -> Rc<Self> {
        let (open, last_id, ended) = Default::default();
        Rc::new(Self { most, open, last_id, ended })
    }

    /// Returns the time at which another connection may be accepted. `None` means that a connection
    /// has to leave first ([`Self::ended`]).
    pub(crate) fn room_at(&self) -> Option<Micros> {
        let open = self.open.borrow();
        if open.len() < self.most {
            return Some(Micros(0));
        }
        let silent_longest = open.values().filter(|connection| !connection.is_closing.get());
        let since = silent_longest.map(|connection| connection.silent_since.get()).min()?;
        (open.len() < self.most + CLOSING).then_some(since + GRACE)
    }

    /// Waits until a connection has left.
    pub(crate) async fn ended(&self) {
        self.ended.wait().await;
    }

    /// Accepts a connection. If there are too many, closes the one that has been idle for the
    /// longest time.
    pub(crate) fn accept(self: &Rc<Self>, now: Micros, close: impl Fn() + 'static) -> Place {
        self.make_room();
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let (silent_since, is_closing) = (Cell::new(now), Cell::new(false));
        let connection = Rc::new(Connection { silent_since, is_closing, close: Box::new(close) });
        self.open.borrow_mut().insert(id, connection.clone());
        Place { all: self.clone(), id, connection }
    }

    fn make_room(&self) {
        let open = self.open.borrow();
        let staying = || open.values().filter(|connection| !connection.is_closing.get());
        if staying().count() < self.most {
            return;
        }
        if let Some(connection) = staying().min_by_key(|connection| connection.silent_since.get()) {
            connection.is_closing.set(true);
            (connection.close)();
        }
    }
}

impl Place {
    /// Notes that the connection has sent a request.
    pub(crate) fn asked(&self, now: Micros) {
        self.connection.silent_since.set(now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.open.borrow_mut().remove(&self.id);
        self.all.ended.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_that_is_idle_for_longest_is_closed() {
        let connections = Connections::new(2);
        let closed = Rc::new(RefCell::new(Vec::new()));
        let accept = |at: u64| {
            let closed = closed.clone();
            connections.accept(Micros(at), move || closed.borrow_mut().push(at))
        };
        let (first, second) = (accept(1), accept(2));
        first.asked(Micros(3));
        assert_eq!(connections.room_at(), Some(Micros(2) + GRACE));
        let _third = accept(60_000);
        assert_eq!(*closed.borrow(), [2]);
        drop(second);
        assert_eq!(connections.room_at(), Some(Micros(3) + GRACE), "it is full again");
        drop(first);
        assert_eq!(connections.room_at(), Some(Micros(0)));
    }

    #[test]
    fn no_connection_is_accepted_while_many_are_closing() {
        let connections = Connections::new(2);
        let mut places = Vec::new();
        while connections.room_at().is_some() {
            places.push(connections.accept(Micros(0), || {}));
        }
        assert_eq!(places.len(), 2 + CLOSING);
    }
}
