//! A load thread's end of a trace: the requests of its share, in their order.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use bytes::Bytes;

use super::batch::{Batch, Entry};
use super::wish::Listening;
use crate::request::{Recorded, Request};

/// Whether there is a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next one, and when it is due after the first of the trace; zero if times are not kept.
    At(Duration),
    /// The file is not read that far yet.
    NotYet,
    /// The trace has ended, for whatever reason.
    Ended,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Player {
    batches: Receiver<Batch>,
    requests: Vec<Entry>,
    /// Their keys, which requests that are under way share.
    names: Bytes,
    next: usize,
    /// The end of the name before the next one.
    name_start: usize,
    /// Lets the reader go on.
    _listening: Arc<Listening>,
}

impl Player {
    pub(super) fn new(batches: Receiver<Batch>, listening: Arc<Listening>) -> Self {
        Self {
            batches,
            requests: Vec::new(),
            names: Bytes::new(),
            next: 0,
            name_start: 0,
            _listening: listening,
        }
    }

    /// Looks at the next request, and never waits.
    pub fn peek(&mut self) -> Next {
        while self.next == self.requests.len() {
            match self.batches.try_recv() {
                Ok(Batch { requests, names }) => {
                    (self.requests, self.names) = (requests, names.into());
                    (self.next, self.name_start) = (0, 0);
                }
                Err(TryRecvError::Empty) => return Next::NotYet,
                Err(TryRecvError::Disconnected) => return Next::Ended,
            }
        }
        Next::At(Duration::from_micros(self.requests[self.next].due_us))
    }

    /// Takes the next request; `None`: there is none now.
    pub fn take(&mut self) -> Option<(Request, Recorded)> {
        let Next::At(_) = self.peek() else { return None };
        let Entry { name_end, key, value_bytes, access, .. } = self.requests[self.next];
        let name = self.names.slice(self.name_start..name_end);
        (self.next, self.name_start) = (self.next + 1, name_end);
        Some((Request { key, access }, Recorded { name, value_bytes }))
    }
}
