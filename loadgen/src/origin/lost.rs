//! Which writes a table has lost, by what the checker knows of them.

use std::collections::BTreeMap;

use standin_protocol::time::Micros;

use crate::checker::{Checker, Seen, Verdict};
use crate::workload::Keys;

/// The rows of the first `count` keys that are older than a write that was acknowledged, or are none of the run, in words.
#[must_use]
pub fn lost_rows(
    rows: &BTreeMap<String, Vec<u8>>,
    checker: &Checker,
    keys: &Keys,
    count: u32,
) -> Vec<String> {
    let now = Micros::boottime();
    let lost = (0..count).filter_map(|key| {
        let name = String::from_utf8_lossy(&keys.name(key)).into_owned();
        let seen = rows.get(&name).map_or(Seen::Absent, |value| Seen::Value(value));
        match checker.after_read(key, checker.before_read(key, now), seen) {
            Verdict::Fresh | Verdict::Late | Verdict::Changed | Verdict::Unjudged => None,
            Verdict::Stale { behind, .. } => Some(format!("{name}: {behind} acknowledged writes")),
            Verdict::Wrong(wrong) => Some(format!("{name}: {wrong:?}")),
        }
    });
    lost.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::{Initial, WriteKind};

    #[test]
    fn a_row_that_an_acknowledged_write_has_not_changed_is_lost() {
        const RUN: u32 = 5;
        let checker = Checker::new(4, RUN, Initial::Filled).with_losses(false);
        let keys = Keys::Numbered;
        let name = |key| String::from_utf8_lossy(&keys.name(key)).into_owned();
        let mut rows: BTreeMap<String, Vec<u8>> =
            (0..3).map(|key| (name(key), Checker::first_value(RUN, key, 50))).collect();
        assert_eq!(lost_rows(&rows, &checker, &keys, 3), Vec::<String>::new());
        for (key, is_acknowledged) in [(0, true), (1, true), (2, false)] {
            let write = checker.begin_write(key, WriteKind::Put, Micros(1)).unwrap();
            if key == 0 {
                rows.insert(name(key), checker.value(&write, 50));
            }
            checker.end_write(write, Micros(2), is_acknowledged);
        }
        rows.insert(name(3), b"of somebody else".to_vec());
        let lost = lost_rows(&rows, &checker, &keys, 4);
        let [old, foreign] = &lost[..] else { panic!("{lost:?}") };
        assert_eq!(*old, format!("{}: 1 acknowledged writes", name(1)));
        assert!(foreign.starts_with(&name(3)), "{foreign}");
        rows.remove(&name(0));
        assert_eq!(lost_rows(&rows, &checker, &keys, 1).len(), 1, "it is gone");
    }
}
