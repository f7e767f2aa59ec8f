//! Asks the database again for rows of which a read has shown something else than is known, one row after the other, and
//! has the reads judged by what it says.
//!
//! The requests were recorded before, so nothing here is part of a latency. What may wait is bounded, and so is the rate:
//! the database is somebody's who has other work for it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use standin_protocol::time::Micros;

use super::database::DatabaseClient;
use super::pacer::Pacer;
use super::shared::Shared;
use super::{DriveError, Rows};
use crate::checker::{Content, Verdict};
use crate::database::Statement;
use crate::recorder::Judged;

/// The shortest time from one row to the next: 500 rows per second of each load thread.
const APART: Duration = Duration::from_millis(2);
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

/// See the head of the file.
pub(super) struct Rechecks {
    rows: Arc<Rows>,
    database: DatabaseClient,
    pacer: Pacer,
    waiting: RefCell<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    is_running: bool,
    /// Rows in the order of their first doubts.
    order: VecDeque<u32>,
    doubts: BTreeMap<u32, Vec<Doubt>>,
    count: usize,
}

impl Waiting {
    /// Takes in a doubt; `false`: there is no room.
    fn add(&mut self, row: u32, doubt: Doubt) -> bool {
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
    fn take(&mut self) -> Option<(u32, Vec<Doubt>)> {
        let row = self.order.pop_front()?;
        let doubts = self.doubts.remove(&row).unwrap_or_default();
        self.count -= doubts.len();
        Some((row, doubts))
    }
}

impl Rechecks {
    /// Connects to the database. Nothing else runs in this loop meanwhile.
    pub(super) fn connect(rows: &Arc<Rows>) -> Result<Self, DriveError> {
        let database = DatabaseClient::connect(&rows.database)?;
        let (pacer, waiting) = (Pacer::new()?, RefCell::default());
        Ok(Self { rows: Arc::clone(rows), database, pacer, waiting })
    }
}

/// Has the database asked again for a row.
pub(super) fn doubt(shared: &Rc<Shared>, row: u32, doubt: Doubt) {
    let rechecks = shared.rechecks.as_ref().expect("rows are read with a way to read them again");
    let mut waiting = rechecks.waiting.borrow_mut();
    if !waiting.add(row, doubt) {
        judge(shared, row, &doubt, Verdict::Unjudged);
        return;
    }
    if !std::mem::replace(&mut waiting.is_running, true) {
        shared.begin();
        monoio::spawn(run(Rc::clone(shared)));
    }
}

/// Settles what waits, until nothing does.
async fn run(shared: Rc<Shared>) {
    let rechecks = shared.rechecks.as_ref().expect("only they begin this");
    loop {
        let asked = Micros::boottime();
        // Not borrowed while the database is asked.
        let next = rechecks.waiting.borrow_mut().take();
        let Some((row, doubts)) = next else { break };
        let content = ask(&shared, rechecks, row).await;
        let now = Micros::boottime();
        for doubt in &doubts {
            let verdict = content.map_or(Verdict::Unjudged, |content| {
                rechecks.rows.checker.settle(row, (doubt.sent, doubt.seen), (now, content))
            });
            judge(&shared, row, doubt, verdict);
        }
        if content.is_none() {
            // Each of the others would wait as long, also when the run is over.
            while let Some((row, doubts)) = rechecks.waiting.borrow_mut().take() {
                doubts.iter().for_each(|doubt| judge(&shared, row, doubt, Verdict::Unjudged));
            }
        }
        if rechecks.pacer.wait_until(asked + APART).await.is_err() {
            // There is no timer any more; the database is asked as fast as it answers.
            continue;
        }
    }
    rechecks.waiting.borrow_mut().is_running = false;
    shared.end();
}

/// What the database has; `None`: it does not say, or the run was ended.
async fn ask(shared: &Shared, rechecks: &Rechecks, row: u32) -> Option<Content> {
    if shared.live.is_stopped() {
        return None;
    }
    let key = shared.plan.keys.name(row);
    let value = rechecks.database.ask(Statement::Get, key, Vec::new()).await.ok()?;
    Some(Content::from(value.as_deref()))
}

/// Records a verdict.
fn judge(shared: &Shared, row: u32, doubt: &Doubt, verdict: Verdict) {
    let mut recorder = shared.recorder.borrow_mut();
    recorder.judge_later(&doubt.answer, verdict);
    if let Some(said) = verdict.complaint() {
        let at_ms = doubt.sent.since(shared.start).as_millis();
        recorder.quote(|| {
            format!("{at_ms} ms, read of key {row}: {said}, from server {}", doubt.server)
        });
        shared.live.add_bad(shared.number);
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
