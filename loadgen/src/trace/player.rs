//! A load thread's end of a trace: the requests of its share, in their order.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use super::batch::{Batch, Entry};
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
    batch: Batch,
    next: usize,
}

impl Player {
    pub(super) fn new(batches: Receiver<Batch>) -> Self {
        Self { batches, batch: Batch::default(), next: 0 }
    }

    /// Looks at the next request, and never waits.
    pub fn peek(&mut self) -> Next {
        while self.next == self.batch.requests.len() {
            match self.batches.try_recv() {
                Ok(batch) => (self.batch, self.next) = (batch, 0),
                Err(TryRecvError::Empty) => return Next::NotYet,
                Err(TryRecvError::Disconnected) => return Next::Ended,
            }
        }
        Next::At(Duration::from_micros(self.batch.requests[self.next].due_us))
    }

    /// Takes the next request; `None`: there is none now.
    pub fn take(&mut self) -> Option<(Request, Recorded)> {
        let Next::At(_) = self.peek() else { return None };
        let Entry { name_end, key, value_bytes, access, .. } = self.batch.requests[self.next];
        let name_start = match self.next.checked_sub(1) {
            Some(before) => self.batch.requests[before].name_end,
            None => 0,
        };
        self.next += 1;
        let name = self.batch.names[name_start..name_end].into();
        Some((Request { key, access }, Recorded { name, value_bytes }))
    }
}
