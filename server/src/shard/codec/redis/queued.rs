//! The commands between MULTI and EXEC, as they are kept.

use super::bulk::{self, Word, Words};
use super::table::{self, Command, Found};

/// A command that waits for EXEC.
pub(super) struct Queued<'a> {
    command: &'static Command,
    words: Vec<&'a [u8]>,
    pub(super) bytes: &'a [u8],
}

impl<'a> Queued<'a> {
    pub(super) fn writes(&self) -> bool {
        self.command.flags.contains(&"write") || self.is_script()
    }

    fn is_script(&self) -> bool {
        self.command.flags.contains(&"scripting")
    }

    /// Whether it gives a key a lifetime, without a condition.
    pub(super) fn expires(&self) -> bool {
        const NAMES: [&str; 4] = ["expire", "expireat", "pexpire", "pexpireat"];
        NAMES.contains(&self.command.name) && self.words.len() == 3
    }

    /// Its keys.
    pub(super) fn keys(&self) -> Vec<&'a [u8]> {
        let (first, last, step) = self.command.keys;
        let (first, step) = (first.unsigned_abs() as usize, step.unsigned_abs() as usize);
        if self.is_script() {
            let count = self.words.get(2).and_then(|word| bulk::number(word)).unwrap_or(0);
            let count = usize::try_from(count).unwrap_or(0);
            return self.words.iter().skip(3).take(count).copied().collect();
        }
        if first == 0 {
            return Vec::new();
        }
        let end = usize::try_from(last).map_or(self.words.len(), |last| last + 1);
        (first..end.min(self.words.len())).step_by(step).map(|at| self.words[at]).collect()
    }
}

/// The commands of a queue.
pub(super) fn commands(queue: &[u8]) -> impl Iterator<Item = Queued<'_>> {
    let mut rest = queue;
    std::iter::from_fn(move || {
        let (queued, left) = command(rest)?;
        rest = left;
        Some(queued)
    })
}

/// The first command of a queue, and what follows it. A queue has whole commands that are known.
fn command(queue: &[u8]) -> Option<(Queued<'_>, &[u8])> {
    let (count, at) = bulk::count(queue).ok()??;
    let mut rest = Words { bytes: queue, at, left: u32::try_from(count).ok()? };
    let (mut name, mut words) = (rest, Vec::new());
    let Found::Command(index) = table::find(&mut name).ok()? else { return None };
    while rest.left > 0 {
        let Word::Whole(from, to) = rest.next().ok()?? else { return None };
        words.push(&queue[from as usize..to as usize]);
    }
    let (bytes, left) = queue.split_at(rest.at);
    Some((Queued { command: &table::COMMANDS[index], words, bytes }, left))
}
