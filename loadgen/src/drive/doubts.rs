//! Reads of existing rows that wait until the database is asked again (rechecks.rs).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use standin_protocol::time::Micros;

use super::database::DatabaseClient;
use super::pacer::Pacer;
use super::{DriveError, Rows};
use crate::checker::Content;
use crate::live::Live;
use crate::recorder::Judged;

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
        true
    }

    /// Takes out the doubts of a row: all of reads that have ended by now.
    pub(super) fn take(&mut self) -> Option<(u32, Vec<Doubt>)> {
        let row = self.order.pop_front()?;
        let doubts = self.doubts.remove(&row).unwrap_or_default();
        self.count -= doubts.len();
        Some((row, doubts))
    }
}

impl Rechecks {
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

    #[test]
    fn what_waits_is_bounded_and_reads_of_one_row_wait_together() {
        let doubt = Doubt {
            seen: Content::ABSENT,
            sent: Micros(1),
            server: 0,
            answer: Judged { phase: 0, due: Micros(1), ended: Micros(2) },
        };
        let mut waiting = Waiting::default();
        let rows = u32::try_from(ROWS_MAX).unwrap();
        assert!((0..rows).all(|row| waiting.add(row, doubt)));
        assert!(!waiting.add(rows, doubt), "no further row");
        let more = (ROWS_MAX..DOUBTS_MAX).filter(|_| waiting.add(5, doubt)).count();
        assert_eq!(more, DOUBTS_MAX - ROWS_MAX);
        assert!(!waiting.add(5, doubt), "no further read");
        for row in 0..rows {
            let (found, doubts) = waiting.take().unwrap();
            assert_eq!((found, doubts.len()), (row, if row == 5 { more + 1 } else { 1 }));
        }
        assert!(waiting.take().is_none() && waiting.count == 0);
        assert!(waiting.add(5, doubt));
    }
}
