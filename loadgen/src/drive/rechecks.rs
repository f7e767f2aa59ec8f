//! Asks the database again for rows of which a read has shown something else than is known, several rows at once, and
//! has the reads judged by what it says.
//!
//! The requests were recorded before, so nothing here is part of a latency. What may wait is bounded, and so is the rate:
//! the database is somebody's who has other work for it. What still waits when the last request has ended has some seconds,
//! which are no part of the run.

use std::rc::Rc;
use std::time::Duration;

use standin_protocol::time::Micros;

use super::doubts::{Doubt, Rechecks};
use super::shared::Shared;
use crate::checker::{Answered, Content, Seen, Verdict};
use crate::database::Statement;
use crate::recorder::Judged;

/// The shortest time from one row to the next: 500 rows per second of each load thread.
const APART: Duration = Duration::from_millis(2);

/// The longest time after the last request: all that may wait is asked in it by a database that answers at once.
pub(super) const SETTLE_WITHIN: Duration = Duration::from_secs(3);

/// What a read of an existing row has shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    seen: Content,
    /// Whether that is what the row is known to have.
    agrees: bool,
}

impl Shown {
    /// Compares it with what is known; `None`: reads are not judged by the database.
    pub(super) fn of(shared: &Shared, row: u32, seen: Seen<'_>) -> Option<Self> {
        let rows = shared.plan.rows.as_ref()?;
        let seen = Content::from(seen);
        Some(Self { seen, agrees: rows.checker.agrees(row, seen) })
    }

    /// The verdict; `None`: it is known when the database has been asked again.
    pub(super) fn verdict(self) -> Option<Verdict> {
        self.agrees.then_some(Verdict::Fresh)
    }

    /// Has the database asked again, if it must be. Call it after the read is recorded, as it may be judged at once.
    pub(super) fn settle(
        self,
        shared: &Rc<Shared>,
        row: u32,
        (sent, server): (Micros, u16),
        answer: Judged,
    ) {
        if !self.agrees {
            doubt(shared, row, Doubt { seen: self.seen, sent, server, answer });
        }
    }
}

/// Has the database asked again for a row.
fn doubt(shared: &Rc<Shared>, row: u32, doubt: Doubt) {
    let rechecks = shared.rechecks.as_ref().expect("rows are read with a way to read them again");
    let mut waiting = rechecks.waiting.borrow_mut();
    if !waiting.add(row, doubt) {
        judge(shared, row, &doubt, Verdict::Unjudged);
        return;
    }
    if !std::mem::replace(&mut waiting.is_running, true) {
        monoio::spawn(run(Rc::clone(shared)));
    }
}

/// Settles what waits, until nothing does.
async fn run(shared: Rc<Shared>) {
    let rechecks = shared.rechecks.as_ref().expect("only they begin this");
    loop {
        // Not borrowed while the database is asked.
        let next = rechecks.waiting.borrow_mut().take();
        match next {
            Some(row) => {
                let asked = Micros::boottime();
                monoio::spawn(settle(Rc::clone(&shared), row));
                // Without a timer, the database is asked as fast as it answers.
                let _ = rechecks.pacer.wait_until(asked + APART).await;
            }
            None if rechecks.waiting.borrow().is_idle() => break,
            None => rechecks.changed().await,
        }
    }
    shared.end_rechecks();
}

/// Asks for a row, and judges the reads of it that are in doubt.
async fn settle(shared: Rc<Shared>, row: u32) {
    let rechecks = shared.rechecks.as_ref().expect("only they begin this");
    let asked = Micros::boottime();
    let content = ask(&shared, rechecks, row).await;
    let now = Micros::boottime();
    // None, if nobody waits for them any more.
    let doubts = rechecks.waiting.borrow_mut().end(row);
    for doubt in &doubts {
        let verdict = content.map_or(Verdict::Unjudged, |content| {
            let has = Answered { asked, now, content };
            rechecks.rows.checker.settle(row, (doubt.sent, doubt.seen), has)
        });
        judge(&shared, row, doubt, verdict);
    }
    if content.is_none() {
        // Each of the others would wait as long, also when the run is over.
        let others = rechecks.waiting.borrow_mut().give_up();
        for (row, doubts) in &others {
            doubts.iter().for_each(|doubt| judge(&shared, *row, doubt, Verdict::Unjudged));
        }
    }
}

/// Leaves unjudged what has not been settled.
pub(super) fn abandon(shared: &Shared) {
    let Some(rechecks) = &shared.rechecks else { return };
    let left = rechecks.waiting.borrow_mut().abandon();
    for (row, doubts) in left {
        doubts.iter().for_each(|doubt| judge(shared, row, doubt, Verdict::Unjudged));
    }
}

/// What the database has; `None`: it does not say, or the run was ended.
async fn ask(shared: &Shared, rechecks: &Rechecks, row: u32) -> Option<Content> {
    let now = Micros::boottime();
    let by = (now + rechecks.rows.database.timeout).min(rechecks.closes.get());
    if shared.live.is_stopped() || by <= now {
        return None;
    }
    let key = shared.plan.keys.name(row);
    let value = rechecks.database.ask_by(by, Statement::Get, key, Vec::new()).await.ok()?;
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
