//! How many calls may wait, and how they reach the driver threads.
//!
//! The channels themselves have no bound and so nobody ever blocks on one; the one
//! counter in front of them is the bound, over reads and writes together. It counts
//! calls that no driver has taken yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Call;
use super::ticket::Ticket;

/// A call on its way.
pub(super) struct Job {
    pub(super) call: Call,
    pub(super) ticket: Ticket,
}

/// What travels to a driver thread.
pub(super) enum Message {
    Job(Job),
    /// The thread that takes it ends; everything sent before has been taken.
    Stop,
}

/// The counter in front of the channels.
#[derive(Debug)]
pub(super) struct Waiting {
    calls: AtomicUsize,
    most: usize,
}

impl Waiting {
    pub(super) fn new(most: u32) -> Arc<Self> {
        let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
        Arc::new(Self { calls: AtomicUsize::new(0), most })
    }

    fn enter(&self) -> bool {
        let enter = |calls| (calls < self.most).then_some(calls + 1);
        self.calls.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).is_ok()
    }

    /// A driver has taken a call.
    pub(super) fn leave(&self) {
        self.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The submitting end.
pub(super) struct Queues {
    waiting: Arc<Waiting>,
    lanes: Lanes,
}

/// Where calls of each kind go.
pub(super) enum Lanes {
    Sqlite {
        reads: crossbeam::channel::Sender<Message>,
        readers: usize,
        writes: crossbeam::channel::Sender<Message>,
    },
    Postgres(tokio::sync::mpsc::UnboundedSender<Message>),
}

impl Queues {
    pub(super) fn new(waiting: Arc<Waiting>, lanes: Lanes) -> Self {
        Self { waiting, lanes }
    }

    /// Whether a call should not even be tried while the database is down. SQLite's
    /// drivers find out by trying, within microseconds.
    pub(super) fn fails_fast(&self) -> bool {
        matches!(self.lanes, Lanes::Postgres(_))
    }

    /// Gives the job back when as many wait as may.
    pub(super) fn push(&self, job: Job) -> Result<(), Job> {
        if !self.waiting.enter() {
            return Err(job);
        }
        // When the receivers are gone the message is dropped, and its ticket answers.
        let write = job.call.operation.is_write();
        let message = Message::Job(job);
        match &self.lanes {
            Lanes::Sqlite { writes, .. } if write => drop(writes.send(message)),
            Lanes::Sqlite { reads, .. } => drop(reads.send(message)),
            Lanes::Postgres(calls) => drop(calls.send(message)),
        }
        Ok(())
    }

    /// Tells every driver thread to end.
    pub(super) fn stop(&self) {
        match &self.lanes {
            Lanes::Sqlite { reads, readers, writes } => {
                for _ in 0..*readers {
                    let _ = reads.send(Message::Stop);
                }
                let _ = writes.send(Message::Stop);
            }
            Lanes::Postgres(calls) => drop(calls.send(Message::Stop)),
        }
    }
}
