//! Whether anybody still wishes to have what is read of a trace.

use std::io::{self, Read};
use std::sync::{Arc, Weak};

/// A reader's side: to be asked before each piece that is read, since a piece may have nothing for anybody.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    /// As long as one of these lives.
    While(Weak<Listening>),
    /// To the end.
    Always,
}

/// Held by those who listen.
#[derive(Debug, Default)]
pub(super) struct Listening;

impl Wish {
    /// A wish, and what keeps it up.
    pub(super) fn new() -> (Self, Arc<Listening>) {
        let listening = Arc::new(Listening);
        (Self::While(Arc::downgrade(&listening)), listening)
    }

    /// Bytes that can't be read any more when nobody listens.
    pub(super) fn read<R: Read>(&self, bytes: R) -> WhileWished<R> {
        WhileWished { bytes, wish: self.clone() }
    }

    /// Whether somebody listens.
    pub(super) fn lasts(&self) -> bool {
        match self {
            Self::While(listening) => listening.strong_count() > 0,
            Self::Always => true,
        }
    }
}

/// See [`Wish::read`].
pub(super) struct WhileWished<R> {
    bytes: R,
    wish: Wish,
}

impl<R: Read> Read for WhileWished<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.wish.lasts() {
            true => self.bytes.read(out),
            false => Err(io::Error::other("nobody listens")),
        }
    }
}
