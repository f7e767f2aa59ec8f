//! What the checker is told of a request's end, and what it says.

use standin_protocol::time::Micros;

use crate::checker::{Checker, Counted, Floor, Increment, Seen, Swap, Verdict, Write};
use crate::recorder::{Counts, FailureKind};
use crate::targets::operation::{Ending, Found, Kind};

/// A request's place in the order of its key.
#[derive(Debug)]
pub(super) enum Place {
    /// It changes nothing, or nobody judges it.
    None,
    Write(Write),
    /// An attempt to replace what was read.
    Swap(Swap),
    /// An attempt to add what is gone.
    Refill(Swap),
    Increment(Increment),
}

/// Ends what a request has changed, and judges that.
pub(super) fn end(
    checker: &Checker,
    place: Place,
    ended: Micros,
    ending: &Ending<'_>,
) -> Option<Verdict> {
    match place {
        Place::None => None,
        Place::Write(write) => {
            match ending {
                Ok(answer) if answer.found == Found::Exists => checker.withdraw_write(write),
                Ok(_) | Err(_) => checker.end_write(write, ended, ending.is_ok()),
            }
            None
        }
        Place::Swap(swap) | Place::Refill(swap) => match ending {
            Ok(answer) if answer.found == Found::Done => Some(checker.end_swap(swap, ended)),
            // It was refused, or never sent.
            Ok(_) => None,
            Err(failure) if failure.kind == FailureKind::ConnectFailed => None,
            Err(_) => {
                checker.leave_swap(swap, ended);
                None
            }
        },
        Place::Increment(increment) => {
            let counted = match ending {
                Ok(answer) => match answer.found {
                    Found::Number(sum) => Counted::Sum(sum),
                    _ => Counted::Absent,
                },
                // It was never sent.
                Err(failure) if failure.kind == FailureKind::ConnectFailed => Counted::NotMade,
                Err(_) => Counted::Unknown,
            };
            checker.end_increment(increment, counted)
        }
    }
}

/// Counts what only some kinds of request have.
pub(super) fn count(counts: &mut Counts, kind: Kind, ending: &Ending<'_>) {
    // What has failed is counted as such.
    let Ok(answer) = ending else { return };
    match (kind, answer.found) {
        (Kind::Increment, Found::Number(_)) => counts.increments += 1,
        (Kind::Increment, _) => counts.increments_absent += 1,
        (Kind::Cas, Found::Done) => counts.swaps += 1,
        (Kind::Cas, _) => counts.swaps_refused += 1,
        _ => {}
    }
}

/// Judges an answer that says whether there is a value, or which.
pub(super) fn judge(
    checker: Option<&Checker>,
    key: u32,
    kind: Kind,
    floor: Option<Floor>,
    ending: &Ending<'_>,
) -> Option<Verdict> {
    let (checker, floor) = (checker?, floor?);
    let seen = match (kind, ending.as_ref().ok()?.found) {
        (Kind::Get | Kind::Gets, found) => found.seen(),
        (Kind::Add, Found::Done) | (Kind::Touch, Found::Absent) => Seen::Absent,
        // There is a value; which one is unknown.
        _ => return None,
    };
    Some(checker.after_read(key, floor, seen))
}
