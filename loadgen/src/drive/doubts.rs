//! Reads of existing rows that wait until the database is asked again (rechecks.rs).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use standin_protocol::time::Micros;

use super::database::DatabaseClient;
use super::pacer::Pacer;
use super::{DriveError, Rows};
use crate::checker::Content;
use crate::live::Live;
use crate::recorder::Judged;

/// Rows that are asked for at once.
const UNDER_WAY_MAX: usize = 8;
/// Rows that wait, and the reads of all of them.
const ROWS_MAX: usize = 1_024;
const DOUBTS_MAX: usize = 16_384;

/// A read that has shown something else than is known of its row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    pub(super) seen: Content,
    pub(super) sent: Micros,
    /// The server that answered.
    pub(super) server: u16,
    pub(super) answer: Judged,
}

/// The doubts of a load thread, and its way to the database.
pub(super) struct Rechecks {
    pub(super) rows: Arc<Rows>,
    pub(super) database: DatabaseClient,
    pub(super) pacer: Pacer,
    pub(super) waiting: RefCell<Waiting>,
    /// The time after which nothing is asked any more; set when the last request has ended.
    pub(super) closes: Cell<Micros>,
}

/// Rows of which reads are in doubt.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) is_running: bool,
    /// Rows in the order of their first doubts.
    order: VecDeque<u32>,
    doubts: BTreeMap<u32, Vec<Doubt>>,
    count: usize,
    /// Rows that are asked for now. None of them is asked for a second time meanwhile: answers could overtake each other.
    under_way: BTreeMap<u32, Vec<Doubt>>,
    /// Whether there may be something to do since it was looked at last.
    has_changed: bool,
    waker: Option<Waker>,
}

impl Waiting {
    /// Takes in a doubt; `false`: there is no room.
    pub(super) fn add(&mut self, row: u32, doubt: Doubt) -> bool {
        let is_new = !self.doubts.contains_key(&row);
        if self.count >= DOUBTS_MAX || is_new && self.doubts.len() >= ROWS_MAX {
            return false;
        }
        if is_new {
            self.order.push_back(row);
        }
        self.doubts.entry(row).or_default().push(doubt);
        self.count += 1;
        self.change();
        true
    }

    /// Begins with a row that can be asked for now, of which there are the doubts of reads that have ended by now.
    pub(super) fn take(&mut self) -> Option<u32> {
        if self.under_way.len() >= UNDER_WAY_MAX {
            return None;
        }
        let at = self.order.iter().position(|row| !self.under_way.contains_key(row))?;
        let row = self.order.remove(at)?;
        let doubts = self.doubts.remove(&row).unwrap_or_default();
        self.count -= doubts.len();
        self.under_way.insert(row, doubts);
        Some(row)
    }

    /// Ends with a row, and takes out its doubts.
    pub(super) fn end(&mut self, row: u32) -> Vec<Doubt> {
        self.change();
        self.under_way.remove(&row).unwrap_or_default()
    }

    /// Whether no row is asked for.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Takes out everything that waits.
    pub(super) fn give_up(&mut self) -> BTreeMap<u32, Vec<Doubt>> {
        self.order.clear();
        self.count = 0;
        std::mem::take(&mut self.doubts)
    }

    /// Takes out what is asked for now, too.
    pub(super) fn abandon(&mut self) -> impl Iterator<Item = (u32, Vec<Doubt>)> + use<> {
        self.give_up().into_iter().chain(std::mem::take(&mut self.under_way))
    }

    fn change(&mut self) {
        self.has_changed = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Rechecks {
    /// Waits until something has changed since this was called last.
    pub(super) async fn changed(&self) {
        poll_fn(|context| {
            let mut waiting = self.waiting.borrow_mut();
            if std::mem::take(&mut waiting.has_changed) {
                return Poll::Ready(());
            }
            waiting.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Connects to the database, until the run is to end. Nothing else runs in this loop meanwhile.
    pub(super) fn connect(rows: &Arc<Rows>, live: &Live) -> Result<Self, DriveError> {
        let database = DatabaseClient::connect(&rows.database, live)?;
        let (pacer, waiting, closes) =
            (Pacer::new()?, RefCell::default(), Cell::new(Micros::NEVER));
        Ok(Self { rows: Arc::clone(rows), database, pacer, waiting, closes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOUBT: Doubt = Doubt {
        seen: Content::ABSENT,
        sent: Micros(1),
        server: 0,
        answer: Judged { phase: 0, due: Micros(1), ended: Micros(2) },
    };

    #[test]
    fn what_waits_is_bounded_and_reads_of_one_row_wait_together() {
        let doubt = DOUBT;
        let mut waiting = Waiting::default();
        let rows = u32::try_from(ROWS_MAX).unwrap();
        assert!((0..rows).all(|row| waiting.add(row, doubt)));
        assert!(!waiting.add(rows, doubt), "no further row");
        let more = (ROWS_MAX..DOUBTS_MAX).filter(|_| waiting.add(5, doubt)).count();
        assert_eq!(more, DOUBTS_MAX - ROWS_MAX);
        assert!(!waiting.add(5, doubt), "no further read");
        for row in 0..rows {
            let found = waiting.take().unwrap();
            let doubts = waiting.end(found);
            assert_eq!((found, doubts.len()), (row, if row == 5 { more + 1 } else { 1 }));
        }
        assert!(waiting.take().is_none() && waiting.count == 0);
        assert!(waiting.add(5, doubt));
    }

    #[test]
    fn several_rows_are_asked_for_at_once_and_none_of_them_twice() {
        let mut waiting = Waiting::default();
        let rows = u32::try_from(UNDER_WAY_MAX).unwrap() + 2;
        assert!((0..rows).all(|row| waiting.add(row, DOUBT)));
        let taken: Vec<u32> = std::iter::from_fn(|| waiting.take()).collect();
        assert_eq!(taken, (0..rows - 2).collect::<Vec<_>>(), "a bounded number");
        assert!(waiting.add(3, DOUBT), "another read of a row that is asked for");
        waiting.end(7);
        assert_eq!(waiting.take(), Some(rows - 2));
        waiting.end(0);
        assert_eq!(waiting.take(), Some(rows - 1));
        waiting.end(1);
        assert!(waiting.take().is_none(), "the row is being asked for");
        assert_eq!(waiting.end(3).len(), 1, "without the read that has come since");
        assert_eq!((waiting.take(), waiting.end(3).len()), (Some(3), 1));
        assert!(waiting.add(9, DOUBT) && !waiting.is_idle());
        assert_eq!((waiting.give_up().len(), waiting.count), (1, 0));
        assert!(waiting.take().is_none());
        assert_eq!(waiting.abandon().count(), UNDER_WAY_MAX - 2);
        assert!(waiting.is_idle() && waiting.end(2).is_empty());
    }
}
