//! Bytes that are decoded before others of their connection, which came earlier: those that take the place
//! of a request, and those that follow from an answer.

use super::backend::Backend;
use super::conn::Conn;
use super::{ConnKey, Core};
use crate::shard::codec::Again;

/// The largest number of bytes that are moved in a turn because other requests take the place of some.
const AGAIN_BYTES_MAX: usize = 8 << 20;

/// Requests whose place others take (`What::Again`): what is behind them is moved, so that their number
/// in a turn is bounded.
#[derive(Debug, Default)]
pub(super) struct Agains {
    /// The bytes that were moved in this turn.
    pub(super) bytes: usize,
    /// Connections that go on in the next turn.
    pub(super) deferred: Vec<ConnKey>,
}

impl Agains {
    pub(super) fn is_used_up(&self) -> bool {
        self.bytes > AGAIN_BYTES_MAX
    }

    pub(super) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }
}

impl Conn {
    /// Puts what follows from an answer before all that has not been decoded, while nothing is staged
    /// behind the request.
    pub(super) fn take_again(&mut self) {
        if let Some(again) = self.codec.take_again() {
            self.decoder = self.decoder.again(again.tag);
            self.input.splice(self.staged_to..self.staged_to, again.bytes);
        }
    }
}

impl<B: Backend> Core<B> {
    /// Has bytes of a connection decoded before all that has not been served.
    pub(super) fn decode_first(&mut self, key: ConnKey, again: Again) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.decoder = conn.decoder.again(again.tag);
        conn.unserved = Some(again.bytes);
        self.with_unserved.push(key);
        self.read_again(key);
    }

    /// Has what came behind a request of this tag, which changes nothing for the decoder, decoded again: the
    /// caller may have other rights now.
    pub(super) fn decode_behind(&mut self, key: ConnKey, tag: u64) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.decoder = conn.decoder.before(tag);
        conn.unserved = Some(Vec::new());
        self.with_unserved.push(key);
        self.read_again(key);
    }

    /// Goes on with a connection whose last request is alone: behind it nothing was decoded.
    pub(super) fn go_on_behind(&mut self, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.codec.is_alone() {
            self.pause(key);
        } else if let Some(again) = conn.codec.take_again() {
            self.decode_first(key, again);
        }
    }
}
